//! Names, inlined calls and lines beside binutils' `addr2line`, at every place of small programs that are compiled in
//! all the ways that write DWARF differently.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::*;
use crate::elf::ElfTable;
use crate::merge::{ModuleFiles, Tables};
use crate::oracle::Workshop;

/// A program with calls that are inlined into each other, a template, a namespace without a name, and two units.
const FIRST: &str = r#"
#include "shared.h"
namespace {
struct Walker {
    int at;
    int step(int by) { at += by; return other(at) + twice(at); }
};
__attribute__((noinline)) int hidden(int n) { Walker w{n}; return w.step(n) + w.step(2); }
}
template <typename T> __attribute__((noinline)) T largest(const T *list, int count) {
    T best = list[0];
    for (int i = 1; i < count; i++)
        if (list[i] > best) best = list[i];
    return best;
}
__attribute__((noinline)) static void give_up(int n) {
    if (n > 1000) __builtin_abort();
}
int main(int argc, char **argv) {
    int list[4] = {argc, argc * 3, other(argc), 7};
    double other_list[2] = {1.5, (double)argc};
    give_up(argc);
    return largest(list, 4) + (int)largest(other_list, 2) + hidden(argc) + outside(argc);
}
"#;
const SECOND: &str = r#"
#include "shared.h"
__attribute__((noinline)) int outside(int n) {
    int sum = 0;
    for (int i = 0; i < n; i++) {
        sum += twice(other(i));
        if (sum > 100) { int extra = twice(sum); sum -= extra / 3; }
    }
    return sum;
}
"#;
const SHARED: &str = r#"
#pragma once
int outside(int n);
volatile extern int sink;
inline __attribute__((always_inline)) int twice(int n) {
    sink = n;
    return n * 2 + sink;
}
inline __attribute__((always_inline)) int other(int n) {
    int first = twice(n + 1);
    return first ^ twice(n);
}
"#;

fn sources() -> Workshop {
    let workshop = Workshop::new();
    workshop.write("first.cc", FIRST);
    workshop.write("second.cc", SECOND);
    workshop.write("sink.cc", "extern volatile int sink; volatile int sink;");
    workshop.write("shared.h", SHARED);
    workshop
}

fn image(path: &Path) -> Arc<Image> {
    Arc::new(Image::open(path).unwrap())
}

fn table(path: &Path) -> DwarfTable {
    DwarfTable::new(image(path), Arc::new(LocalFiles), Index::none()).unwrap()
}

/// Places in functions that the program's own sources have, as image addresses.
fn places(path: &Path, every: usize, wanted: impl Fn(&str) -> bool) -> Vec<u64> {
    let image = image(path);
    let base = image.base();
    let mut places = Vec::new();
    ElfTable::whole(&image).unwrap().find("*", &mut |symbol| {
        let size = symbol.size.unwrap_or(0);
        if symbol.kind == SymbolKind::Function && wanted(&symbol.name.to_string()) {
            places.extend((symbol.offset..symbol.offset + size).step_by(every).map(|offset| base + offset));
        }
        ControlFlow::Continue(())
    });
    places.sort_unstable();
    places.dedup();
    assert!(places.len() > 10, "{path:?} has {} places", places.len());
    places
}

/// What `addr2line` says of addresses: functions with files and lines, innermost first.
fn oracle(workshop: &Workshop, path: &Path, places: &[u64]) -> Option<HashMap<u64, Vec<(String, String)>>> {
    let mut said = HashMap::new();
    for chunk in places.chunks(1000) {
        let mut arguments = vec!["-a".to_owned(), "-f".to_owned(), "-i".to_owned(), "-e".to_owned()];
        arguments.push(path.to_str().unwrap().to_owned());
        arguments.extend(chunk.iter().map(|place| format!("{place:#x}")));
        let text = workshop.run("addr2line", &arguments)?;
        let mut place = 0;
        let mut function: Option<String> = None;
        for line in text.lines() {
            if let Some(digits) = line.strip_prefix("0x") {
                place = u64::from_str_radix(digits, 16).unwrap();
                said.insert(place, Vec::new());
            } else if let Some(function) = function.take() {
                let line = line.split(" (discriminator").next().unwrap();
                said.get_mut(&place).unwrap().push((function, line.to_owned()));
            } else {
                function = Some(line.to_owned());
            }
        }
    }
    Some(said)
}

