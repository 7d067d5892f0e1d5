//! Making calls with a borrowed thread (x86-64).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use effigy_process::{Address, AddressRange, note};
use libc::user_regs_struct;
use nix::errno::Errno;

use super::filter::{Instruction, is_harmless};
use super::frame::{CHILD_STATUS, Frames};
use super::{Place, Refused, room};
use crate::procfs::Status;
use crate::stop::wait::{Stop, Waited, wait};
use crate::{LiveMemory, inject, trace};

/// How long a call may take, and giving a thread back. Copying the page tables of a hundred gigabytes takes longer; such
/// a target is not to be stopped for so long in any case.
const LONGEST_CALL: Duration = Duration::from_secs(10);
/// `__USER_CS`: 64-bit code.
const USER_CS: u64 = 0x33;
/// All signals; the kernel lets SIGKILL and SIGSTOP through.
const ALL_SIGNALS: u64 = u64::MAX;

// Kernel-internal answers of include/linux/errno.h.
const ERESTARTSYS: i64 = -512;
const ERESTARTNOINTR: i64 = -513;
const ERESTARTNOHAND: i64 = -514;
const ERESTART_RESTARTBLOCK: i64 = -516;

/// A call, by number and arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call(pub(super) i64, pub(super) [u64; 6]);

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// It returned this.
    Returned(i64),
    /// It has made a process, of this id as we see it, and has not returned yet.
    Made(u32),
}

/// How well a thread is suited to make calls; the smallest is best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Suited {
    /// It sleeps in a call that the kernel begins anew, if need be, with nothing lost.
    Restartable,
    /// It runs, or is about to return from a call.
    Running,
    /// It sleeps in a call whose remaining time only the kernel knows: unattended, it would wait for the whole again.
    Timed,
}

/// A stopped thread that makes calls for us. Dropped without [`finish`](Self::finish), it restores itself as soon as the
/// tracer lets it go.
#[derive(Debug)]
pub(super) struct Injection {
    tid: u32,
    mem: File,
    call_at: Address,
    true_registers: user_regs_struct,
    true_mask: u64,
    frames: Frames,
    /// What lay where the frames are.
    overwritten: Vec<u8>,
    /// The options that the thread is traced with otherwise.
    options: i32,
}

impl Injection {
    /// Judges a thread that stands still, with nothing changed.
    pub(super) fn judge(tid: u32, stop: Stop, place: Place<'_>, calls: &[Call]) -> Result<Suited, Refused> {
        let fail = |what: &str, errno: Errno| Refused::thread(format!("{what} of thread {tid}: {errno}"));
        if stop.job_control {
            return Err(Refused::thread("the process is stopped by job control"));
        }
        if stop.signal != 0 {
            return Err(Refused::thread("a signal is just being delivered to the thread"));
        }
        let registers = trace::registers(tid).map_err(|errno| fail("registers", errno))?;
        if registers.cs != USER_CS {
            return Err(Refused::thread("calls can be made inside 64-bit programs only"));
        }
        let xsave = vector_registers(tid).map_err(|errno| fail("vector registers", errno))?;
        let memory = open_memory(place)?;
        if !place.code.is_in(&memory) {
            return Err(Refused::new("it has become another program meanwhile"));
        }
        let room = Frames::room(xsave.len());
        if !room::is_free_below(place.regions, &memory, registers.rsp, registers.fs_base, room) {
            return Err(Refused::thread("no thread stands on a stack that is known to have free room"));
        }
        if trace::has_dispatcher(tid).unwrap_or(false) {
            return Err(Refused::thread("the program handles its system calls itself (PR_SET_SYSCALL_USER_DISPATCH)"));
        }
        if has_shadow_stack(place, tid) {
            return Err(Refused::thread("the program uses a shadow stack"));
        }
        judge_filters(tid, place, calls)?;
        let in_call = registers.orig_rax.cast_signed() >= 0;
        if !in_call && in_restartable_sequence(tid, registers.rip, &memory) {
            return Err(Refused::thread("a restartable sequence is under way"));
        }
        Ok(match registers.rax.cast_signed() {
            ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND if in_call => Suited::Restartable,
            ERESTART_RESTARTBLOCK if in_call => Suited::Timed,
            _ => Suited::Running,
        })
    }

