//! `effigy threads`: the threads, where each is, and its registers.

mod registers;

use effigy_process::{Address, Process, Thread};
use serde::Serialize;

use crate::cli::ThreadsArgs;
use crate::exit::Exit;
use crate::print::{self, Page};
use crate::subject::{Look, Refused, Subject};
use crate::table::{Align, Table};
use crate::words;

/// Runs the command.
pub(crate) fn run(args: &ThreadsArgs) -> Exit {
    super::tell(answer(args))
}

fn answer(args: &ThreadsArgs) -> Result<Exit, Refused> {
    let with_registers = args.registers || args.all_registers;
    let look = if with_registers { Look::Registers } else { Look::Threads };
    let subject = Subject::open(&args.target.target, look)?;
    let process = subject.process();
    let threads: Vec<&Thread> = match args.thread {
        Some(id) => vec![subject.thread(Some(id))?],
        None => process.threads.iter().collect(),
    };
    let mut page = Page::begin();
    if args.target.json {
        let rows = threads.iter().map(|thread| Row::of(&subject, thread, with_registers, args.all_registers));
        let threads = rows.collect();
        page.json(&subject.document(Answer { threads }));
        return Ok(page.finish());
    }
    subject.say_warnings();
    if !with_registers {
        table(&subject, &threads).print(&mut page);
    }
    for thread in threads.iter().filter(|_| with_registers) {
        page.line(headline(&subject, thread));
        registers::print(&subject, thread, args.all_registers, &mut page);
        if page.is_closed() {
            break;
        }
    }
    Ok(page.finish())
}

/// The answer as JSON; docs/json.md describes it.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    threads: Vec<Row<'a>>,
}

/// A thread.
#[derive(Debug, Serialize)]
struct Row<'a> {
    tid: u32,
    inner_tid: Option<u32>,
    name: Option<String>,
    state: Option<char>,
    /// Whether it is the one that is shown first.
    selected: bool,
    /// Whether it is the one at fault.
    fault: bool,
    instruction_pointer: Option<Address>,
    /// The instruction pointer as module and offset.
    location: Option<String>,
    stack_pointer: Option<Address>,
    stack: Option<effigy_process::AddressRange>,
    user_seconds: Option<f64>,
    kernel_seconds: Option<f64>,
    /// Seconds from the system's start to the thread's.
    started_seconds: Option<f64>,
    system_call: Option<&'a str>,
    wait_channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    windows: Option<&'a effigy_process::WindowsThread>,
    /// Why there are no registers.
    registers_missing: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registers: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector_registers: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    register_sets: Option<Vec<registers::Set>>,
}

impl<'a> Row<'a> {
    fn of(subject: &'a Subject, thread: &'a Thread, general: bool, all: bool) -> Self {
        let process = subject.process();
        let place = Place::of(subject, thread);
        let known = subject.registers_of(thread);
        let kernel = thread.kernel.as_ref();
        Self {
            tid: thread.id.0,
            inner_tid: thread.inner_id.map(|id| id.0),
            name: thread.name.as_ref().map(|name| String::from_utf8_lossy(name).into_owned()),
            state: thread.state.map(|state| state.0),
            selected: process.selected == Some(thread.id),
            fault: is_at_fault(process, thread),
            instruction_pointer: place.instruction,
            location: place.instruction.and_then(|at| subject.place(at)),
            stack_pointer: place.stack,
            stack: thread.stack,
            user_seconds: thread.times.map(|times| times.user.as_secs_f64()),
            kernel_seconds: thread.times.map(|times| times.kernel.as_secs_f64()),
            started_seconds: thread.times.and_then(|times| times.started).map(|time| time.as_secs_f64()),
            system_call: kernel.and_then(|kernel| kernel.syscall_name.as_deref()),
            wait_channel: kernel.map(|kernel| kernel.wait_channel.as_str()).filter(|channel| !channel.is_empty()),
            windows: thread.windows.as_deref(),
            registers_missing: thread.registers.as_ref().err().map(|missing| missing.reason.as_str()),
            registers: known.filter(|_| general).map(registers::named),
            vector_registers: known.filter(|_| all).map(registers::vectors),
            register_sets: known.filter(|_| all).map(registers::sets),
        }
    }
}

/// Where a thread is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    instruction: Option<Address>,
    stack: Option<Address>,
}

impl Place {
    /// By its registers; of a thread that was not stopped by what the kernel tells of its system call.
    fn of(subject: &Subject, thread: &Thread) -> Self {
        if let Some(general) = subject.registers_of(thread).and_then(effigy_process::Registers::general) {
            return Self { instruction: general.instruction_pointer(), stack: general.stack_pointer() };
        }
        let Some(kernel) = &thread.kernel else { return Self::default() };
        Self { instruction: kernel.program_counter.map(Address), stack: kernel.stack_pointer.map(Address) }
    }
}

fn is_at_fault(process: &Process, thread: &Thread) -> bool {
    process.fault.as_ref().is_some_and(|fault| fault.thread == thread.id)
}

/// `#` for the thread at fault, `.` for the one that is shown first: WinDbg's marks.
fn mark(process: &Process, thread: &Thread) -> &'static str {
    if is_at_fault(process, thread) {
        "#"
    } else if process.selected == Some(thread.id) {
        "."
    } else {
        ""
    }
}

fn table(subject: &Subject, threads: &[&Thread]) -> Table {
    let process = subject.process();
    let mut table = Table::new(&[
        ("", Align::Left),
        ("Thread", Align::Right),
        ("State", Align::Left),
        ("Teb", Align::Right),
        ("User", Align::Right),
        ("Kernel", Align::Right),
        ("Name", Align::Left),
        ("Call", Align::Left),
        ("Instruction", Align::Left),
        ("Where", Align::Left),
    ]);
    for thread in threads {
        let at = Place::of(subject, thread).instruction;
        let block = thread.windows.as_ref().and_then(|windows| windows.environment_block);
        let call = thread.kernel.as_ref().and_then(|kernel| kernel.syscall_name.clone()).unwrap_or_default();
        table.row([
            mark(process, thread).to_owned(),
            thread.id.to_string(),
            thread.state.map(|state| state.0.to_string()).unwrap_or_default(),
            block.map(|block| words::address(process, block)).unwrap_or_default(),
            thread.times.map(|times| words::clock(times.user)).unwrap_or_default(),
            thread.times.map(|times| words::clock(times.kernel)).unwrap_or_default(),
            name(thread),
            call,
            at.map(|at| words::address(process, at)).unwrap_or_default(),
            at.and_then(|at| subject.place(at)).unwrap_or_default(),
        ]);
    }
    table
}

fn name(thread: &Thread) -> String {
    thread.name.as_ref().map(|name| print::safe(name)).unwrap_or_default()
}

/// `# Thread 4712 "worker" at app+0x1139`.
fn headline(subject: &Subject, thread: &Thread) -> String {
    let mut text = format!("{} Thread {}", mark(subject.process(), thread), thread.id).trim_start().to_owned();
    if thread.name.is_some() {
        text = format!("{text} \"{}\"", name(thread));
    }
    let at = Place::of(subject, thread).instruction.and_then(|at| subject.place(at));
    at.map_or(text.clone(), |at| format!("{text} at {at}"))
}
