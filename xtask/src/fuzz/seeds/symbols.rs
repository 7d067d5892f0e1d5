//! Seeds of what holds names: DWARF, symbol files, mangled names, code.

use std::collections::HashMap;

use object::{Object, ObjectSection};

/// The target `dwarf`, whose source says which sections it takes.
const DWARF_TARGET: &str = include_str!("../../../../fuzz/targets/dwarf.rs");
/// Records of each kind that are taken of a symbol file: those behind them tell nothing new.
const RECORDS: usize = 60;
/// Bytes of code, which is as good in short pieces.
const CODE: usize = 2048;

/// What the target `symbol_files` does with bytes that are no file, by their first.
const NAME: u8 = 1;
const PATTERN: u8 = 2;
const INSTRUCTIONS: u8 = 3;

/// Mangled names of each kind: Itanium's with templates, substitutions, lambdas, operators; both of Rust's; Microsoft's.
const MANGLED: [&str; 20] = [
    "_ZN5space3fooEibc",
    "__ZN5space3fooEibc",
    "_ZNSt6vectorIiSaIiEE9push_backERKi",
    "_ZZN4main3runEvENKUlvE_clEv",
    "_ZNKSt8functionIFvRKSsEEclES1_",
    "_ZN3fooILi3EE3barIXadL_Z4callvEEEEvDpT_",
    "_ZTVN10__cxxabiv117__class_type_infoE",
    "_ZThn16_N1a1bD0Ev",
    "_Z1fIJiPcRKdEEvDpOT_DTfp_E",
    "_ZNSt3__112basic_stringIcNS_11char_traitsIcEENS_9allocatorIcEEEC2ERKS5_",
    "_ZN1xcvT_IiEEv",
    "_ZL6staticv.part.3.cold",
    "_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE",
    "_RNvCs1234_7mycrate3foo",
    "_RINvNtC3std3mem8align_ofjdE",
    "_RNvMs0_NtCs4fqI2P2rA04_4core5sliceSpNtB5_3Foo3bar",
    "?foo@space@@YAHHPAD@Z",
    "??0?$vector@HV?$allocator@H@std@@@std@@QEAA@XZ",
    "??_7type_info@@6B@",
    "?call@?1??f@@YAXXZ@QEBA?A?<auto>@@P6AHXZ@Z",
];
/// A pattern and a name that it fits.
const PATTERNS: [(&str, &str); 3] = [
    ("std::*::push_back", "std::vector<int, std::allocator<int> >::push_back"),
    ("*a?c*", "xxabcabc"),
    ("a**b*c", "ab"),
];

/// For the target `dwarf`: files with debug information, and their sections alone.
pub(super) fn dwarf(images: &[Vec<u8>], objects: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let all = || images.iter().chain(objects);
    let mut seeds: Vec<Vec<u8>> = all().filter(|bytes| has_debug(bytes)).cloned().collect();
    seeds.extend(all().filter_map(|bytes| sections(bytes)));
    seeds
}

/// Whether an image has debug information, packed or split off as it may be.
fn has_debug(bytes: &[u8]) -> bool {
    let Ok(file) = object::File::parse(bytes) else { return false };
    file.sections().any(|section| section.name().is_ok_and(|name| name.contains("debug_")))
}

/// Sections in the order in which the target takes them, each behind two bytes that say its length.
fn section_names() -> impl Iterator<Item = &'static str> {
    let (_, list) = DWARF_TARGET.split_once("const SECTIONS: ").unwrap_or_default();
    let (list, _) = list.split_once("];").unwrap_or_default();
    list.split('"').skip(1).step_by(2)
}

