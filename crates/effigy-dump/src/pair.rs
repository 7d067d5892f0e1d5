//! What the files of a reflection pair are called.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use effigy_formats::reflection::{Configuration, ConfigurationError, Files, Key};

use crate::name;

/// Paths of the three files of a [reflection pair](effigy_formats::reflection).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairPaths {
    /// Of the dump with threads, modules and facts.
    pub default: PathBuf,
    /// Of the dump with the memory.
    pub memory: PathBuf,
    /// Of the configuration file, which is what a debugger opens.
    pub configuration: PathBuf,
}

impl PairPaths {
    /// The names that ProcDump gave the files when it was told `destination`: `x.dmp` makes `x-1.dmp`,
    /// `x-reflected.dmp` and `x.ini`. An ending `.zst` stays behind that of the dumps. `x.ini`, which is what a debugger
    /// opens, makes the same three.
    #[must_use]
    pub fn of(destination: &Path) -> Self {
        let dump = dump_of(destination);
        Self {
            default: name::inserted(&dump, "-1"),
            memory: name::inserted(&dump, "-reflected"),
            configuration: name::with_ending(&dump, ".ini"),
        }
    }

    /// The bytes of the configuration file. It names files, not paths, so that the three can be moved together. Where a
    /// dump came to be called otherwise, because its name was taken, its path has to be put here before.
    ///
    /// # Errors
    /// When the file could not name a dump: it lies in another folder, or its name is not Unicode or has something in it
    /// that means something else there, such as a backslash. That can be found out before anything is captured.
    pub fn render(&self) -> Result<Vec<u8>, ConfigurationError> {
        let default = file_name(&self.default, Key::Default)?;
        let memory = file_name(&self.memory, Key::Memory)?;
        let configuration = Configuration { module: default.clone(), default, memory };
        let folder = self.configuration.parent().unwrap_or(Path::new(""));
        let Files { default, memory, .. } = configuration.files(folder);
        for (key, found, meant) in [(Key::Default, default, &self.default), (Key::Memory, memory, &self.memory)] {
            if found != *meant {
                return Err(ConfigurationError::Inexpressible { key });
            }
        }
        configuration.render()
    }
}

/// `x.dmp` for `x.ini`: with its ending a dump would be taken for a configuration file, by people and by the next
/// `--split` there.
fn dump_of(destination: &Path) -> Cow<'_, Path> {
    let name = destination.file_name().unwrap_or_default().as_encoded_bytes().to_ascii_lowercase();
    let ending = match &name[..] {
        [_, .., b'.', b'i', b'n', b'i'] => ".dmp",
        // Behind it stands the ending of what is compressed.
        [_, .., b'.', b'i', b'n', b'i', b'.', b'z', b's', b't'] => ".dmp.zst",
        _ => return Cow::Borrowed(destination),
    };
    let plain = if ending == ".dmp" { destination.to_owned() } else { destination.with_extension("") };
    Cow::Owned(name::with_ending(&plain, ending))
}

fn file_name(path: &Path, key: Key) -> Result<String, ConfigurationError> {
    let name = path.file_name().and_then(|name| name.to_str());
    Ok(name.ok_or(ConfigurationError::Inexpressible { key })?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn names(destination: &str) -> [String; 3] {
        let PairPaths { default, memory, configuration } = PairPaths::of(Path::new(destination));
        [default, memory, configuration].map(|path| path.to_str().unwrap().to_owned())
    }

    #[test]
    fn names_are_those_of_procdump() {
        assert_eq!(names("d/x.dmp"), ["d/x-1.dmp", "d/x-reflected.dmp", "d/x.ini"]);
        assert_eq!(names("x.dmp.zst"), ["x-1.dmp.zst", "x-reflected.dmp.zst", "x.ini"]);
        assert_eq!(names("x.y.mdmp"), ["x.y-1.mdmp", "x.y-reflected.mdmp", "x.y.ini"]);
        assert_eq!(names("x"), ["x-1", "x-reflected", "x.ini"]);
        assert_eq!(names(".x"), [".x-1", ".x-reflected", ".x.ini"]);
        assert_eq!(names("d/x.ini"), ["d/x-1.dmp", "d/x-reflected.dmp", "d/x.ini"]);
        assert_eq!(names("x.y.INI"), ["x.y-1.dmp", "x.y-reflected.dmp", "x.y.ini"]);
        assert_eq!(names("x.ini.zst"), ["x-1.dmp.zst", "x-reflected.dmp.zst", "x.ini"]);
        assert_eq!(names(".ini"), [".ini-1", ".ini-reflected", ".ini.ini"]);
    }

    #[test]
    fn the_configuration_names_the_dumps() {
        let bytes = PairPaths::of(Path::new("/var/procdump.dmp")).render().unwrap();
        let procdump =
            "[UserModeDump]\r\ndefault=procdump-1.dmp\r\nmemory=procdump-reflected.dmp\r\nmodule=procdump-1.dmp\r\n";
        assert_eq!(bytes, procdump.as_bytes());

        let mut paths = PairPaths::of(Path::new("größe ;\"x\".dmp"));
        paths.memory = "größe ;\"x\"-reflected-2.dmp".into();
        let configuration = Configuration::parse(&paths.render().unwrap()).unwrap();
        let files = configuration.files(Path::new(""));
        assert_eq!((files.default, files.memory), (paths.default, paths.memory));
    }

    #[test]
    fn what_the_configuration_cannot_name_is_refused() {
        let not_unicode = Path::new(OsStr::from_bytes(b"a\xff.dmp"));
        for destination in [Path::new("a\\b.dmp"), Path::new("c:b.dmp"), Path::new("a\nb.dmp"), not_unicode] {
            let refused = PairPaths::of(destination).render();
            assert_eq!(refused, Err(ConfigurationError::Inexpressible { key: Key::Default }), "{destination:?}");
        }
        let apart = PairPaths { memory: "/elsewhere/x.dmp".into(), ..PairPaths::of(Path::new("/var/x.dmp")) };
        assert_eq!(apart.render(), Err(ConfigurationError::Inexpressible { key: Key::Memory }));
    }
}
