//! Symbols beside those that `nm` and `objdump` tell.

use std::fs;
use std::path::Path;

use super::*;
use crate::oracle::{Workshop, corpus};

const SOURCE: &str = r#"
#include <stdio.h>
#include <stdlib.h>
int data[4] = {1, 2, 3, 4};
static int hidden(int n) { return n * data[n & 3]; }
int other(int n) { return hidden(n) + hidden(n + 1); }
int same(int n) __attribute__((alias("other")));
static void *resolve(void) { return other; }
int chosen(int n) __attribute__((ifunc("resolve")));
int main(int argc, char **argv) { puts(argv[0]); free(malloc(9)); return other(argc) + chosen(argc); }
"#;

fn open(path: &Path) -> Arc<Image> {
    Arc::new(Image::open(path).unwrap())
}

fn name_at(table: &ElfTable, offset: u64) -> String {
    table.names_at(offset).pop().map(|name| name.function.to_string()).unwrap_or_default()
}

/// `nm`: value, kind, name.
fn listed(workshop: &Workshop) -> Option<Vec<(u64, char, String)>> {
    let said = workshop.line("nm program")?;
    let line = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [value, kind, name] = words[..] else { return None };
        Some((u64::from_str_radix(value, 16).ok()?, kind.chars().next()?, name.to_owned()))
    };
    Some(said.lines().filter_map(line).collect())
}

#[test]
fn symbols_are_those_of_nm() {
    let workshop = Workshop::new();
    workshop.write("program.c", SOURCE);
    for flags in ["-O0", "-O1 -no-pie", "-m32"] {
        if flags == "-m32" && !Path::new("/usr/lib32/crt1.o").exists() {
            continue;
        }
        if workshop.line(&format!("gcc -w {flags} -fno-inline program.c -o program")).is_none() {
            return;
        }
        let image = open(&workshop.path("program"));
        let table = ElfTable::whole(&image).unwrap();
        let Some(listed) = listed(&workshop) else { return };
        for (value, kind, name) in listed.iter().filter(|(_, kind, _)| "tTi".contains(*kind)) {
            let offset = value - image.base();
            let at: Vec<_> =
                listed.iter().filter(|(other, ..)| other == value).map(|(.., name)| name.clone()).collect();
            // Labels of the assembler at the beginning of sections are not what a place is called.
            if at.iter().all(|name| name.starts_with('_')) {
                continue;
            }
            assert!(at.contains(&name_at(&table, offset)), "{flags}: {name} {kind} at {value:#x}: {at:?}");
        }
        let data = listed.iter().find(|(.., name)| name == "data").unwrap().0 - image.base();
        let symbol = table.symbol_at(data + 5).unwrap();
        assert_eq!((symbol.name.to_string(), symbol.offset, symbol.size), ("data".to_owned(), data, Some(16)));
        assert_eq!(symbol.kind, SymbolKind::Data);
        assert_eq!(name_at(&table, data), "");
        let mut found = Vec::new();
        table.find("c?osen", &mut |symbol| {
            found.push((symbol.name.to_string(), symbol.kind));
            ControlFlow::Continue(())
        });
        assert_eq!(found, [("chosen".to_owned(), SymbolKind::Indirect)]);
    }
}

#[test]
fn stubs_are_those_of_objdump() {
    let workshop = Workshop::new();
    workshop.write("program.c", SOURCE);
    for flags in ["", "-fcf-protection=none", "-Wl,-z,ibtplt", "-Wl,-z,lazy -no-pie", "-Wl,-z,lazy"] {
        let line = format!("gcc -w -Wl,-z,lazy {flags} program.c -o program");
        let (Some(_), Some(said)) =
            (workshop.line(line.replace("  ", " ").trim()), workshop.line("objdump -d program"))
        else {
            return;
        };
        let image = open(&workshop.path("program"));
        let table = ElfTable::dynamic(&image).unwrap();
        let heads = said.lines().filter_map(|line| line.strip_suffix(">:")?.split_once(" <"));
        let stubs: Vec<_> = heads.filter(|(_, name)| name.ends_with("@plt")).collect();
        let mut checked = 0;
        for (address, name) in stubs {
            let offset = u64::from_str_radix(address, 16).unwrap() - image.base();
            if name != "*ABS*@plt" && !name.contains("+0x") {
                assert_eq!(name_at(&table, offset + 4), name, "{flags}: {address}");
                checked += 1;
            }
        }
        assert!(checked >= 2, "{flags}: {said}");
    }
}

