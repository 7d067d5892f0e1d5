//! Answers about a process at one instant.
//!
//! - [`address_space`]: what each region is used for, and tables of that.
//! - [`compare`]: what changed from one process to another, its memory included.
//! - [`search`]: where memory holds some bytes, a text, a pointer, or what a regular expression describes.
//!
//! Each analysis takes a process or its memory and gives data that can be serialised. Nothing here opens a file, knows a
//! format or prints: how an answer looks is the program's business.
#![forbid(unsafe_code)]

pub mod address_space;
mod captured;
pub mod compare;
mod module_index;
mod ordered;
#[cfg(test)]
mod sample;
pub mod search;
pub mod stacks;
mod window;

pub use module_index::ModuleIndex;
pub use window::Unread;
