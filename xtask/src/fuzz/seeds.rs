//! What the search begins with: files of the corpus, and what is made of them and of small programs in the form that a
//! fuzz target wants. The targets (`fuzz/targets`) say what their bytes mean.

mod objects;
mod own;
mod pack;
mod symbols;
mod unwind;

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::objects::Objects;

/// Seeds and what is made of them are no longer than this; longer ones make the search slow.
pub(super) const LONGEST: u64 = 1 << 20;
/// Bytes at a file's start by which it is known.
const START: u64 = 64;

/// What seeds are made of.
pub(super) struct Material<'a> {
    files: Vec<Found>,
    objects: Objects<'a>,
    search_path: &'a OsStr,
}

/// A file of the corpus.
struct Found {
    path: PathBuf,
    length: u64,
    start: Vec<u8>,
}

impl<'a> Material<'a> {
    /// Looks at the corpus, where there is one; `folder` is for what is built.
    pub(super) fn gather(corpus: &Path, folder: &Path, search_path: &'a OsStr) -> Result<Self> {
        let mut files = Vec::new();
        if corpus.is_dir() {
            collect(corpus, &mut files)?;
        }
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Self { files, objects: Objects::new(folder.join("objects"), search_path), search_path })
    }

    /// Writes the seeds of a target into an empty folder, and gives their number.
    pub(super) fn write(&self, target: &str, folder: &Path) -> Result<usize> {
        let seeds = match target {
            "minidump" => {
                let dumps = self.whole(Found::is_minidump)?;
                let own = dumps.iter().filter_map(|dump| own::minidump(dump)).take(4).collect::<Vec<_>>();
                [dumps, own].concat()
            }
            "elf_core" => self.whole(Found::is_core)?,
            "compressed" => pack::compressed(&self.smallest_dumps()?, self.search_path)?,
            "reflection" => pack::pairs(&self.smallest_dumps()?),
            "unwind" => unwind::seeds(&self.whole(Found::is_image)?, &self.symbol_files()?, &self.objects.plain()?),
            "dwarf" => symbols::dwarf(&self.whole(Found::is_image)?, &self.objects.with_debug()?),
            "symbol_files" => {
                let objects = self.objects.plain()?.into_iter().chain(self.objects.with_debug()?).collect();
                symbols::names(self.whole(Found::is_image)?, &self.symbol_files()?, objects)
            }
            "pdb" => self.whole(|file| file.start.starts_with(b"Microsoft C/C++ MSF 7.00"))?,
            _ => Vec::new(),
        };
        for (index, seed) in seeds.iter().enumerate() {
            let path = folder.join(index.to_string());
            fs::write(&path, seed).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(seeds.len())
    }

    /// Files as they are.
    fn whole(&self, fits: impl Fn(&Found) -> bool) -> Result<Vec<Vec<u8>>> {
        self.files.iter().filter(|file| file.length <= LONGEST && fits(file)).map(Found::read).collect()
    }

    /// A few dumps that leave room for what is done with them.
    fn smallest_dumps(&self) -> Result<Vec<Vec<u8>>> {
        let dumps = |kind: fn(&Found) -> bool| {
            let mut found: Vec<&Found> = self.files.iter().filter(|file| kind(file)).collect();
            found.sort_by_key(|file| file.length);
            found.into_iter().filter(|file| file.length > 4096).take(4).map(Found::read)
        };
        dumps(Found::is_minidump).chain(dumps(Found::is_core)).collect()
    }

    /// Symbol files of Breakpad's, of any length.
    fn symbol_files(&self) -> Result<Vec<Vec<u8>>> {
        self.files.iter().filter(|file| file.start.starts_with(b"MODULE ")).map(Found::read).collect()
    }
}

impl Found {
    fn read(&self) -> Result<Vec<u8>> {
        fs::read(&self.path).with_context(|| format!("cannot read {}", self.path.display()))
    }

    fn is_minidump(&self) -> bool {
        self.start.starts_with(b"MDMP")
    }

    fn is_core(&self) -> bool {
        self.start.starts_with(b"\x7fELF") && self.start.get(16..18).is_some_and(|kind| kind.contains(&4))
    }

    /// A program, a library, or the file with the debug information of one.
    fn is_image(&self) -> bool {
        let images: [&[u8]; 4] = [b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe"];
        images.iter().any(|magic| self.start.starts_with(magic)) && !self.is_core()
    }
}

fn collect(folder: &Path, files: &mut Vec<Found>) -> Result<()> {
    let context = || format!("cannot list {}", folder.display());
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let (path, about) = (entry.path(), entry.metadata().with_context(context)?);
        if about.is_dir() {
            collect(&path, files)?;
        } else {
            let mut start = Vec::new();
            let read = fs::File::open(&path).and_then(|file| file.take(START).read_to_end(&mut start));
            read.with_context(|| format!("cannot read {}", path.display()))?;
            files.push(Found { path, length: about.len(), start });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every target has seeds even without a corpus, the readers of dumps excepted: those have nothing to begin with then.
    #[test]
    fn targets_for_symbols_have_seeds_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let material = Material::gather(&folder.path().join("none"), folder.path(), &path).unwrap();
        // Without a compiler there is no DWARF.
        let compiles = crate::step::succeeds(std::process::Command::new("g++").arg("--version"));
        let targets = if compiles { &["unwind", "symbol_files", "dwarf"][..] } else { &["unwind", "symbol_files"] };
        for target in targets {
            let seeds = folder.path().join("seeds").join(target);
            fs::create_dir_all(&seeds).unwrap();
            let count = material.write(target, &seeds).unwrap();
            assert!(count >= 5, "{target} has {count} seeds");
            for entry in fs::read_dir(&seeds).unwrap() {
                let length = entry.unwrap().metadata().unwrap().len();
                assert!((1..=LONGEST).contains(&length), "{target}: {length} bytes");
            }
        }
    }
}
