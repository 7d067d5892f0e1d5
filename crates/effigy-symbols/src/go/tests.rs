//! Tables of all versions, made by hand, and what is wrong with them.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use effigy_process::{Address, ByteOrder, Memory, NotRead};
use proptest::prelude::*;

use super::layout::{ASSEMBLY, SETS_STACK, TOP};
use super::testing::{BASE, Found, Function, Program, SIZE, TEXT};
use super::*;
use crate::image::Image;
use crate::name::SymbolTable;

const OLD: u32 = 0xffff_fffb;
const MAGICS: [u32; 4] = [OLD, 0xffff_fffa, 0xffff_fff0, 0xffff_fff1];

/// Machines of both widths and both orders, and their smallest instructions.
const MACHINES: [(u16, bool, ByteOrder, u8); 5] = [
    (62, true, ByteOrder::Little, 1),
    (183, true, ByteOrder::Little, 4),
    (3, false, ByteOrder::Little, 1),
    (22, true, ByteOrder::Big, 2),
    (40, false, ByteOrder::Big, 4),
];

/// Offsets of the functions into the image.
const MAIN: u64 = TEXT - BASE;
const CALLED: u64 = MAIN + 0x100;
const EXIT: u64 = CALLED + 0x80;
const SWITCH: u64 = EXIT + 0x20;
const LEAVE: u64 = SWITCH + 0x40;
const END: u64 = LEAVE + 0x40;

/// A function that goes to another stack.
fn special(name: &'static str) -> Function {
    Function { name, size: 0x40, flags: SETS_STACK, depths: vec![(0x40, 0)], ..Function::default() }
}

/// Before Go 1.16 files are counted from 1.
fn program(magic: u32) -> Program {
    let file = i32::from(magic == OLD);
    let functions = vec![
        Function {
            name: "main.main",
            size: 0x100,
            depths: vec![(8, 0), (0xe8, 0x40), (0x10, 0)],
            files: vec![(0x80, file), (0x80, file + 1)],
            lines: vec![(0x10, 7), (0x20, 300), (0xd0, 12)],
            ..Function::default()
        },
        Function { name: "main.called", size: 0x80, flags: ASSEMBLY, depths: vec![(0x80, 8)], ..Function::default() },
        Function { name: "runtime.goexit", size: 0x20, flags: TOP, depths: vec![(0x20, 0)], ..Function::default() },
        special("runtime.systemstack"),
        special("runtime.mcall"),
    ];
    Program { magic, functions, ..Program::default() }
}

fn image(program: &Program) -> Arc<Image> {
    Arc::new(Image::from_bytes(program.image(), Path::new("made")).unwrap())
}

fn table(program: &Program) -> GoTable {
    GoTable::of_image(&image(program)).unwrap()
}

/// Function and line at an offset, innermost first.
fn names(table: &GoTable, offset: u64) -> Vec<String> {
    let line = |name: &crate::name::Name| {
        let line = name.line.as_ref().map(|line| format!(" {}:{}", line.file, line.line)).unwrap_or_default();
        format!("{}{line}", name.function)
    };
    table.names_at(offset).iter().map(line).collect()
}

fn check(table: &GoTable) {
    assert_eq!(names(table, MAIN), ["main.main /src/main.go:7"]);
    assert_eq!(names(table, MAIN + 0x10), ["main.main /src/main.go:300"]);
    assert_eq!(names(table, MAIN + 0xff), ["main.main /src/other.go:12"]);
    assert_eq!(names(table, CALLED), ["main.called"]);
    assert_eq!(names(table, MAIN - 1), [""; 0]);
    assert_eq!(names(table, END), [""; 0]);
    let symbol = table.symbol_at(EXIT + 4).unwrap();
    assert_eq!((symbol.name.to_string(), symbol.offset, symbol.size), ("runtime.goexit".into(), EXIT, Some(0x20)));
    let depth = |offset| table.frame_at(offset).map(|frame| frame.depth);
    assert_eq!([MAIN, MAIN + 8, MAIN + 0xef, MAIN + 0xf0].map(depth), [Some(0), Some(0x40), Some(0x40), Some(0)]);
    let kind = |offset| table.frame_at(offset).map(|frame| (frame.is_first, frame.sets_stack));
    let kinds = [(false, false), (true, false), (false, true), (true, true)];
    assert_eq!([MAIN, EXIT, SWITCH, LEAVE].map(kind), kinds.map(Some));
}