    /// Borrows a thread that was judged to be suited, and has not run since.
    pub(super) fn begin(tid: u32, place: Place<'_>, options: i32) -> Result<Self, Refused> {
        let fail = |what: &str, errno: Errno| Refused::new(format!("{what} of thread {tid}: {errno}"));
        let true_registers = trace::registers(tid).map_err(|errno| fail("registers", errno))?;
        let true_mask = trace::signal_mask(tid).map_err(|errno| fail("signal mask", errno))?;
        let xsave = vector_registers(tid).map_err(|errno| fail("vector registers", errno))?;
        let unattended = after_restart(true_registers);
        let frames = Frames::new(&unattended, &xsave, true_mask, place.code.call, place.code.restore)
            .ok_or_else(|| Refused::new("the thread's vector registers have an unknown form"))?;
        let mem = place
            .dir
            .open_for_writing(&format!("task/{tid}/mem"))
            .map_err(|error| Refused::new(format!("opening the memory for writing: {error}")))?;
        let mut overwritten = vec![0; frames.bytes.len()];
        mem.read_exact_at(&mut overwritten, frames.base.0)
            .map_err(|error| Refused::new(format!("reading the stack: {error}")))?;
        inject::step();
        mem.write_all_at(&frames.bytes, frames.base.0)
            .map_err(|error| Refused::new(format!("writing below the stack: {error}")))?;
        let this = Self {
            tid,
            mem,
            call_at: place.code.call,
            true_registers,
            true_mask,
            frames,
            overwritten,
            options: place.options,
        };
        if let Err(errno) = this.enter(options) {
            this.finish();
            return Err(fail("preparing", errno));
        }
        Ok(this)
    }

    /// From here on the thread restores itself. The order matters: the frame lies there before the registers lead to it,
    /// and they do before signals are held back.
    fn enter(&self, options: i32) -> Result<(), Errno> {
        trace::set_registers(self.tid, &self.registers(Call(libc::SYS_getpid, [0; 6]), self.frames.own_stack))?;
        trace::set_signal_mask(self.tid, ALL_SIGNALS)?;
        trace::set_options(self.tid, self.options | options | libc::PTRACE_O_TRACESYSGOOD)
    }

    /// The piece of stack that is in use, and what it held before.
    pub(super) fn overwritten(&self) -> (AddressRange, &[u8]) {
        (AddressRange::sized(self.frames.base, self.overwritten.len() as u64), &self.overwritten)
    }

    /// Where what a call is told or tells can lie: [`SCRATCH`](super::frame::SCRATCH) bytes.
    pub(super) fn scratch(&self) -> Address {
        self.frames.base
    }

    /// Stack pointer for a child.
    pub(super) fn child_stack(&self) -> u64 {
        self.frames.child_stack
    }

    pub(super) fn mem(&self) -> &File {
        &self.mem
    }

    fn registers(&self, call: Call, stack: u64) -> user_regs_struct {
        let Call(number, arguments) = call;
        user_regs_struct {
            rip: self.call_at.0,
            rsp: stack,
            rax: number.cast_unsigned(),
            // No restart of whatever the thread was in.
            orig_rax: u64::MAX,
            rdi: arguments[0],
            rsi: arguments[1],
            rdx: arguments[2],
            r10: arguments[3],
            r8: arguments[4],
            r9: arguments[5],
            ..self.true_registers
        }
    }

    /// Makes a call with the borrowed thread.
    pub(super) fn call(&self, call: Call) -> Result<Reached, Refused> {
        trace::set_registers(self.tid, &self.registers(call, self.frames.own_stack))
            .map_err(|errno| Refused::new(format!("setting registers: {errno}")))?;
        run_call(self.tid)
    }

