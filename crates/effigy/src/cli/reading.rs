//! Arguments of the commands that read: those that look at a dump or a running process and write nothing.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Said below the help of each.
pub(super) const EXIT_CODES: &str = "\
Exit codes: 0 answered; 1 usage; 2 no such file or process, or it ended; 3 not permitted; 4 already traced; \
5 output failed; 9 not a dump that effigy can read.";

/// What is looked at.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// A dump's file; else the id or the name of a running process
    #[arg(value_name = "FILE|PID")]
    pub(crate) target: OsString,

    /// Print the answer as one line of JSON (docs/json.md)
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which image files are read where a dump leaves pages of programs out.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// Folders in which image files are looked for before this system's own, with ":" between them: with the files in
    /// them, or laid out as a system's root, as a symbol server, or with a .build-id folder
    #[arg(long, value_name = "PATHS", value_delimiter = ':')]
    pub(crate) image_path: Vec<PathBuf>,

    /// Take nothing from image files: what the dump does not hold is not there
    #[arg(long, conflicts_with_all = ["image_path", "symbol_path"])]
    pub(crate) no_images: bool,

    #[command(flatten)]
    pub(crate) servers: ServerArgs,
}

/// Which servers are asked for files that are not on this machine.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Where else to look, with ";" between the parts: a folder, srv*CACHE*URL, cache*FOLDER, DebugInfoD*URL
    /// [default: _NT_SYMBOL_PATH, then DEBUGINFOD_URLS, of the environment]
    #[arg(long, value_name = "PATH")]
    pub(crate) symbol_path: Option<String>,

    /// Ask no server: use what was got from them before
    #[arg(long)]
    pub(crate) offline: bool,
}

/// Arguments of `effigy info`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,

    #[command(flatten)]
    pub(crate) images: ImageArgs,
}

/// Arguments of `effigy handles` and `effigy streams`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct PlainArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// Arguments of `effigy threads`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ThreadsArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,

    /// Only this thread
    #[arg(long, value_name = "TID", value_parser = parse_thread)]
    pub(crate) thread: Option<u32>,

    /// Print general registers; a running process is stopped for a moment
    #[arg(short, long)]
    pub(crate) registers: bool,

    /// Print all registers, floating-point and vector ones as they lie in their register set; implies --registers
    #[arg(long)]
    pub(crate) all_registers: bool,
}

/// Arguments of `effigy modules`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ModulesArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,

    /// Only modules with this name; "*" stands for any letters and "?" for one, case does not matter
    #[arg(long, value_name = "PATTERN")]
    pub(crate) name: Option<String>,

    /// Print all that is known of each
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// Arguments of `effigy regions`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct RegionsArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,

    /// Print tables by usage, kind, state and protection, the largest region of each usage, and the working set
    #[arg(long, conflicts_with = "at")]
    pub(crate) summary: bool,

    /// Only regions of this usage
    #[arg(long, value_enum)]
    pub(crate) usage: Vec<UsageArg>,

    /// Only regions with this protection, as it is printed: such as "r-x", "rw-p", PAGE_READWRITE
    #[arg(long, value_name = "PROTECTION")]
    pub(crate) protection: Option<String>,

    /// Only the region of this address, with all that is known of it
    #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
    pub(crate) at: Option<String>,

    #[command(flatten)]
    pub(crate) images: ImageArgs,
}

/// Usages of regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum UsageArg {
    /// Nothing is there
    Free,
    /// Program images
    Image,
    /// Heaps
    Heap,
    /// Threads' stacks
    Stack,
    /// Thread environment blocks (Windows)
    Teb,
    /// The process environment block (Windows)
    Peb,
    /// Mapped files
    MappedFile,
    /// Memory shared with other processes
    Shared,
    /// Pages that the kernel puts into each process
    Kernel,
    /// Memory of which nothing more is known
    Private,
}

/// Arguments of `effigy compare`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct CompareArgs {
    /// Before: a dump's file; else the id or the name of a running process
    #[arg(value_name = "BEFORE")]
    pub(crate) before: OsString,

    /// After: likewise
    #[arg(value_name = "AFTER")]
    pub(crate) after: OsString,

    /// Print what changed, and not only how much
    #[arg(long)]
    pub(crate) details: bool,

    /// Do not compare memory
    #[arg(long)]
    pub(crate) no_memory: bool,

    /// Changed ranges of memory that are listed
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,

    /// Compare pages of programs as well that a dump leaves out, from image files: those in these folders, with ":"
    /// between them, and this system's own
    #[arg(long, value_name = "PATHS", value_delimiter = ':')]
    pub(crate) image_path: Vec<PathBuf>,

    /// Print the answer as one line of JSON (docs/json.md)
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to do with memory.
#[derive(Debug, Subcommand)]
pub(crate) enum MemoryCommand {
    /// Print memory as bytes, numbers, text or pointers
    Read(ReadArgs),
    /// Find bytes, text, pointers or what a regular expression describes
    Search(Box<SearchArgs>),
    /// Copy memory into a file
    WriteFile(WriteFileArgs),
}