fn ours(table: &DwarfTable, place: u64) -> Vec<(String, String)> {
    spelled(&table.names_at(place - table.base))
}

fn spelled(names: &[Name]) -> Vec<(String, String)> {
    let line = |name: &Name| match &name.line {
        Some(line) => format!("{}:{}", line.file, line.line),
        None => "??:?".to_owned(),
    };
    names.iter().map(|name| (name.function.to_string(), line(name))).collect()
}

/// Compares all places, and says where the two differ.
fn compare(workshop: &Workshop, path: &Path, what: &str, every: usize, wanted: impl Fn(&str) -> bool) {
    let places = places(path, every, wanted);
    let Some(said) = oracle(workshop, path, &places) else { return };
    // The tool takes names of symbols too.
    let image = image(path);
    let files = ModuleFiles { image: Some(image.clone()), ..ModuleFiles::default() };
    let finder: Arc<dyn DwarfFiles> = Arc::new(LocalFiles);
    let tables = Tables::open(&files, &finder, &Index::none());
    let mut different = Vec::new();
    for place in &places {
        let (theirs, ours) = (&said[place], spelled(&tables.names_at(place - image.base())));
        if !same(theirs, &ours, &symbol_at(&tables, place - image.base())) {
            different.push(format!("{place:#x}\n  theirs {theirs:?}\n  ours   {ours:?}"));
        }
    }
    let shown = different.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    println!("{what}: {} places, {} differ\n{shown}", places.len(), different.len());
    assert!(different.len() * 100 <= places.len(), "{what}: {} of {} differ:\n{shown}", different.len(), places.len());
}

/// What the table of symbols calls a place.
fn symbol_at(tables: &Tables, offset: u64) -> String {
    tables.symbol_at(offset).map(|symbol| symbol.name.to_string()).unwrap_or_default()
}

/// Whether the two say the same. Paths may be written in several ways, and where there is no line they say it in others.
/// The tool calls what is innermost, and what has no mangled name, by the symbol, also what is inlined; and where only a
/// symbol has the mangled name, we take that.
fn same(theirs: &[(String, String)], ours: &[(String, String)], symbol: &str) -> bool {
    let artificial = theirs.iter().any(|(_, line)| line.contains("<artificial>"));
    let simple = |line: &str| match line.rsplit_once(':') {
        Some((_, "?" | "0")) | None => String::new(),
        // What the linker compiled has a file of that name before the others, and the tool counts them otherwise.
        Some((file, line)) if artificial || file.ends_with("<artificial>") => line.to_owned(),
        Some((file, line)) => format!("{}:{line}", file.rsplit('/').next().unwrap_or(file)),
    };
    let plain = |name: &str| {
        let short = crate::demangle::demangle_short(name.as_bytes()).unwrap_or_else(|| name.to_owned());
        short.split(" [clone").next().unwrap_or_default().rsplit("::").next().unwrap_or_default().to_owned()
    };
    let same_name = |place: usize, their: &str, our: &str| {
        let is_symbol = their == symbol && (place == 0 || !our.starts_with('_'));
        their == our || is_symbol || !their.starts_with('_') && plain(our) == their
    };
    let mut pairs = theirs.iter().zip(ours).enumerate();
    theirs.len() == ours.len()
        && pairs.all(|(place, (their, our))| same_name(place, &their.0, &our.0) && simple(&their.1) == simple(&our.1))
}

/// Of the test's own sources.
fn is_ours(name: &str) -> bool {
    name == "main" || ["largest", "hidden", "outsidei", "give_up"].iter().any(|part| name.contains(part))
}

