//! From the runtime to the frames of every thread, along lists that may lead anywhere.

use std::collections::{HashMap, HashSet};
use std::error::Error;

use effigy_process::{Address, Architecture};

use super::layout::{Entry, Innermost, Instruction, Layout, OWNED_BY_C_STACK};
use super::lines::line_at;
use super::read::{Missing, Reader};
use super::{PythonError, PythonFrame, PythonStacks, PythonThread, Version};

/// The most threads, and the most interpreters.
const MOST_THREADS: usize = 4096;
/// The most frames of a thread, those that stand for C functions included.
const MOST_FRAMES: usize = 4096;
/// Where glibc keeps a thread's id in its control block on x86-64 (`struct pthread`, `tid`): since 2.4, by gdb's `ptype /o`.
const GLIBC_TID: u64 = 720;
/// What a frame takes of the budget beside its texts: more than it takes of our memory.
const FRAME_COST: u64 = 256;

/// What is shown of a frame; equal for all frames at the same instruction.
#[derive(Clone)]
struct Shown {
    function: String,
    file: String,
    line: Option<u32>,
}

/// A walk along the interpreter's lists.
pub(super) struct Walk<'a> {
    reader: Reader<'a>,
    layout: &'a Layout,
    version: Version,
    /// Whether a thread's id may be found in glibc's control block of it.
    asks_glibc: bool,
    /// By code object and by how many bytes behind its first instruction. Recursion and threads of a pool have many
    /// frames that are alike.
    shown: HashMap<(Address, i64), Shown>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(reader: Reader<'a>, layout: &'a Layout, version: Version) -> Self {
        Self { reader, layout, version, asks_glibc: false, shown: HashMap::new() }
    }

    /// The same in a process of this architecture, where that says more of threads.
    pub(super) fn on(self, architecture: Architecture) -> Self {
        let asks_glibc = architecture == Architecture::X86_64 && self.layout.thread.native_id.is_none();
        Self { asks_glibc, ..self }
    }

    /// The threads of all interpreters. What is wrong with the first one is an error, as then nothing is right.
    pub(super) fn stacks(mut self, runtime: Address) -> Result<PythonStacks, PythonError> {
        let mut stacks = PythonStacks::default();
        let result = self.interpreters(runtime, &mut stacks);
        if let Err(error) = result {
            if stacks.threads.is_empty() {
                return Err(error);
            }
            stacks.cut = Some(told(&error));
        }
        Ok(stacks)
    }

    fn interpreters(&mut self, runtime: Address, stacks: &mut PythonStacks) -> Result<(), PythonError> {
        let places = &self.layout.interpreters;
        let mut next = self.reader.pointer(runtime, places.head, "_PyRuntime")?;
        let mut seen = HashSet::new();
        while let Some(interpreter) = next {
            if let Some(cut) = visit(&mut seen, interpreter, MOST_THREADS, "interpreters") {
                stacks.cut = Some(cut);
                return Ok(());
            }
            let first = self.reader.pointer(interpreter, places.threads, "an interpreter")?;
            if !self.threads(interpreter, first, stacks)? {
                return Ok(());
            }
            next = self.reader.pointer(interpreter, places.next, "an interpreter")?;
        }
        Ok(())
    }

    /// The threads of an interpreter; whether there is to be a next one.
    fn threads(
        &mut self,
        interpreter: Address,
        mut next: Option<Address>,
        stacks: &mut PythonStacks,
    ) -> Result<bool, PythonError> {
        let places = &self.layout.thread;
        let mut seen = HashSet::new();
        while let Some(thread) = next {
            if stacks.threads.len() >= MOST_THREADS {
                stacks.cut = Some(too_many("threads", MOST_THREADS));
                return Ok(false);
            }
            stacks.cut = visit(&mut seen, thread, MOST_THREADS, "threads");
            if stacks.cut.is_some() {
                return Ok(false);
            }
            let owner = self.reader.pointer(thread, places.interpreter, "a thread")?;
            if owner != Some(interpreter) {
                return Err(PythonError::Unlike { what: "a thread", address: thread, version: self.version });
            }
            let found = self.thread(thread)?;
            stacks.threads.push(found);
            next = self.reader.pointer(thread, places.next, "a thread")?;
        }
        Ok(true)
    }

    fn thread(&mut self, thread: Address) -> Result<PythonThread, PythonError> {
        let places = &self.layout.thread;
        let native_id = match places.native_id {
            Some(offset) => self.reader.number(thread, offset, "a thread")?,
            None => 0,
        };
        let mut found = PythonThread {
            // A thread that has not begun has no id yet.
            native_id: u32::try_from(native_id).ok().filter(|id| *id != 0),
            thread_id: self.reader.number(thread, places.thread_id, "a thread")?,
            ..PythonThread::default()
        };
        if self.asks_glibc {
            found.native_id = self.id_by_glibc(found.thread_id);
        }
        let innermost = match places.frame {
            Innermost::Here(offset) => self.reader.pointer(thread, offset, "a thread"),
            Innermost::Behind { pointer, frame } => match self.reader.pointer(thread, pointer, "a thread")? {
                Some(place) => self.reader.pointer(place, frame, "the place of a thread's innermost frame"),
                None => Ok(None),
            },
        };
        let walked = innermost.and_then(|innermost| self.frames(innermost, &mut found));
        if let Err(error) = walked {
            found.cut = Some(told(&error));
        }
        Ok(found)
    }

    /// The id of a thread by its control block, which begins with what leads back to itself, twice (`tcbhead_t`).
    fn id_by_glibc(&self, block: u64) -> Option<u32> {
        const BLOCK: &str = "a thread's control block";
        let leads_back = |offset| self.reader.number(Address(block), offset, BLOCK).is_ok_and(|found| found == block);
        let id = || self.reader.half(Address(block), GLIBC_TID).ok().and_then(|id| u32::try_from(id).ok());
        (leads_back(0) && leads_back(16)).then(id).flatten().filter(|id| *id != 0)
    }

    /// The frames of a thread from the innermost one on.
    fn frames(&mut self, mut next: Option<Address>, thread: &mut PythonThread) -> Result<(), PythonError> {
        const FRAME: &str = "a frame";
        let places = &self.layout.frame;
        let mut seen = HashSet::new();
        while let Some(frame) = next {
            thread.cut = visit(&mut seen, frame, MOST_FRAMES, "frames");
            if thread.cut.is_some() {
                return Ok(());
            }
            let back = self.reader.pointer(frame, places.back, FRAME)?;
            let is_entry = match places.entry {
                Entry::Every => true,
                Entry::Flag(offset) => self.reader.block::<1>(frame, offset, FRAME)? != [0],
                Entry::Shim(offset) => {
                    if self.reader.block::<1>(frame, offset, FRAME)? == [OWNED_BY_C_STACK] {
                        // Whoever it called was called by C.
                        if let Some(called) = thread.frames.last_mut() {
                            called.is_entry = true;
                        }
                        next = back;
                        continue;
                    }
                    false
                }
            };
            match self.frame(frame)? {
                Ok(Shown { function, file, line }) => {
                    thread.frames.push(PythonFrame { function, file, line, is_entry });
                }
                Err(missing) => {
                    thread.cut = Some(missing.to_string());
                    return Ok(());
                }
            }
            next = back;
        }
        Ok(())
    }

    /// What is shown of a frame, or that it is too much.
    fn frame(&mut self, frame: Address) -> Result<Result<Shown, Missing>, PythonError> {
        let places = &self.layout.frame;
        let unlike = || PythonError::Unlike { what: "a frame", address: frame, version: self.version };
        let code = self.reader.pointer(frame, places.code, "a frame")?.ok_or_else(unlike)?;
        let last = |offset| self.reader.block(frame, offset, "a frame").map(i32::from_le_bytes).map(i64::from);
        let position = match places.at {
            Instruction::Bytes(offset) => last(offset)?,
            Instruction::Units(offset) => last(offset)?.saturating_mul(2),
            Instruction::Pointer(offset) => {
                let instruction = self.reader.number(frame, offset, "a frame")?;
                let first = code.0.wrapping_add(self.layout.code.instructions);
                instruction.wrapping_sub(first).cast_signed()
            }
        };
        let shown = match self.shown.get(&(code, position)) {
            Some(shown) => shown.clone(),
            None => {
                let shown = self.code(code, position);
                self.shown.insert((code, position), shown.clone());
                shown
            }
        };
        let cost = FRAME_COST + shown.function.len() as u64 + shown.file.len() as u64;
        Ok(self.reader.spend(cost).map(|()| shown))
    }

    /// What is shown of a code object, at an instruction so many bytes behind its first one.
    fn code(&self, code: Address, position: i64) -> Shown {
        let places = &self.layout.code;
        let text = |offset| {
            let text = self.reader.reference(code, offset).and_then(|text| self.reader.text(text, &self.layout.text));
            text.unwrap_or_else(|missing| format!("<unreadable: {missing}>"))
        };
        Shown {
            function: text(places.name),
            file: text(places.file),
            // Where the table is not there the line is not known, which is all that there is to say.
            line: self.line(code, position).unwrap_or(None),
        }
    }

    fn line(&self, code: Address, position: i64) -> Result<Option<u32>, Missing> {
        let places = &self.layout.code;
        let first = self.reader.half(code, places.first_line)?;
        let table = self.reader.stream(self.reader.reference(code, places.lines)?, &self.layout.bytes)?;
        line_at(places.table, table, first, position)
    }
}

/// Notes that an element of a list was reached; why the walk ends there.
fn visit(seen: &mut HashSet<Address>, element: Address, most: usize, what: &str) -> Option<String> {
    if seen.contains(&element) {
        return Some(format!("the list of {what} runs in a circle at {element}"));
    }
    if seen.len() >= most {
        return Some(too_many(what, most));
    }
    seen.insert(element);
    None
}

fn too_many(what: &str, most: usize) -> String {
    format!("more than {most} {what}")
}

/// An error and its reason in one line.
fn told(error: &PythonError) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
