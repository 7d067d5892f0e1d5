//! `effigy convert`: makes a dump of another format, kind or compression of a dump.
//!
//! ```text
//! $ effigy convert redis.dmp redis.core
//! wrote redis.core: 11.4 MiB
//!   full core of redis-server (pid 4711), from a minidump: 6 threads, 19 modules, 11.2 MiB of memory
//!   not in the core: stream 0x18 (ThreadNamesStream), 76 bytes
//! ```

mod report;

use std::io;
use std::num::NonZero;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use effigy_dump::convert::{Conversion, ConvertError, Converted, Wanted};
use effigy_dump::name::{NameParts, destination, format_of};
use effigy_dump::output::{FileWriter, Output, StreamWriter};
use effigy_dump::sink::{PartialFile, Published, size};
use effigy_dump::write::{MoveError, Progress};
use effigy_formats::container::SeekableWriter;
use effigy_formats::{DumpKind, Format, OpenedDump, WriteError};
use effigy_process::{FaultKind, Process};
use jiff::Zoned;

use self::report::Report;
use crate::cancel::Cancel;
use crate::cli::{CompressArg, ConvertArgs, FormatArg};
use crate::command::dump::kind_of;
use crate::exit::Exit;
use crate::print;
use crate::progress::ProgressView;
use crate::subject::{Images, Places, Refused, open_file};
use crate::words;

/// How often it is looked whether somebody wants an end.
const TICK: Duration = Duration::from_millis(20);

/// Runs the command.
pub(crate) fn run(args: &ConvertArgs) -> Exit {
    let cancel = Cancel::listen(None);
    let report = match convert(args, &cancel) {
        Ok(report) => report,
        Err((exit, text)) => {
            print::error(&text);
            return exit;
        }
    };
    let text = match serde_json::to_string(&report) {
        Ok(text) if args.json => text,
        _ => report.text(),
    };
    // Standard output may be the dump.
    if report.is_streamed() {
        print::note(&text)
    } else {
        print::line(&text)
    }
    Exit::Done
}

fn convert(args: &ConvertArgs, cancel: &Cancel) -> Result<Report, Refused> {
    let began = Instant::now();
    let goal = Goal::of(args)?;
    let mut dump = open_file(&args.input)?;
    let images = (!args.image_path.is_empty()).then(|| fill(&mut dump, args));
    let source_format = if dump.kind == DumpKind::ElfCore { Format::ElfCore } else { Format::Minidump };
    let format = goal.format.unwrap_or(source_format);
    let kind = args.kind.map(kind_of);
    let name = kind.map_or("", |kind| kind.name());
    let triage_comment = format!("effigy convert --kind {name}\nConverted by effigy {}", env!("CARGO_PKG_VERSION"));
    let conversion = Conversion::plan(&dump, Wanted { format, kind, triage_comment }).map_err(refused)?;
    let progress = Arc::new(Progress::default());
    let mut view = ProgressView::new(!goal.is_stream(), &progress);
    let outcome = watched(cancel, &progress, || match goal.is_stream() {
        true => to_stream(&conversion, goal.compress, &progress),
        false => to_file(&conversion, &goal.destination(format, &dump.process), &goal, &progress),
    });
    view.clear();
    cancel.check().map_err(|failure| (Exit::from(&failure), "cancelled; nothing was kept".to_owned()))?;
    let (published, converted) = outcome?;
    let mut report = Report::new(args, &dump, &conversion, format, published, converted, began.elapsed());
    if let Some(images) = images {
        report.image_bytes = Some(images.bytes());
        report.warn(images.warnings());
    }
    Ok(report)
}

/// Adds to a dump what it leaves out of its program's images, and says in its comment that this was done.
fn fill(dump: &mut OpenedDump, args: &ConvertArgs) -> Images {
    let images = Images::find(dump, &args.input, &Places::folders(&args.image_path), None);
    if images.bytes() > 0 {
        dump.memory = images.fill(std::mem::take(&mut dump.memory));
        let (bytes, files) = (size(images.bytes()), words::count(images.used() as u64, "file"));
        let comment = &mut dump.process.comment;
        let separator = if comment.is_empty() { "" } else { "\n" };
        *comment = format!("{comment}{separator}{bytes} of program images added from {files} by effigy convert");
    }
    images
}

/// Where the new dump goes.
struct Goal {
    path: PathBuf,
    format: Option<Format>,
    compress: bool,
    overwrite: bool,
}

