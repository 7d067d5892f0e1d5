//! Other people's dumps, whose programs and symbols are beside them.

use std::path::{Path, PathBuf};

use super::tally::Tally;
use super::{backtraces, stacks_of};
use crate::harness::{effigy, gdb_core, oracle, scratch, stackwalk_with_symbols};
use crate::reading::corpus;

/// Minidumps with symbol files in Breakpad's format, and where those are.
const WITH_SYMBOLS: &[(&str, &str)] = &[
    ("rust-minidump/test.dmp", "rust-minidump/symbols"),
    ("rust-minidump/simple-crashpad.dmp", "rust-minidump/symbols"),
    ("breakpad/null_read_av.dmp", "breakpad/symbols"),
    ("breakpad/linux_overflow.dmp", "breakpad/symbols"),
    ("breakpad/linux_inline.dmp", "breakpad/symbols"),
];

#[test]
fn minidumps_with_symbol_files() {
    let (Some(corpus), Some(tool)) = (corpus(), oracle("minidump-stackwalk")) else { return };
    let mut tally = Tally::new("minidumps", "minidump-stackwalk");
    for (dump, symbols) in WITH_SYMBOLS {
        let (dump, symbols) = (corpus.join(dump), corpus.join(symbols));
        let answer = stacks_of(&dump, &["--symbol-path", symbols.to_str().unwrap()]);
        let theirs = stackwalk_with_symbols(&tool, &dump, &symbols);
        tally.compare(&backtraces(&answer), &theirs);
    }
    tally.expect(20);
}

fn generated(corpus: &Path, name: &str) -> PathBuf {
    corpus.join("generated").join(name)
}

#[test]
fn cores_whose_program_is_there() {
    let (Some(corpus), Some(gdb)) = (corpus(), oracle("gdb")) else { return };
    let exe = generated(&corpus, "crashme");
    let mut tally = Tally::new("cores", "gdb");
    for name in ["kernel-6.18-crash.core", "gdb13-gcore.core"] {
        let core = generated(&corpus, name);
        let answer = stacks_of(&core, &["--image-path", corpus.join("generated").to_str().unwrap()]);
        tally.compare(&backtraces(&answer), &gdb_core(&gdb, &exe, &core));
    }
    tally.expect(4);
}

/// The functions of a Windows dump, from the PDB that lies beside it.
#[test]
fn a_windows_dump_with_its_pdb() {
    let Some(corpus) = corpus() else { return };
    let dump = corpus.join("lldb/Inputs_sigsegv.dmp");
    let answer = stacks_of(&dump, &["--symbol-path", corpus.join("lldb").to_str().unwrap()]);
    assert!(answer.to_string().contains("\"function\":\"crash(bool)\""), "{answer}");
}

/// What PDBs and symbol files told is kept, and a second look tells the same.
#[test]
fn the_index_keeps_what_symbol_files_told() {
    let Some(corpus) = corpus() else { return };
    let cache = scratch();
    for (dump, symbols) in [("lldb/Inputs_sigsegv.dmp", "lldb"), WITH_SYMBOLS[0]] {
        let (dump, symbols) = (corpus.join(dump), corpus.join(symbols));
        let look = || {
            let arguments = ["stacks", "--json", dump.to_str().unwrap(), "--symbol-path", symbols.to_str().unwrap()];
            let look = effigy(arguments).env("XDG_CACHE_HOME", cache.path().to_str().unwrap()).within(60);
            look.run().expect(0).json()
        };
        let kept = || {
            let groups = cache.path().join("effigy/names").read_dir().into_iter().flatten().flatten();
            groups.flat_map(|group| group.path().read_dir().into_iter().flatten().flatten()).count()
        };
        let before = kept();
        let first = look();
        assert!(kept() > before, "nothing was kept of {}", dump.display());
        assert_eq!(first, look());
    }
}
