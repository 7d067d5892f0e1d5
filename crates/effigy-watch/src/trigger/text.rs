//! Text that a program writes to a file or to the system's journal: each new line is looked at once.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use effigy_live::spawn::with_usual_signals;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::{Armed, Cause, Sight, Verdict};
use crate::lines::{Lines, quote};
use crate::wildcard::Filter;

/// Bytes that are read at one look; what is left waits for the next.
const MOST: usize = 4 << 20;

/// Where lines come from.
enum Source {
    /// A file, which may be replaced.
    File(PathBuf),
    /// The journal of a systemd unit, as journalctl tells it.
    Journal(Child),
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Self::Journal(journalctl) = self {
            let _ = journalctl.kill();
            let _ = journalctl.wait();
        }
    }
}

/// The trigger.
pub(super) struct Follow {
    name: String,
    source: Source,
    filter: Filter,
    file: Option<File>,
    parts: Lines,
    /// Found and not dumped yet.
    found: Option<String>,
    lines: u64,
}

impl Follow {
    /// Follows a file, which need not be there yet. What it holds now is not new.
    pub(super) fn file(path: &Path, filter: Filter) -> Self {
        let mut file = open(path).ok();
        if let Some(file) = &mut file {
            // A pipe has no end to go to; what comes is new.
            let _ = file.seek(SeekFrom::End(0));
        }
        Self::new(path.display().to_string(), Source::File(path.to_owned()), file, filter)
    }

    /// Follows the journal of a systemd unit.
    pub(super) fn journal(unit: &str, filter: Filter) -> Result<Self, String> {
        let mut journalctl = Command::new("journalctl");
        journalctl.args(["--follow", "--lines=0", "--output=cat"]).arg(format!("--unit={unit}"));
        journalctl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = with_usual_signals(&mut journalctl).spawn().map_err(|error| format!("journalctl: {error}"))?;
        let lines = child.stdout.take().map(|lines| File::from(OwnedFd::from(lines)));
        let source = Source::Journal(child);
        if let Some(lines) = &lines {
            let flags = fcntl_getfl(lines).map_err(|error| format!("journalctl: {error}"))?;
            fcntl_setfl(lines, flags | OFlags::NONBLOCK).map_err(|error| format!("journalctl: {error}"))?;
        }
        Ok(Self::new(format!("the journal of {unit}"), source, lines, filter))
    }

    fn new(name: String, source: Source, file: Option<File>, filter: Filter) -> Self {
        Self { name, source, filter, file, parts: Lines::default(), found: None, lines: 0 }
    }

    /// Reads on. A file that was replaced is read to its end before the new one is.
    fn read_on(&mut self) -> io::Result<()> {
        if let Some(mut file) = self.file.take() {
            let Source::File(path) = &self.source else {
                self.take_lines(&mut file)?;
                self.file = Some(file);
                return Ok(());
            };
            let path = path.clone();
            if is_shorter(&mut file)? {
                file.seek(SeekFrom::Start(0))?;
                self.parts.forget();
            }
            let all = self.take_lines(&mut file)?;
            if !all || is_same(&file, &path) {
                self.file = Some(file);
                return Ok(());
            }
            self.parts.forget();
        }
        let opened = match &self.source {
            Source::File(path) => open(path).ok(),
            Source::Journal(_) => None,
        };
        if let Some(mut file) = opened {
            self.take_lines(&mut file)?;
            self.file = Some(file);
        }
        Ok(())
    }

    /// Reads what is there; whether that was all.
    fn take_lines(&mut self, file: &mut File) -> io::Result<bool> {
        let mut buffer = vec![0; 64 << 10];
        let mut read = 0;
        while read < MOST {
            let count = match file.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            read += count;
            let Self { parts, filter, found, lines, .. } = self;
            parts.take(&buffer[..count], &mut |line| {
                *lines += 1;
                if found.is_none() && filter.passes(line) {
                    *found = Some(quote(line));
                }
            });
        }
        Ok(false)
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    File::options().read(true).custom_flags(flags).open(path)
}

/// Whether a file was cut off before where it is read.
fn is_shorter(file: &mut File) -> io::Result<bool> {
    let about = file.metadata()?;
    Ok(about.is_file() && about.len() < file.stream_position()?)
}

/// Whether a path still leads to this file.
fn is_same(file: &File, path: &Path) -> bool {
    let id = |about: std::fs::Metadata| (about.dev(), about.ino());
    match (file.metadata().map(id), std::fs::metadata(path).map(id)) {
        (Ok(one), Ok(two)) => one == two,
        // Nothing is there in its place yet.
        _ => true,
    }
}

impl Armed for Follow {
    fn look(&mut self, _now: Instant) -> Verdict {
        // A file that cannot be read now may be there the next time.
        if self.read_on().is_err() {
            self.file = None;
        }
        match &self.found {
            Some(line) => {
                Verdict::Fired(Cause { what: format!("text in {}: {line}", self.name), thread: None, kind: "text" })
            }
            None => Verdict::Quiet,
        }
    }

    fn rearm(&mut self) {
        self.found = None;
    }

    fn sight(&self) -> Sight {
        Sight {
            name: format!("text in {}", self.name),
            value: format!("{} lines", self.lines),
            threshold: String::new(),
            recent: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;
    use crate::wildcard::Wildcard;

    fn follow(path: &Path) -> Follow {
        Follow::file(path, Filter { include: vec![Wildcard::new("error*now")], exclude: vec![Wildcard::new("fine")] })
    }

    fn found(follow: &mut Follow) -> bool {
        let fired = follow.look(Instant::now()) != Verdict::Quiet;
        follow.rearm();
        fired
    }

    #[test]
    fn only_what_is_new() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "error now\n").unwrap();
        let mut log = File::options().append(true).open(&path).unwrap();
        let mut follow = follow(&path);
        assert!(!found(&mut follow));
        write!(log, "an error ").unwrap();
        assert!(!found(&mut follow));
        writeln!(log, "happens NOW").unwrap();
        assert!(found(&mut follow));
        writeln!(log, "error now, but fine").unwrap();
        assert!(!found(&mut follow));
    }

    #[test]
    fn files_that_are_replaced_or_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut follow = follow(&path);
        assert!(!found(&mut follow));
        fs::write(&path, "error 1 now\n").unwrap();
        assert!(found(&mut follow), "a file that comes later is new");
        fs::rename(&path, dir.path().join("log.1")).unwrap();
        assert!(!found(&mut follow));
        fs::write(&path, "error 2 now\n").unwrap();
        assert!(found(&mut follow), "one in its place");
        fs::write(&path, "").unwrap();
        assert!(!found(&mut follow));
        fs::write(&path, "error now\n").unwrap();
        assert!(found(&mut follow), "one that was cut off");
    }

    #[test]
    fn long_lines_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut follow = follow(&path);
        fs::write(&path, format!("{}error now\nerror now\n", "x".repeat(200_000))).unwrap();
        assert!(found(&mut follow));
        assert_eq!(follow.lines, 2);
    }
}
