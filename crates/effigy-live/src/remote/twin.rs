//! The twin: a copy-on-write child of the target that never runs.
//!
//! It is made by `clone` while all threads of the target stand still, is traced and stopped from its first moment on, and
//! dies with effigy (`PTRACE_O_EXITKILL`). Should effigy die before it can say so to the kernel, the twin is let go and
//! ends by itself: the only thing its registers lead to is `exit`.
//!
//! It is no child of the target but an orphan: the target's thread makes a go-between, which shares its memory, and that
//! makes the twin and ends. So the target has no child that it did not make, gets no SIGCHLD, and whoever collects orphans
//! collects the twin. Where that is the target itself (it is the first process of its namespace, or a subreaper), the twin
//! is its child, with exit signal 0, and effigy has it collected.
//!
//! It has no descriptors: a copy of the target's would keep sockets, pipes and locks alive that the target gives up while
//! the dump is written.

use effigy_process::AddressRange;

use super::Refused;
use crate::procfs::ProcDir;
use crate::snapshot::Mark;

/// A twin that stands still.
#[derive(Clone, Debug)]
pub struct Twin {
    /// Its id, as we see it.
    pub id: u32,
    /// Its id as the target sees it, when it is the target's child; an orphan is not the target's to collect.
    pub(crate) inner_id: Option<u32>,
    /// A piece of stack that was in use for making the twin, and the bytes that belong there.
    pub(crate) overwritten: (AddressRange, Vec<u8>),
}

/// Exit signal and exit status of a process from `/proc/PID/stat` (fields 38 and 52) tell a twin that nobody has
/// collected from a child of the program's own: no program's child has exit signal 0 and ends by SIGKILL or with our
/// status without ever having run.
fn is_left_over(dir: &ProcDir) -> bool {
    let Ok(stat) = dir.read("stat") else { return false };
    let text = String::from_utf8_lossy(&stat).into_owned();
    let Some((_, rest)) = text.rsplit_once(')') else { return false };
    // Counted from field 3, the state.
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<i64>().ok());
    let status = field(52);
    fields.first() == Some(&"Z")
        && field(38) == Some(0)
        // In clock ticks: returning into `exit` may fall on one.
        && field(14).is_some_and(|ticks| ticks <= 1)
        && (status == Some(i64::from(libc::SIGKILL)) || status == Some(i64::from(CHILD_STATUS) << 8))
}

#[cfg(target_arch = "x86_64")]
use super::frame::CHILD_STATUS;
#[cfg(not(target_arch = "x86_64"))]
const CHILD_STATUS: i32 = 0;

/// Twins of earlier dumps that effigy could not collect because it was killed, by their ids as the target sees them.
pub(crate) fn leftovers(dir: &ProcDir) -> Vec<u32> {
    let mut found = Vec::new();
    for child in children(dir) {
        let Ok(child) = ProcDir::open(effigy_process::ProcessId(child)) else { continue };
        if is_left_over(&child) {
            found.extend(inner_id(dir, &child));
        }
    }
    found
}

/// Twins of the target that effigies hold at the moment: processes that run what it runs, laid out as it is (the kernel
/// chooses that at random), and that a thread of effigy's traces.
pub(crate) fn others(dir: &ProcDir) -> usize {
    let status = |id: u32| {
        let text = std::fs::read(format!("/proc/{id}/status")).ok()?;
        Some(crate::procfs::Status::parse(&text))
    };
    let mark = Mark::read(dir);
    let is_twin = |id: u32| {
        let tracer = status(id)?.tracer();
        if id == dir.id().0 || tracer == 0 || !matches!(status(tracer)?.get("Name")?, "tracer" | "session") {
            return None;
        }
        let twin = ProcDir::open(effigy_process::ProcessId(id)).ok()?;
        (Mark::read(&twin) == mark).then_some(())
    };
    let names = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name());
    let ids = names.filter_map(|name| name.to_str()?.parse::<u32>().ok());
    ids.filter(|id| is_twin(*id).is_some()).count()
}

/// Children of all threads, by their ids as we see them.
fn children(dir: &ProcDir) -> Vec<u32> {
    let mut found = Vec::new();
    for tid in dir.numbers("task").unwrap_or_default() {
        let children = dir.read(&format!("task/{tid}/children")).unwrap_or_default();
        found.extend(
            String::from_utf8_lossy(&children).split_ascii_whitespace().filter_map(|id| id.parse::<u32>().ok()),
        );
    }
    found
}

