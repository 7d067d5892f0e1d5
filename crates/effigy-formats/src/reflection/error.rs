//! What can be wrong with a configuration file, and with the dumps that it names.

use std::io;
use std::path::PathBuf;

use effigy_process::Address;

use super::Key;
use crate::minidump::read::ReadError;

/// Why a configuration file cannot be read, or not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// It is longer than any such file.
    #[error("the configuration file has {size} bytes, and {limit} are the most that make sense")]
    TooLarge {
        /// Its length in bytes.
        size: u64,
        /// Bytes that are accepted.
        limit: u64,
    },
    /// It is no text, or text of an unknown code page.
    #[error("the configuration file is no text in {encoding} from offset {offset:#x} on")]
    Encoding {
        /// What it seems to be by its beginning.
        encoding: &'static str,
        /// Where the first bytes are that are none, from the start of the file, in bytes.
        offset: u64,
    },
    /// It has no section `[UserModeDump]`.
    #[error("the configuration file has no section [UserModeDump]")]
    NoSection,
    /// A key is missing, or has no value.
    #[error("the section [UserModeDump] does not say which file {key}= is")]
    Missing {
        /// The key.
        key: Key,
    },
    /// A key is there twice.
    #[error("{key}= is there a second time in line {line} of the configuration file")]
    Duplicate {
        /// The key.
        key: Key,
        /// Line of the second, from 1.
        line: usize,
    },
    /// A key's value cannot be a file's name.
    #[error("{key}= in line {line} of the configuration file names no file")]
    NoFile {
        /// The key.
        key: Key,
        /// Its line, from 1.
        line: usize,
    },
    /// A file has a name that a configuration file cannot express: it would be read back as another.
    #[error("a configuration file cannot express the name of the file for {key}=")]
    Inexpressible {
        /// The key.
        key: Key,
    },
}

/// Why the dumps that a configuration names do not make one process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PairError {
    /// A file cannot be opened.
    #[error("opening {}, which the configuration file names as {key}=", path.display())]
    Open {
        /// Key that names it.
        key: Key,
        /// Its path.
        path: PathBuf,
        /// Why it cannot.
        source: io::Error,
    },
    /// A file is no minidump.
    #[error("reading {}, which the configuration file names as {key}=", path.display())]
    NotDump {
        /// Key that names it.
        key: Key,
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        source: ReadError,
    },
    /// The files for `default` and `memory` each do what is the other's part.
    #[error(
        "default= and memory= of the configuration file are swapped: {} has the memory, not {}",
        default.display(),
        memory.display()
    )]
    Swapped {
        /// Path of the file for `default`.
        default: PathBuf,
        /// Path of the file for `memory`.
        memory: PathBuf,
    },
    /// The file for `memory` has none.
    #[error("{}, which the configuration file names as memory=, holds no memory", path.display())]
    NoMemory {
        /// Its path.
        path: PathBuf,
    },
    /// The file for `default` has no threads.
    #[error("{}, which the configuration file names as default=, holds no threads", path.display())]
    NoThreads {
        /// Its path.
        path: PathBuf,
    },
    /// Two files are not of one process.
    #[error(
        "{} and {} are of different processes: their {fact} is {default_value} and {other_value}",
        default.display(),
        other.display()
    )]
    DifferentProcess {
        /// Path of the file for `default`.
        default: PathBuf,
        /// Path of the other.
        other: PathBuf,
        /// What tells them apart.
        fact: &'static str,
        /// What it is in the file for `default`.
        default_value: u32,
        /// What it is in the other.
        other_value: u32,
    },
    /// Two files are not of one program.
    #[error(
        "{} and {} are of different programs: the one at {default_base} is not the one at {other_base}",
        default.display(),
        other.display()
    )]
    DifferentProgram {
        /// Path of the file for `default`.
        default: PathBuf,
        /// Path of the other.
        other: PathBuf,
        /// Where the main program was loaded in the file for `default`.
        default_base: Address,
        /// Where in the other.
        other_base: Address,
    },
}
