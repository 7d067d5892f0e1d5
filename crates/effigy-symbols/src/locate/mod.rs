//! Where the files of a module are: its image, its symbols. They are found by identity and by nothing else.
//!
//! A file at the right path with the wrong identity is not used, and is remembered ([`Tried`]), so that people can be told
//! of it. A module of which nothing is known that tells it from other versions of itself is told by what was in memory of
//! it, where that is known ([`Locator::with_memory`]), or not looked for at all.

mod breakpad;
pub(crate) mod candidates;
mod contents;
mod debug;
mod identity;
mod pdb;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bstr::BString;
use effigy_process::{BuildId, CapturedMemory, Guid, Module, PdbIdentity, PeIdentity};

pub use self::breakpad::breakpad_id;
use self::candidates::Candidates;
pub use self::identity::wanted;
use crate::image::{Image, ImageError};
use crate::index;

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct SearchPaths {
    /// Folders that somebody named: with images in them, or laid out like the root of the system that the dump is from, like
    /// a symbol server, or with a `.build-id` folder.
    pub folders: Vec<PathBuf>,
    /// The folder that the dump lies in.
    pub beside: Option<PathBuf>,
    /// Whether this system's own files count: those at the paths of the modules.
    pub system: bool,
    /// Folders with debug files, as a rule `/usr/lib/debug`.
    pub debug_folders: Vec<PathBuf>,
}

impl SearchPaths {
    /// This system's own folders.
    #[must_use]
    pub fn of_this_system() -> Self {
        Self { system: true, debug_folders: vec!["/usr/lib/debug".into()], ..Self::default() }
    }
}

/// Gives a path to the very file that a module was mapped from, by device and inode: a running process's. Such a file
/// needs no other identity, and is still not used when it has another one.
pub type MappedFile = dyn Fn(&Module) -> Option<PathBuf> + Send + Sync;

/// Gets files from elsewhere, when there is none on this machine. What it gives is checked as any other.
pub trait Download: Send + Sync {
    /// The image of a module.
    fn image(&self, module: &Module) -> Option<PathBuf>;
    /// The debug file of an ELF image.
    fn debug(&self, module: &Module) -> Option<PathBuf>;
    /// The debug file with a build id: what several debug files have in common (dwz).
    fn debug_by_id(&self, id: &BuildId) -> Option<PathBuf>;
    /// The PDB of a module.
    fn pdb(&self, module: &Module) -> Option<PathBuf>;
}

/// What came of a file that was looked at.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It is not there.
    Missing,
    /// It is what was looked for.
    Match,
    /// It is another version: its identity.
    Other(String),
    /// Neither it nor the module has an identity, and too little is known of what was in memory.
    Unknown,
    /// It holds symbols, and no code.
    OnlySymbols,
    /// It cannot be read, or is no image.
    Unusable(ImageError),
}

/// A file that was looked at.
#[derive(Debug)]
pub struct Tried {
    /// Its path.
    pub path: PathBuf,
    /// What came of it.
    pub outcome: Outcome,
}

/// What was found, and what was tried.
#[derive(Debug)]
pub struct Found<T> {
    /// The file; `None` where there is none that matches.
    pub file: Option<Arc<T>>,
    /// What it must be, for people; `None` for a module of which nothing is known by which a file could be told.
    pub wanted: Option<String>,
    /// What was looked at, in this order.
    pub tried: Vec<Tried>,
}

impl<T> Found<T> {
    /// Files that were there and are not the ones.
    pub fn mismatches(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.tried.iter().filter_map(|tried| match &tried.outcome {
            Outcome::Other(identity) => Some((tried.path.as_path(), identity.as_str())),
            _ => None,
        })
    }
}

/// What a module is told by, and its name: modules that are equal in these have the same files.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    path: BString,
    build_id: Option<BuildId>,
    uuid: Option<Guid>,
    pdb: Option<PdbIdentity>,
    pe: Option<PeIdentity>,
}

impl Key {
    fn of(module: &Module) -> Self {
        Self {
            path: module.path.clone(),
            build_id: module.build_id.clone(),
            uuid: module.uuid,
            pdb: module.pdb.clone(),
            pe: module.pe,
        }
    }
}

