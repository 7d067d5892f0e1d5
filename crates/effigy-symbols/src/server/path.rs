//! Symbol paths as WinDbg and debuginfod write them.
//!
//! ```text
//! srv*C:\cache*https://server/symbols;cache*/var/cache/sym;/opt/symbols;DebugInfoD*https://server
//! ```

use std::path::{Path, PathBuf};

use super::is_url;

/// A place in a symbol path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A folder with files in it.
    Folder(PathBuf),
    /// What comes from the entries behind this one is kept here; `None` for the default folder.
    Cache(Option<PathBuf>),
    /// A symbol server, or a folder laid out like one.
    Server {
        /// Where its files are kept, the nearest first; `None` for the default folder.
        caches: Vec<Option<PathBuf>>,
        /// Its address, or the folder.
        store: String,
    },
    /// A debuginfod.
    Debuginfod {
        /// Where its files are kept.
        caches: Vec<Option<PathBuf>>,
        /// Its address.
        url: String,
    },
}

/// Why a symbol path cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the part {part:?} of the symbol path {why}")]
pub struct SymbolPathError {
    /// The part.
    pub part: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Places in which files are looked for, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SymbolPath {
    entries: Vec<Entry>,
}

impl SymbolPath {
    /// Takes a path apart, whose parts have `;` between them.
    ///
    /// # Errors
    /// When a part names a server of a kind that nobody knows, or none at all.
    pub fn parse(text: &str) -> Result<Self, SymbolPathError> {
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        Ok(Self { entries: parts.map(entry).collect::<Result<_, _>>()? })
    }

    /// The servers of `DEBUGINFOD_URLS`, which have spaces between them. Its words about checking signatures are passed
    /// over: what effigy takes it checks by build id.
    #[must_use]
    pub fn of_debuginfod_urls(text: &str) -> Self {
        let urls = text.split_whitespace().filter(|word| is_url(word));
        let entry = |url: &str| Entry::Debuginfod { caches: Vec::new(), url: url.to_owned() };
        Self { entries: urls.map(entry).collect() }
    }

    /// This path, and behind it another.
    #[must_use]
    pub fn then(mut self, other: Self) -> Self {
        self.entries.extend(other.entries);
        self
    }

    /// The places.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The folders with files in them.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Folder(folder) => Some(folder.as_path()),
            _ => None,
        })
    }
}

fn entry(part: &str) -> Result<Entry, SymbolPathError> {
    let failed = |why| SymbolPathError { part: part.to_owned(), why };
    let mut words = part.split('*');
    let keyword = words.next().unwrap_or_default().to_ascii_lowercase();
    let mut words: Vec<&str> = words.map(str::trim).collect();
    match (keyword.as_str(), words.is_empty()) {
        (_, true) if is_url(part) => Ok(server(Vec::new(), part)),
        (_, true) if part.contains("://") => Err(failed("is no folder, and an address that is neither http nor https")),
        (_, true) => Ok(Entry::Folder(part.into())),
        ("cache", false) => Ok(Entry::Cache(folder(words[0]))),
        ("srv" | "symsrv" | "debuginfod", false) => {
            if keyword == "symsrv" {
                // The name of the DLL that asks: symsrv*symsrv.dll*…
                words.remove(0);
            }
            let store = words.pop().filter(|store| !store.is_empty()).ok_or_else(|| failed("names no server"))?;
            let caches: Vec<_> = words.into_iter().map(folder).collect();
            if caches.iter().flatten().any(|cache| cache.to_str().is_some_and(|text| text.contains("://"))) {
                return Err(failed("has a server where a folder to keep files in should be"));
            }
            match (keyword == "debuginfod", is_url(store)) {
                (true, true) => Ok(Entry::Debuginfod { caches, url: store.to_owned() }),
                (true, false) => Err(failed("names no debuginfod: its address begins with http:// or https://")),
                (false, false) if store.contains("://") => Err(failed("has an address that is neither http nor https")),
                (false, _) => Ok(server(caches, store)),
            }
        }
        _ => Err(failed("begins with a word that is none of srv, cache and DebugInfoD")),
    }
}

fn server(caches: Vec<Option<PathBuf>>, store: &str) -> Entry {
    Entry::Server { caches, store: store.to_owned() }
}

/// A folder; none where nothing stands between two asterisks.
fn folder(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Entry {
        let path = SymbolPath::parse(text).unwrap();
        assert_eq!(path.entries().len(), 1, "{text}");
        path.entries()[0].clone()
    }

    #[test]
    fn parts_as_debuggers_write_them() {
        let folder = |text: &str| Some(PathBuf::from(text));
        let server = |caches: &[Option<PathBuf>], store: &str| super::server(caches.to_vec(), store);
        assert_eq!(one("srv*https://h/s"), server(&[], "https://h/s"));
        assert_eq!(one("SRV*/c*https://h/s"), server(&[folder("/c")], "https://h/s"));
        assert_eq!(one("srv*/a*/b*http://h"), server(&[folder("/a"), folder("/b")], "http://h"));
        assert_eq!(one("srv**http://h"), server(&[None], "http://h"));
        assert_eq!(one("symsrv*symsrv.dll*/c*http://h"), server(&[folder("/c")], "http://h"));
        assert_eq!(one("srv*/store"), server(&[], "/store"));
        assert_eq!(one("cache*"), Entry::Cache(None));
        assert_eq!(one("cache*/c"), Entry::Cache(folder("/c")));
        assert_eq!(one(" /plain "), Entry::Folder("/plain".into()));
        assert_eq!(one("https://h"), server(&[], "https://h"));
        let debuginfod = Entry::Debuginfod { caches: vec![folder("/c")], url: "https://d".into() };
        assert_eq!(one("DebugInfoD*/c*https://d"), debuginfod);
        let path = SymbolPath::parse("cache*/c;;srv*http://h; /plain").unwrap();
        assert_eq!((path.entries().len(), path.folders().count()), (3, 1));
    }

    #[test]
    fn parts_that_mean_nothing() {
        for text in
            ["srv*", "ftp://h", "srv*ftp://h", "srv*http://a*http://b", "DebugInfoD*/folder", "what*/x", "symsrv*x.dll"]
        {
            assert!(SymbolPath::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            SymbolPath::parse("what*/x").unwrap_err().to_string(),
            "the part \"what*/x\" of the symbol path begins with a word that is none of srv, cache and DebugInfoD"
        );
    }

    #[test]
    fn servers_of_the_environment() {
        let path = SymbolPath::of_debuginfod_urls("https://a  ima:enforcing http://b/ ");
        let urls: Vec<_> = path
            .entries()
            .iter()
            .map(|entry| match entry {
                Entry::Debuginfod { url, .. } => url.as_str(),
                _ => panic!("{entry:?}"),
            })
            .collect();
        assert_eq!(urls, ["https://a", "http://b/"]);
        assert_eq!(SymbolPath::default().then(path).entries().len(), 2);
    }
}
