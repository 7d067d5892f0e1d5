//! Arguments of the commands that make dumps of dumps, and check them.

use std::path::PathBuf;

use clap::Args;

use super::{CompressArg, FormatArg, KindArg};

/// Arguments of `effigy convert`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 converted; 1 usage; 2 no such file; 3 not permitted; 5 output failed; 9 not a dump that effigy can read;
11 the new dump cannot be made of this one.

Without --kind, a dump of the same format is copied byte for byte, without its compression. What the new dump cannot hold
is listed.")]
pub(crate) struct ConvertArgs {
    /// The dump: a minidump, a core or the .ini of a reflection pair, also packed with zstd, gzip or xz
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,

    /// Where to write: a file, a folder, or "-" for standard output. In a file's name PROCESSNAME, PID, YYMMDD, HHMMSS and
    /// EXCEPTIONCODE are replaced
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,

    /// What the new dump holds: no more than the old one [default: all that there is]
    #[arg(short, long, value_enum)]
    pub(crate) kind: Option<KindArg>,

    /// The new file's format [default: by the ending of its name, else that of the old one]
    #[arg(short, long, value_enum)]
    pub(crate) format: Option<FormatArg>,

    /// Compress the new dump; so does an ending ".zst"
    #[arg(long, value_enum, default_value_t = CompressArg::None)]
    pub(crate) compress: CompressArg,

    /// Put pages of programs that the dump leaves out into the new one, from image files: those in these folders, with ":"
    /// between them, and this system's own
    #[arg(long, value_name = "PATHS", value_delimiter = ':')]
    pub(crate) image_path: Vec<PathBuf>,

    /// Replace a file of the same name, in place of adding a number to the name
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Print the result as one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `effigy verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 whole; 1 usage; 2 no such file; 3 not permitted; 5 output failed; 9 not a dump that effigy can read;
10 the dump has defects.")]
pub(crate) struct VerifyArgs {
    /// The dump
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Do not read the whole file: the checksums of compressed frames stay unchecked
    #[arg(long)]
    pub(crate) quick: bool,

    /// Print the result as one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}
