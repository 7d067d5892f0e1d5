//! `effigy memory`: reads, searches and extracts memory.

mod read;
mod search;
mod shape;
mod write_file;

use crate::cli::MemoryCommand;
use crate::exit::Exit;

/// Runs the command.
pub(crate) fn run(command: &MemoryCommand) -> Exit {
    super::tell(match command {
        MemoryCommand::Read(args) => read::answer(args),
        MemoryCommand::Search(args) => search::answer(args),
        MemoryCommand::WriteFile(args) => write_file::answer(args),
    })
}