/// The child's id in the target's PID namespace.
fn inner_id(target: &ProcDir, child: &ProcDir) -> Option<u32> {
    let ids = |dir: &ProcDir| crate::procfs::Status::parse(&dir.read("status").unwrap_or_default()).numbers("NSpid");
    let depth = ids(target).len();
    let ids = ids(child);
    ids.get(depth.checked_sub(1)?).copied()
}

#[cfg(target_arch = "x86_64")]
mod made {
    use std::os::unix::fs::FileExt;
    use std::time::{Duration, Instant};

    use effigy_process::ProcessId;
    use nix::sys::signal::Signal;

    use super::{Refused, Twin, leftovers};
    use crate::procfs::{ProcDir, Status};
    use crate::remote::Place;
    use crate::remote::injection::{Call, Injection, Reached, filter_option, pause};
    use crate::stop::wait::{Stop, Waited, wait};
    use crate::{inject, trace};

    /// Share the table of descriptors; no signal at the end.
    const FLAGS: u64 = libc::CLONE_FILES.unsigned_abs() as u64;
    /// Share the memory too, and have the maker wait for the end.
    const GO_BETWEEN: u64 = (libc::CLONE_VM | libc::CLONE_VFORK).unsigned_abs() as u64;
    const GET_SUBREAPER: u64 = libc::PR_GET_CHILD_SUBREAPER.unsigned_abs() as u64;
    /// `ERESTARTNOINTR` of include/linux/errno.h.
    const TRY_AGAIN: i64 = -513;
    const MOST_TRIES: u32 = 5;
    /// close_range(2) of everything, in a table of its own (`CLOSE_RANGE_UNSHARE`, Linux 5.9): closes nothing of others'.
    pub(in crate::remote) const LET_GO_OF_FILES: Call =
        Call(libc::SYS_close_range, [0, u32::MAX as u64, libc::CLOSE_RANGE_UNSHARE as u64, 0, 0, 0]);
    /// How long a child may take to stand still or to be gone.
    const LONGEST: Duration = Duration::from_secs(5);
    /// Wait for any kind of child, without waiting: `__WALL | WNOHANG`.
    const HOW: u64 = 0x4000_0000 | 1;

    /// Makes a twin of the target with one of its threads, all of which stand still.
    pub(crate) fn make_twin(threads: &[(u32, Stop)], place: Place<'_>) -> Result<Twin, Refused> {
        if inject::hit(inject::NO_CLONE) {
            return Err(Refused::new("clone: EAGAIN (injected)"));
        }
        let calls = [
            Call(libc::SYS_clone, [FLAGS, 0, 0, 0, 0, 0]),
            Call(libc::SYS_clone, [FLAGS | GO_BETWEEN, 0, 0, 0, 0, 0]),
            Call(libc::SYS_prctl, [GET_SUBREAPER, 0, 0, 0, 0, 0]),
            LET_GO_OF_FILES,
            wait_for(0),
        ];
        let tid = best(threads, place, &calls)?;
        let filter = filter_option(place, tid);
        let options = libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEVFORK | filter;
        let injection = Injection::begin(tid, place, options)?;
        let made = if collects_orphans(&injection, place)? {
            child_of(&injection).map(|(id, inner)| (id, Some(inner)))
        } else {
            orphan_of(&injection, filter).map(|id| (id, None))
        };
        let overwritten = injection.overwritten();
        let overwritten = (overwritten.0, overwritten.1.to_vec());
        let given_back = injection.finish();
        let (id, inner_id) = made?;
        let twin = Twin { id, inner_id, overwritten };
        if given_back { Ok(twin) } else { Err(Refused::new("the process ended")) }
    }

    /// Whether orphans become children of the target.
    fn collects_orphans(injection: &Injection, place: Place<'_>) -> Result<bool, Refused> {
        let status = Status::parse(&place.dir.read("status").unwrap_or_default());
        if status.numbers("NSpid").last() == Some(&1) {
            return Ok(true);
        }
        let at = injection.scratch();
        match injection.call(Call(libc::SYS_prctl, [GET_SUBREAPER, at.0, 0, 0, 0, 0]))? {
            Reached::Returned(0) => {}
            Reached::Returned(error) => return Err(refused("prctl", error)),
            Reached::Made(_) => return Err(Refused::new("a process appeared that was not asked for")),
        }
        let mut answer = [0; 4];
        injection
            .mem()
            .read_exact_at(&mut answer, at.0)
            .map_err(|error| Refused::new(format!("reading the stack: {error}")))?;
        Ok(answer != [0; 4])
    }

