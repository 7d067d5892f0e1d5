//! Paths at which the files of a module may be.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use bstr::ByteSlice;
use effigy_process::{BuildId, Module};

use super::SearchPaths;

/// Makes up paths. Whether there is anything, and what, is for others to see.
pub(super) struct Candidates<'a> {
    paths: &'a SearchPaths,
    module: &'a Module,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(paths: &'a SearchPaths, module: &'a Module) -> Self {
        Self { paths, module }
    }

    /// Where the image may be, the likeliest first.
    pub(super) fn images(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for folder in self.folders() {
            paths.extend(self.names().map(|name| folder.join(name)));
            paths.extend(self.relative().map(|path| folder.join(path)));
            paths.extend(self.module.build_id.as_ref().and_then(|id| by_build_id(folder, id, "")));
            paths.extend(self.server_names().map(|path| folder.join(path)));
        }
        if self.paths.system && self.module.path.starts_with(b"/") {
            paths.push(path(&self.module.path).to_owned());
        }
        paths
    }

    /// Folders that were named, and the one that the dump lies in.
    pub(super) fn folders(&self) -> impl Iterator<Item = &'a Path> {
        self.paths.folders.iter().chain(&self.paths.beside).map(PathBuf::as_path)
    }

    /// The image's name: as it is, and in small letters where the system does not tell them apart.
    fn names(&self) -> impl Iterator<Item = PathBuf> + use<> {
        both_cases(self.module.name(), self.module.pe.is_some())
    }

    /// The module's path below the root of its system.
    pub(super) fn relative(&self) -> Option<PathBuf> {
        let text = match self.module.pe {
            Some(_) => self.module.path.replace("\\", "/").replace(":", ""),
            None => self.module.path.to_vec(),
        };
        below(path(&text))
    }

    /// Where a symbol server keeps the image: NAME/STAMPSIZE/NAME, as symstore.exe makes it.
    fn server_names(&self) -> impl Iterator<Item = PathBuf> + use<> {
        let pe = self.module.pe.filter(|pe| pe.time_stamp != 0);
        let key = pe.map(|pe| format!("{:08X}{:x}", pe.time_stamp, pe.size_of_image));
        let names: Vec<PathBuf> = both_cases(self.module.name(), true).collect();
        key.into_iter().flat_map(move |key| names.clone().into_iter().map(move |name| name.join(&key).join(&name)))
    }

    /// Where the module's PDB may be, the likeliest first: in each folder, and as on a symbol server.
    pub(super) fn pdbs(&self) -> Vec<PathBuf> {
        let Some(pdb) = &self.module.pdb else { return Vec::new() };
        let recorded = last_part(&pdb.path);
        let image = path(self.module.name()).with_extension("pdb");
        let key = format!("{}{:x}", pdb.guid.windows().replace('-', ""), pdb.age);
        let mut names: Vec<PathBuf> = both_cases(recorded, true).collect();
        names.extend(plain(image.as_os_str().as_bytes()).filter(|name| !names.contains(name)));
        let mut paths = Vec::new();
        for folder in self.folders() {
            paths.extend(names.iter().map(|name| folder.join(name)));
            paths.extend(names.iter().map(|name| folder.join(name).join(&key).join(name)));
        }
        paths
    }
}

/// Bytes as a path.
pub(super) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// A name that leads to no other folder; `None` for one that would.
pub(crate) fn plain(name: &[u8]) -> Option<PathBuf> {
    let path = path(name);
    let mut parts = path.components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(part)), None) if !name.contains(&0) => Some(part.into()),
        _ => None,
    }
}

/// A name, and in small letters where `fold` says that the system does not tell them apart.
fn both_cases(name: &[u8], fold: bool) -> impl Iterator<Item = PathBuf> + use<> {
    let small = name.to_ascii_lowercase();
    let small = (fold && small != name).then_some(small);
    plain(name).into_iter().chain(small.and_then(|small| plain(&small)))
}

/// The last part of a path of any system.
pub(crate) fn last_part(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| matches!(byte, b'/' | b'\\')).next().unwrap_or(path)
}

/// A path as it would be below a folder, without ways out of that.
pub(super) fn below(path: &Path) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => inside.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    (!inside.as_os_str().is_empty()).then_some(inside)
}

/// `.build-id/xx/yyyy` in a folder, with an ending: none for images, `.debug` for debug files.
pub(super) fn by_build_id(folder: &Path, id: &BuildId, ending: &str) -> Option<PathBuf> {
    let text = id.to_string();
    let (first, rest) = text.split_at_checked(2).filter(|(_, rest)| !rest.is_empty())?;
    Some(folder.join(".build-id").join(first).join(format!("{rest}{ending}")))
}

#[cfg(test)]
mod tests {
    use effigy_process::{Guid, PdbIdentity, PeIdentity};

    use super::*;

    fn all(paths: Vec<PathBuf>) -> Vec<String> {
        paths.iter().map(|path| path.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn where_an_image_may_be() {
        let paths = SearchPaths { folders: vec!["/f".into()], ..SearchPaths::of_this_system() };
        let mut module = Module { path: "/usr/lib/libx.so".into(), ..Module::default() };
        let by_name = ["/f/libx.so", "/f/usr/lib/libx.so", "/usr/lib/libx.so"];
        assert_eq!(all(Candidates::new(&paths, &module).images()), by_name);
        module.build_id = Some(BuildId(vec![0xab, 0xcd, 0xef]));
        let expected = ["/f/libx.so", "/f/usr/lib/libx.so", "/f/.build-id/ab/cdef", "/usr/lib/libx.so"];
        assert_eq!(all(Candidates::new(&paths, &module).images()), expected);
    }

    #[test]
    fn where_an_image_of_windows_may_be() {
        let paths = SearchPaths { folders: vec!["/f".into()], ..SearchPaths::of_this_system() };
        let pe = PeIdentity { time_stamp: 0x5AE5_5DB5, checksum: 0, size_of_image: 0x1c9_1000 };
        let pdb = PdbIdentity { guid: Guid([1; 16]), age: 10, path: "D:\\b\\Xy.pdb".into() };
        let path = "C:\\Windows\\Xy.dll".into();
        let module = Module { path, pe: Some(pe), pdb: Some(pdb), ..Module::default() };
        let candidates = Candidates::new(&paths, &module);
        let expected = [
            "/f/Xy.dll",
            "/f/xy.dll",
            "/f/C/Windows/Xy.dll",
            "/f/Xy.dll/5AE55DB51c91000/Xy.dll",
            "/f/xy.dll/5AE55DB51c91000/xy.dll",
        ];
        assert_eq!(all(candidates.images()), expected);
        let key = "01010101010101010101010101010101a";
        let in_folders = ["/f/Xy.pdb".to_owned(), "/f/xy.pdb".to_owned()];
        let on_server = [format!("/f/Xy.pdb/{key}/Xy.pdb"), format!("/f/xy.pdb/{key}/xy.pdb")];
        assert_eq!(all(candidates.pdbs()), [in_folders, on_server].concat());
    }

    #[test]
    fn names_lead_nowhere_else() {
        assert_eq!((plain(b".."), plain(b"a/b"), plain(b""), plain(b"/")), (None, None, None, None));
        assert_eq!(below(Path::new("/a/../b")), None);
        assert_eq!(below(Path::new("/a/./b")), Some("a/b".into()));
    }
}
