//! Builds the targets: those in C once for each source and flags, those in Go where a test says.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, process, thread};

use super::oracle;

const FLAGS: [&str; 6] = ["-O1", "-g", "-pthread", "-fno-omit-frame-pointer", "-fno-inline", "-w"];

/// Where the sources are.
pub(crate) fn source_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/targets").canonicalize().unwrap()
}

/// Builds `NAME.c` with the flags that all targets have and `extra`, unless that was done before; gives the program.
pub(crate) fn compile(name: &str, extra: &[&str]) -> PathBuf {
    let source = source_dir().join(format!("{name}.c"));
    let mut hasher = DefaultHasher::new();
    (FLAGS, extra).hash(&mut hasher);
    fs::read(&source).unwrap().hash(&mut hasher);
    headers().for_each(|header| fs::read(header).unwrap().hash(&mut hasher));
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("target-{:016x}", hasher.finish()));
    let program = dir.join(name);
    if program.exists() {
        return program;
    }
    fs::create_dir_all(&dir).unwrap();
    // Tests run at the same time and may build the same target: each builds beside the name, and the first gives its
    // program that name. To replace it would make the files that others run already deleted ones.
    let unfinished = dir.join(format!(".{name}.{}.{:?}", process::id(), thread::current().id()));
    let output = Command::new("gcc")
        .args(FLAGS)
        .args(extra)
        .arg(&source)
        .arg("-o")
        .arg(&unfinished)
        .output()
        .expect("gcc is needed for the behaviour tests");
    assert!(output.status.success(), "gcc failed on {name}: {}", String::from_utf8_lossy(&output.stderr));
    match fs::hard_link(&unfinished, &program) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => panic!("{}: {error}", program.display()),
        _ => fs::remove_file(&unfinished).unwrap(),
    }
    program
}

/// Builds `NAME.go` as `program`, without a network; `false` where there is no Go.
pub(crate) fn compile_go(name: &str, flags: &[&str], program: &Path) -> bool {
    let Some(go) = oracle("go") else { return false };
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut build = Command::new(go);
    build.arg("build").args(flags).arg("-o").arg(program).arg(source_dir().join(format!("{name}.go")));
    build.env("GOCACHE", kept.join("go-cache")).env("GOPATH", kept.join("go-path"));
    build.env("GOFLAGS", "-mod=mod").env("GOPROXY", "off").current_dir(program.parent().unwrap());
    let output = build.output().unwrap();
    assert!(output.status.success(), "go failed on {name}: {}", String::from_utf8_lossy(&output.stderr));
    true
}

/// What sources include, in a fixed order.
fn headers() -> impl Iterator<Item = PathBuf> {
    let mut headers: Vec<_> = source_dir().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    headers.retain(|path| path.extension().is_some_and(|ending| ending == "h"));
    headers.sort();
    headers.into_iter()
}