/// Answers that were given once.
type Answers<K, T> = Mutex<HashMap<K, Arc<OnceLock<Arc<Found<T>>>>>>;

/// The answer to a question, found once whoever asks first. Other questions are answered meanwhile.
fn once<K: std::hash::Hash + Eq, T>(answers: &Answers<K, T>, key: K, find: impl FnOnce() -> Found<T>) -> Arc<Found<T>> {
    let cell = answers.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone();
    cell.get_or_init(|| Arc::new(find())).clone()
}

/// Finds the files of modules. Each is looked for once; threads may ask at the same time.
#[derive(Default)]
pub struct Locator {
    paths: SearchPaths,
    mapped: Option<Box<MappedFile>>,
    download: Option<Arc<dyn Download>>,
    memory: Option<Arc<dyn CapturedMemory>>,
    images: Answers<Key, Image>,
    debugs: Answers<Key, Image>,
    pdbs: Answers<Key, PathBuf>,
    breakpads: Answers<Key, PathBuf>,
    shared: Answers<PathBuf, Image>,
}

impl fmt::Debug for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locator").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl Locator {
    /// Looks in these places.
    #[must_use]
    pub fn new(paths: SearchPaths) -> Self {
        Self { paths, ..Self::default() }
    }

    /// Asks for the files that a running process has mapped first.
    #[must_use]
    pub fn with_mapped(mut self, mapped: Box<MappedFile>) -> Self {
        self.mapped = Some(mapped);
        self
    }

    /// Asks elsewhere last.
    #[must_use]
    pub fn with_download(mut self, download: Arc<dyn Download>) -> Self {
        self.download = Some(download);
        self
    }

    /// Tells ELF images of modules without an identity by what of them is in the memory of the process: by some code, or by
    /// Go's own build id. Their debug files are told by the checksum that the image has of them.
    #[must_use]
    pub fn with_memory(mut self, memory: Arc<dyn CapturedMemory>) -> Self {
        self.memory = Some(memory);
        self
    }

    /// Where it looks.
    #[must_use]
    pub fn paths(&self) -> &SearchPaths {
        &self.paths
    }

    /// A module's image file.
    pub fn image(&self, module: &Module) -> Arc<Found<Image>> {
        once(&self.images, Key::of(module), || {
            let mut search = Search::new(wanted(module));
            if let Some(path) = self.mapped.as_ref().and_then(|mapped| mapped(module)) {
                search.try_image(&path, |image| usable(image, module, || Outcome::Match));
            }
            let is_told = search.found.wanted.is_some() || self.memory.is_some();
            let candidates = if is_told { Candidates::new(&self.paths, module).images() } else { Vec::new() };
            for path in candidates {
                search.try_image(&path, |image| usable(image, module, || self.by_memory(image, module)));
            }
            let download = self.download.as_ref().filter(|_| search.wants_more());
            if let Some(path) = download.and_then(|download| download.image(module)) {
                search.try_image(&path, |image| usable(image, module, no_identity));
            }
            search.found()
        })
    }

    /// Whether an image file is a module's that has no identity.
    fn by_memory(&self, image: &Image, module: &Module) -> Outcome {
        if wanted(module).is_some() {
            return no_identity();
        }
        match self.memory.as_ref().and_then(|memory| contents::is_same(image, module, memory.as_ref())) {
            Some(true) => Outcome::Match,
            Some(false) => Outcome::Other("other code than was in memory".to_owned()),
            None => Outcome::Unknown,
        }
    }

    /// The file with an ELF or Mach-O module's symbols: the image itself where it has lines or all symbols, else a
    /// separate one.
    pub fn debug(&self, module: &Module) -> Arc<Found<Image>> {
        once(&self.debugs, Key::of(module), || debug::find(self, module))
    }

    /// What a debug file has in common with others: the file that its `.gnu_debugaltlink` names. Without such a link
    /// nothing is wanted, and nothing is found.
    pub fn shared(&self, debug: &Image) -> Arc<Found<Image>> {
        once(&self.shared, debug.path().to_owned(), || debug::find_shared(self, debug))
    }

    /// The path of a module's PDB.
    pub fn pdb(&self, module: &Module) -> Arc<Found<PathBuf>> {
        once(&self.pdbs, Key::of(module), || pdb::find(self, module))
    }

    /// The path of a module's symbols in Breakpad's format.
    pub fn breakpad(&self, module: &Module) -> Arc<Found<PathBuf>> {
        once(&self.breakpads, Key::of(module), || breakpad::find(self, module))
    }
}

