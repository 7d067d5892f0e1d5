//! Arguments as they are typed. What they mean is decided once, in the commands.

mod converting;
mod reading;
mod running;
mod symbols;
mod watching;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use converting::{ConvertArgs, VerifyArgs};
pub(crate) use reading::{
    CompareArgs, ImageArgs, InfoArgs, MemoryCommand, ModulesArgs, PlainArgs, ReadArgs, RegionsArgs, SearchArgs,
    ServerArgs, ShapeArg, ThreadsArgs, UsageArg, WriteFileArgs,
};
pub(crate) use running::{EventArgs, OnArg, RunArgs};
pub(crate) use symbols::{DisassembleArgs, SourceArgs, StacksArgs, SymbolArgs, SymbolCommandArgs};
pub(crate) use watching::{ProcdumpArgs, ThenArgs, TriggerArgs, WatchArgs, split_list};

/// Take and read likenesses of programs: memory dumps.
#[derive(Debug, Parser)]
#[command(name = "effigy", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Dump a running process to a file
    Dump(Box<DumpArgs>),
    /// Start a program and dump it when something happens to it
    Run(Box<RunArgs>),
    /// Wait for the moment that matters, and dump a running process then
    Watch(Box<WatchArgs>),
    /// The same in ProcDump's words, of Windows or Linux: procdump -ma -c 80 -s 5 -n 3 NAME
    #[command(disable_help_flag = true)]
    Procdump(ProcdumpArgs),
    /// Say what a dump is and what its process was doing: system, process, times, fault, what is missing
    Info(InfoArgs),
    /// List threads, with their registers
    Threads(ThreadsArgs),
    /// Print the call stack of every thread: functions, lines, inlined calls
    Stacks(StacksArgs),
    /// Say what lies at an address, or where a name lies
    Symbol(SymbolCommandArgs),
    /// Say which line of source an address belongs to
    Source(SourceArgs),
    /// Print machine code as instructions
    Disassemble(DisassembleArgs),
    /// List program images, loaded and unloaded
    Modules(ModulesArgs),
    /// List the regions of the address space, or sum them up
    Regions(RegionsArgs),
    /// Read, search and extract memory
    #[command(subcommand)]
    Memory(MemoryCommand),
    /// List the streams of a minidump or the notes of a core, decoded
    Streams(PlainArgs),
    /// List open files, sockets and other handles
    Handles(PlainArgs),
    /// Say what changed from one dump or running process to another
    Compare(CompareArgs),
    /// Make a dump of another format, kind or compression of a dump
    Convert(ConvertArgs),
    /// Check whether a dump is whole, and list its defects
    Verify(VerifyArgs),
    /// Start a sample program, dump it while it runs, and read the dump back
    Demo,
    /// The sample program of `demo`
    #[command(hide = true)]
    DemoTarget,
    /// Passes on the standard error of a program that `run` has started
    #[command(hide = true)]
    PassStderr,
}

/// Arguments of `effigy dump`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 written and complete; 1 usage; 2 no such target, or it ended; 3 not permitted; 4 already traced;
5 output failed; 6 a partial dump was kept; 7 timed out; 8 skipped; 130 and 143 cancelled by SIGINT and SIGTERM.

The target stands still for a moment, or while its memory is copied, and goes on afterwards. The output says how it was
frozen, and for how long it stood still.")]
pub(crate) struct DumpArgs {
    /// A process id, or a process's name
    pub(crate) target: Option<String>,

    #[command(flatten)]
    pub(crate) select: SelectArgs,

    #[command(flatten)]
    pub(crate) options: DumpOptions,

    /// Print the result as one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which processes, beside an id or a name.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SelectArgs {
    /// Every process that fits
    #[arg(long, conflicts_with_all = ["newest", "oldest"])]
    pub(crate) all: bool,

    /// Of several that fit, the one that started last
    #[arg(long, conflicts_with = "oldest")]
    pub(crate) newest: bool,

    /// Of several that fit, the one that started first
    #[arg(long)]
    pub(crate) oldest: bool,

    /// Processes of this control group and those below it
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup: Option<String>,

    /// Processes of this systemd unit
    #[arg(long, value_name = "NAME")]
    pub(crate) unit: Option<String>,

    /// Processes of this process group
    #[arg(long, value_name = "ID")]
    pub(crate) group: Option<u32>,

    /// Processes of this container: its id, or the first 12 or more digits of it
    #[arg(long, value_name = "ID", value_parser = parse_container)]
    pub(crate) container: Option<String>,
}

/// How dumps are taken and what they hold.
#[derive(Debug, Args)]
pub(crate) struct DumpOptions {
    /// Where to write: a file, a folder, or "-" for standard output. In a file's name PROCESSNAME, PID, YYMMDD, HHMMSS
    /// and EXCEPTIONCODE are replaced
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,

    /// What the dump holds; given more than once, the smallest is written first [default: full]
    #[arg(short, long, value_enum)]
    pub(crate) kind: Vec<KindArg>,

    /// What the dump holds, as MINIDUMP_TYPE bits in hexadecimal
    #[arg(long, value_name = "0x…", value_parser = parse_mask)]
    pub(crate) mask: Vec<u64>,

