//! The PDBs of the corpus: what Breakpad's own tools made of one of them, and names that are known.

use std::fs;

use super::*;
use crate::breakpad::BreakpadTable;
use crate::oracle::corpus;

/// A PDB says at every line of code what the symbol file says that was made of it years ago. That knows no inlined calls,
/// and has their lines as the function's or as those of what was inlined.
#[test]
fn lines_are_those_of_the_symbol_file() {
    let Some(corpus) = corpus() else { return };
    let folder = corpus.join("symbolic/symbols");
    let pdb = PdbTable::open(&folder.join("windows_crash.pdb")).unwrap();
    let symbols = BreakpadTable::open(&folder.join("windows_crash.sym")).unwrap();
    let mut compared = 0;
    let mut different = Vec::new();
    for offset in (0x1000..0x3700).step_by(3) {
        let Some(theirs) = symbols.names_at(offset).pop().filter(|name| name.line.is_some()) else { continue };
        let ours = pdb.names_at(offset);
        compared += 1;
        let expected = theirs.line.map(|line| line.line);
        let fits = ours.iter().any(|name| name.line.as_ref().map(|line| line.line) == expected);
        if ours.last().map(|name| name.start) != Some(theirs.start) || !fits {
            different.push((offset, theirs.function, ours));
        }
    }
    println!("{compared} compared, {} differ: {:?}", different.len(), different.iter().take(5).collect::<Vec<_>>());
    assert!(compared > 1000 && different.len() * 20 <= compared, "{} of {compared}", different.len());
}

#[test]
fn names_of_functions() {
    let Some(corpus) = corpus() else { return };
    let pdb = PdbTable::open(&corpus.join("symbolic/symbols/windows_crash.pdb")).unwrap();
    let names = pdb.names_at(0x2910);
    assert!(names[0].function.to_string().starts_with("main("), "{names:?}");
    assert_eq!((names[0].start, names[0].size), (0x2910, Some(0x15e)));
    let line = names[0].line.as_ref().unwrap();
    assert_eq!(line.line, 33);
    assert!(line.file.ends_with(b"main.cpp"), "{line:?}");
    let symbol = pdb.symbol_at(0x2920).unwrap();
    assert_eq!(symbol.offset, 0x2910);
    let mut found = Vec::new();
    pdb.find("main*", &mut |symbol| {
        found.push(symbol.name.to_string());
        ControlFlow::Continue(())
    });
    assert!(
        found.iter().any(|name| name.starts_with("main(")) && found.iter().any(|name| name.contains("mainCRTStartup"))
    );
    let mut count = 0;
    pdb.find("*", &mut |_| {
        count += 1;
        ControlFlow::Break(())
    });
    assert_eq!(count, 1);
    // A search that nobody listened to leaves the thread alive.
    assert_eq!(pdb.names_at(0x2910), names);
    assert!(pdb.names_at(u64::MAX).is_empty() && pdb.names_at(0x7000_0000).is_empty());
}

#[test]
fn what_is_no_pdb_has_no_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pdb");
    fs::write(&path, b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0").unwrap();
    let pdb = PdbTable::open(&path).unwrap();
    assert!(pdb.names_at(0x1000).is_empty() && pdb.symbol_at(0x1000).is_none());
    pdb.find("*", &mut |_| ControlFlow::Continue(()));
    assert!(matches!(PdbTable::open(folder.path()), Err(PdbError::NotAFile { .. })));
    assert!(matches!(PdbTable::open(&folder.path().join("none")), Err(PdbError::Read { .. })));
}

#[test]
fn a_table_is_asked_by_many_threads() {
    let Some(corpus) = corpus() else { return };
    let pdb = PdbTable::open(&corpus.join("lldb/sigsegv.pdb")).unwrap();
    let mut found = Vec::new();
    pdb.find("*", &mut |symbol| {
        found.push(symbol);
        ControlFlow::Continue(())
    });
    assert!(!found.is_empty());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for symbol in found.iter().take(50) {
                    assert_eq!(pdb.symbol_at(symbol.offset).unwrap().name, symbol.name);
                }
            });
        }
    });
}
