//! Arguments of the commands that name places in code.

use clap::Args;

use super::reading::{EXIT_CODES, ImageArgs, TargetArgs, parse_thread};

/// Where images and symbols come from.
#[derive(Debug, Args)]
pub(crate) struct SymbolArgs {
    #[command(flatten)]
    pub(crate) images: ImageArgs,

    /// Neither read nor write the index of what was found before, which is in the cache folder of the user
    #[arg(long)]
    pub(crate) no_index: bool,
}

/// Arguments of `effigy stacks`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct StacksArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,

    /// Only this thread
    #[arg(long, value_name = "TID", value_parser = parse_thread)]
    pub(crate) thread: Option<u32>,

    /// Print equal stacks once, with the threads that have them
    #[arg(short, long, conflicts_with = "thread")]
    pub(crate) unique: bool,

    /// Most frames of a thread
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,

    /// Print how each frame was found, its stack, and why each stack ends
    #[arg(short, long)]
    pub(crate) verbose: bool,

    #[command(flatten)]
    pub(crate) symbols: SymbolArgs,
}

/// Arguments of `effigy symbol`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct SymbolCommandArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,

    /// An address, to learn what lies there: hexadecimal digits, MODULE+0x10, or a register such as @rip. Or a name, to
    /// learn where it lies: MODULE!NAME or NAME, in which "*" stands for any letters and "?" for one
    #[arg(value_name = "ADDRESS|NAME")]
    pub(crate) what: String,

    /// Symbols that are listed of a name
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) limit: usize,

    #[command(flatten)]
    pub(crate) symbols: SymbolArgs,
}

/// Arguments of `effigy source`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct SourceArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,

    /// The address: hexadecimal digits, MODULE+0x10, MODULE!FUNCTION, or a register such as @rip
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: String,

    /// Lines of the source file that are printed before and after, where the file is found
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) context: usize,

    #[command(flatten)]
    pub(crate) symbols: SymbolArgs,
}

/// Arguments of `effigy disassemble`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct DisassembleArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,

    /// Where: an address (hexadecimal digits, MODULE+0x10, or a register such as @rip); or MODULE!FUNCTION or FUNCTION, of
    /// which all is printed
    #[arg(value_name = "ADDRESS|FUNCTION")]
    pub(crate) place: String,

    /// Instructions from the address on
    #[arg(long, value_name = "N", default_value_t = 8, conflicts_with = "function")]
    pub(crate) count: usize,

    /// Instructions before the address
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "function")]
    pub(crate) before: usize,

    /// All of the function that the address is in
    #[arg(long)]
    pub(crate) function: bool,

    #[command(flatten)]
    pub(crate) symbols: SymbolArgs,
}
