//! Programs that get privileges by their files, and lose them while somebody without privileges traces them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Effigy, Elsewhere, is_root, skip};

/// A program that says whose rights it has, and has those of root by its file; `None` where files give none.
fn given(place: &Elsewhere) -> Option<PathBuf> {
    let program = place.folder().join("whoami");
    fs::copy("/usr/bin/id", &program).unwrap();
    chown(&program, Some(0), Some(0)).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    let alone = Command::new("setpriv").args(AS_NOBODY).arg(&program).stdin(Stdio::null()).output().unwrap();
    said_root(&alone.stdout).then_some(program)
}

const AS_NOBODY: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];

fn said_root(output: &[u8]) -> bool {
    String::from_utf8_lossy(output).contains("euid=0")
}

/// A shell that becomes that program: one which was launched itself has not been anybody before.
const BECOME: [&str; 3] = ["sh", "-c", "exec \"$0\""];

#[test]
fn withheld_from_a_users_program() {
    if !is_root() {
        return skip("making a set-user-ID program needs root");
    }
    let place = Elsewhere::new();
    let Some(program) = given(&place) else {
        return skip("files in the folder for temporary files give no privileges");
    };
    let program = program.to_str().unwrap();
    for words in [&[program][..], &[&BECOME[..], &[program]].concat()] {
        let run = place.as_nobody(&[&["run", "--json", "--include", "no such text", "--"], words].concat()).expect(0);
        assert!(!said_root(&run.stdout), "{:?}", String::from_utf8_lossy(&run.stdout));
        let told: Value = serde_json::from_str(run.stderr.trim()).unwrap();
        assert_eq!(told["event"], "withheld", "{told}");
        let text = told["text"].as_str().unwrap();
        assert!(text.contains("the rights of user 0") && text.contains("whoami"), "{text}");
    }
    // One that has nothing to lose is not spoken of.
    assert_eq!(place.as_nobody(&["run", "--", "id"]).expect(0).stderr, "");
}

#[test]
fn given_when_root_traces() {
    if !is_root() {
        return skip("making a set-user-ID program needs root");
    }
    let place = Elsewhere::new();
    let Some(program) = given(&place) else {
        return skip("files in the folder for temporary files give no privileges");
    };
    let words = [&["run", "--", "setpriv"], &AS_NOBODY[..], &BECOME, &[program.to_str().unwrap()]].concat();
    let run = Effigy::by(&["env"], &words).run().expect(0);
    assert!(said_root(&run.stdout), "{:?}", String::from_utf8_lossy(&run.stdout));
    assert_eq!(run.stderr, "");
}