    /// Makes a call with a child that an earlier call has made and that stands still.
    pub(super) fn ask_child(&self, child: u32, call: Call) -> Result<Reached, Refused> {
        trace::set_registers(child, &self.registers(call, self.frames.child_stack))
            .map_err(|errno| Refused::new(format!("setting a child's registers: {errno}")))?;
        run_call(child)
    }

    /// The same with a call that makes no process.
    pub(super) fn call_in_child(&self, child: u32, call: Call) -> Result<i64, Refused> {
        match self.ask_child(child, call)? {
            Reached::Returned(value) => Ok(value),
            Reached::Made(_) => Err(Refused::new("a process appeared that was not asked for")),
        }
    }

    /// Goes on with a child's call that has made a process.
    pub(super) fn complete_child(&self, child: u32) -> Result<(), Refused> {
        run_on(child).map(drop)
    }

    /// Has a child end that stands still.
    pub(super) fn end_child(&self, child: u32) -> Result<(), Refused> {
        let fail = |errno: Errno| Refused::new(format!("ending a helper: {errno}"));
        // By its status it is known for ours, should effigy die before it is collected.
        let exit = Call(libc::SYS_exit, [u64::from(CHILD_STATUS.unsigned_abs()), 0, 0, 0, 0, 0]);
        let begun = trace::set_registers(child, &self.registers(exit, self.frames.child_stack))
            .and_then(|()| trace::resume_with(child, 0));
        if let Err(errno) = begun {
            // Killed, or never stopped: whoever minds late threads frees or collects it.
            trace::leave(child);
            return Err(fail(errno));
        }
        let began = Instant::now();
        loop {
            match wait(child) {
                Waited::Gone => return Ok(()),
                Waited::Nothing if began.elapsed() > LONGEST_CALL => {
                    trace::leave(child);
                    return Err(Refused::new("a helper in the target does not end"));
                }
                Waited::Nothing => pause(began),
                Waited::Event(_) => trace::resume_with(child, 0).map_err(fail)?,
                // What cannot be held back is for the program, whichever of its threads it reached.
                Waited::Stopped(Stop { signal, .. }) => {
                    trace::resume_with(child, if is_fault(signal) { 0 } else { signal }).map_err(fail)?;
                }
            }
        }
    }

    /// Goes on with a call that has made a process.
    pub(super) fn complete(&self) -> Result<i64, Refused> {
        match run_on(self.tid)? {
            Reached::Returned(value) => Ok(value),
            Reached::Made(_) => Err(Refused::new("a process appeared that was not asked for")),
        }
    }

    /// Gives the thread back as it was: standing still, with its own registers, mask and stack.
    pub(super) fn finish(self) -> bool {
        let given_back = self.give_back();
        // The thread that is not given back goes through the frame when it is let go: the frame has to stay.
        if given_back.is_ok() {
            inject::step();
            let _ = self.mem.write_all_at(&self.overwritten, self.frames.base.0);
        }
        given_back.is_ok()
    }

    fn give_back(&self) -> Result<(), Errno> {
        let tid = self.tid;
        // The kernel decides about restarting a call when the thread leaves a stop in the delivery of signals, so that is
        // where its registers have to be put back, not at the exit of our call.
        trace::interrupt(tid)?;
        let signal = match wait(tid) {
            Waited::Stopped(Stop { signal, .. }) if !is_fault(signal) => signal,
            _ => 0,
        };
        trace::resume_with(tid, signal)?;
        let began = Instant::now();
        loop {
            match wait(tid) {
                Waited::Stopped(Stop { signal: 0, .. }) => break,
                // Signals are held back; what comes is the exit of a call.
                Waited::Event(_) => trace::resume_with(tid, 0)?,
                // A fault that a call of ours has brought about is not the program's.
                Waited::Stopped(Stop { signal, .. }) => {
                    trace::resume_with(tid, if is_fault(signal) { 0 } else { signal })?;
                }
                Waited::Gone => return Err(Errno::ESRCH),
                Waited::Nothing if began.elapsed() > LONGEST_CALL => return Err(Errno::ETIMEDOUT),
                Waited::Nothing => std::thread::yield_now(),
            }
        }
        trace::set_options(tid, self.options)?;
        trace::set_signal_mask(tid, self.true_mask)?;
        trace::set_registers(tid, &self.true_registers)
    }
}

