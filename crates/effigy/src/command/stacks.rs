//! `effigy stacks`: what every thread was doing, by functions and lines.

mod frames;

use effigy_analysis::stacks::{self, ThreadStack, Walk};
use effigy_process::{Process, Registers, Thread, ThreadId};
use effigy_symbols::unwind::Stop;
use serde::Serialize;

use self::frames::Row;
use crate::cli::StacksArgs;
use crate::exit::Exit;
use crate::print::{self, Page};
use crate::subject::{Refused, Subject, Symbols, missing_of_python};
use crate::words;

/// Frames of all threads that are held, at most, but for a few of each: a small file may list 200,000 threads, all of them
/// with the same endless stack.
const MOST_FRAMES: usize = 16 << 20;
const FEWEST_FRAMES: usize = 16;
/// Threads of a group that are named to people; JSON has all.
const MOST_NAMED: usize = 16;

/// Runs the command.
pub(crate) fn run(args: &StacksArgs) -> Exit {
    super::tell(answer(args))
}

fn answer(args: &StacksArgs) -> Result<Exit, Refused> {
    let subject = Subject::open_stacks(&args.target.target, &args.symbols)?;
    let symbols = subject.symbols(&args.symbols)?;
    let process = subject.process();
    let threads: Vec<&Thread> = match args.thread {
        Some(id) => vec![subject.thread(Some(id))?],
        None => in_order(process),
    };
    let registers: Vec<(ThreadId, Option<&Registers>)> =
        threads.iter().map(|thread| (thread.id, subject.registers_of(thread))).collect();
    let limit = frames_each(usize::try_from(args.limit).unwrap_or(usize::MAX), threads.len());
    let walk = Walk { process, memory: subject.memory(), images: &symbols, names: &symbols, limit };
    let mut stacks = stacks::stacks(walk, &registers);
    let python = symbols.python();
    if let Some(Ok(known)) = &python {
        stacks::with_python(&mut stacks, known, |id| {
            let thread = process.thread(id);
            (thread.and_then(|thread| thread.inner_id), thread.and_then(|thread| subject.registers_of(thread)))
        });
    }
    let python_missing = python.and_then(|python| python.map_or_else(Some, |stacks| missing_of_python(&stacks)));
    let mut page = Page::begin();
    if args.target.json {
        page.json(
            &subject
                .document(Answer { python_missing, ..Answer::of(&subject, &symbols, &threads, &stacks, args.unique) }),
        );
    } else {
        let view = View { subject: &subject, threads: &threads, stacks: &stacks, verbose: args.verbose };
        subject.say_warnings();
        symbols.warnings().iter().for_each(|text| print::note(&format!("effigy: warning: {text}")));
        if let Some(why) = python_missing {
            print::note(&format!("effigy: warning: stacks of Python are not shown: {}", print::safe(why.as_bytes())));
        }
        if args.unique { view.groups(&mut page) } else { view.all(&mut page) }
    }
    symbols.save();
    Ok(page.finish())
}

/// How many frames of each thread are looked for where `limit` are wanted; says so where that is fewer.
fn frames_each(limit: usize, threads: usize) -> usize {
    let most = (MOST_FRAMES / threads.max(1)).max(FEWEST_FRAMES);
    if limit > most {
        print::note(&format!(
            "effigy: warning: of {threads} threads only the {most} innermost frames of each are shown"
        ));
    }
    limit.min(most)
}

/// The thread that is shown first, then the others in their order.
fn in_order(process: &Process) -> Vec<&Thread> {
    let is_first = |thread: &&Thread| process.selected == Some(thread.id);
    let first = process.threads.iter().find(is_first);
    first.into_iter().chain(process.threads.iter().filter(|thread| !is_first(thread))).collect()
}

/// What is printed for people.
struct View<'a> {
    subject: &'a Subject,
    threads: &'a [&'a Thread],
    stacks: &'a [ThreadStack],
    verbose: bool,
}

