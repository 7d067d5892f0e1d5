//! A folder in which processes keep the files that they got: each comes to its name whole, or not at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::client::FetchError;
use super::keys::Key;

/// How the names of files begin that are not whole yet.
const UNFINISHED: &str = ".effigy-";
/// How old such a file is when nobody can be at work on it any more.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// A file that is there.
    pub(super) fn find(&self, key: &Key) -> Option<PathBuf> {
        let path = self.folder.join(key.path());
        path.metadata().is_ok_and(|file| file.is_file()).then_some(path)
    }

    /// Gets a file, and gives it its name when it is the right one. Several processes may do so at once: the last one's
    /// stays, and all are alike.
    pub(super) fn fill(
        &self,
        key: &Key,
        get: impl FnOnce(&mut File) -> Result<(), FetchError>,
        is_right: &dyn Fn(&Path) -> bool,
    ) -> Result<PathBuf, FetchError> {
        let path = self.folder.join(key.path());
        let folder = path.parent().unwrap_or(&self.folder);
        let failed = |source| FetchError::Cache { folder: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        sweep(folder);
        // It goes by itself when anything below fails.
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder).map_err(failed)?;
        get(file.as_file_mut())?;
        if !is_right(file.path()) {
            return Err(FetchError::Other);
        }
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(readable).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(path)
    }
}

/// Removes what somebody who was killed has left.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_unfinished = entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes());
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if is_unfinished && age().is_some_and(|age| age > ABANDONED) {
            // Another process may have been first.
            let _ = fs::remove_file(entry.path());
        }
    }
}