/// Runs a stopped thread, whose registers are those of a call, until the call has returned or made a process.
fn run_call(tid: u32) -> Result<Reached, Refused> {
    trace::run_to_call(tid).map_err(|errno| Refused::new(format!("starting a call: {errno}")))?;
    match wait_for_event(tid)? {
        // Its entry.
        0 => run_on(tid),
        _ => Err(Refused::new("the thread did not make the call that it was to make")),
    }
}

fn run_on(tid: u32) -> Result<Reached, Refused> {
    trace::run_to_call(tid).map_err(|errno| Refused::new(format!("going on with a call: {errno}")))?;
    match wait_for_event(tid)? {
        0 => trace::registers(tid)
            .map(|registers| Reached::Returned(registers.rax.cast_signed()))
            .map_err(|errno| Refused::new(format!("reading a call's result: {errno}"))),
        _ => trace::event_message(tid)
            .map(Reached::Made)
            .map_err(|errno| Refused::new(format!("asking for a child's id: {errno}"))),
    }
}

/// Waits for the entry or exit of a call (0), or an event.
fn wait_for_event(tid: u32) -> Result<i32, Refused> {
    let began = Instant::now();
    loop {
        match wait(tid) {
            Waited::Event(event) => return Ok(event),
            // Somebody stops the process in the middle of it: it is stopped for us, and will be for them.
            Waited::Stopped(Stop { signal: 0, .. }) => {
                trace::run_to_call(tid).map_err(|errno| Refused::new(format!("going on with a call: {errno}")))?;
            }
            // A signal that cannot be held back (SIGSTOP): it is the program's, and it gets it.
            Waited::Stopped(Stop { signal, .. }) if !is_fault(signal) => {
                trace::run_to_call_with(tid, signal)
                    .map_err(|errno| Refused::new(format!("going on with a call: {errno}")))?;
            }
            Waited::Stopped(Stop { signal, .. }) => {
                return Err(Refused::new(format!("a call in thread {tid} ended with signal {signal}")));
            }
            Waited::Gone => return Err(Refused::new("the process ended")),
            Waited::Nothing if began.elapsed() > LONGEST_CALL => {
                return Err(Refused::new("a call in the target did not return"));
            }
            Waited::Nothing => pause(began),
        }
    }
}

/// Whether a signal is one that the processor or the kernel raises for what a thread does. While all others are held back,
/// such a one can only be of our making.
fn is_fault(signal: i32) -> bool {
    matches!(signal, libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGTRAP | libc::SIGSYS)
}