/// Whether an image file is a module's. `otherwise` is for those that have no identity in common.
fn usable(image: &Image, module: &Module, otherwise: impl FnOnce() -> Outcome) -> Outcome {
    match identity::compare(image, module) {
        _ if image.is_debug_only() => Outcome::OnlySymbols,
        Ok(true) => Outcome::Match,
        Ok(false) => otherwise(),
        Err(other) => Outcome::Other(other),
    }
}

fn no_identity() -> Outcome {
    Outcome::Other("no identity".to_owned())
}

/// Whether the file at a path is a module's image.
pub(crate) fn is_image_of(path: &Path, module: &Module) -> bool {
    let images = Image::open_slices(path).unwrap_or_default();
    images.iter().any(|image| matches!(usable(image, module, no_identity), Outcome::Match))
}

/// Whether the file at a path has a build id.
pub(crate) fn has_build_id(path: &Path, id: &BuildId) -> bool {
    Image::open(path).is_ok_and(|image| image.identity().build_id.as_ref() == Some(id))
}

/// Whether the file at a path is a PDB.
pub(crate) fn is_pdb_of(path: &Path, pdb: &PdbIdentity) -> bool {
    matches!(pdb::judge(path, pdb), Outcome::Match)
}

/// What the index knows the PDB at a path by; `None` where it is none.
pub(crate) fn pdb_key(path: &Path) -> Option<index::Key> {
    pdb::key(path)
}

/// A search that is going on.
struct Search<T> {
    found: Found<T>,
}

impl<T> Search<T> {
    fn new(wanted: Option<String>) -> Self {
        Self { found: Found { file: None, wanted, tried: Vec::new() } }
    }

    /// Whether something is looked for and was not found yet.
    fn wants_more(&self) -> bool {
        self.found.wanted.is_some() && self.found.file.is_none()
    }

    fn found(self) -> Found<T> {
        self.found
    }

    fn record(&mut self, path: &Path, outcome: Outcome) {
        self.found.tried.push(Tried { path: path.to_owned(), outcome });
    }

    /// Whether a path is still to be looked at.
    fn is_new(&self, path: &Path) -> bool {
        self.found.file.is_none() && !self.found.tried.iter().any(|tried| tried.path == path)
    }
}

impl Search<Image> {
    /// Takes the image at a path, where `judge` says that it is the one. Of a fat file any image may be.
    fn try_image(&mut self, path: &Path, judge: impl Fn(&Image) -> Outcome) {
        if !self.is_new(path) {
            return;
        }
        let mut last = None;
        match Image::open_slices(path) {
            Ok(images) => {
                for image in images {
                    let outcome = judge(&image);
                    if matches!(outcome, Outcome::Match) {
                        self.found.file = Some(Arc::new(image));
                        return self.record(path, Outcome::Match);
                    }
                    last = Some(outcome);
                }
            }
            Err(ImageError::Read { source, .. }) if is_missing(&source) => last = Some(Outcome::Missing),
            Err(error) => last = Some(Outcome::Unusable(error)),
        }
        self.record(path, last.unwrap_or(Outcome::Missing));
    }
}

impl Search<PathBuf> {
    /// Takes the file at a path, where `judge` says that it is the one.
    fn try_path(&mut self, path: &Path, judge: impl Fn(&Path) -> Outcome) {
        if !self.is_new(path) {
            return;
        }
        let outcome = judge(path);
        if matches!(outcome, Outcome::Match) {
            self.found.file = Some(Arc::new(path.to_owned()));
        }
        self.record(path, outcome);
    }
}

/// Whether an error means that there is no such file. A name may be too long, or a file stand where a folder should.
fn is_missing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(error.kind(), Kind::NotFound | Kind::NotADirectory | Kind::InvalidFilename | Kind::InvalidInput)
}

#[cfg(test)]
mod tests;
