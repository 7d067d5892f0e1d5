//! What Python a process runs: the frames of the interpreter, read from its own structures.
//!
//! To the machine a Python program is one C function, `_PyEval_EvalFrameDefault`, that calls itself; what people look for
//! is in the interpreter's lists of threads and frames. They lie in memory like anything else, so the process may be
//! running or a dump, and nothing of it is run. How they look is no interface: it changes with every minor version, and
//! `layout.rs` knows CPython 3.9 to 3.13 where pointers have 64 bits and numbers begin with their lowest byte.
//!
//! A dump must hold the heap for that. In the memory of a process that goes on frames come and go while they are read:
//! what was found is then of several moments.

mod layout;
mod lines;
mod read;
mod splice;
mod version;
mod walk;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use effigy_process::{Address, Architecture, ByteOrder, Memory, NotRead};

pub use splice::{Splice, is_evaluation, splice};
pub use version::{Version, version_of};

/// A function of Python that was called and has not returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonFrame {
    /// The function, with the classes and functions that it is in (`co_qualname`) from 3.11 on, else its bare name;
    /// `<module>` for the body of a file. `<unreadable: why>` where memory does not give it.
    pub function: String,
    /// The path of its source as the interpreter was given it, or `<unreadable: why>`.
    pub file: String,
    /// The line that it is at, from 1; `None` for code that stands on no line, and where the table of lines is not there.
    pub line: Option<u32>,
    /// Whether it was called by C, and so has a `_PyEval_EvalFrameDefault` of its own, which is also that of all frames
    /// further in up to the next such one. Before 3.11 every frame has its own.
    pub is_entry: bool,
}

/// A thread that the interpreter knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PythonThread {
    /// The system's id of it, within its own PID namespace. Before 3.11 as glibc knows it on x86-64; elsewhere `None`.
    pub native_id: Option<u32>,
    /// What `pthread_self` gives: with glibc the address of the thread's control block, which on x86-64 is `fs_base`.
    pub thread_id: u64,
    /// What it runs, innermost first; nothing for one that has called out of Python for good or not begun.
    pub frames: Vec<PythonFrame>,
    /// Why there are further frames that are not here.
    pub cut: Option<String>,
}

/// The threads of all interpreters of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PythonStacks {
    /// In the interpreter's order: newest first, as a rule.
    pub threads: Vec<PythonThread>,
    /// Why there may be further threads that are not here.
    pub cut: Option<String>,
}

/// Why there are no threads of Python.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PythonError {
    /// Nobody has written down how this version looks.
    #[error("the structures of Python {0} are not known: those of 3.9 to 3.13 are")]
    Version(Version),
    /// The structures are known with 64-bit pointers and the lowest byte first.
    #[error("the structures of Python on {0} are not known: only on 64-bit little-endian machines")]
    Architecture(Architecture),
    /// Memory has no bytes where a structure begins.
    #[error("reading {what} at {address}")]
    Unreadable {
        /// What was to be read.
        what: &'static str,
        /// Where.
        address: Address,
        /// Why not.
        #[source]
        source: NotRead,
    },
    /// There are bytes, but not those of this version of Python.
    #[error("{what} at {address} is not as Python {version} has it")]
    Unlike {
        /// What was to be there.
        what: &'static str,
        /// Where.
        address: Address,
        /// The version that was expected.
        version: Version,
    },
}

/// The Python stack of every thread. `runtime` is the address of the symbol `_PyRuntime`, and `version` what
/// [`version_of`] gives for the module that has it.
///
/// At most 4096 threads and 4096 frames of each are read, a million frames in all; whatever memory holds, this ends. What
/// is left out is told in `cut`.
///
/// # Errors
/// When version or architecture are not known, and when the first structures cannot be read or are not of this version.
pub fn threads(
    memory: &dyn Memory,
    architecture: Architecture,
    runtime: Address,
    version: Version,
) -> Result<PythonStacks, PythonError> {
    if architecture.pointer_size() != 8 || architecture.usual_byte_order() != ByteOrder::Little {
        return Err(PythonError::Architecture(architecture));
    }
    let reader = read::Reader::new(memory);
    let layout = layout::find(&reader, runtime, version)?;
    walk::Walk::new(reader, &layout, version).on(architecture).stacks(runtime)
}