#[test]
fn every_way_to_compile() {
    let workshop = sources();
    for flags in [
        "-O0 -gdwarf-2 -gstrict-dwarf",
        "-O2 -gdwarf-3",
        "-O2 -gdwarf-4",
        "-O2 -gdwarf-5",
        "-O1 -gdwarf-5 -gz=zlib",
        "-O2 -gdwarf-4 -gz=zlib-gnu",
        "-O2 -gdwarf-5 -ffunction-sections -Wl,--gc-sections",
        "-O2 -gdwarf-4 -fdebug-types-section",
        "-O2 -gdwarf-5 -flto",
    ] {
        let line = format!("g++ -w {flags} first.cc second.cc sink.cc -o program");
        if workshop.line(&line).is_some() {
            compare(&workshop, &workshop.path("program"), flags, 1, is_ours);
        }
    }
}

/// Units of types among the others, of which the tool loses what was inlined.
/// A unit in many pieces has a list of ranges that is longer than what is read of one at first.
#[test]
fn long_lists_of_ranges() {
    let workshop = Workshop::new();
    let functions: String =
        (0..600).map(|number| format!("int piece{number}(int n) {{ return n + {number}; }}")).collect();
    workshop.write("a.c", &format!("{functions} int main(void) {{ return 0; }}"));
    // Without the other table that tells where units lie.
    let built = workshop.line("gcc -w -O1 -gdwarf-4 -ffunction-sections a.c -o whole").is_some()
        && workshop.line("objcopy --remove-section=.debug_aranges whole program").is_some();
    if !built {
        return;
    }
    let path = workshop.path("program");
    let table = table(&path);
    let mut count = 0;
    ElfTable::whole(&image(&path)).unwrap().find("piece*", &mut |symbol| {
        let names = table.names_at(symbol.offset);
        assert_eq!(names.last().map(|name| &name.function), Some(&symbol.name));
        count += 1;
        ControlFlow::Continue(())
    });
    assert_eq!(count, 600);
}

#[test]
fn units_of_types() {
    let workshop = sources();
    let flags = ["-fdebug-types-section", "-fno-debug-types-section"];
    let built = |flags: &str, name: &str| {
        let line = format!("g++ -w -O2 -gdwarf-5 {flags} first.cc second.cc sink.cc -o {name}");
        workshop.line(&line).is_some()
    };
    if built(flags[0], "types") && built(flags[1], "whole") {
        assert_alike(&workshop.path("types"), &workshop.path("whole"), "units of types");
    }
}

#[test]
fn what_is_split_off() {
    let workshop = sources();
    // That of binutils does not know version 5.
    for (version, packer) in [("-gdwarf-4", "dwp"), ("-gdwarf-5", "llvm-dwp")] {
        let line = format!("g++ -w -O2 {version} -gsplit-dwarf first.cc second.cc sink.cc -o program");
        // A program without anything split off tells what is right: not all versions of addr2line read what is.
        let whole = format!("g++ -w -O2 {version} first.cc second.cc sink.cc -o whole");
        if workshop.line(&line).is_none() || workshop.line(&whole).is_none() {
            return;
        }
        let (program, whole) = (workshop.path("program"), workshop.path("whole"));
        assert_alike(&program, &whole, version);
        let packer = std::process::Command::new(packer);
        if packed(packer, &workshop) {
            for file in fs::read_dir(workshop.path("")).unwrap().map(|file| file.unwrap().path()) {
                if file.extension().is_some_and(|ending| ending == "dwo") {
                    fs::remove_file(file).unwrap();
                }
            }
            assert_alike(&program, &whole, &format!("{version} in a package"));
            fs::remove_file(workshop.path("program.dwp")).unwrap();
            without_companions(&program);
        }
    }
}

/// Makes a package of what was split off; `false` where the tool is not there.
fn packed(mut packer: std::process::Command, workshop: &Workshop) -> bool {
    packer.args(["-e", "program", "-o", "program.dwp"]).current_dir(workshop.path(""));
    let output = packer.output();
    if output.is_err() {
        println!("SKIPPED {packer:?} not found");
    }
    output.is_ok_and(|output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        true
    })
}

