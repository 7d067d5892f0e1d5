//! Files from elsewhere: symbol servers and debuginfod, each file asked for by its identity and checked against it.
//!
//! [`SymbolPath`] says where to ask; [`Servers`] asks, in that order, and keeps what it gets in a cache that processes
//! share. What a server does not have is not asked for again as long as [`Servers`] lives, and a server that does not
//! answer is not asked again at all.

mod cache;
mod client;
mod keys;
mod path;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use effigy_process::{BuildId, Module};

use self::cache::Cache;
use self::client::{Client, FetchError};
use self::keys::Wanted;
pub use self::path::{Entry, SymbolPath, SymbolPathError};
use crate::locate::{self, Download};

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer<'a> {
    /// From where.
    pub url: &'a str,
    /// Bytes that came.
    pub done: u64,
    /// Bytes that will come; `None` where the server does not say.
    pub total: Option<u64>,
    /// Whether there is no more: all came, or it was given up.
    pub ended: bool,
}

/// Is told how far downloads are, by whatever thread asks for the file.
pub type OnTransfer = dyn Fn(Transfer<'_>) + Send + Sync;

/// How to ask.
pub struct Options {
    /// Use what is in the cache, and ask nobody.
    pub offline: bool,
    /// Where files are kept that an entry of the path names no folder for.
    pub cache: PathBuf,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for an answer, and for the next bytes of one.
    pub stall_timeout: Duration,
    /// Longest file that is taken, in bytes.
    pub most_bytes: u64,
    /// Ends what is under way when somebody sets it.
    pub cancel: Arc<AtomicBool>,
    /// Is told of progress.
    pub on_transfer: Option<Box<OnTransfer>>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("offline", &self.offline).field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            offline: false,
            cache: default_cache(|name| std::env::var_os(name).map(PathBuf::from)),
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            most_bytes: 16 << 30,
            cancel: Arc::default(),
            on_transfer: None,
        }
    }
}

/// The user's folder for what may be thrown away (XDG Base Directory Specification); without one, one that all share.
fn default_cache(variable: impl Fn(&str) -> Option<PathBuf>) -> PathBuf {
    let absolute = |name| variable(name).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    folder.unwrap_or_else(|| "/var/tmp".into()).join("effigy/symbols")
}

/// The places of a symbol path.
pub struct Servers {
    path: SymbolPath,
    options: Options,
    client: Client,
    /// What was asked for and is not there.
    absent: Mutex<HashSet<String>>,
    /// Servers that did not answer.
    silent: Mutex<HashSet<String>>,
    notes: Mutex<Vec<String>>,
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers").field("path", &self.path).field("options", &self.options).finish_non_exhaustive()
    }
}

impl Servers {
    /// Asks in the places of a path.
    #[must_use]
    pub fn new(path: SymbolPath, mut options: Options) -> Self {
        let client = Client::new(&mut options);
        let (absent, silent, notes) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { path, options, client, absent, silent, notes }
    }

    /// What went wrong, in words: servers that did not answer, files that were not what was asked for.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A source file of an image with a build id, by the path that its debug file has for it (debuginfod).
    #[must_use]
    pub fn source(&self, id: &BuildId, path: &str) -> Option<PathBuf> {
        // Nothing in a source file tells whose it is; the server is trusted with that.
        self.get(&Wanted::source(id, path)?, &|_| true)
    }

