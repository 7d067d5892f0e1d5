//! Where an address is: in which image, which function, which line of which source, and what called it.
//!
//! Image files and symbols are found by identity (build id, GUID and age, time stamp and size), never by name alone, and
//! are read as untrusted bytes.
#![forbid(unsafe_code)]

pub mod breakpad;
mod cache;
pub mod demangle;
pub mod disassemble;
pub mod dwarf;
pub mod elf;
pub mod go;
pub mod image;
pub mod index;
mod intervals;
pub mod locate;
pub mod macho;
pub mod merge;
mod name;
#[cfg(test)]
mod oracle;
pub mod pattern;
pub mod pdb;
pub mod pe;
pub mod perf_map;
pub mod python;
pub mod server;
mod symbol_list;
mod text;
pub mod unwind;
pub mod whole;

pub use name::{Name, SourceLine, Symbol, SymbolKind, SymbolTable};
