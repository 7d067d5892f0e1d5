//! A place that another user can reach: programs and dumps under the test's own folders may not be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Effigy, Run, State, Target, Tolerance, compile};

/// The user id of nobody.
pub(crate) const NOBODY: u32 = 65534;

/// A folder that anybody may read and write, with a copy of the program under test.
pub(crate) struct Elsewhere {
    dir: TempDir,
    effigy: PathBuf,
}

impl Elsewhere {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("behaviour-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let effigy = dir.path().join("effigy");
        fs::copy(env!("CARGO_BIN_EXE_effigy"), &effigy).unwrap();
        Self { dir, effigy }
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// A copy of a C target.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        let program = self.dir.path().join(name);
        fs::copy(compile(name, &[]), &program).unwrap();
        program
    }

    /// Where [`Elsewhere::dump_as_nobody`] writes.
    pub(crate) fn output(&self) -> PathBuf {
        self.dir.path().join("nobody.dmp")
    }

    /// `effigy` as the user nobody.
    pub(crate) fn as_nobody(&self, arguments: &[&str]) -> Run {
        let wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", self.effigy.to_str().unwrap()];
        Effigy::through(&wrapper, arguments).run()
    }

    /// `effigy dump` as the user nobody; the target must be unharmed.
    #[track_caller]
    pub(crate) fn dump_as_nobody(&self, target: &Target, arguments: &[&str]) -> Run {
        let (out, pid) = (self.output(), target.pid_text());
        let before = State::of(target.pid);
        let words = [&["dump", &pid, "-o", out.to_str().unwrap()], arguments].concat();
        let run = self.as_nobody(&words);
        before.assert_unharmed(Tolerance::STRICT);
        run
    }
}
