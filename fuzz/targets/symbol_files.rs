#![no_main]
//! What holds names: symbol files of Breakpad's, tables of images, mangled names, and code.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use effigy_process::Architecture;
use effigy_symbols::SymbolTable;
use effigy_symbols::breakpad::BreakpadTable;
use effigy_symbols::disassemble::Disassembler;
use effigy_symbols::dwarf::{DwarfFiles, LocalFiles};
use effigy_symbols::image::Image;
use effigy_symbols::index::Index;
use effigy_symbols::merge::{ModuleFiles, Tables};
use effigy_symbols::{demangle, pattern::Pattern};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if bytes.starts_with(b"MODULE ") {
        breakpad(bytes);
    } else if let Ok(image) = Image::from_bytes(bytes.to_vec(), Path::new("fuzzed")) {
        tables(Arc::new(image));
    } else if let Some((&way, rest)) = bytes.split_first() {
        match way % 4 {
            0 => breakpad(&[b"MODULE Linux x86_64 0 a\n", rest].concat()),
            1 => {
                drop(demangle::demangle(rest));
                drop(demangle::demangle_short(rest));
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
    for offset in (0..0x1000).step_by(0x40).chain([0x15b90, u64::MAX]) {
        drop((table.names_at(offset), table.symbol_at(offset)));
    }
    table.find("*a*", &mut |_| ControlFlow::Continue(()));
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

fn code(bytes: &[u8]) {
    for architecture in [Architecture::X86, Architecture::X86_64, Architecture::Aarch64, Architecture::Arm] {
        let Ok(disassembler) = Disassembler::new(architecture) else { continue };
        for disassembler in [disassembler, disassembler.thumb()] {
            drop(disassembler.forwards(bytes, 0xffff_ffff_ffff_ff00, 1000));
            drop(disassembler.backwards(&bytes[..bytes.len().min(500)], 0x1000, 10));
        }
    }
}