/// Both programs have the same functions at places that may differ.
fn assert_alike(program: &Path, whole: &Path, what: &str) {
    let (split_table, whole_table) = (table(program), table(whole));
    let (split_places, whole_places) = (places(program, 1, is_ours), places(whole, 1, is_ours));
    assert_eq!(split_places.len(), whole_places.len());
    for (place, other) in split_places.iter().zip(&whole_places) {
        let (split, whole) = (ours(&split_table, *place), ours(&whole_table, *other));
        assert_eq!(split, whole, "{what}: {place:#x}");
        assert!(split.last().is_some_and(|(name, _)| !name.is_empty()));
    }
}

/// Lines stay with the program; names are gone, and nothing of that is kept.
fn without_companions(program: &Path) {
    let table = table(program);
    for place in places(program, 4, is_ours) {
        let names = table.names_at(place - table.base);
        assert!(names.iter().all(|name| name.function.is_empty() && name.line.is_some()), "{names:?}");
    }
    assert_eq!(table.known().stretches.whole().count(), 0);
}

#[test]
fn rust_programs() {
    let workshop = Workshop::new();
    workshop.write("main.rs", include_str!("../intervals.rs").split("#[cfg(test)]").next().unwrap());
    let program = "
        mod main { include!(\"main.rs\"); pub fn used(n: u64) -> u64 {
            let list: Vec<_> = (0..n).map(|k| Interval { begin: k * 3, end: k * 5, value: k }).collect();
            Intervals::new(list).at(n).map(|interval| interval.value).sum()
        } }
        fn main() { println!(\"{}\", main::used(std::env::args().count() as u64)); }";
    workshop.write(
        "program.rs",
        &program.replace(
            "include!(\"main.rs\");",
            &fs::read_to_string(workshop.path("main.rs")).unwrap().replace("//!", "//"),
        ),
    );
    for flags in ["-g", "-g -O"] {
        let line = format!("rustc {flags} -Awarnings --crate-name program program.rs -o program");
        if workshop.line(&line).is_some() {
            let wanted = |name: &str| name.contains("program") || name.contains("Interval");
            compare(&workshop, &workshop.path("program"), &format!("rustc {flags}"), 1, wanted);
            // The library has its own, of another version.
            let library = |name: &str| name.contains("3std2io") || name.contains("4core3fmt");
            compare(&workshop, &workshop.path("program"), &format!("library, {flags}"), 13, library);
        }
    }
}

#[test]
fn units_that_share_entries_through_another_file() {
    let workshop = sources();
    let built = workshop.line("g++ -w -O2 -gdwarf-4 first.cc second.cc sink.cc -o one").is_some()
        && workshop.line("g++ -w -O2 -gdwarf-4 second.cc first.cc sink.cc -o two").is_some();
    if !built || workshop.line("dwz --version").is_none() {
        return;
    }
    let before: Vec<_> = {
        let table = table(&workshop.path("one"));
        places(&workshop.path("one"), 1, is_ours).iter().map(|place| ours(&table, *place)).collect()
    };
    workshop.line("dwz -m common one two");
    let table = table(&workshop.path("one"));
    let after: Vec<_> = places(&workshop.path("one"), 1, is_ours).iter().map(|place| ours(&table, *place)).collect();
    assert_eq!(before, after);
}

#[test]
fn a_second_run_reads_the_index() {
    let workshop = sources();
    if workshop.line("g++ -w -O2 -g -Wl,--build-id=sha1 first.cc second.cc sink.cc -o program").is_none() {
        return;
    }
    let path = workshop.path("program");
    let index = Index::in_folder(&workshop.path("cache"));
    let open = || DwarfTable::new(image(&path), Arc::new(LocalFiles), index.clone()).unwrap();
    let places = places(&path, 3, is_ours);
    let first = open();
    let found: Vec<_> = places.iter().map(|place| ours(&first, *place)).collect();
    first.save();
    let second = open();
    let again: Vec<_> = places.iter().map(|place| ours(&second, *place)).collect();
    assert_eq!(found, again);
    assert!(second.map.get().is_none(), "no unit was looked for");
    // What was not asked before is found in the units that are known.
    let other: Vec<u64> = places.iter().map(|place| place + 1).collect();
    let third = open();
    let expected: Vec<_> = other.iter().map(|place| ours(&third, *place)).collect();
    let more: Vec<_> = other.iter().map(|place| ours(&second, *place)).collect();
    assert_eq!(expected, more);
    second.save();
    assert_eq!(ours(&open(), other[0]), expected[0]);
}

#[test]
fn functions_are_found_by_name() {
    let workshop = sources();
    if workshop.line("g++ -w -O2 -g first.cc second.cc sink.cc -o program").is_none() {
        return;
    }
    let table = table(&workshop.path("program"));
    let mut found = Vec::new();
    table.find("*outside*", &mut |symbol| {
        found.push(symbol);
        ControlFlow::Continue(())
    });
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(table.symbol_at(found[0].offset + 2).unwrap().name, "_Z7outsidei");
    let mut count = 0;
    table.find("*", &mut |_| {
        count += 1;
        ControlFlow::Break(())
    });
    assert_eq!(count, 1);
}

/// Whatever stands in a file with DWARF, there is an answer.
#[test]
fn damaged_files_are_no_harm() {
    let workshop = sources();
    if workshop.line("g++ -w -O1 -g -gdwarf-5 first.cc second.cc sink.cc -o program").is_none() {
        return;
    }
    let path = workshop.path("program");
    let bytes = fs::read(&path).unwrap();
    let places = places(&path, 16, is_ours);
    let sections: Vec<_> = image(&path).sections().iter().map(|section| section.name.clone()).collect();
    assert!(sections.iter().any(|name| name == ".debug_rnglists"));
    let mut seed = 1u64;
    for _ in 0..300 {
        let mut damaged = bytes.clone();
        for _ in 0..40 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // The first part holds headers and code: damage those, and there is no image.
            let at = 0x1000 + usize::try_from(seed >> 33).unwrap() % (damaged.len() - 0x2000);
            damaged[at] = (seed >> 20).to_le_bytes()[0];
        }
        let Ok(image) = Image::from_bytes(damaged, &path) else { continue };
        let Some(table) = DwarfTable::new(Arc::new(image), Arc::new(LocalFiles), Index::none()) else { continue };
        for place in &places {
            let _ = table.names_at(place.saturating_sub(table.base));
        }
        table.find("main", &mut |_| ControlFlow::Continue(()));
    }
}

/// Debug files of the corpus say what the symbol files say that were made of them years ago. Those know no inlined
/// calls: the function is the outermost, the line the innermost.
#[test]
fn debug_files_of_the_corpus() {
    let Some(corpus) = crate::oracle::corpus() else { return };
    let folder = corpus.join("symbolic/symbols");
    compare(&Workshop::new(), &folder.join("linux_crash.debug"), "linux_crash.debug", 3, |_| true);
    let debug = "macos_crash.dSYM_Contents_Resources_DWARF_crash";
    let table = table(&folder.join(debug));
    let symbols = crate::breakpad::BreakpadTable::open(&folder.join("macos_crash.sym")).unwrap();
    let (mut compared, mut different) = (0, Vec::new());
    for offset in (0x1000..0x12000).step_by(7) {
        let Some(theirs) = symbols.names_at(offset).pop().filter(|name| name.line.is_some()) else { continue };
        let ours = table.names_at(offset);
        compared += 1;
        let place = |name: Option<&Name>| name.and_then(|name| name.line.as_ref()).map(|line| line.line);
        let start = ours.last().map(|name| name.start);
        if start != Some(theirs.start) || place(ours.first()) != place(Some(&theirs)) {
            different.push((offset, theirs, ours));
        }
    }
    println!(
        "{debug}: {compared} compared, {} differ: {:#?}",
        different.len(),
        different.iter().take(3).collect::<Vec<_>>()
    );
    assert!(compared > 500 && different.len() * 50 <= compared, "{debug}: {} of {compared}", different.len());
}
