//! `effigy dump`: dumps a running process to a file.
//!
//! ```text
//! $ effigy dump redis-server
//! wrote redis-server_261121_031502.dmp: 11.4 MiB
//!   full of redis-server (pid 4711): 6 threads, 19 modules, 118 regions, 11.2 MiB of memory
//!   the process stood still for 9.8 ms
//! ```

use std::path::Path;

use effigy_dump::kind::{Kind, MinidumpType};
use effigy_formats::Format;

use crate::cancel::Cancel;
use crate::capture::mode::{Mode, Wish};
use crate::capture::{Failure, OutputPlace, Request, capture};
use crate::cli::{CompressArg, DumpArgs, DumpOptions, FormatArg, KindArg, SnapshotArg};
use crate::exit::Exit;
use crate::report::Report;
use crate::{print, target};

/// Runs the command.
pub(crate) fn run(args: Box<DumpArgs>) -> Exit {
    let targets = match target::resolve(args.target.as_deref(), &args.select) {
        Ok(targets) => targets,
        Err((exit, text)) => {
            print::error(&text);
            return exit;
        }
    };
    let request = match request(&args.options, targets.len(), "Manual dump") {
        Ok(request) => Request { show_progress: !args.json, ..request },
        Err(text) => {
            print::error(&text);
            return Exit::Usage;
        }
    };
    let cancel = Cancel::listen(args.options.timeout);
    let mut exit = Exit::Done;
    for pid in targets {
        match capture(pid, &request, &cancel) {
            Ok(reports) => {
                for report in &reports {
                    tell(report, &args);
                    exit = exit.and(if report.is_partial() { Exit::Partial } else { Exit::Done });
                }
                // With --keep-partial, time may run out between two kinds: what there is is whole, and not all.
                if reports.len() < request.kinds.len() {
                    print::error(&format!("only {} of {} dumps were written", reports.len(), request.kinds.len()));
                    exit = exit.and(Exit::Partial);
                }
            }
            Err(failure) => {
                print::failure(&failure);
                exit = exit.and(Exit::from(&failure));
                if matches!(failure, Failure::Cancelled { .. } | Failure::TimedOut { .. }) {
                    break;
                }
            }
        }
    }
    exit
}

fn tell(report: &Report, args: &DumpArgs) {
    let streamed = report.path == Path::new("-");
    if args.json {
        match serde_json::to_string(report) {
            // Standard output is the dump then.
            Ok(text) if streamed => print::note(&text),
            Ok(text) => print::line(&text),
            Err(error) => print::failure(&error),
        }
    } else if streamed {
        print::note(&report.text());
    } else {
        print::line(&report.text());
    }
}

/// Arguments as meant, from arguments as typed. `origin` is how the dump comes about, for its comment.
pub(crate) fn request(args: &DumpOptions, targets: usize, origin: &str) -> Result<Request, String> {
    let mut kinds: Vec<Kind> = args.kind.iter().map(|kind| kind_of(*kind)).collect();
    for mask in &args.mask {
        if let Some(objection) = MinidumpType::from_bits_truncate(*mask).objection() {
            return Err(format!("--mask {mask:#x}: {objection}"));
        }
    }
    kinds.extend(args.mask.iter().map(|mask| Kind::Custom(MinidumpType::from_bits_truncate(*mask))));
    if kinds.is_empty() {
        kinds.push(Kind::Full);
    }
    kinds.sort_by_key(|kind| kind.size_order());
    kinds.dedup();
    if args.split {
        split(&mut kinds, args)?;
    }
    let output = match &args.output {
        Some(path) if path == Path::new("-") => OutputPlace::Stream,
        path => OutputPlace::Path(path.clone()),
    };
    if matches!(output, OutputPlace::Stream) {
        if kinds.len() > 1 || targets > 1 {
            return Err("only one dump can go to standard output".into());
        }
        if rustix::termios::isatty(std::io::stdout()) {
            return Err("a dump is not for a terminal: redirect standard output, or give -o a file".into());
        }
        if args.kernel_stacks {
            print::note("effigy: the dump holds the kernel stacks; with \"-o -\" there is no text beside it");
        }
    }
    let words = args.comment.as_deref().map(|text| format!("\n{text}")).unwrap_or_default();
    let command: Vec<String> = std::env::args_os().map(|word| print::safe(word.as_encoded_bytes())).collect();
    let kind_names: Vec<String> = kinds.iter().map(Kind::to_string).collect();
    Ok(Request {
        output,
        format: args.format.map(|format| match format {
            FormatArg::Minidump => Format::Minidump,
            FormatArg::Core => Format::ElfCore,
        }),
        kernel_stacks: args.kernel_stacks,
        compress: args.compress == CompressArg::Zstd,
        size_limit: args.size_limit,
        comment: format!("{}\n{origin} by effigy {}{words}", command.join(" "), env!("CARGO_PKG_VERSION")),
        triage_comment: format!(
            "effigy dump --kind {}\n{origin} by effigy {}{words}",
            kind_names.join(","),
            env!("CARGO_PKG_VERSION")
        ),
        keep_partial: args.keep_partial,
        overwrite: args.overwrite,
        include_dontdump: args.include_dontdump,
        embed_binaries: args.embed_binaries,
        registers: !args.no_registers,
        snapshot: match args.snapshot {
            _ if args.reflect => Wish::Reflect,
            SnapshotArg::Auto => Wish::Auto,
            SnapshotArg::Live => Wish::Exactly(Mode::Live),
            SnapshotArg::Clone => Wish::Exactly(Mode::Clone),
            SnapshotArg::Stop => Wish::Exactly(Mode::Stop),
        },
        clones: usize::from(args.clones),
        avoid_outage: args.avoid_outage,
        split: args.split,
        show_progress: false,
        journal: None,
        selected: None,
        kinds,
    })
}

/// A reflection pair is a mini dump and one with memory, of one instant.
fn split(kinds: &mut Vec<Kind>, args: &DumpOptions) -> Result<(), String> {
    if !matches!(kinds.as_slice(), [Kind::Full | Kind::MiniPlus]) {
        return Err("--split writes one dump in two parts: a full or a miniplus one".into());
    }
    let by_name = args.output.as_deref().filter(|path| !path.is_dir()).map(effigy_dump::name::format_of);
    if args.format == Some(FormatArg::Core) || args.format.is_none() && by_name == Some(Format::ElfCore) {
        return Err("--split is for minidumps; debuggers know no such pair of ELF cores".into());
    }
    if args.output.as_deref() == Some(Path::new("-")) {
        return Err("--split writes three files, which standard output cannot take".into());
    }
    kinds.insert(0, Kind::Mini);
    Ok(())
}

pub(crate) fn kind_of(kind: KindArg) -> Kind {
    match kind {
        KindArg::Mini => Kind::Mini,
        KindArg::Miniplus => Kind::MiniPlus,
        KindArg::Full => Kind::Full,
        KindArg::Triage => Kind::Triage,
    }
}
