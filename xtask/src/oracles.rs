//! Other people's tools and programs that check ours: which there are, and which of them this machine has.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step;

/// Something that the tests want on the machine.
pub(crate) struct Oracle {
    /// What people call it.
    pub(crate) name: &'static str,
    /// What it does for us.
    pub(crate) job: &'static str,
    pub(crate) source: Source,
    probe: Probe,
}

/// Where an oracle can be had.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// Packages of Debian and its kin.
    Packages(&'static [&'static str]),
    /// A Rust program, in the version that our tests were written against.
    Cargo { krate: &'static str, version: &'static str },
}

/// How one sees whether an oracle is there.
enum Probe {
    /// A program of this name in `PATH`.
    Program(&'static str),
    /// A program of this name in `PATH`, or in one of the folders that match.
    ProgramIn(&'static str, VersionedFolder),
    /// A folder with something in it.
    Folder(&'static str),
    /// The C compiler can make 32-bit programs.
    Compiles32,
}

/// `<parent>/<any version>/<child>`, where distributions put what can be installed in several versions.
struct VersionedFolder {
    parent: &'static str,
    child: &'static str,
}

/// All of them.
#[rustfmt::skip]
pub(crate) const ORACLES: &[Oracle] = &[
    debian("gdb", "reads cores, backtraces live processes; gcore comes with it", &["gdb"]),
    debian("lldb-19", "reads minidumps", &["lldb-19"]),
    debian("eu-stack", "reads cores", &["elfutils"]),
    debian("debuginfod", "gives image files to who asks for them by build id", &["debuginfod"]),
    debian("openssl", "is a server that speaks TLS", &["openssl"]),
    debian("gcc", "builds the targets", &["gcc", "libc6-dev"]),
    Oracle {
        name: "gcc -m32", job: "builds 32-bit targets",
        source: Source::Packages(&["gcc-multilib"]), probe: Probe::Compiles32,
    },
    Oracle {
        name: "libc6-dbg", job: "lets gdb find threads and unwind through the C library",
        source: Source::Packages(&["libc6-dbg"]), probe: Probe::Folder("/usr/lib/debug/.build-id"),
    },
    debian("go", "builds a Go target", &["golang-go"]),
    debian("redis-server", "is a target", &["redis-server"]),
    debian("redis-benchmark", "keeps Redis busy", &["redis-tools"]),
    Oracle {
        name: "postgres", job: "is a target", source: Source::Packages(&["postgresql"]),
        probe: Probe::ProgramIn("postgres", VersionedFolder { parent: "/usr/lib/postgresql", child: "bin" }),
    },
    // A target is compiled as it starts, which a runtime without the compiler cannot do.
    Oracle {
        name: "java", job: "is a target",
        source: Source::Packages(&["default-jdk-headless"]), probe: Probe::Program("javac"),
    },
    debian("node", "is a target", &["nodejs"]),
    debian("python3", "is a target", &["python3"]),
    debian("strace", "is another tracer", &["strace"]),
    debian("unshare", "makes namespaces", &["util-linux"]),
    debian("zstd", "reads compressed dumps", &["zstd"]),
    Oracle {
        name: "minidump-stackwalk", job: "reads minidumps",
        source: Source::Cargo { krate: "minidump-stackwalk", version: "0.27.0" },
        probe: Probe::Program("minidump-stackwalk"),
    },
    Oracle {
        name: "cargo-deny", job: "checks licences and sources of dependencies",
        source: Source::Cargo { krate: "cargo-deny", version: "0.20.2" }, probe: Probe::Program("cargo-deny"),
    },
    debian("g++", "builds the fuzzer and programs to look up", &["g++"]),
    debian("addr2line", "tells names and lines; nm, objdump, objcopy and dwp come with it", &["binutils"]),
    debian("dwz", "lets two programs share their debug information", &["dwz"]),
    debian("xz", "packs symbols into a program", &["xz-utils"]),
    Oracle {
        name: "cargo-fuzz", job: "makes hostile files",
        source: Source::Cargo { krate: "cargo-fuzz", version: "0.13.2" }, probe: Probe::Program("cargo-fuzz"),
    },
];

const fn debian(program: &'static str, job: &'static str, packages: &'static [&'static str]) -> Oracle {
    Oracle { name: program, job, source: Source::Packages(packages), probe: Probe::Program(program) }
}

impl Oracle {
    /// Whether this machine has it, when programs are looked for along `search_path`.
    pub(crate) fn is_present(&self, search_path: &OsStr) -> bool {
        match &self.probe {
            Probe::Program(name) => find_program(name, search_path).is_some(),
            Probe::ProgramIn(name, folder) => {
                find_program(name, search_path).is_some() || folder.all().any(|folder| is_program(&folder.join(name)))
            }
            Probe::Folder(path) => fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()),
            Probe::Compiles32 => compiles_32(search_path),
        }
    }

    /// How a person would get it.
    pub(crate) fn remedy(&self) -> String {
        match self.source {
            Source::Packages(packages) => format!("apt-get install {}", packages.join(" ")),
            Source::Cargo { krate, version } => format!("cargo install --locked --version {version} {krate}"),
        }
    }
}

impl VersionedFolder {
    fn all(&self) -> impl Iterator<Item = PathBuf> {
        fs::read_dir(self.parent).into_iter().flatten().flatten().map(|version| version.path().join(self.child))
    }
}

/// The oracles that this machine lacks.
pub(crate) fn missing(search_path: &OsStr) -> Vec<&'static Oracle> {
    ORACLES.iter().filter(|oracle| !oracle.is_present(search_path)).collect()
}

/// The first program of that name along a search path.
pub(crate) fn find_program(name: &str, search_path: &OsStr) -> Option<PathBuf> {
    env::split_paths(search_path).map(|folder| folder.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Links a program, because the headers alone come with more packages than the start files and libgcc do.
fn compiles_32(search_path: &OsStr) -> bool {
    let source = env::temp_dir().join(format!("effigy-probe-{}.c", std::process::id()));
    if fs::write(&source, "#include <pthread.h>\nint main(void) { return 0; }\n").is_err() {
        return false;
    }
    let linked = step::succeeds(
        Command::new("gcc").args(["-m32", "-pthread", "-o", "/dev/null"]).arg(&source).env("PATH", search_path),
    );
    // Left behind at worst: a few bytes among temporary files.
    let _ = fs::remove_file(&source);
    linked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_along_the_path_and_nowhere_else() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = folder.path().join("tool");
        fs::write(&program, "").expect("a file");
        assert_eq!(find_program("tool", folder.path().as_os_str()), None, "a file that cannot be run is no program");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("permissions");
        assert_eq!(find_program("tool", folder.path().as_os_str()), Some(program));
        assert_eq!(find_program("tool", OsStr::new("/nonexistent")), None);
    }

    #[test]
    fn every_oracle_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = ORACLES.iter().map(|oracle| oracle.name).collect();
        assert_eq!(names.len(), ORACLES.len());
    }
}
