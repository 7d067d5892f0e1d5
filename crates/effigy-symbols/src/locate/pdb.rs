//! PDB files, as far as it takes to tell which image one belongs to.

use std::fs::File;
use std::path::{Path, PathBuf};

use effigy_process::{Guid, Module, PdbIdentity};

use super::candidates::Candidates;
use super::{Locator, Outcome, Search, is_missing};
use crate::image::ImageError;
use crate::image::source::Source;
use crate::index::Key;

/// How a file of several streams begins (MSF 7.00, LLVM's "The MSF File Format").
const MAGIC: &[u8; 32] = b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0";
/// The streams with the identity, and with what is known of the compiled modules.
const INFORMATION: u64 = 1;
const DEBUG_INFORMATION: u64 = 3;
/// A stream without anything has this as its size.
const NO_STREAM: u32 = u32::MAX;

pub(super) fn find(locator: &Locator, module: &Module) -> super::Found<PathBuf> {
    let Some(pdb) = module.pdb.as_ref().filter(|_| module.pe.is_some()) else {
        return Search::new(None).found();
    };
    let mut search = Search::new(Some(words(pdb)));
    let judge = |path: &Path| judge(path, pdb);
    Candidates::new(locator.paths(), module).pdbs().iter().for_each(|path| search.try_path(path, judge));
    // A linker leaves it beside the image.
    let image = locator.image(module);
    let beside = image.file.as_ref().and_then(|image| image.path().parent());
    let name = super::candidates::plain(super::candidates::last_part(&pdb.path));
    if let Some((folder, name)) = beside.zip(name) {
        search.try_path(&folder.join(name), judge);
    }
    let download = locator.download.as_ref().filter(|_| search.wants_more());
    if let Some(path) = download.and_then(|download| download.pdb(module)) {
        search.try_path(&path, judge);
    }
    search.found()
}

fn words(pdb: &PdbIdentity) -> String {
    format!("PDB {} age {}", pdb.guid.windows(), pdb.age)
}

pub(super) fn judge(path: &Path, wanted: &PdbIdentity) -> Outcome {
    let failed = |source| ImageError::Read { path: path.to_owned(), source };
    let source = match open(path) {
        Ok(source) => source,
        Err(error) if is_missing(&error) => return Outcome::Missing,
        Err(error) => return Outcome::Unusable(failed(error)),
    };
    let Some(own) = identity(&source) else {
        return Outcome::Unusable(ImageError::Malformed { path: path.to_owned(), what: "PDB header", offset: 0 });
    };
    match own.guid == wanted.guid && (own.ages.contains(&wanted.age)) {
        true => Outcome::Match,
        false => Outcome::Other(words(&PdbIdentity { guid: own.guid, age: own.ages[0], path: "".into() })),
    }
}

/// What the index knows a PDB by.
pub(super) fn key(path: &Path) -> Option<Key> {
    let source = open(path).ok()?;
    let own = identity(&source)?;
    let id = [&own.guid.0[..], &own.ages[1].to_be_bytes()].concat();
    own.guid.0.iter().any(|byte| *byte != 0).then(|| Key::tagged(&id, b"PDB", source.size()))
}

/// A regular file: opening a pipe would wait for its other end.
pub(super) fn open(path: &Path) -> std::io::Result<Source> {
    if !path.metadata()?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    Source::of_file(File::open(path)?)
}

/// What a PDB says of itself.
struct Identity {
    guid: Guid,
    /// The age that the linker gave it, which is the image's, and the one that tools count up: equal where only one is
    /// known.
    ages: [u32; 2],
}

fn identity(source: &Source) -> Option<Identity> {
    let directory = Directory::of(source)?;
    let mut information = [0; 28];
    source.read_exact_at(directory.stream(INFORMATION)?, &mut information)?;
    let number = |bytes: &[u8]| Some(u32::from_le_bytes(*bytes.first_chunk()?));
    let guid = Guid(*information[12..].first_chunk()?);
    let counted = number(&information[8..])?;
    let mut header = [0; 12];
    let linked = directory.stream(DEBUG_INFORMATION).and_then(|at| source.read_exact_at(at, &mut header));
    let linked = linked.and_then(|()| number(&header[8..])).filter(|age| *age != 0).unwrap_or(counted);
    Some(Identity { guid, ages: [linked, counted] })
}

/// The table of a file's streams, which itself lies in blocks all over the file.
struct Directory<'a> {
    source: &'a Source,
    block: u64,
    /// Where the numbers of its blocks are.
    map: u64,
    streams: u64,
    /// Length in bytes.
    size: u64,
}

impl<'a> Directory<'a> {
    fn of(source: &'a Source) -> Option<Self> {
        let mut head = [0; 56];
        source.read_exact_at(0, &mut head)?;
        let number = |at: usize| Some(u64::from(u32::from_le_bytes(*head[at..].first_chunk()?)));
        let (block, size, map) = (number(32)?, number(44)?, number(52)?);
        let plausible = head.starts_with(MAGIC) && block.is_power_of_two() && (512..=65536).contains(&block);
        if !plausible || size > source.size() {
            return None;
        }
        let mut directory = Self { source, block, map: map * block, streams: 0, size };
        directory.streams = u64::from(directory.number(0)?);
        Some(directory)
    }

    /// A number of the table.
    fn number(&self, index: u64) -> Option<u32> {
        let at = index.checked_mul(4).filter(|at| *at < self.size)?;
        let place = self.half(self.map + at / self.block * 4)?;
        self.half(u64::from(place) * self.block + at % self.block)
    }

    fn half(&self, at: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        self.source.read_exact_at(at, &mut bytes)?;
        Some(u32::from_le_bytes(bytes))
    }

    /// Where a stream begins in the file; `None` for one that is empty.
    fn stream(&self, index: u64) -> Option<u64> {
        let blocks = |stream: u64| {
            let size = self.number(1 + stream)?;
            Some(if size == NO_STREAM { 0 } else { u64::from(size).div_ceil(self.block) })
        };
        let before = (0..index).try_fold(0, |sum, stream| Some(sum + blocks(stream)?))?;
        (index < self.streams && blocks(index)? > 0).then_some(())?;
        Some(u64::from(self.number(1 + self.streams + before)?) * self.block)
    }
}