    /// Makes the twin as the target's child; also its id as the target sees it.
    fn child_of(injection: &Injection) -> Result<(u32, u32), Refused> {
        // The kernel refuses with ERESTARTNOINTR while some stop is pending; that passes.
        for _ in 0..MOST_TRIES {
            let call = Call(libc::SYS_clone, [FLAGS, injection.child_stack(), 0, 0, 0, 0]);
            match injection.call(call)? {
                Reached::Made(child) => {
                    bind(child)?;
                    let inner = injection.complete()?;
                    let inner = u32::try_from(inner).map_err(|_| Refused::new("clone gave no id"))?;
                    let_go_of_files(injection, child)?;
                    return Ok((child, inner));
                }
                Reached::Returned(TRY_AGAIN) => {}
                Reached::Returned(error) => return Err(refused("clone", error)),
            }
        }
        Err(refused("clone", -i64::from(libc::EAGAIN)))
    }

    /// Makes the twin as an orphan.
    fn orphan_of(injection: &Injection, filter: i32) -> Result<u32, Refused> {
        for _ in 0..MOST_TRIES {
            let call = Call(libc::SYS_clone, [FLAGS | GO_BETWEEN, injection.child_stack(), 0, 0, 0, 0]);
            match injection.call(call)? {
                Reached::Made(between) => {
                    let twin = hold(between, libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACECLONE | filter)
                        .and_then(|()| twin_of(injection, between));
                    // Its end lets the target's thread return from its call.
                    injection.end_child(between)?;
                    let inner = injection.complete()?;
                    if let Ok(inner) = u32::try_from(inner) {
                        injection.call(wait_for(inner))?;
                    }
                    return twin;
                }
                Reached::Returned(TRY_AGAIN) => {}
                Reached::Returned(error) => return Err(refused("clone", error)),
            }
        }
        Err(refused("clone", -i64::from(libc::EAGAIN)))
    }

    /// Has the go-between make the twin. Both start with the same stack pointer: the twin has its own copy of the stack.
    fn twin_of(injection: &Injection, between: u32) -> Result<u32, Refused> {
        let_go_of_files(injection, between)?;
        let call = Call(libc::SYS_clone, [FLAGS, injection.child_stack(), 0, 0, 0, 0]);
        for _ in 0..MOST_TRIES {
            match injection.ask_child(between, call)? {
                Reached::Made(twin) => {
                    bind(twin)?;
                    injection.complete_child(between)?;
                    return Ok(twin);
                }
                Reached::Returned(TRY_AGAIN) => {}
                Reached::Returned(error) => return Err(refused("clone", error)),
            }
        }
        Err(refused("clone", -i64::from(libc::EAGAIN)))
    }

    /// Gives a child an empty table of descriptors in place of the one that it shares with the target: otherwise what the
    /// target had open would stay open as long as the child lives.
    pub(in crate::remote) fn let_go_of_files(injection: &Injection, child: u32) -> Result<(), Refused> {
        match injection.call_in_child(child, LET_GO_OF_FILES)? {
            0 => Ok(()),
            error => Err(refused("close_range", error)),
        }
    }

    pub(in crate::remote) fn refused(call: &str, result: i64) -> Refused {
        let errno = i32::try_from(-result).unwrap_or(0);
        Refused::new(format!("{call}: {}", nix::errno::Errno::from_raw(errno)))
    }

    /// Waits for a new process to stand still, and binds its life to ours.
    fn bind(child: u32) -> Result<(), Refused> {
        hold(child, libc::PTRACE_O_EXITKILL)?;
        // The first to go when memory is short. Best effort; its children are the target's business.
        let _ = std::fs::write(format!("/proc/{child}/oom_score_adj"), "1000");
        Ok(())
    }

    /// Waits for a new process or thread to stand still.
    pub(in crate::remote) fn hold(child: u32, options: i32) -> Result<(), Refused> {
        let began = Instant::now();
        loop {
            match wait(child) {
                Waited::Stopped(_) => break,
                Waited::Gone => return Err(Refused::new("the child was killed")),
                Waited::Nothing | Waited::Event(_) if began.elapsed() > LONGEST => {
                    return Err(Refused::new("the child does not stand still"));
                }
                Waited::Nothing | Waited::Event(_) => pause(began),
            }
        }
        trace::set_options(child, libc::PTRACE_O_TRACESYSGOOD | options)
            .map_err(|errno| Refused::new(format!("holding the child: {errno}")))
    }

