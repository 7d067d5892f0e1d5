//! Small programs with every form of debug and unwind information that the compiler here can write.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::step;

/// What all are made of.
const SOURCE: &str = include_str!("source.cpp");
/// No library, and offsets in the file that are those in memory, so that the file is what is loaded.
const LINKED: [&str; 8] = [
    "-nostdlib",
    "-static",
    "-fno-rtti",
    "-fno-exceptions",
    "-fno-stack-protector",
    "-Wl,-z,noseparate-code,-z,norelro,--eh-frame-hdr,--build-id=sha1",
    "-Wl,-Ttext-segment=0x10000",
    "-fasynchronous-unwind-tables",
];
/// Without debug information, as unwinding needs none.
const PLAIN: [&[&str]; 4] = [
    &["-O2", "-s"],
    &["-O0", "-s", "-fno-omit-frame-pointer"],
    &["-Os", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-omit-frame-pointer"],
    &["-O2", "-gdwarf-4", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"],
];
const WITH_DEBUG: [&[&str]; 9] = [
    &["-O2", "-gdwarf-5"],
    &["-O2", "-gdwarf-4"],
    &["-O2", "-gdwarf-4", "-fdebug-types-section"],
    &["-O1", "-gdwarf-3"],
    &["-O1", "-gdwarf-2", "-gstrict-dwarf"],
    &["-O2", "-gdwarf-5", "-gdwarf64"],
    &["-O2", "-gdwarf-5", "-gsplit-dwarf"],
    &["-O2", "-gdwarf-5", "-gz=zlib"],
    &["-O0", "-g3", "-ffunction-sections"],
];

/// Programs, each compiled once.
pub(super) struct Objects<'a> {
    folder: PathBuf,
    search_path: &'a OsStr,
}

impl<'a> Objects<'a> {
    pub(super) fn new(folder: PathBuf, search_path: &'a OsStr) -> Self {
        Self { folder, search_path }
    }

    /// For unwinding: those of the smallest size.
    pub(super) fn plain(&self) -> Result<Vec<Vec<u8>>> {
        self.made("plain", &PLAIN)
    }

    /// With debug information in several versions and forms.
    pub(super) fn with_debug(&self) -> Result<Vec<Vec<u8>>> {
        self.made("debug", &WITH_DEBUG)
    }

    /// What the compiler makes with each set of options. What it cannot do is said and left out: it is not the same on
    /// every system.
    fn made(&self, name: &str, options: &[&[&str]]) -> Result<Vec<Vec<u8>>> {
        fs::create_dir_all(&self.folder).with_context(|| format!("cannot make {}", self.folder.display()))?;
        let source = self.folder.join("source.cpp");
        fs::write(&source, SOURCE).with_context(|| format!("cannot write {}", source.display()))?;
        let mut made = Vec::new();
        for (index, options) in options.iter().enumerate() {
            let program = self.folder.join(format!("{name}-{index}"));
            let mut command = Command::new("g++");
            command.args(LINKED).args(*options).arg("-o").args([&program, &source]);
            // Split debug information goes where the compiler stands.
            command.current_dir(&self.folder).env("PATH", self.search_path);
            if !step::succeeds(&mut command) {
                println!("    no seed of `g++ {}`: that does not work here", options.join(" "));
                continue;
            }
            for path in [program.clone(), with_ending(&program, "-source.dwo")] {
                match fs::read(&path) {
                    Ok(bytes) => made.push(bytes),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
                }
            }
        }
        Ok(made)
    }
}

fn with_ending(path: &std::path::Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}
