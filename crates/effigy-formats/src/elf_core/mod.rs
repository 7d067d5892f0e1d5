//! elf_core.

pub mod write;
