//! The files that DWARF refers to: what was split off a module, and what several modules share.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bstr::{BStr, ByteSlice};

use crate::image::Image;

/// Finds files that DWARF refers to. A file is only taken when its identity fits.
pub trait DwarfFiles: Debug + Send + Sync {
    /// The file that was split off `image` (`.dwo`) under the name `name`, compiled in `directory`; `fits` says whether
    /// a file is the one.
    fn split(
        &self,
        image: &Image,
        directory: &BStr,
        name: &BStr,
        fits: &dyn Fn(&Arc<Image>) -> bool,
    ) -> Option<Arc<Image>>;

    /// The file that holds all of what was split off `image` (`.dwp`).
    fn package(&self, image: &Image) -> Option<Arc<Image>>;

    /// The file that `image` shares with others (`.gnu_debugaltlink`).
    fn shared(&self, image: &Image) -> Option<Arc<Image>>;
}

/// Looks where the compiler left the files, and beside the image.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalFiles;

impl DwarfFiles for LocalFiles {
    fn split(
        &self,
        image: &Image,
        directory: &BStr,
        name: &BStr,
        fits: &dyn Fn(&Arc<Image>) -> bool,
    ) -> Option<Arc<Image>> {
        let name = name.to_path().ok()?;
        let folder = image.path().parent().unwrap_or(Path::new(""));
        let mut places = vec![folder.join(name)];
        if let Ok(directory) = directory.to_path() {
            places.insert(0, folder.join(directory).join(name));
        }
        places.extend(name.file_name().map(|name| folder.join(name)));
        places.iter().find_map(|place| Image::open(place).ok().map(Arc::new).filter(|image| fits(image)))
    }

    fn package(&self, image: &Image) -> Option<Arc<Image>> {
        let mut added = image.path().as_os_str().to_owned();
        added.push(".dwp");
        let places = [PathBuf::from(added), image.path().with_extension("dwp")];
        places.iter().find_map(|place| Image::open(place).ok()).map(Arc::new)
    }

    fn shared(&self, image: &Image) -> Option<Arc<Image>> {
        let (name, id) = image.debug_alt_link()?;
        let mut places = vec![image.path().parent().unwrap_or(Path::new("")).join(name)];
        let digits = id.to_string();
        if let Some((head, tail)) = digits.split_at_checked(2) {
            places.push(Path::new("/usr/lib/debug/.build-id").join(head).join(format!("{tail}.debug")));
        }
        let fits = |image: &Image| image.identity().build_id.as_ref() == Some(&id);
        places.iter().find_map(|place| Image::open(place).ok().filter(fits)).map(Arc::new)
    }
}