/// Arguments of `effigy memory read`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ReadArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,

    #[command(flatten)]
    pub(crate) images: ImageArgs,

    /// Where to begin: hexadecimal digits with or without 0x, MODULE+0x10, or a register such as @rsp
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: String,

    /// Bytes to read, decimal or 0x… [default: 128, or for text up to its end]
    #[arg(short, long, value_name = "N", value_parser = parse_count, conflicts_with = "end")]
    pub(crate) length: Option<u64>,

    /// Where to end, in place of a length; the address itself is not read
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) end: Option<String>,

    /// How to print it
    #[arg(long = "as", value_name = "SHAPE", value_enum, default_value_t = ShapeArg::Bytes)]
    pub(crate) shape: ShapeArg,

    /// The thread whose registers are meant [default: the one at fault, or the main one]
    #[arg(long, value_name = "TID", value_parser = parse_thread)]
    pub(crate) thread: Option<u32>,
}

/// Ways to print memory; WinDbg's in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShapeArg {
    /// Bytes and letters (db)
    Bytes,
    /// Numbers of 16 bits (dw)
    Words,
    /// Numbers of 32 bits (dd)
    Dwords,
    /// Numbers of 64 bits (dq)
    Qwords,
    /// Text of bytes up to a zero (da)
    Ascii,
    /// Text of UTF-16 up to a zero (du)
    Unicode,
    /// Pointers, and where in which module they point (dps)
    #[value(name = "pointers+symbols", alias = "pointers")]
    Pointers,
}

/// Arguments of `effigy memory search`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES, group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,

    #[command(flatten)]
    pub(crate) images: ImageArgs,

    /// Bytes, as pairs of hexadecimal digits; spaces do not matter. All patterns may be given more than once
    #[arg(long, value_name = "HEX", group = "what", value_parser = parse_bytes)]
    pub(crate) bytes: Vec<Bytes>,

    /// Text, in ASCII (UTF-8) and in UTF-16
    #[arg(long, value_name = "TEXT", group = "what")]
    pub(crate) text: Vec<String>,

    /// Text in ASCII (UTF-8) only
    #[arg(long, conflicts_with = "unicode", requires = "text")]
    pub(crate) ascii: bool,

    /// Text in UTF-16 only
    #[arg(long, requires = "text")]
    pub(crate) unicode: bool,

    /// Upper case stands for lower case and the other way round, in text and regular expressions
    #[arg(long)]
    pub(crate) ignore_case: bool,

    /// Pointers to an address, or into START-END or a module
    #[arg(long, value_name = "ADDRESS|RANGE", group = "what")]
    pub(crate) pointer_to: Vec<String>,

    /// Pointers at any address, and not only at multiples of their length
    #[arg(long, requires = "pointer_to")]
    pub(crate) unaligned: bool,

    /// A regular expression over bytes
    #[arg(long, value_name = "EXPRESSION", group = "what")]
    pub(crate) regex: Vec<String>,

    /// Hits after which to end; 0 for no end
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) limit: u64,

    /// Search only here: START-END, a module, or a usage such as heap or stack
    #[arg(long = "in", value_name = "RANGE|USAGE")]
    pub(crate) within: Vec<String>,
}

/// Bytes to search for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

/// Arguments of `effigy memory write-file`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 written, all of it; 1 usage; 2 no such file or process, or it ended; 3 not permitted; 5 output failed, or \
something is missing and --fill was not given; 6 written, and what is missing was filled; 9 not a dump that effigy can read.")]
pub(crate) struct WriteFileArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,

    #[command(flatten)]
    pub(crate) images: ImageArgs,

    /// Where to begin, as for `memory read`
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: String,

    /// Bytes to copy, decimal or 0x…
    #[arg(value_name = "LENGTH", value_parser = parse_count)]
    pub(crate) length: u64,

    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,

    /// Write zeros for what is not there; without this, nothing is written then
    #[arg(long)]
    pub(crate) fill: bool,

    /// Replace a file of the same name, in place of adding a number to the name
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// The thread whose registers are meant [default: the one at fault, or the main one]
    #[arg(long, value_name = "TID", value_parser = parse_thread)]
    pub(crate) thread: Option<u32>,
}

/// A number, decimal or hexadecimal.
fn parse_count(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    number.filter(|number| *number > 0).ok_or_else(|| "not a number above 0, decimal or 0x…".to_owned())
}

/// A thread's id: dumps of Windows are spoken of in hexadecimal.
pub(super) fn parse_thread(text: &str) -> Result<u32, String> {
    parse_count(text).and_then(|number| u32::try_from(number).map_err(|_| "out of range".to_owned()))
}

fn parse_bytes(text: &str) -> Result<Bytes, String> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|letter| !letter.is_ascii_whitespace())
        .map(|letter| letter.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.ok_or("not hexadecimal digits")?;
    if digits.is_empty() || digits.len() % 2 != 0 {
        return Err("not pairs of hexadecimal digits".to_owned());
    }
    Ok(Bytes(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_bytes() {
        assert_eq!((parse_count("128"), parse_count("0x80")), (Ok(128), Ok(128)));
        assert!(parse_count("0").is_err() && parse_count("8z").is_err());
        assert_eq!(parse_bytes("de ad BEEF"), Ok(Bytes(vec![0xde, 0xad, 0xbe, 0xef])));
        assert!(parse_bytes("abc").is_err() && parse_bytes("").is_err() && parse_bytes("xy").is_err());
    }
}
