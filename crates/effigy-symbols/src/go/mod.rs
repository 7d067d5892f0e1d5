//! Go's own table of functions, `runtime.pclntab`. Every program that Go's linker made has it, however it was stripped: the
//! runtime itself names functions and unwinds stacks by it.
//!
//! It gives where each function begins, its name, and for each of its instructions the file, the line, the calls that were
//! inlined around it, and how deep the stack is there. Functions are sorted by address, and all else is read when it is
//! asked for: of a table of a hundred MB a stack needs some KiB. It is in files and in images in memory, and is read as
//! untrusted bytes.

mod bytes;
mod layout;
mod locate;
mod pointers;
mod search;
mod symbols;
mod table;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use symbols::SOURCE;
pub(crate) use table::GoFrame;
pub use table::GoTable;
