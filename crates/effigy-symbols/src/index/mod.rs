//! What was found in debug information, kept on the disk for the next run.
//!
//! One file for each file of debug information: by the build id of DWARF, the GUID and age of a PDB, the id of a symbol
//! file of Breakpad's. It holds the answers that were given, as stretches of addresses, and where the units of DWARF lie. It is written whole beside its name and then renamed, so that a reader sees the old one or the new;
//! of two writers the later wins, and what only the other knew is worked out again. Whatever is wrong with a file, it is
//! as if there were none: it is never trusted (see `encode`), only a help.

mod encode;
mod remembered;
mod stretches;
mod tidy;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use effigy_process::BuildId;

pub(crate) use self::remembered::Remembered;
pub(crate) use self::stretches::{Stretch, Stretches};
use crate::dwarf::Span;
use crate::intervals::Interval;

/// Longest file that is read or written, in bytes.
const LONGEST: u64 = 64 << 20;

/// Bytes that all files may take on the disk. One of a program with much debug information has some hundred KiB.
const LIMIT: u64 = 2 << 30;

/// Shortest build id by which files are kept, in bytes: with a shorter one programs get mixed up.
const SHORTEST_ID: usize = 8;

/// What a file of the index belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) build_id: BuildId,
    /// Length of the debug information in bytes: a debug file that was made smaller afterwards says less.
    pub(crate) size: u64,
}

impl Key {
    /// For a file that has another kind of id; the tag says which, so that none is taken for a build id.
    pub(crate) fn tagged(id: &[u8], tag: &[u8; 3], size: u64) -> Self {
        Self { build_id: BuildId([id, tag].concat()), size }
    }
}

/// Where the units of a file lie, and which addresses are theirs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Units {
    pub(crate) spans: Vec<Span>,
    /// The values are offsets of units.
    pub(crate) ranges: Vec<Interval>,
}

/// What is known from before.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) stretches: Stretches,
    pub(crate) units: Option<Units>,
}

/// Where answers are kept.
#[derive(Clone, Debug, Default)]
pub struct Index {
    folder: Option<PathBuf>,
}

impl Index {
    /// In the user's cache: `$XDG_CACHE_HOME/effigy` or `~/.cache/effigy`; nowhere, where neither is known.
    #[must_use]
    pub fn of_user() -> Self {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        Self { folder: cache.map(|cache| cache.join("effigy")) }
    }

    /// In a folder, which is made when it is needed.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self { folder: Some(folder.to_owned()) }
    }

    /// Nowhere.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The file for a key.
    fn path(&self, key: &Key) -> Option<PathBuf> {
        let folder = self.folder.as_ref().filter(|_| key.build_id.0.len() >= SHORTEST_ID)?;
        let digits = key.build_id.to_string();
        let (head, tail) = digits.split_at_checked(2)?;
        Some(folder.join("names").join(head).join(format!("{tail}-{:x}", key.size)))
    }

    /// What is known for a key; `None` where that is nothing, or damaged.
    pub(crate) fn load(&self, key: &Key) -> Option<Known> {
        let path = self.path(key)?;
        // What is no regular file may wait for ever.
        let size = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?.len();
        let mut bytes = Vec::new();
        let file = File::open(path).ok()?;
        tidy::touch(&file);
        file.take(LONGEST.min(size)).read_to_end(&mut bytes).ok()?;
        encode::decode(&bytes, key)
    }

    /// Writes what is known for a key, and what is not is forgotten. Once a day what was not used for longest is removed
    /// where all is too much.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn store(&self, key: &Key, stretches: &Stretches, units: Option<&Units>) -> io::Result<()> {
        let Some(path) = self.path(key) else { return Ok(()) };
        let Some(bytes) = encode::encode(key, stretches, units).filter(|bytes| bytes.len() as u64 <= LONGEST) else {
            return Ok(());
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        // What people debug is nobody else's business.
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let unfinished = unfinished_name(&path);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        let written = file.write_all(&bytes).and_then(|()| fs::rename(&unfinished, &path));
        if written.is_err() {
            // The error that led here is the one to tell.
            let _ = fs::remove_file(&unfinished);
        }
        if let Some(names) = folder.parent() {
            tidy::tidy(names, LIMIT);
        }
        written
    }
}

/// A name beside a file that no other process and no other thread uses.
fn unfinished_name(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    path.with_extension(format!("{}-{count}.{}", std::process::id(), tidy::UNFINISHED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{Name, SourceLine};

    fn key() -> Key {
        Key { build_id: BuildId((1..=20).collect()), size: 1000 }
    }

    fn sample() -> Stretches {
        let line = Some(SourceLine { file: "/a/b.c".into(), line: 7, column: 3 });
        let inlined = Name { function: "in".into(), start: 0x40, size: Some(8), line: line.clone(), inlined: true };
        let outer = Name { function: "out".into(), start: 0x10, size: None, line, inlined: false };
        let mut stretches = Stretches::default();
        stretches.insert(Stretch { begin: 0x40, end: 0x44, names: vec![inlined, outer] }, true);
        stretches.insert(Stretch { begin: 0x80, end: u64::MAX, names: vec![] }, true);
        stretches.insert(Stretch { begin: 0x60, end: 0x61, names: vec![] }, false);
        stretches
    }

    fn units() -> Units {
        let spans = vec![Span { offset: 0, size: 100 }, Span { offset: 100, size: 50 }];
        let ranges = vec![
            Interval { begin: 0x1000, end: 0x2000, value: 100 },
            Interval { begin: 0x1800, end: 0x1900, value: 0 },
        ];
        Units { spans, ranges }
    }

    #[test]
    fn what_is_stored_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let index = Index::in_folder(&folder.path().join("new"));
        assert!(index.load(&key()).is_none());
        index.store(&key(), &sample(), Some(&units())).unwrap();
        let known = index.load(&key()).unwrap();
        assert_eq!(known.units, Some(units()));
        assert_eq!(known.stretches.at(0x43), sample().at(0x43));
        assert_eq!(known.stretches.at(0x43).unwrap().len(), 2);
        assert_eq!(known.stretches.at(0x9999), Some(&[][..]));
        assert_eq!(known.stretches.at(0x44), None);
        assert_eq!(known.stretches.at(0x60), None, "what was not whole is not kept");
        let other = Key { size: 1001, ..key() };
        assert!(index.load(&other).is_none());
        let files = fs::read_dir(folder.path().join("new/names/01")).unwrap().count();
        assert_eq!(files, 1, "nothing unfinished is left");
    }

    #[test]
    fn damaged_files_are_as_good_as_none() {
        let bytes = encode::encode(&key(), &sample(), Some(&units())).unwrap();
        assert!(encode::decode(&bytes, &key()).is_some());
        for length in 0..bytes.len() {
            assert!(encode::decode(&bytes[..length], &key()).is_none(), "{length} bytes");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            assert!(encode::decode(&damaged, &key()).is_none(), "byte {at}");
        }
        assert!(encode::decode(&bytes, &Key { size: 5, ..key() }).is_none());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let index = Index::in_folder(&file);
        assert!(index.store(&key(), &sample(), None).is_err());
        assert!(index.load(&key()).is_none());
        assert!(Index::none().store(&key(), &sample(), None).is_ok());
    }
}