#[test]
fn tables_of_all_versions_and_machines() {
    for magic in MAGICS {
        for (machine, is_64, order, quantum) in MACHINES {
            check(&table(&Program { machine, is_64, order, quantum, ..program(magic) }));
        }
    }
}

/// Versions before 1.17 do not say which functions are special.
#[test]
fn special_functions_of_old_versions_are_known_by_name() {
    for magic in &MAGICS[..2] {
        let mut program = program(*magic);
        program.functions.iter_mut().for_each(|function| function.flags = 0);
        check(&table(&program));
    }
}

#[test]
fn the_compilers_functions_keep_a_frame_pointer() {
    let keeps = |magic, offset| table(&program(magic)).frame_at(offset).unwrap().keeps_pointer;
    assert_eq!([MAIN, CALLED].map(|offset| keeps(0xffff_fff1, offset)), [true, false]);
    // Not all that wrote this version did.
    assert!(!keeps(OLD, MAIN));
}

#[test]
fn a_table_is_found_without_its_name() {
    for found in [Found::Named, Found::Nameless, Found::Joined, Found::Searched] {
        for magic in MAGICS {
            for (machine, is_64, order, quantum) in MACHINES {
                check(&table(&Program { found, machine, is_64, order, quantum, ..program(magic) }));
            }
        }
    }
}

#[test]
fn the_code_is_found_where_the_header_does_not_tell() {
    for found in [Found::Named, Found::Joined, Found::Searched] {
        check(&table(&Program { hides_text: true, found, ..program(0xffff_fff1) }));
    }
    for hides_text in [false, true] {
        check(&table(&Program { hides_text, relocated: true, ..program(0xffff_fff1) }));
    }
    // Nobody knows then: all names would be wrong.
    let mut bytes = Program { hides_text: true, ..program(0xffff_fff1) }.image();
    bytes[0x8000..0x8200].fill(0);
    assert!(GoTable::of_image(&Arc::new(Image::from_bytes(bytes, Path::new("made")).unwrap())).is_none());
}

/// An image in memory.
struct Loaded(u64, Vec<u8>);

impl Memory for Loaded {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        let from = address.0.checked_sub(self.0).and_then(|from| usize::try_from(from).ok());
        let bytes = from.and_then(|from| self.1.get(from..)).filter(|bytes| !bytes.is_empty());
        let bytes = bytes.ok_or(NotRead::NotCaptured)?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }
}

#[test]
fn a_table_in_memory_has_addresses_of_the_process() {
    for magic in MAGICS {
        for hides_text in [false, true] {
            let slide = 0x10_0000;
            let made = Program { found: Found::Searched, slide, hides_text, ..with_inlined(magic) };
            let start = BASE + slide;
            let memory = Arc::new(Loaded(start, made.image()));
            let image = Image::from_memory(memory, Address(start), SIZE as u64, Path::new("made")).unwrap();
            assert_eq!(image.slide(), slide);
            let table = GoTable::of_image(&Arc::new(image)).unwrap();
            assert_eq!(names(&table, MAIN + 0xff).last().unwrap(), "main.main /src/other.go:12");
        }
    }
}

/// In `main.main` a function is inlined, and into this another one.
fn with_inlined(magic: u32) -> Program {
    let mut program = program(magic);
    let main = &mut program.functions[0];
    main.inlined = vec![(0x10, -1), (8, 0), (0x18, 1), (0xd0, -1)];
    main.calls = vec![("main.outer", 4), ("main.inner", 0x14)];
    // Functions before and behind it have some of their own.
    let called = &mut program.functions[1];
    called.inlined = vec![(0x10, 0), (0x70, -1)];
    called.calls = vec![("main.other", 0x20)];
    program
}