/// Calls take microseconds, and the target waits: so spin first, then let others run.
pub(super) fn pause(began: Instant) {
    if began.elapsed() < Duration::from_micros(200) {
        std::thread::yield_now();
    } else {
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// The registers that the kernel would let a thread go on with: it begins a call anew that the stop has interrupted.
/// A frame does not let it do that any more, so the frame holds the outcome.
fn after_restart(registers: user_regs_struct) -> user_regs_struct {
    let in_call = registers.orig_rax.cast_signed() >= 0;
    match registers.rax.cast_signed() {
        ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND | ERESTART_RESTARTBLOCK if in_call => {
            // `syscall` is two bytes long.
            user_regs_struct { rip: registers.rip.wrapping_sub(2), rax: registers.orig_rax, ..registers }
        }
        _ => registers,
    }
}

fn vector_registers(tid: u32) -> Result<Vec<u8>, Errno> {
    inject::step();
    crate::stop::registers::read_one(tid, note::X86_XSTATE)
}

fn open_memory(place: Place<'_>) -> Result<LiveMemory, Refused> {
    let dir = crate::procfs::ProcDir::open(place.dir.id()).map_err(|error| Refused::new(error.to_string()))?;
    LiveMemory::open(dir, rustix::param::page_size() as u64).map_err(|error| Refused::new(error.to_string()))
}

/// Whether return addresses are kept a second time by the processor (`x86_Thread_features` of proc_pid_status(5)): a
/// return to where no call came from would be a fault.
fn has_shadow_stack(place: Place<'_>, tid: u32) -> bool {
    let status = Status::parse(&place.dir.read(&format!("task/{tid}/status")).unwrap_or_default());
    status.get("x86_Thread_features").is_some_and(|features| features.contains("shstk"))
}

/// Whether the thread is in a restartable sequence (rseq(2)), which the kernel would no longer restart.
fn in_restartable_sequence(tid: u32, at: u64, memory: &LiveMemory) -> bool {
    use effigy_process::Memory;
    let Ok(area) = trace::rseq_address(tid) else { return false };
    if area == 0 {
        return false;
    }
    let word = |address: u64| {
        let mut bytes = [0; 8];
        memory.read_exact(Address(address), &mut bytes).ok().map(|()| u64::from_le_bytes(bytes))
    };
    // `struct rseq`: two processor numbers, then the address of a `struct rseq_cs`: version and flags, start, length.
    match word(area.wrapping_add(8)) {
        Some(0) => false,
        Some(sequence) => match (word(sequence.wrapping_add(8)), word(sequence.wrapping_add(16))) {
            (Some(start), Some(length)) => at.wrapping_sub(start) < length,
            _ => true,
        },
        None => true,
    }
}

/// Refuses when a seccomp filter would do harm to a thread that makes one of the calls with nobody there to hold the
/// filter off.
fn judge_filters(tid: u32, place: Place<'_>, calls: &[Call]) -> Result<(), Refused> {
    let status = Status::parse(&place.dir.read(&format!("task/{tid}/status")).unwrap_or_default());
    match status.credentials().seccomp {
        0 => return Ok(()),
        1 => return Err(Refused::new("a strict seccomp filter lets the program do nothing")),
        _ => {}
    }
    for index in 0.. {
        let program = match trace::seccomp_filter(tid, index) {
            Ok(program) => program,
            Err(Errno::ENOENT) if index > 0 => return Ok(()),
            Err(errno) => {
                return Err(Refused::new(format!("a seccomp filter that cannot be looked at ({errno})")));
            }
        };
        let program: Vec<Instruction> = program
            .iter()
            .map(|bytes| Instruction {
                code: u16::from_le_bytes([bytes[0], bytes[1]]),
                when_true: bytes[2],
                when_false: bytes[3],
                k: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            })
            .collect();
        let after = place.code.call.0 + 2;
        // What brings the thread home, what a child ends with, and what the thread is set to first.
        let own = [libc::SYS_rt_sigreturn, libc::SYS_exit, libc::SYS_getpid].map(|number| Call(number, [0; 6]));
        let harmful = own.iter().chain(calls).find(|call| !is_harmless(&program, call.0, after, call.1));
        if let Some(Call(number, _)) = harmful {
            let name = i32::try_from(*number)
                .ok()
                .and_then(|number| usize::try_from(number).ok())
                .and_then(syscalls::Sysno::new)
                .map_or_else(|| number.to_string(), |name| name.name().to_owned());
            return Err(Refused::new(format!("the program's seccomp filter would not bear a call of {name}")));
        }
    }
    Ok(())
}

/// The option that holds filters off, for a thread that has any.
pub(super) fn filter_option(place: Place<'_>, tid: u32) -> i32 {
    let status = Status::parse(&place.dir.read(&format!("task/{tid}/status")).unwrap_or_default());
    if status.credentials().seccomp == 0 { 0 } else { libc::PTRACE_O_SUSPEND_SECCOMP }
}