impl Goal {
    fn of(args: &ConvertArgs) -> Result<Self, Refused> {
        let path = args.output.clone();
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        if matches!(ending.as_str(), "gz" | "xz") {
            return Err((
                Exit::Usage,
                format!("effigy compresses with zstd: let OUT end in .zst in place of .{ending}"),
            ));
        }
        if ending == "ini" {
            return Err((
                Exit::Usage,
                "a reflection pair is taken of a process, with effigy dump --split, and not made of a dump: let OUT end in \
                 .dmp or .core"
                    .into(),
            ));
        }
        let named = args.format.map(|format| match format {
            FormatArg::Minidump => Format::Minidump,
            FormatArg::Core => Format::ElfCore,
        });
        let is_name = path != Path::new("-") && !path.is_dir() && !path.as_os_str().as_encoded_bytes().ends_with(b"/");
        let goal = Self {
            format: named.or_else(|| is_name.then(|| format_of(&path))),
            compress: args.compress == CompressArg::Zstd || ending == "zst",
            overwrite: args.overwrite,
            path,
        };
        if goal.is_stream() && rustix::termios::isatty(io::stdout()) {
            return Err((Exit::Usage, "a dump is not for a terminal: redirect standard output, or name a file".into()));
        }
        Ok(goal)
    }

    fn is_stream(&self) -> bool {
        self.path == Path::new("-")
    }

    fn destination(&self, format: Format, process: &Process) -> PathBuf {
        let exception = process.fault.as_ref().map_or(0, |fault| match fault.kind {
            FaultKind::Signal { number, .. } => number.unsigned_abs(),
            kind => kind.numbers().0,
        });
        let time = process.captured.and_then(|time| jiff::Timestamp::try_from(time).ok());
        let parts = NameParts {
            process: process.identity.name.to_vec(),
            pid: process.identity.pid.map_or(0, |pid| pid.0),
            exception,
            time: time.map_or_else(Zoned::now, |time| time.to_zoned(jiff::tz::TimeZone::system())),
        };
        destination(Some(&self.path), format, self.compress, &parts)
    }
}

/// Does work that can be asked to end.
fn watched<T>(cancel: &Cancel, progress: &Progress, work: impl FnOnce() -> T) -> T {
    let (done, ended) = crossbeam_channel::bounded::<()>(0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while let Err(crossbeam_channel::RecvTimeoutError::Timeout) = ended.recv_timeout(TICK) {
                if cancel.check().is_err() {
                    progress.stop();
                    return;
                }
            }
        });
        let result = work();
        drop(done);
        result
    })
}

fn to_file(
    conversion: &Conversion<'_>,
    path: &Path,
    goal: &Goal,
    progress: &Progress,
) -> Result<(Published, Converted), Refused> {
    let sink = |error| (Exit::Output, print::chain(&error));
    let file = PartialFile::create(path, goal.overwrite).map_err(sink)?;
    let mut writer = file.writer().map_err(output)?;
    let converted = if goal.compress {
        let compressor = SeekableWriter::new(Plain(writer), workers()).map_err(output)?;
        let mut stream = StreamWriter::new(compressor);
        let converted = conversion.write(&mut stream, progress).map_err(refused)?;
        let (mut plain, _) = stream.into_inner().finish().map_err(output)?;
        plain.0.finish().map_err(output)?;
        converted
    } else {
        conversion.write(&mut writer, progress).map_err(refused)?
    };
    if progress.is_stopped() {
        return Err((Exit::Output, "ended early; nothing was kept".into()));
    }
    Ok((file.publish().map_err(sink)?, converted))
}

fn to_stream(
    conversion: &Conversion<'_>,
    compress: bool,
    progress: &Progress,
) -> Result<(Published, Converted), Refused> {
    let out = io::stdout().as_fd().try_clone_to_owned().map(std::fs::File::from).map_err(output)?;
    let (converted, bytes) = if compress {
        let mut stream = StreamWriter::new(SeekableWriter::new(out, workers()).map_err(output)?);
        let converted = conversion.write(&mut stream, progress).map_err(refused)?;
        let (_, counts) = stream.into_inner().finish().map_err(output)?;
        (converted, counts.compressed)
    } else {
        let mut stream = StreamWriter::new(out);
        (conversion.write(&mut stream, progress).map_err(refused)?, stream.written())
    };
    Ok((Published { path: "-".into(), bytes, disk_bytes: 0 }, converted))
}

fn output(error: io::Error) -> Refused {
    (Exit::Output, format!("writing the dump: {error}"))
}

/// How a conversion that failed is told.
fn refused(error: ConvertError) -> Refused {
    let exit = match &error {
        ConvertError::NotEnough { .. } | ConvertError::Platform { .. } => Exit::NotPossible,
        ConvertError::Move(MoveError::Prologue(WriteError::Output(_))) => Exit::Output,
        ConvertError::Move(MoveError::Prologue(_)) => Exit::NotPossible,
        ConvertError::Minidump(_) | ConvertError::Input { .. } | ConvertError::Move(MoveError::Input(_)) => {
            Exit::NotDump
        }
        _ => Exit::Output,
    };
    (exit, print::chain(&error))
}

/// Threads that compress: one for each processor.
fn workers() -> NonZero<usize> {
    std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// A file's writer as a plain one.
struct Plain(FileWriter);

impl io::Write for Plain {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.append(buffer)?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