    /// Ends a child that stands still; its parent can collect it then.
    fn end(child: u32) -> Result<(), Refused> {
        inject::step();
        let _ = nix::sys::signal::kill(trace::pid_of(child), Signal::SIGKILL);
        let began = Instant::now();
        loop {
            match wait(child) {
                Waited::Gone => return Ok(()),
                _ if began.elapsed() > LONGEST => return Err(Refused::new("a child of the target does not end")),
                _ => pause(began),
            }
        }
    }

    /// `wait4` for a child, without waiting.
    fn wait_for(child: u32) -> Call {
        Call(libc::SYS_wait4, [u64::from(child), 0, HOW, 0, 0, 0])
    }

    /// Ends the twin and lets the target collect it, so that no zombie stays. `threads` are some that stand still.
    pub(crate) fn reap_twin(inner_id: u32, threads: &[(u32, Stop)], place: Place<'_>) -> Result<(), Refused> {
        reap(&[inner_id], threads, place)
    }

    /// Lets the target collect what killed effigies have left.
    pub(crate) fn reap_leftovers(dir: &ProcDir, threads: &[(u32, Stop)], place: Place<'_>) -> Result<(), Refused> {
        let left = leftovers(dir);
        if left.is_empty() { Ok(()) } else { reap(&left, threads, place) }
    }

    fn reap(ids: &[u32], threads: &[(u32, Stop)], place: Place<'_>) -> Result<(), Refused> {
        let tid = best(threads, place, &[wait_for(0)])?;
        let injection = Injection::begin(tid, place, filter_option(place, tid))?;
        let mut result = Ok(());
        for id in ids {
            match injection.call(wait_for(*id)) {
                Ok(Reached::Returned(value)) if value == i64::from(*id) || value == -i64::from(libc::ECHILD) => {}
                Ok(Reached::Returned(value)) => result = Err(refused("wait4", value)),
                Ok(Reached::Made(_)) => result = Err(Refused::new("a process appeared that was not asked for")),
                Err(error) => result = Err(error),
            }
        }
        injection.finish();
        result
    }

    /// The thread that is suited best, or why none is.
    pub(in crate::remote) fn best(threads: &[(u32, Stop)], place: Place<'_>, calls: &[Call]) -> Result<u32, Refused> {
        let mut best = None;
        let mut why = Refused::new("no thread stands still");
        for &(tid, stop) in threads {
            match Injection::judge(tid, stop, place, calls) {
                Ok(suited) => {
                    if best.is_none_or(|(_, other)| suited < other) {
                        best = Some((tid, suited));
                    }
                    if suited == super::super::injection::Suited::Restartable {
                        break;
                    }
                }
                Err(refused) => why = refused,
            }
        }
        best.map(|(tid, _)| tid).ok_or(why)
    }

    /// Ends the twin itself. For the thread that traces it.
    impl Twin {
        pub(crate) fn end(&self) -> Result<(), Refused> {
            end(self.id)
        }

        /// The directory of the twin.
        pub(crate) fn dir(&self) -> Result<ProcDir, Refused> {
            ProcDir::open(ProcessId(self.id)).map_err(|error| Refused::new(error.to_string()))
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod made {
    use super::{Refused, Twin};
    use crate::procfs::ProcDir;
    use crate::remote::Place;
    use crate::stop::wait::Stop;

    const WHY: &str = "calls inside the target are written for x86-64 only";

    pub(crate) fn make_twin(_threads: &[(u32, Stop)], _place: Place<'_>) -> Result<Twin, Refused> {
        Err(Refused::new(WHY))
    }

    pub(crate) fn reap_twin(_inner_id: u32, _threads: &[(u32, Stop)], _place: Place<'_>) -> Result<(), Refused> {
        Err(Refused::new(WHY))
    }

    pub(crate) fn reap_leftovers(_dir: &ProcDir, _threads: &[(u32, Stop)], _place: Place<'_>) -> Result<(), Refused> {
        Ok(())
    }

    impl Twin {
        pub(crate) fn end(&self) -> Result<(), Refused> {
            Err(Refused::new(WHY))
        }

        pub(crate) fn dir(&self) -> Result<ProcDir, Refused> {
            Err(Refused::new(WHY))
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use made::{LET_GO_OF_FILES, best, hold, let_go_of_files, refused};
pub(crate) use made::{make_twin, reap_leftovers, reap_twin};
