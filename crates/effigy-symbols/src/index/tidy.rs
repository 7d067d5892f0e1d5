//! Keeps the index within bounds: what was used longest ago goes first.
//!
//! Only what the index itself makes is looked at and removed: files of its own form of name, in its own folders. Links are
//! not followed. Several processes may tidy or use the index at the same time: a file that is gone is worked out again, and
//! one that somebody has open stays with them until they close it.

use std::fs::{self, DirEntry, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How often the index is looked through, and how old a file is that somebody began and did not finish.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The file whose time says when the index was looked through last.
const TIDIED: &str = ".tidied";

/// How the names of files end that are not whole yet.
pub(super) const UNFINISHED: &str = "unfinished";

/// Bytes that a `stat` block has.
const BLOCK: u64 = 512;

/// A file of the index.
struct Entry {
    path: PathBuf,
    used: SystemTime,
    /// Bytes that it takes on the disk.
    size: u64,
}

/// Says that a file was used. Once a day is enough to know which were not for long.
pub(super) fn touch(file: &File) {
    let is_old = || Some(file.metadata().ok()?.modified().ok()?.elapsed().ok()? > DAY);
    if is_old().unwrap_or(false) {
        // In a folder of somebody else's it cannot be said, and need not be.
        let _ = file.set_modified(SystemTime::now());
    }
}

/// Removes what was used longest ago from the index in `folder` until it takes no more than `limit` bytes; does nothing
/// where that was done within a day.
pub(super) fn tidy(folder: &Path, limit: u64) {
    if is_due(folder) {
        let mut entries = entries(folder);
        let mut size: u64 = entries.iter().map(|entry| entry.size).fold(0, u64::saturating_add);
        entries.sort_by_key(|entry| entry.used);
        for entry in entries {
            if size <= limit {
                break;
            }
            // Another process may have been first.
            let _ = fs::remove_file(&entry.path);
            size = size.saturating_sub(entry.size);
        }
    }
}

/// Whether it is time; if so, the next one who asks is told that it is not.
fn is_due(folder: &Path) -> bool {
    let path = folder.join(TIDIED);
    let age = || path.symlink_metadata().ok()?.modified().ok()?.elapsed().ok();
    if age().is_some_and(|age| age < DAY) {
        return false;
    }
    // What lies there under that name may be anything: it is replaced, and not opened.
    let _ = fs::remove_file(&path);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).is_ok()
}

/// The files of the index; those that nobody will finish any more are removed.
fn entries(folder: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    let is_folder = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    for group in read(folder).filter(|entry| is_digits(entry.file_name().as_encoded_bytes(), 2) && is_folder(entry)) {
        for file in read(&group.path()) {
            // Of a link this is what is known of the link itself.
            let Some(about) = file.metadata().ok().filter(fs::Metadata::is_file) else { continue };
            let Ok(used) = about.modified() else { continue };
            let name = file.file_name();
            if is_unfinished(name.as_encoded_bytes()) {
                if used.elapsed().is_ok_and(|age| age > DAY) {
                    let _ = fs::remove_file(file.path());
                }
            } else if is_entry(name.as_encoded_bytes()) {
                entries.push(Entry { path: file.path(), used, size: about.blocks().saturating_mul(BLOCK) });
            }
        }
    }
    entries
}

fn read(folder: &Path) -> impl Iterator<Item = DirEntry> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

/// Whether a name is that of an entry: the digits of an id, and those of a length.
fn is_entry(name: &[u8]) -> bool {
    let dash = memchr::memrchr(b'-', name);
    dash.is_some_and(|dash| is_digits(&name[..dash], 14) && is_digits(&name[dash + 1..], 1))
}

/// Whether a name is that of an entry that is being written.
fn is_unfinished(name: &[u8]) -> bool {
    let name = name.strip_suffix(UNFINISHED.as_bytes()).and_then(|name| name.strip_suffix(b"."));
    let dot = name.and_then(|name| memchr::memchr(b'.', name));
    name.zip(dot).is_some_and(|(name, dot)| is_entry(&name[..dot]))
}

/// Whether a text is of hexadecimal digits, and at least so many.
fn is_digits(text: &[u8], least: usize) -> bool {
    text.len() >= least && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const ID: &str = "23456789abcdef0123456789abcdef01234567";

    fn ago(days: u32) -> SystemTime {
        SystemTime::now() - DAY * days
    }

    /// A file of 8 KiB that was used so many days ago.
    fn put(folder: &Path, name: &str, days: u32) -> PathBuf {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, [1; 8192]).unwrap();
        File::open(&path).unwrap().set_modified(ago(days)).unwrap();
        path
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..4).map(|days| put(folder.path(), &format!("0{days}/{ID}-3e8"), 10 + days)).collect();
        tidy(folder.path(), 20_000);
        let left: Vec<_> = paths.iter().map(|path| path.exists()).collect();
        assert_eq!(left, [true, true, false, false]);
        // Not again on the same day.
        tidy(folder.path(), 0);
        assert!(paths[0].exists());
        File::open(folder.path().join(TIDIED)).unwrap().set_modified(ago(2)).unwrap();
        tidy(folder.path(), 0);
        assert!(!paths[0].exists() && !paths[1].exists());
    }

    #[test]
    fn what_is_not_of_the_index_stays() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let theirs = put(elsewhere.path(), &format!("{ID}-1"), 99);
        symlink(elsewhere.path(), folder.path().join("aa")).unwrap();
        fs::create_dir(folder.path().join("bb")).unwrap();
        let link = folder.path().join(format!("bb/{ID}-1"));
        symlink(&theirs, &link).unwrap();
        let others = ["notes.txt", "bb/readme", "bb/1234-1", &format!("cc-/{ID}-1"), &format!("{ID}-1")];
        let others = others.map(|name| put(folder.path(), name, 99));
        tidy(folder.path(), 0);
        assert!(theirs.exists() && link.is_symlink());
        assert!(others.iter().all(|path| path.exists()), "{others:?}");
    }

    #[test]
    fn what_nobody_finishes_goes() {
        let folder = tempfile::tempdir().unwrap();
        let old = put(folder.path(), &format!("01/{ID}-3e8.17-0.{UNFINISHED}"), 3);
        let new = put(folder.path(), &format!("01/{ID}-3e8.18-0.{UNFINISHED}"), 0);
        tidy(folder.path(), 1 << 30);
        assert!(!old.exists() && new.exists());
    }

    #[test]
    fn a_use_is_noted_once_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let path = put(folder.path(), "file", 5);
        touch(&File::open(&path).unwrap());
        let noted = path.metadata().unwrap().modified().unwrap();
        assert!(noted.elapsed().unwrap() < DAY);
        touch(&File::open(&path).unwrap());
        assert_eq!(path.metadata().unwrap().modified().unwrap(), noted);
    }
}
