//! Where a benchmark takes place: the built programs, the disk that is written to, the memory that is copied from.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::interrupt::Interrupt;
use crate::step::{self, announce};
use crate::workspace::{Workspace, cargo};

/// Everything that all measurements share. Its folders, and what is in them, go away with it.
pub(crate) struct Arena {
    effigy: PathBuf,
    big: PathBuf,
    output: Folder,
    memory: Folder,
    search_path: OsString,
    interrupt: Interrupt,
}

/// The effigy that is measured.
pub(crate) enum Program {
    /// That of this workspace.
    Built,
    /// Another one.
    Given(PathBuf),
}

impl Program {
    /// Where it is, once it is there.
    fn ready(self, workspace: &Workspace) -> Result<PathBuf> {
        match self {
            Self::Given(path) => path.canonicalize().with_context(|| format!("cannot find {}", path.display())),
            Self::Built => {
                announce("cargo build --release --package effigy");
                let built = step::run(cargo().args(["build", "--release", "--locked", "--package", "effigy"]))?;
                ensure!(built.passed(), "effigy does not build");
                Ok(workspace.target().join("release/effigy"))
            }
        }
    }
}

impl Arena {
    /// Builds what is measured and makes room for what it writes.
    pub(crate) fn prepare(
        workspace: &Workspace,
        folder: &Path,
        program: Program,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let effigy = program.ready(workspace);
        interrupt.check()?;
        let effigy = effigy?;
        let big = workspace.target().join("bench-big");
        announce("gcc tests/targets/big.c");
        let source = workspace.root().join("tests/targets/big.c");
        let compiled = step::run(Command::new("gcc").args(["-O2", "-g", "-pthread", "-o"]).arg(&big).arg(&source))?;
        ensure!(compiled.passed(), "{} does not compile", source.display());
        let own = format!("effigy-bench-{}", std::process::id());
        Ok(Self {
            effigy,
            big,
            output: Folder::make(folder.join(&own))?,
            memory: Folder::make(Path::new("/dev/shm").join(own))?,
            search_path: workspace.search_path()?,
            interrupt: interrupt.clone(),
        })
    }

    pub(crate) fn effigy(&self) -> &Path {
        &self.effigy
    }

    /// The target program of the benchmarks.
    pub(crate) fn big(&self) -> &Path {
        &self.big
    }

    /// A folder on the disk that is measured.
    pub(crate) fn output(&self) -> &Path {
        &self.output.0
    }

    /// A folder in memory, for what must not touch the disk.
    pub(crate) fn memory(&self) -> &Path {
        &self.memory.0
    }

    pub(crate) fn search_path(&self) -> &OsString {
        &self.search_path
    }

    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Makes the next run start as the first one did: nothing of ours on the disk, nothing waiting to be written there.
    pub(crate) fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(self.output()).context("cannot list the output folder")? {
            let entry = entry?;
            let path = entry.path();
            let removed = if entry.file_type()?.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| format!("cannot remove {}", path.display()))?;
        }
        rustix::fs::sync();
        self.interrupt.check()?;
        Ok(())
    }

    /// A file in memory of so many bytes that no compressor and no search for zeros can make smaller.
    pub(crate) fn incompressible_file(&self, bytes: u64) -> Result<SourceFile> {
        let source = SourceFile(self.memory().join("source"));
        let mut file = File::create(&source.0).with_context(|| format!("cannot create {}", source.0.display()))?;
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut left = bytes;
        let mut block = vec![0; 1 << 20];
        while left > 0 {
            self.interrupt.check()?;
            for word in block.chunks_exact_mut(8) {
                // Marsaglia's xorshift64.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                word.copy_from_slice(&state.to_ne_bytes());
            }
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
            file.write_all(&block[..part]).with_context(|| format!("cannot fill {}", source.0.display()))?;
            left -= u64::try_from(part)?;
        }
        Ok(source)
    }
}

/// A file that is there as long as this is.
pub(crate) struct SourceFile(PathBuf);

impl SourceFile {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SourceFile {
    fn drop(&mut self) {
        // The folder it is in goes away too, and says so when it cannot.
        let _ = fs::remove_file(&self.0);
    }
}

/// A folder that is there as long as this is.
struct Folder(PathBuf);

impl Folder {
    fn make(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}
