//! What called what: the frames of a stack, from the registers of the innermost one.
//!
//! Each frame is found by the surest way that there is for the code it is in: call frame information of ELF and Mach-O
//! images (`dwarf`, on 32-bit ARM `exidx`), compact unwind information of Mach-O (`compact`), unwind tables of PE images
//! (`pe`), STACK records of a Breakpad symbol file (`breakpad`), the table of Go's runtime (`go`), then the chain of frame
//! pointers, and last a search of the stack for return addresses. Every frame says how it was found ([`Trust`]), and every stack why it ends ([`Stop`]).
//!
//! No names are looked up here. Tables are hostile input: the work for a frame is bounded, and so are the frames.

mod aarch64_return;
mod abi;
mod breakpad;
mod call;
mod compact;
mod dwarf;
mod exidx;
mod frame_pointer;
mod go;
mod loaded;
mod modules;
mod pe;
mod places;
mod registers;
mod scan;
mod sigreturn;
mod step;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod to_return;
mod walk;
mod window;

use std::fmt;
use std::sync::Arc;

use effigy_process::{Address, Memory, NotRead, Process, Registers};

pub use breakpad::BreakpadUnwind;
pub use registers::FrameRegisters;

use crate::image::Image;
use modules::Modules;

/// Where the unwinder gets the images of a process from. A module is named by its index in [`Process::modules`].
///
/// Each is asked for at most once a module, when the first frame needs it.
pub trait UnwindImages: Sync {
    /// The image file, or the image as it was rebuilt from memory.
    fn image(&self, module: usize) -> Option<Arc<Image>>;
    /// The file with its debug information, where that is another one.
    fn debug(&self, module: usize) -> Option<Arc<Image>>;
    /// The STACK records of its Breakpad symbol file.
    fn breakpad(&self, module: usize) -> Option<Arc<BreakpadUnwind>>;
}

/// How a frame was found: the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Trust {
    /// It is the thread's own registers.
    Context,
    /// By DWARF call frame information, or by the registers that the kernel saved for a signal handler.
    Cfi,
    /// By the compact unwind information of a Mach-O image.
    Compact,
    /// By the unwind tables of a PE image.
    Pe,
    /// By the STACK records of a Breakpad symbol file.
    Breakpad,
    /// By the table that Go's own runtime unwinds by.
    Go,
    /// By the chain of frame pointers; by what calls leave in a register or on top of the stack; or by the instructions
    /// from there to the function's return.
    FramePointer,
    /// A word of the stack that looks like a return address.
    Scan,
}

impl Trust {
    /// Stable name, for JSON and for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Context => "context",
            Self::Cfi => "cfi",
            Self::Compact => "compact",
            Self::Pe => "pe",
            Self::Breakpad => "breakpad",
            Self::Go => "go_table",
            Self::FramePointer => "frame_pointer",
            Self::Scan => "scan",
        }
    }
}

/// A call that has not returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its registers as far as they are known: those that its callees had to keep are what they are once these return.
    pub registers: FrameRegisters,
    /// Where it goes on executing: the return address of the frame that it called.
    pub address: Address,
    /// The address that tells what it is executing: in the call instruction, one before the return address; the address
    /// itself for a thread's innermost frame and for what a signal interrupted.
    pub lookup: Address,
    /// Its canonical frame address, in DWARF's sense the stack pointer before it was called; `None` where that is not
    /// known, as for the last frame.
    pub cfa: Option<Address>,
    /// How it was found.
    pub trust: Trust,
    /// Index of its module in [`Process::modules`].
    pub module: Option<usize>,
    /// Whether it is a signal trampoline: what called it is the kernel, and the frame after it was interrupted by a
    /// signal.
    pub signal: bool,
}

/// Why a stack ends where it does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// The last frame is the thread's first: the tables or the frame pointer say so.
    End,
    /// What had to be read of the stack could not be.
    Gap(Address, NotRead),
    /// The frames repeat.
    Loop,
    /// The caller would be the same frame again.
    NoProgress,
    /// The tables or the stack make no sense, or there is nothing to go by.
    Corrupt(String),
    /// There are more frames than were asked for.
    Limit,
    /// The thread's instruction and stack pointers are not known.
    NoRegisters,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("the thread began here"),
            Self::Gap(address, reason) => write!(f, "the stack at {address}: {reason}"),
            Self::Loop => f.write_str("the frames repeat"),
            Self::NoProgress => f.write_str("the caller would be the same frame"),
            Self::Corrupt(what) => f.write_str(what),
            Self::Limit => f.write_str("more frames than were asked for"),
            Self::NoRegisters => f.write_str("the thread's registers are not known"),
        }
    }
}

/// The frames of a thread, innermost first, and why there are no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The frames.
    pub frames: Vec<Frame>,
    /// Why the last is the last.
    pub stop: Stop,
}

/// Unwinds the stacks of one process. Threads may be unwound at the same time; what was learned of a module serves all.
pub struct Unwinder<'a> {
    process: &'a Process,
    memory: &'a (dyn Memory + Sync),
    modules: Modules<'a>,
}

impl fmt::Debug for Unwinder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unwinder").field("modules", &self.process.modules.len()).finish_non_exhaustive()
    }
}

impl<'a> Unwinder<'a> {
    /// One for a process, its memory and its images. Nothing is read yet.
    #[must_use]
    pub fn new(process: &'a Process, memory: &'a (dyn Memory + Sync), images: &'a dyn UnwindImages) -> Self {
        Self { process, memory, modules: Modules::new(process, images) }
    }

    /// The stack of a thread with these registers, of at most `limit` frames.
    #[must_use]
    pub fn unwind(&self, registers: &Registers, limit: usize) -> Stack {
        self.worker().unwind(registers, limit)
    }

    /// One who unwinds thread after thread, and is quicker with those that wait where others waited before.
    #[must_use]
    pub fn worker(&self) -> Worker<'_, 'a> {
        Worker(walk::Walk::new(self))
    }
}

/// Unwinds one thread after the other. The frames are those that [`Unwinder::unwind`] gives; what was looked up for the
/// frames of one thread is not looked up again for equal ones of the next.
pub struct Worker<'u, 'a>(walk::Walk<'u, 'a>);

impl fmt::Debug for Worker<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Worker").field(self.0.unwinder).finish()
    }
}

impl Worker<'_, '_> {
    /// The stack of a thread with these registers, of at most `limit` frames.
    #[must_use]
    pub fn unwind(&mut self, registers: &Registers, limit: usize) -> Stack {
        self.0.walk(registers, limit)
    }
}