    /// A file out of a cache or from a server, the first that has it.
    fn get(&self, wanted: &Wanted, is_right: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
        let mut shared: Option<&Path> = None;
        for entry in self.path.entries() {
            let found = match entry {
                Entry::Folder(_) => None,
                Entry::Cache(folder) => {
                    shared = Some(folder.as_deref().unwrap_or(&self.options.cache));
                    None
                }
                Entry::Server { caches, store } => {
                    let key = wanted.on_symbol_server();
                    key.and_then(|key| self.at_place(&self.caches(caches, shared), store, &key, is_right))
                }
                Entry::Debuginfod { caches, url } => {
                    let key = wanted.on_debuginfod();
                    key.and_then(|key| self.at_place(&self.caches(caches, shared), url, &key, is_right))
                }
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The folders in which files of an entry are kept, the nearest first.
    fn caches(&self, own: &[Option<PathBuf>], shared: Option<&Path>) -> Vec<Cache> {
        let own = own.iter().map(|folder| folder.as_deref().unwrap_or(&self.options.cache));
        let mut folders: Vec<&Path> = own.chain(shared).collect();
        if folders.is_empty() {
            folders.push(&self.options.cache);
        }
        folders.dedup();
        folders.into_iter().map(Cache::new).collect()
    }

    /// A file out of one of the caches, else from a server or a folder that is laid out like one.
    fn at_place(
        &self,
        caches: &[Cache],
        store: &str,
        key: &keys::Key,
        is_right: &dyn Fn(&Path) -> bool,
    ) -> Option<PathBuf> {
        if let Some(path) = caches.iter().find_map(|cache| cache.find(key)).filter(|path| is_right(path)) {
            return Some(path);
        }
        if !is_url(store) {
            let path = Path::new(store).join(key.path());
            return path.metadata().is_ok_and(|file| file.is_file()).then_some(path).filter(|path| is_right(path));
        }
        let nearest = caches.first().filter(|_| !self.options.offline)?;
        let url = key.url(store);
        if self.is_absent(&url) || self.is_silent(store) {
            return None;
        }
        match nearest.fill(key, |file| self.client.fetch(&url, file), is_right) {
            Ok(path) => Some(path),
            Err(error) => {
                self.remember(store, url, &error);
                self.by_pointer(nearest, store, key, is_right, &error)
            }
        }
    }

    /// Where a symbol server does not have a file, it may have a note of where it is (`file.ptr`), or have it packed.
    fn by_pointer(
        &self,
        cache: &Cache,
        store: &str,
        key: &keys::Key,
        is_right: &dyn Fn(&Path) -> bool,
        error: &FetchError,
    ) -> Option<PathBuf> {
        if !matches!(error, FetchError::Absent) || !key.is_symbol_server() {
            return None;
        }
        let url = key.pointer_url(store);
        let text = self.client.fetch_text(&url).ok().unwrap_or_default();
        let Some(place) = text.trim().strip_prefix("PATH:") else {
            let packed = key.packed_url(store);
            if self.client.is_there(&packed) {
                self.note(format!("{packed} is packed in a way that effigy cannot unpack (CAB); expand it by hand"));
            }
            return None;
        };
        if is_url(place) {
            return cache.fill(key, |file| self.client.fetch(place, file), is_right).ok();
        }
        // The server may name any file: it counts only when it is the one that was asked for.
        let path = Path::new(place);
        path.metadata().is_ok_and(|file| file.is_file()).then(|| path.to_owned()).filter(|path| is_right(path))
    }

    fn is_absent(&self, url: &str) -> bool {
        self.absent.lock().unwrap_or_else(PoisonError::into_inner).contains(url)
    }

    fn is_silent(&self, store: &str) -> bool {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner).contains(store)
    }

    fn remember(&self, store: &str, url: String, error: &FetchError) {
        match error {
            FetchError::Cancelled => return,
            FetchError::Absent => {}
            FetchError::Connection(_) => {
                self.silent.lock().unwrap_or_else(PoisonError::into_inner).insert(store.to_owned());
                self.note(format!("{url}: {error}; {store} is not asked again"));
            }
            _ => self.note(format!("{url}: {error}")),
        }
        self.absent.lock().unwrap_or_else(PoisonError::into_inner).insert(url);
    }

    fn note(&self, text: String) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}

/// Whether a place is a server.
fn is_url(place: &str) -> bool {
    let starts = |scheme: &str| place.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    starts("http://") || starts("https://")
}

impl Download for Servers {
    fn image(&self, module: &Module) -> Option<PathBuf> {
        self.get(&Wanted::image(module)?, &|path| locate::is_image_of(path, module))
    }

    fn debug(&self, module: &Module) -> Option<PathBuf> {
        let id = module.build_id.as_ref()?;
        self.debug_by_id(id)
    }

    fn debug_by_id(&self, id: &BuildId) -> Option<PathBuf> {
        self.get(&Wanted::debug(id), &|path| locate::has_build_id(path, id))
    }

    fn pdb(&self, module: &Module) -> Option<PathBuf> {
        let pdb = module.pdb.as_ref()?;
        self.get(&Wanted::pdb(pdb)?, &|path| locate::is_pdb_of(path, pdb))
    }
}

#[cfg(test)]
mod tests;
