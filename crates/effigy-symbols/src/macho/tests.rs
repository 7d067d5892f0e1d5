//! A program for macOS of the corpus, beside the symbol file that was made of it.

use super::*;
use crate::breakpad::BreakpadTable;
use crate::demangle;
use crate::oracle::corpus;

#[test]
fn where_functions_begin() {
    assert_eq!(starts(&[0x80, 0x20, 0x10, 0]), [0x1000, 0x1010]);
    assert_eq!(starts(&[]), [0; 0]);
    let _ = starts(&[0xff; 64]);
}

#[test]
fn functions_are_those_of_the_symbol_file() {
    let Some(corpus) = corpus() else { return };
    let folder = corpus.join("symbolic/symbols");
    let image = Arc::new(Image::open(&folder.join("macos_crash")).unwrap());
    let table = MachOTable::new(&image).unwrap();
    let file = BreakpadTable::open(&folder.join("macos_crash.sym")).unwrap();
    let (mut compared, mut different) = (0, Vec::new());
    let code = code_of(&image);
    file.find("*", &mut |theirs| {
        let ours = table.names_at(theirs.offset + 1).pop();
        if theirs.name == "<name omitted>" || holding(&code, theirs.offset).is_none() {
            return ControlFlow::Continue(());
        }
        compared += 1;
        let name = ours.as_ref().map(|name| name.function.to_string()).unwrap_or_default();
        let short = |name: &str| name.split('(').next().unwrap_or(name).to_owned();
        let plain = demangle::demangle(name.as_bytes()).unwrap_or(name);
        if ours.map(|name| name.start) != Some(theirs.offset) || short(&plain) != short(&theirs.name.to_string()) {
            different.push((theirs.offset, theirs.name, plain));
        }
        ControlFlow::Continue(())
    });
    println!("{compared} compared, {} differ: {:?}", different.len(), different.iter().take(9).collect::<Vec<_>>());
    assert!(compared > 100 && different.len() * 10 <= compared);
    let main = table.symbol_at(0xdba5).unwrap();
    assert_eq!((main.name.to_string(), main.offset), ("main".to_owned(), 0xdba0));
}
