#![no_main]
//! What holds names: symbol files of Breakpad's, tables of images and of Go's runtime, mangled names, code, and
//! interpreters of Python.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use effigy_process::{Address, Architecture, Memory, NotRead};
use effigy_symbols::SymbolTable;
use effigy_symbols::breakpad::BreakpadTable;
use effigy_symbols::disassemble::Disassembler;
use effigy_symbols::dwarf::{DwarfFiles, LocalFiles};
use effigy_symbols::go::GoTable;
use effigy_symbols::image::Image;
use effigy_symbols::index::Index;
use effigy_symbols::merge::{ModuleFiles, Tables};
use effigy_symbols::python::{self, Version};
use effigy_symbols::{demangle, pattern::Pattern};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if bytes.starts_with(b"MODULE ") {
        breakpad(bytes);
    } else if let Some(memory) = bytes.strip_prefix(b"PYTHON") {
        interpreter(memory);
    } else if let Some(table) = bytes.strip_prefix(b"GOTABLE") {
        program_of_go(table);
    } else if let Ok(image) = Image::from_bytes(bytes.to_vec(), Path::new("fuzzed")) {
        tables(Arc::new(image));
    } else if let Some((&way, rest)) = bytes.split_first() {
        match way % 4 {
            0 => breakpad(&[b"MODULE Linux x86_64 0 a\n", rest].concat()),
            1 => {
                drop(demangle::demangle(rest));
                drop(demangle::demangle_short(rest));
                drop(demangle::demangle(&[b"$s", rest].concat()));
            }
            2 => {
                let (pattern, text) = rest.split_at(rest.len() / 4);
                let _ = Pattern::new(&String::from_utf8_lossy(pattern)).matches_symbol(text);
            }
            _ => code(rest),
        }
    }
});

fn breakpad(bytes: &[u8]) {
    let Some(table) = BreakpadTable::from_bytes(bytes) else { return };
    for offset in (0..0x1000).step_by(0x40).chain(addresses(bytes)).chain([u64::MAX]) {
        drop((table.names_at(offset), table.symbol_at(offset)));
    }
    table.find("*a*", &mut |_| ControlFlow::Continue(()));
}

/// Numbers of the file, among which are the addresses that it tells of.
fn addresses(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let words = bytes.split(u8::is_ascii_whitespace).filter_map(|word| str::from_utf8(word).ok());
    words.filter_map(|word| u64::from_str_radix(word, 16).ok()).take(64)
}

fn tables(image: Arc<Image>) {
    let files = ModuleFiles { image: Some(image), ..ModuleFiles::default() };
    let finder: Arc<dyn DwarfFiles> = Arc::new(LocalFiles);
    let tables = Tables::open(&files, &finder, &Index::none());
    for offset in (0..0x4000).step_by(0x100).chain([u64::MAX]) {
        drop((tables.names_at(offset), tables.symbol_at(offset)));
    }
    tables.find("*a*", &mut |_| ControlFlow::Continue(()));
}

/// The table in an image whose code is before it.
fn program_of_go(table: &[u8]) {
    const START: u64 = 0x40_0000;
    const CODE: u64 = 0x1000;
    let mut file = vec![0; CODE as usize];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (file[18], file[32], file[54], file[56]) = (62, 64, 56, 2);
    for (at, flags, from, size) in [(64, 5, 0, CODE), (120, 6, CODE, table.len() as u64)] {
        (file[at], file[at + 4]) = (1, flags);
        for (field, number) in [(8, from), (16, START + from), (32, size), (40, size)] {
            file[at + field..at + field + 8].copy_from_slice(&number.to_le_bytes());
        }
    }
    file.extend_from_slice(table);
    let Ok(image) = Image::from_bytes(file, Path::new("fuzzed")) else { return };
    let Some(table) = GoTable::of_image(&Arc::new(image)) else { return };
    for offset in (0..CODE).step_by(0x10).chain([u64::MAX]) {
        drop((table.names_at(offset), table.symbol_at(offset)));
    }
    table.find("*a*", &mut |_| ControlFlow::Continue(()));
}

/// Memory that begins with the interpreter's runtime, and whose pointers have sixteen bits that count.
struct Narrow<'a>(&'a [u8]);

impl Memory for Narrow<'_> {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        let from = usize::from(address.0 as u16);
        let rest = self.0.get(from..).filter(|rest| !rest.is_empty()).ok_or(NotRead::NotCaptured)?;
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

fn interpreter(memory: &[u8]) {
    let Some((minor, memory)) = memory.split_first() else { return };
    let version = Version { major: 3, minor: 9 + minor % 5 };
    let _ = python::threads(&Narrow(memory), Architecture::X86_64, Address(0), version);
}

fn code(bytes: &[u8]) {
    for architecture in [Architecture::X86, Architecture::X86_64, Architecture::Aarch64, Architecture::Arm] {
        let Ok(disassembler) = Disassembler::new(architecture) else { continue };
        for disassembler in [disassembler, disassembler.thumb()] {
            drop(disassembler.forwards(bytes, 0xffff_ffff_ffff_ff00, 1000));
            drop(disassembler.backwards(&bytes[..bytes.len().min(500)], 0x1000, 10));
        }
    }
}