#[test]
fn packed_symbols() {
    let workshop = Workshop::new();
    workshop.write("program.c", SOURCE);
    if workshop.line("gcc -w program.c -o program").is_none() || workshop.line("xz --version").is_none() {
        return;
    }
    let whole = open(&workshop.path("program"));
    let hidden = {
        let mut found = 0;
        ElfTable::whole(&whole).unwrap().find("hidden", &mut |symbol| {
            found = symbol.offset;
            ControlFlow::Break(())
        });
        found
    };
    workshop.line("objcopy --only-keep-debug program mini");
    workshop.line("xz mini");
    workshop.line("objcopy --strip-all --add-section .gnu_debugdata=mini.xz program stripped");
    let image = open(&workshop.path("stripped"));
    assert!(ElfTable::whole(&image).is_none());
    let table = ElfTable::packed(&image).unwrap();
    assert_eq!(name_at(&table, hidden + 3), "hidden");
    assert_eq!(table.symbol_at(hidden + 3).unwrap().offset, hidden);
    let mut count = 0;
    table.find("hid*", &mut |_| {
        count += 1;
        ControlFlow::Continue(())
    });
    assert_eq!(count, 1);
}

#[test]
fn symbols_of_other_processors() {
    let Some(corpus) = corpus() else { return };
    let mut compared = 0;
    for file in [
        "elf-core_linux-s390x.out",
        "elf-core_linux-ppc64le.out",
        "elf-core_linux-i386.out",
        "elf-core_linux-aarch64.out",
        "elf-core_linux-riscv64.out",
    ] {
        let image = open(&corpus.join("lldb").join(file));
        let Some(table) = ElfTable::whole(&image) else { continue };
        let mut found = Vec::new();
        table.find("*", &mut |symbol| {
            found.push(symbol);
            ControlFlow::Continue(())
        });
        for symbol in found.iter().filter(|symbol| symbol.kind == SymbolKind::Function && symbol.size.is_some()) {
            let size = symbol.size.unwrap();
            assert_eq!(name_at(&table, symbol.offset + size - 1), symbol.name.to_string(), "{file}");
            compared += 1;
        }
    }
    assert!(compared >= 3, "{compared} functions");
}

/// Whatever the tables hold, there is an answer.
#[test]
fn damaged_files_are_no_harm() {
    let workshop = Workshop::new();
    workshop.write("program.c", SOURCE);
    if workshop.line("gcc -w program.c -o program").is_none() {
        return;
    }
    let bytes = fs::read(workshop.path("program")).unwrap();
    let mut seed = 7u64;
    for _ in 0..300 {
        let mut damaged = bytes.clone();
        for _ in 0..60 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = 64 + usize::try_from(seed >> 33).unwrap() % (damaged.len() - 64);
            damaged[at] = (seed >> 20).to_le_bytes()[0];
        }
        let Ok(image) = Image::from_bytes(damaged, Path::new("damaged")).map(Arc::new) else { continue };
        for table in
            [ElfTable::whole(&image), ElfTable::dynamic(&image), ElfTable::packed(&image)].into_iter().flatten()
        {
            for offset in (0..0x5000).step_by(64) {
                let _ = (table.names_at(offset), table.symbol_at(offset));
            }
            table.find("m*", &mut |_| ControlFlow::Continue(()));
        }
    }
}

/// Two functions in ARM code and three in Thumb code, by their marks and, without those, by their own addresses.
#[test]
fn arm_code_and_thumb_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/unwind/arm/ehabi");
    let told = |image: &Image| {
        let offsets = [0x124, 0x12c, 0x13c, 0x144, 0x15a, 0x15c, 0x16c, 0x170, 0x188u64];
        offsets.map(|offset| is_thumb(image, 0x10000 + offset))
    };
    let expected = [false, false, false, true, true, false, false, true, true].map(Some);
    let image = Image::open(&path).unwrap();
    assert_eq!(told(&image), expected);
    assert_eq!(is_thumb(&image, 0), None, "nothing is below");
    let mut bytes = std::fs::read(&path).unwrap();
    // The marks get other names.
    for at in 0..bytes.len() - 3 {
        if matches!(&bytes[at..at + 3], b"$a." | b"$t.") {
            bytes[at + 1] = b'x';
        }
    }
    assert_eq!(told(&Image::from_bytes(bytes, &path).unwrap()), expected);
}
