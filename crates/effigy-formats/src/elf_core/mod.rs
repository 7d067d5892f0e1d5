//! ELF cores, as the Linux kernel writes them and as debuggers read them.
//!
//! A core is an ELF file without sections: program headers say where in the file each piece of memory lies, and notes
//! hold threads, registers and what else is known. [`write`](mod@write) makes the part before the memory, [`read`] takes
//! any core apart; `layout` holds the structures of the file. What only effigy knows goes into notes of its own, owned
//! by `EFFIGY`, which other tools pass over.

mod layout;
#[cfg(test)]
mod oracle_tests;
pub mod read;
#[cfg(test)]
mod sample;
mod vectors;
pub mod write;
mod xsave;

pub use self::vectors::vector_registers;