/// The sections, each with its length; `None` for a file without, or with one that is too long to have its length said.
fn sections(bytes: &[u8]) -> Option<Vec<u8>> {
    let file = object::File::parse(bytes).ok()?;
    file.section_by_name(".debug_info").or_else(|| file.section_by_name(".debug_info.dwo"))?;
    let mut made = Vec::new();
    for name in section_names() {
        let section = file.section_by_name(name).or_else(|| file.section_by_name(&format!("{name}.dwo")));
        let data = section.map_or(Ok(&[][..]), |section| section.data()).ok()?;
        made.extend(u16::try_from(data.len()).ok()?.to_le_bytes());
        made.extend(data);
    }
    Some(made)
}

/// For the target `symbol_files`.
pub(super) fn names(images: Vec<Vec<u8>>, symbol_files: &[Vec<u8>], objects: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let with = |way: u8, bytes: &[u8]| [&[way], bytes].concat();
    let code: Vec<_> =
        images.iter().chain(&objects).filter_map(|image| Some(with(INSTRUCTIONS, &code(image)?))).collect();
    let mut seeds = images;
    seeds.extend(objects);
    seeds.extend(symbol_files.iter().map(|file| excerpt(file)));
    seeds.push(SMALL.to_vec());
    seeds.extend(MANGLED.iter().map(|name| with(NAME, name.as_bytes())));
    // The target takes the first quarter for the pattern.
    seeds.extend(PATTERNS.iter().map(|(pattern, text)| {
        let length = pattern.len() * 3;
        with(PATTERN, format!("{pattern}{text:<length$.length$}").as_bytes())
    }));
    seeds.extend(code);
    seeds.push([b"GOTABLE", &go_table()[..]].concat());
    seeds
}

/// A table of Go 1.20 with two functions, in the first of which is an inlined call, and `moduledata` behind it: at the
/// addresses where the target puts them.
fn go_table() -> Vec<u8> {
    const TABLE: u64 = 0x40_1000;
    const TEXT: u64 = 0x40_0100;
    const NAMES: &[u8; 44] = b"\0main.main\0main.inlined\0runtime.goexit\0\0\0\0\0\0";
    const FILES: &[u8; 16] = b"\0/src/main.go\0\0\0";
    // Depths 0 and 16, line 7, file 0, and what is inlined: each value's change with its sign, and how many bytes.
    const VALUES: &[u8; 20] = &[0, 2, 4, 32, 60, 0, 16, 64, 0, 2, 64, 0, 0, 8, 2, 56, 0, 2, 32, 0];
    let (units, files) = (72 + NAMES.len(), 76 + NAMES.len());
    let values = files + FILES.len();
    let list = values + VALUES.len();
    let mut table = 0xffff_fff1u32.to_le_bytes().to_vec();
    table.extend([0, 0, 1, 8]);
    let words = |table: &mut Vec<u8>, words: &[u64]| table.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    let halves = |table: &mut Vec<u8>, halves: &[u32]| table.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
    words(&mut table, &[2, 1, TEXT]);
    words(&mut table, &[72, units, files, values, list].map(|place| place as u64));
    table.extend(NAMES);
    halves(&mut table, &[1]);
    table.extend(FILES);
    table.extend(VALUES);
    halves(&mut table, &[0, 20, 64, 92, 96]);
    // The last byte of the eleventh number is how many addresses of other things there are.
    halves(&mut table, &[0, 1, 0, 0, 1, 9, 6, 3, 0, 3, 4 << 24, 0, 0, 12, 0, 0, 0, 0]);
    halves(&mut table, &[64, 24, 0, 0, 17, 0, 0, 0, 0, 1, 1 << 8]);
    table.resize(table.len().next_multiple_of(8), 0);
    let calls = TABLE + table.len() as u64;
    halves(&mut table, &[0, 11, 4, 3]);
    let mut module = vec![0; 64];
    (module[0], module[1], module[22], module[40]) = (TABLE, TABLE + 72, TEXT, calls);
    words(&mut table, &module);
    table
}