#[test]
fn inlined_functions_are_told() {
    for (magic, hides_text) in [(0xffff_fff0, false), (0xffff_fff1, false), (0xffff_fff1, true)] {
        for (machine, is_64, order, quantum) in MACHINES {
            let made = Program { machine, is_64, order, quantum, hides_text, ..with_inlined(magic) };
            let table = table(&made);
            assert_eq!(names(&table, MAIN + 0xc), ["main.main /src/main.go:7"], "{magic:x} {machine}");
            assert_eq!(names(&table, MAIN + 0x10), ["main.outer /src/main.go:300", "main.main /src/main.go:7"]);
            let inner = ["main.inner /src/main.go:300", "main.outer /src/main.go:300", "main.main /src/main.go:7"];
            assert_eq!(names(&table, MAIN + 0x1c), inner);
            assert_eq!(names(&table, CALLED), ["main.other", "main.called"]);
            let outer = &table.names_at(MAIN + 0x14)[0];
            assert_eq!((outer.start, outer.size, outer.inlined), (MAIN + 0x10, Some(8), true));
        }
    }
}

/// A call that is inlined into itself ends somewhere.
#[test]
fn inlined_functions_without_end() {
    let mut made = with_inlined(0xffff_fff1);
    made.functions[0].calls[0].1 = 0x10;
    assert_eq!(names(&table(&made), MAIN + 0x10).len(), 65);
    made.functions[0].calls[0].1 = 0x1000;
    assert_eq!(names(&table(&made), MAIN + 0x10), ["main.main /src/main.go:300"]);
}

#[test]
fn functions_are_found_by_name() {
    for magic in MAGICS {
        let found = |pattern: &str| {
            let mut found = Vec::new();
            table(&program(magic)).find(pattern, &mut |symbol| {
                found.push((symbol.name.to_string(), symbol.offset));
                ControlFlow::Continue(())
            });
            found
        };
        assert_eq!(found("main.*"), [("main.main".to_owned(), MAIN), ("main.called".to_owned(), CALLED)]);
        assert_eq!(found("runtime.m?all"), [("runtime.mcall".to_owned(), LEAVE)]);
        assert!(found("nothing").is_empty());
    }
}

#[test]
fn what_is_no_table_is_none() {
    let made = program(0xffff_fff1);
    let with = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = made.image();
        change(&mut bytes[0x2000..0x2100]);
        GoTable::of_image(&Arc::new(Image::from_bytes(bytes, Path::new("made")).unwrap()))
    };
    assert!(with(&|_| ()).is_some());
    // Magic, zeros, quantum, size of an address; no functions, more than there is room for, and as many as there are numbers.
    for (at, value) in [(0, 0xf5), (3, 0), (4, 1), (6, 3), (7, 4), (8, 0), (10, 1), (15, 0xff)] {
        assert!(with(&|table| table[at] = value).is_none(), "{at}");
    }
    // The list behind the end.
    assert!(with(&|table| table[64..72].fill(0xff)).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_table_is_read_to_an_end(
        which in 0..MAGICS.len(),
        found in prop::sample::select(vec![Found::Named, Found::Nameless, Found::Joined, Found::Searched]),
        changes in prop::collection::vec((0usize..0x300, any::<u8>()), 0..12),
        module in prop::collection::vec((0usize..0x180, any::<u8>()), 0..3),
        cut in 0usize..0x9000,
    ) {
        let made = Program { found, ..with_inlined(MAGICS[which]) };
        let mut bytes = made.image();
        changes.iter().for_each(|(at, byte)| bytes[0x2000 + at] = *byte);
        module.iter().for_each(|(at, byte)| bytes[0x8000 + at] = *byte);
        if cut < 0x4000 && found == Found::Searched {
            bytes.truncate(0x2000 + cut);
        }
        let Ok(image) = Image::from_bytes(bytes, Path::new("made")) else { return Ok(()) };
        let Some(table) = GoTable::of_image(&Arc::new(image)) else { return Ok(()) };
        for offset in (MAIN - 8..END + 8).step_by(4).chain([0, u64::MAX]) {
            drop((table.names_at(offset), table.symbol_at(offset), table.frame_at(offset)));
        }
        table.find("*a*", &mut |_| ControlFlow::Continue(()));
    }
}