    /// The file's format [default: by the ending of the output's name, else minidump]
    #[arg(short, long, value_enum)]
    pub(crate) format: Option<FormatArg>,

    /// How the target is frozen. "live" copies its memory while it runs and stops it for a moment at the end; "clone"
    /// stops it while a copy-on-write child is made of it; "stop" stops it until all is copied. What is not possible is
    /// replaced by the next, and the result says why [default: auto, which is live for full and miniplus dumps]
    #[arg(long, value_enum, default_value_t = SnapshotArg::Auto, hide_default_value = true)]
    pub(crate) snapshot: SnapshotArg,

    /// Reflect: dump from a clone or better, for every kind
    #[arg(short = 'r', long = "reflect", conflicts_with = "snapshot")]
    pub(crate) reflect: bool,

    /// Clones of one target that may exist at the same time, 1 to 5
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub(crate) clones: u8,

    /// Take no dump when the target would have to stand still while its memory is copied (exit code 8)
    #[arg(long)]
    pub(crate) avoid_outage: bool,

    /// Write a reflection pair: NAME-1.dmp with threads and modules, NAME-reflected.dmp with the memory, and NAME.ini, by
    /// which both are opened as one
    #[arg(long)]
    pub(crate) split: bool,

    /// Add each thread's kernel stack, system call and scheduling, and write them beside the dump as text
    #[arg(long)]
    pub(crate) kernel_stacks: bool,

    /// Compress the dump
    #[arg(long, value_enum, default_value_t = CompressArg::None)]
    pub(crate) compress: CompressArg,

    /// Leave out the largest regions until the dump's memory is no more than this, such as 500M or 2G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) size_limit: Option<u64>,

    /// Text to put into the dump
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,

    /// Give up after so many seconds, let the target go, and leave nothing behind
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub(crate) timeout: Option<std::time::Duration>,

    /// Keep what was written when the dump is given up
    #[arg(long)]
    pub(crate) keep_partial: bool,

    /// Replace a file of the same name, in place of adding a number to the name
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Dump memory too that the program excludes with MADV_DONTDUMP
    #[arg(long)]
    pub(crate) include_dontdump: bool,

    /// Put the program's and its libraries' files into the dump
    #[arg(long)]
    pub(crate) embed_binaries: bool,

    /// Do not stop the target and take no registers: for one that another debugger holds. Unless that has stopped it,
    /// its memory changes while it is copied
    #[arg(long)]
    pub(crate) no_registers: bool,
}

/// Kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindArg {
    /// Stacks, what they point at, modules' headers
    Mini,
    /// Everything private or written, without program images
    Miniplus,
    /// Every page that is present
    Full,
    /// Stacks without data; no environment, arguments or paths
    Triage,
}

/// Ways of freezing the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SnapshotArg {
    /// The one that holds the target up least
    Auto,
    /// Copy while it runs, and stop it for a moment
    Live,
    /// Copy from a copy-on-write child
    Clone,
    /// Stop it until all is copied
    Stop,
}

/// Formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    /// For effigy, lldb, minidump-stackwalk, Sentry
    Minidump,
    /// ELF core: for effigy, gdb, lldb, WinDbg, dotnet-dump
    Core,
}

/// Compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompressArg {
    /// As it is; unused parts are holes in the file
    None,
    /// Zstandard, in frames that can be read singly
    Zstd,
}

fn parse_mask(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let mask = u64::from_str_radix(digits, 16).map_err(|_| "not a hexadecimal number".to_owned())?;
    // Bits of minidumpapiset.h: MiniDumpValidTypeFlags.
    if mask & !0x01ff_ffff != 0 {
        return Err(format!("bits {:#x} have no meaning in a MINIDUMP_TYPE", mask & !0x01ff_ffff));
    }
    Ok(mask)
}

pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        "T" | "TB" | "TIB" => 1u64 << 40,
        other => return Err(format!("{other} is no unit; use K, M, G or T (powers of 1024)")),
    };
    let number: u64 = digits.trim().parse().map_err(|_| "not a size".to_owned())?;
    number.checked_mul(unit).filter(|size| *size > 0).ok_or_else(|| "out of range".to_owned())
}

fn parse_container(text: &str) -> Result<String, String> {
    let is_id = (12..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { Ok(text.to_ascii_lowercase()) } else { Err("not 12 to 64 hexadecimal digits".into()) }
}

fn parse_seconds(text: &str) -> Result<std::time::Duration, String> {
    let seconds: f64 = text.strip_suffix('s').unwrap_or(text).parse().map_err(|_| "not a number".to_owned())?;
    std::time::Duration::try_from_secs_f64(seconds).map_err(|_| "out of range".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_and_masks() {
        assert_eq!(parse_size("2G"), Ok(2 << 30));
        assert_eq!(parse_size("500mb"), Ok(500 << 20));
        assert!(parse_size("0").is_err() && parse_size("5x").is_err() && parse_size("99999999T").is_err());
        assert_eq!(parse_mask("0x41864"), Ok(0x41864));
        assert!(parse_mask("0x2000000").is_err());
    }
}
