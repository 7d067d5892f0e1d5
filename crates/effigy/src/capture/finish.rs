//! What happens after the target goes on: embedded files, compression, the final name, the report.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use effigy_dump::output::{FileWriter, Output};
use effigy_dump::pair::PairPaths;
use effigy_dump::sink::{PartialFile, Published, SinkError};
use effigy_dump::write::Progress;
use effigy_formats::container::SeekableWriter;
use effigy_live::LiveError;
use effigy_process::{Process, Snapshot};

use super::work::{Finished, Written, workers};
use super::{Failure, Manner, Request, sentence};
use crate::cancel::Cancel;
use crate::report::{Report, TargetReport};

/// Finishes all dumps of a target.
pub(super) fn finish(
    finished: Finished,
    request: &Request,
    careful: bool,
    manner: &Manner,
    cancel: &Cancel,
    progress: &Progress,
) -> Result<Vec<Report>, Failure> {
    let Finished { dumps, snapshot, .. } = finished;
    if !careful && !request.include_dontdump && snapshot.newly_excluded() {
        return Err(LiveError::Excluded(snapshot.pid()).into());
    }
    let mut reports = Vec::new();
    for dump in dumps {
        cancel.check()?;
        reports.push(finish_one(dump, request, snapshot.process(), manner, cancel, progress)?);
    }
    if request.split {
        write_configuration(&mut reports, request)?;
    }
    Ok(reports)
}

/// Finishes what was written of dumps that were ended early; `None` when there is nothing to keep.
pub(super) fn keep(finished: Finished, request: &Request, manner: &Manner, progress: &Progress) -> Option<Vec<Report>> {
    let Finished { dumps, snapshot, .. } = finished;
    if !request.include_dontdump && snapshot.newly_excluded() {
        return None;
    }
    // Time is up already: nothing is compressed any more.
    let plain = Request { compress: false, ..request.clone() };
    let never = Cancel::never();
    let reports: Vec<Report> = dumps
        .into_iter()
        .filter(|dump| dump.goal.file.is_some())
        .filter_map(|dump| finish_one(dump, &plain, snapshot.process(), manner, &never, progress).ok())
        .collect();
    (!reports.is_empty()).then_some(reports)
}

fn finish_one(
    mut dump: Written,
    request: &Request,
    process: &Process,
    manner: &Manner,
    cancel: &Cancel,
    progress: &Progress,
) -> Result<Report, Failure> {
    let streamed = dump.complete(progress).map_err(Failure::Output)?;
    if progress.is_stopped() && !request.keep_partial {
        cancel.check()?;
    }
    let Written { goal, moved, kernel_text, .. } = dump;
    let published = match goal.file {
        Some(file) if request.compress => compress(&file, request, cancel)?.publish()?,
        Some(file) => file.publish()?,
        None => Published { path: PathBuf::from("-"), bytes: streamed, disk_bytes: 0 },
    };
    if let Some(text) = kernel_text.filter(|_| goal.destination.is_some()) {
        write_kernel_text(&published, &text)?;
    }
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Ok(Report {
        path: published.path,
        format: goal.format,
        kind: goal.kind,
        configuration: None,
        bytes: published.bytes,
        disk_bytes: published.disk_bytes,
        memory_bytes: moved.memory_bytes,
        threads: process.threads.len(),
        regions: process.regions.len(),
        modules: process.modules.len(),
        gaps: moved.gaps,
        snapshot: manner.mode.name(),
        snapshot_reason: sentence(&manner.declined),
        pause_us: micros(manner.held.pause),
        stall_us: micros(manner.held.stall),
        wall_us: micros(manner.began.elapsed()),
        target: TargetReport {
            pid: process.identity.pid.map_or(0, |pid| pid.0),
            name: process.identity.name.clone(),
            exe: process.identity.executable.clone(),
            build_id: process.identity.build_id.clone(),
        },
    })
}

/// Writes the file by which the two dumps of a pair are opened as one. They are called what they are called by now: a name
/// that was taken has got a counter.
fn write_configuration(reports: &mut [Report], request: &Request) -> Result<(), Failure> {
    let [default, memory] = reports else { return Ok(()) };
    let name = |report: &Report| report.path.clone();
    let (default_path, memory_path) = (name(default), name(memory));
    // A name that cannot be expressed was refused before.
    let file_name = memory_path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let base = match file_name.rsplit_once("-reflected") {
        Some((before, after)) => memory_path.with_file_name(format!("{before}{after}")),
        None => memory_path.clone(),
    };
    let paths = PairPaths { default: default_path, memory: memory_path, ..PairPaths::of(&base) };
    let write_error = |source| SinkError::Write { path: paths.configuration.clone(), source };
    let bytes = paths.render()?;
    let file = PartialFile::create(&paths.configuration, request.overwrite)?;
    file.writer().and_then(|mut writer| writer.append(&bytes)).map_err(write_error)?;
    let published = file.publish()?;
    default.configuration = Some(published.path.clone());
    memory.configuration = Some(published.path);
    Ok(())
}

/// Compresses a finished dump into a file of its own.
fn compress(plain: &PartialFile, request: &Request, cancel: &Cancel) -> Result<PartialFile, Failure> {
    let packed = PartialFile::create(plain.destination(), request.overwrite)?;
    let writer = packed.writer().map_err(Failure::Output)?;
    let mut compressor = SeekableWriter::new(Plain(writer), workers()).map_err(Failure::Output)?;
    let mut reader = plain.reader().map_err(Failure::Output)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        cancel.check()?;
        let count = reader.read(&mut buffer).map_err(Failure::Output)?;
        if count == 0 {
            break;
        }
        compressor.write_all(&buffer[..count]).map_err(Failure::Output)?;
    }
    let (mut writer, _) = compressor.finish().map_err(Failure::Output)?;
    writer.0.finish().map_err(Failure::Output)?;
    Ok(packed)
}

/// A file's writer as a plain one.
struct Plain(FileWriter);

impl Write for Plain {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.append(buffer)?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the kernel's side of the threads beside the dump: its name with `.kernel.txt` behind it.
fn write_kernel_text(published: &Published, text: &str) -> Result<(), Failure> {
    let mut path = published.path.clone();
    path.as_mut_os_string().push(".kernel.txt");
    let write_error = |source| SinkError::Write { path: path.clone(), source };
    let file = PartialFile::create(&path, true)?;
    file.writer().and_then(|mut writer| writer.append(text.as_bytes())).map_err(write_error)?;
    file.publish()?;
    Ok(())
}