impl View<'_> {
    fn all(&self, page: &mut Page) {
        for (index, (thread, stack)) in self.threads.iter().zip(self.stacks).enumerate() {
            if page.is_closed() {
                return;
            }
            if index > 0 {
                page.line("");
            }
            page.line(headline(self.subject.process(), thread));
            self.stack(stack, page);
        }
    }

    fn groups(&self, page: &mut Page) {
        let groups = stacks::group(self.stacks);
        for (index, group) in groups.iter().enumerate() {
            if page.is_closed() {
                return;
            }
            if index > 0 {
                page.line("");
            }
            if let [only] = group.stacks[..] {
                page.line(headline(self.subject.process(), self.threads[only]));
            } else {
                page.line(format!(
                    "{}: {}",
                    words::count(group.stacks.len() as u64, "thread"),
                    self.names(&group.stacks)
                ));
            }
            self.stack(&self.stacks[group.stacks[0]], page);
        }
        let (stacks, threads) = (groups.len() as u64, self.stacks.len() as u64);
        page.line("");
        page.line(format!("{} of {}", words::count(stacks, "different stack"), words::count(threads, "thread")));
    }

    /// `4712 "worker", 4713 "worker" and 12 more`.
    fn names(&self, members: &[usize]) -> String {
        let name = |index: &usize| {
            let thread = self.threads[*index];
            let name = thread.name.as_ref().map(|name| format!(" \"{}\"", print::safe(name))).unwrap_or_default();
            format!("{}{name}", thread.id)
        };
        let named: Vec<_> = members.iter().take(MOST_NAMED).map(name).collect();
        let more = members.len().saturating_sub(MOST_NAMED);
        if more > 0 { format!("{} and {more} more", named.join(", ")) } else { named.join(", ") }
    }

    fn stack(&self, stack: &ThreadStack, page: &mut Page) {
        let process = self.subject.process();
        for (number, row) in Row::all(process, stack).iter().enumerate() {
            page.line(row.line(process, number, self.verbose));
        }
        if self.verbose || stack.stop != Stop::End {
            page.line(format!("    ends here: {}", print::safe(stack.stop.to_string().as_bytes())));
        }
    }
}

/// `# Thread 4712 "worker"`, with WinDbg's marks: `#` for the one at fault, `.` for the one that is shown first.
fn headline(process: &Process, thread: &Thread) -> String {
    let fault = process.fault.as_ref().filter(|fault| fault.thread == thread.id);
    let mark = match fault {
        Some(_) => "# ",
        None if process.selected == Some(thread.id) => ". ",
        None => "  ",
    };
    let name = thread.name.as_ref().map(|name| format!(" \"{}\"", print::safe(name))).unwrap_or_default();
    let why = fault.map(|fault| format!(", {}", fault.kind)).unwrap_or_default();
    format!("{mark}Thread {}{name}{why}", thread.id)
}

/// The answer as JSON; docs/json.md describes it.
#[derive(Debug, Serialize)]
struct Answer {
    threads: Vec<ThreadAnswer>,
    /// Threads with equal stacks, by their ids; the largest group first.
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<Vec<u32>>>,
    /// Files that are not used as they are other versions.
    symbol_warnings: Vec<String>,
    /// Why frames of Python are missing, of a process of CPython's.
    #[serde(skip_serializing_if = "Option::is_none")]
    python_missing: Option<String>,
}

#[derive(Debug, Serialize)]
struct ThreadAnswer {
    tid: u32,
    name: Option<String>,
    selected: bool,
    fault: bool,
    frames: Vec<Row>,
    /// `end`, `gap`, `loop`, `no_progress`, `corrupt`, `limit` or `no_registers`.
    stop: &'static str,
    /// The same in words.
    stop_reason: String,
}

impl Answer {
    fn of(subject: &Subject, symbols: &Symbols<'_>, threads: &[&Thread], stacks: &[ThreadStack], unique: bool) -> Self {
        let process = subject.process();
        let id = |index: &usize| threads[*index].id.0;
        let groups = || stacks::group(stacks).iter().map(|group| group.stacks.iter().map(id).collect()).collect();
        let thread = |(thread, stack): (&&Thread, &ThreadStack)| ThreadAnswer {
            tid: thread.id.0,
            name: thread.name.as_ref().map(|name| String::from_utf8_lossy(name).into_owned()),
            selected: process.selected == Some(thread.id),
            fault: process.fault.as_ref().is_some_and(|fault| fault.thread == thread.id),
            frames: Row::all(process, stack),
            stop: stop_name(&stack.stop),
            stop_reason: stack.stop.to_string(),
        };
        Self {
            threads: threads.iter().zip(stacks).map(thread).collect(),
            groups: unique.then(groups),
            symbol_warnings: symbols.warnings(),
            python_missing: None,
        }
    }
}

fn stop_name(stop: &Stop) -> &'static str {
    match stop {
        Stop::End => "end",
        Stop::Gap(..) => "gap",
        Stop::Loop => "loop",
        Stop::NoProgress => "no_progress",
        Stop::Limit => "limit",
        Stop::NoRegisters => "no_registers",
        Stop::Corrupt(_) | _ => "corrupt",
    }
}
