//! A small symbol file with everything in it, and those of the corpus.

use super::*;
use crate::oracle::corpus;

const SAMPLE: &str = "MODULE Linux x86_64 ABCDEF0 program
INFO CODE_ID 1234
FILE 0 /src/a file.c
FILE 1 /src/b.h
INLINE_ORIGIN 0 first(int, int)
INLINE_ORIGIN 1 second
FUNC 1000 40 0 main(int, char**)
INLINE 0 12 0 0 1010 10 1030 4
INLINE 1 22 1 1 1014 4
1000 10 10 0
1010 4 20 1
1014 4 30 1
1018 28 11 0
FUNC m 1100 10 8 folded
PUBLIC 2000 0 somewhere else
PUBLIC m 3000 4 there
STACK CFI INIT 1000 40 .cfa: $rsp 8 + .ra: .cfa -8 + ^
STACK CFI 1001 .cfa: $rsp 16 +
STACK CFI 1004 $rbp: .cfa -16 + ^
STACK CFI INIT 1100 10 .cfa: $rsp 8 +
STACK WIN 0 4000 20 2 1 4 8 c 10 0 1
STACK WIN 4 4000 20 2 1 4 8 c 10 1 $T0 $ebp = $eip $T0 4 + ^ =
STACK WIN 0 4020 20 2 1 4 8 c 10 0 1
";

fn table() -> BreakpadTable {
    BreakpadTable::from_bytes(SAMPLE.as_bytes()).unwrap()
}

fn said(table: &BreakpadTable, offset: u64) -> Vec<String> {
    let names = table.names_at(offset);
    let line = |name: &Name| name.line.as_ref().map(|line| format!(" {}:{}", line.file, line.line)).unwrap_or_default();
    names.iter().map(|name| format!("{:#x} {}{}", name.start, name.function, line(name))).collect()
}

#[test]
fn functions_inlined_calls_and_lines() {
    let table = table();
    assert_eq!(table.id(), "ABCDEF0");
    assert_eq!(said(&table, 0x1000), ["0x1000 main(int, char**) /src/a file.c:10"]);
    assert_eq!(
        said(&table, 0x1015),
        [
            "0x1014 second /src/b.h:30",
            "0x1010 first(int, int) /src/b.h:22",
            "0x1000 main(int, char**) /src/a file.c:12"
        ]
    );
    assert_eq!(
        said(&table, 0x1030),
        ["0x1030 first(int, int) /src/a file.c:11", "0x1000 main(int, char**) /src/a file.c:12"]
    );
    assert_eq!(said(&table, 0x1100), ["0x1100 folded"]);
    assert_eq!(said(&table, 0x2100), ["0x2000 somewhere else"]);
    assert_eq!(said(&table, 0x3fff), ["0x3000 there"]);
    assert!(said(&table, 0x1050).is_empty() && said(&table, 0).is_empty());
}

#[test]
fn symbols_below_and_by_name() {
    let table = table();
    assert_eq!(table.symbol_at(0x1050).unwrap().name, "main(int, char**)");
    assert_eq!(table.symbol_at(0x2500).unwrap().name, "somewhere else");
    assert_eq!(table.symbol_at(0xfff), None);
    let mut found = Vec::new();
    table.find("*e*e*", &mut |symbol| {
        found.push(symbol.name.to_string());
        ControlFlow::Continue(())
    });
    assert_eq!(found, ["somewhere else", "there"]);
}

#[test]
fn other_files_are_refused() {
    assert!(BreakpadTable::from_bytes(*b"").is_none());
    assert!(BreakpadTable::from_bytes(*b"FUNC 1000 40 0 main\n").is_none());
    assert!(matches!(BreakpadTable::open(Path::new("/dev/null")), Err(BreakpadError::NotSymbols { .. })));
    assert!(matches!(BreakpadTable::open(Path::new("/nowhere/x.sym")), Err(BreakpadError::Read { .. })));
}

#[test]
fn symbol_files_of_the_corpus() {
    let Some(corpus) = corpus() else { return };
    let open = |path: &str| BreakpadTable::open(&corpus.join(path)).unwrap();
    let app = open("rust-minidump/symbols/test_app.pdb/5A9832E5287241C1838ED98914E9B7FF1/test_app.sym");
    assert!(said(&app, 0x429a)[0].starts_with("0x4290 `anonymous namespace'::CrashFunction "));
    for kind in ["new", "old"] {
        let folder = "breakpad/symbols/linux_inline/BBA6FA10B8AAB33D00000000000000000";
        let inlined = open(&format!("{folder}/linux_inline.{kind}.sym"));
        let names: Vec<_> = inlined.names_at(0x15b90).into_iter().map(|name| name.function.to_string()).collect();
        assert_eq!(names, ["func()", "bar()", "foo()", "main"], "{kind}");
    }
}

/// Every line cut short, and lines in any order.
#[test]
fn damaged_files_are_no_harm() {
    for cut in 0..SAMPLE.len() {
        let mut text = SAMPLE.as_bytes()[..cut].to_vec();
        text.extend_from_slice(&SAMPLE.as_bytes()[cut.saturating_sub(300)..]);
        let Some(table) = BreakpadTable::from_bytes(text) else { continue };
        for offset in [0, 0x1000, 0x1015, 0x1103, 0x2000, 0x4010, u64::MAX] {
            let _ = (table.names_at(offset), table.symbol_at(offset));
        }
    }
}
