//! From the names in a configuration to files.

use std::io;
use std::path::{Path, PathBuf};

use super::{Configuration, Key, PairError};

/// Paths of the dumps that a configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Of the dump with threads and everything else that has no key of its own.
    pub default: PathBuf,
    /// Of the dump with the memory.
    pub memory: PathBuf,
    /// Of the dump with the modules; mostly one of the two.
    pub module: PathBuf,
}

/// The dumps, opened: `B` is what their bytes are, a `Vec`, a mapping, or something decompressed.
#[derive(Clone, Debug)]
pub struct Opened<B> {
    pub(super) files: Files,
    pub(super) default: B,
    pub(super) memory: B,
    pub(super) module: Module<B>,
}

/// Where the modules are.
#[derive(Clone, Debug)]
pub(super) enum Module<B> {
    Default,
    Memory,
    Own(B),
}

impl Configuration {
    /// Where the names lead for a configuration file in `folder`.
    ///
    /// Names are relative to it. A backslash separates like a slash. A name with a drive, or one that begins with a
    /// backslash, is a path of another machine, and its last component is looked for beside the configuration file, which
    /// is where the three were written.
    #[must_use]
    pub fn files(&self, folder: &Path) -> Files {
        let path = |key| folder.join(on_this_machine(self.get(key)));
        Files { default: path(Key::Default), memory: path(Key::Memory), module: path(Key::Module) }
    }
}

impl Files {
    /// The path for a key.
    #[must_use]
    pub fn get(&self, key: Key) -> &Path {
        match key {
            Key::Default => &self.default,
            Key::Memory => &self.memory,
            Key::Module => &self.module,
        }
    }

    /// Opens the files by `open`, which should take regular files only: the paths may come from anywhere.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn open<B>(self, mut open: impl FnMut(&Path) -> io::Result<B>) -> Result<Opened<B>, PairError> {
        let mut bytes = |key| {
            let path = self.get(key);
            open(path).map_err(|source| PairError::Open { key, path: path.to_owned(), source })
        };
        let default = bytes(Key::Default)?;
        let memory = bytes(Key::Memory)?;
        let module = if self.module == self.default {
            Module::Default
        } else if self.module == self.memory {
            Module::Memory
        } else {
            Module::Own(bytes(Key::Module)?)
        };
        Ok(Opened { files: self, default, memory, module })
    }
}

/// Whether a value's last component can be a file.
pub(super) fn names_a_file(value: &str) -> bool {
    !matches!(last_component(without_drive(value).unwrap_or(value)), "" | "." | "..")
}

/// A path with slashes, of this machine.
fn on_this_machine(value: &str) -> String {
    match without_drive(value) {
        Some(path) => last_component(path).to_owned(),
        None if value.starts_with('\\') => last_component(value).to_owned(),
        None => value.replace('\\', "/"),
    }
}

/// What follows a Windows drive's letter and colon.
fn without_drive(value: &str) -> Option<&str> {
    let path = value.strip_prefix(|letter: char| letter.is_ascii_alphabetic())?;
    path.strip_prefix(':')
}

fn last_component(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_beside_the_configuration() {
        for (name, path) in [
            ("a-1.dmp", "dumps/a-1.dmp"),
            ("sub\\a.dmp", "dumps/sub/a.dmp"),
            ("..\\a.dmp", "dumps/../a.dmp"),
            ("sub/a.dmp", "dumps/sub/a.dmp"),
            ("D:\\temp\\a.dmp", "dumps/a.dmp"),
            ("d:a.dmp", "dumps/a.dmp"),
            ("C:/temp/a.dmp", "dumps/a.dmp"),
            ("\\temp\\a.dmp", "dumps/a.dmp"),
            ("\\\\server\\share\\a.dmp", "dumps/a.dmp"),
            ("\\\\?\\C:\\a.dmp", "dumps/a.dmp"),
            ("/var/a.dmp", "/var/a.dmp"),
            ("12:30.dmp", "dumps/12:30.dmp"),
            ("ä:b", "dumps/ä:b"),
        ] {
            let names = Configuration { default: name.into(), memory: "m".into(), module: "m".into() };
            assert_eq!(names.files(Path::new("dumps")).default, Path::new(path), "{name}");
        }
    }

    #[test]
    fn a_file_that_is_named_twice_is_opened_once() {
        for (module, expected) in [("d", 2), ("m", 2), ("x", 3)] {
            let names = Configuration { default: "d".into(), memory: "m".into(), module: module.into() };
            let mut count = 0;
            let opened = names.files(Path::new("")).open(|_| {
                count += 1;
                Ok(())
            });
            assert!(opened.is_ok());
            assert_eq!(count, expected);
        }
    }

    #[test]
    fn a_missing_file_is_named_with_its_key() {
        let names = Configuration { default: "d".into(), memory: "m".into(), module: "x".into() };
        for (missing, expected) in [("f/d", Key::Default), ("f/m", Key::Memory), ("f/x", Key::Module)] {
            let opened = names.files(Path::new("f")).open(|path| {
                if path == Path::new(missing) { Err(io::Error::from(io::ErrorKind::NotFound)) } else { Ok(()) }
            });
            let error = opened.unwrap_err();
            assert!(matches!(&error, PairError::Open { key, .. } if *key == expected));
            assert_eq!(
                error.to_string(),
                format!("opening {missing}, which the configuration file names as {expected}=")
            );
        }
    }
}