/// One record of each kind, at addresses that are asked for.
const SMALL: &[u8] = b"MODULE Linux x86_64 000000000000000000000000000000000 a\n\
    INFO CODE_ID 0000\n\
    FILE 0 /a.c\n\
    INLINE_ORIGIN 0 inlined\n\
    FUNC m 40 30 8 function(int)\n\
    INLINE 0 4 0 0 48 10\n\
    40 10 3 0\n\
    50 20 9 0\n\
    PUBLIC 80 0 _ZN5space3fooEibc\n\
    STACK CFI INIT 40 30 .cfa: $rsp 8 + .ra: .cfa 8 - ^\n\
    STACK CFI 44 .cfa: $rsp 16 + $rbp: .cfa 16 - ^\n\
    STACK WIN 4 40 30 3 0 4 0 8 0 1 $T0 $ebp = $eip $T0 4 + ^ = $ebp $T0 ^ = $esp $T0 8 + =\n";

/// The first records of each kind, those of lines with the functions that they belong to.
fn excerpt(file: &[u8]) -> Vec<u8> {
    let mut counts: HashMap<&[u8], usize> = HashMap::new();
    let mut taken = Vec::new();
    let mut with_lines = false;
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        let kind = kind(line);
        let is_line = kind.first().is_some_and(|byte| !byte.is_ascii_uppercase());
        let fits = if is_line {
            with_lines
        } else {
            let count = counts.entry(kind).or_insert(0);
            *count += 1;
            *count <= RECORDS
        };
        if kind == b"FUNC" {
            with_lines = fits;
        }
        if fits {
            taken.extend_from_slice(line);
        }
    }
    taken
}

/// A record's first word, or first two for those of stacks.
fn kind(line: &[u8]) -> &[u8] {
    let words = if line.starts_with(b"STACK ") { 2 } else { 1 };
    let end = line.iter().enumerate().filter(|(_, byte)| byte.is_ascii_whitespace()).nth(words - 1);
    &line[..end.map_or(line.len(), |(index, _)| index)]
}

/// The beginning of an image's code.
fn code(image: &[u8]) -> Option<Vec<u8>> {
    let file = object::File::parse(image).ok()?;
    let section = file.section_by_name(".text").or_else(|| file.section_by_name("__text"))?;
    let data = section.data().ok().filter(|data| !data.is_empty())?;
    Some(data[..data.len().min(CODE)].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_those_of_the_target() {
        let names: Vec<_> = section_names().collect();
        assert_eq!((names.len(), names[0], names[9]), (10, ".debug_info", ".debug_aranges"));
    }

    #[test]
    fn an_excerpt_has_some_of_each_kind() {
        let lines = |head: &str, count: usize| head.repeat(count);
        let text = format!(
            "MODULE Linux x86 0 a\n{}{}{}",
            lines("FUNC 10 2 0 f\n10 1 1 0\n", RECORDS + 5),
            lines("PUBLIC 10 0 p\n", RECORDS + 5),
            lines("STACK WIN 4 0\nSTACK CFI 1 x\n", 2)
        );
        let taken = String::from_utf8(excerpt(text.as_bytes())).unwrap();
        let count = |start: &str| taken.lines().filter(|line| line.starts_with(start)).count();
        let found = ["MODULE", "FUNC", "10 1", "PUBLIC", "STACK WIN", "STACK CFI"].map(count);
        assert_eq!(found, [1, RECORDS, RECORDS, RECORDS, 2, 2]);
    }

    #[test]
    fn a_pattern_is_a_quarter() {
        let seeds = names(Vec::new(), &[], Vec::new());
        let patterns: Vec<_> = seeds.iter().filter(|seed| seed[0] == PATTERN).collect();
        for (seed, (pattern, _)) in patterns.iter().zip(PATTERNS) {
            let rest = &seed[1..];
            assert_eq!(&rest[..rest.len() / 4], pattern.as_bytes());
        }
        assert_eq!(patterns.len(), PATTERNS.len());
    }
}
