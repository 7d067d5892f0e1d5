#![no_main]
//! DWARF, all of it hostile: a file of the corpus that was changed, or sections out of nothing in a sound ELF file.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bstr::BStr;
use effigy_symbols::SymbolTable;
use effigy_symbols::dwarf::{DwarfFiles, DwarfTable};
use effigy_symbols::image::Image;
use effigy_symbols::index::Index;
use libfuzzer_sys::fuzz_target;

const SECTIONS: [&str; 10] = [
    ".debug_info",
    ".debug_abbrev",
    ".debug_line",
    ".debug_str",
    ".debug_line_str",
    ".debug_ranges",
    ".debug_rnglists",
    ".debug_addr",
    ".debug_str_offsets",
    ".debug_aranges",
];

fuzz_target!(|bytes: &[u8]| {
    let is_image = [&b"\x7fELF"[..], b"MZ", b"\xcf\xfa\xed\xfe"].iter().any(|magic| bytes.starts_with(magic));
    let file = if is_image { bytes.to_vec() } else { made_up(bytes) };
    let Ok(image) = Image::from_bytes(file, Path::new("fuzzed")).map(Arc::new) else { return };
    // What a file shares or has split off is itself.
    let Some(table) = DwarfTable::new(image.clone(), Arc::new(Itself(image)), Index::none()) else { return };
    for offset in (0..0x2000).step_by(0x80).chain([u64::MAX]) {
        drop(table.names_at(offset));
        drop(table.symbol_at(offset));
    }
    table.find("*a*", &mut |_| ControlFlow::Continue(()));
    table.save();
});

#[derive(Debug)]
struct Itself(Arc<Image>);

impl DwarfFiles for Itself {
    fn split(&self, _: &Image, _: &BStr, _: &BStr, fits: &dyn Fn(&Arc<Image>) -> bool) -> Option<Arc<Image>> {
        Some(self.0.clone()).filter(|image| fits(image))
    }

    fn package(&self, _: &Image) -> Option<Arc<Image>> {
        Some(self.0.clone())
    }

    fn shared(&self, _: &Image) -> Option<Arc<Image>> {
        Some(self.0.clone())
    }
}

/// A file with the sections, each as long as two bytes before it say.
fn made_up(bytes: &[u8]) -> Vec<u8> {
    let mut rest = bytes;
    let mut file = vec![0; 64];
    let mut names = vec![0];
    let mut headers = vec![[0u8; 64]];
    for name in SECTIONS {
        let Some((&length, after)) = rest.split_first_chunk::<2>() else { break };
        let (contents, after) = after.split_at(after.len().min(usize::from(u16::from_le_bytes(length))));
        rest = after;
        headers.push(header(names.len(), 1, file.len(), contents.len()));
        names.extend_from_slice(name.as_bytes());
        names.push(0);
        file.extend_from_slice(contents);
    }
    headers.push(header(0, 3, file.len(), names.len()));
    file.extend_from_slice(&names);
    let table = file.len() as u64;
    file.extend(headers.iter().flatten());
    let count = headers.len() as u16;
    file[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0");
    file[40..48].copy_from_slice(&table.to_le_bytes());
    file[52..54].copy_from_slice(&64u16.to_le_bytes());
    file[58..60].copy_from_slice(&64u16.to_le_bytes());
    file[60..62].copy_from_slice(&count.to_le_bytes());
    file[62..64].copy_from_slice(&(count - 1).to_le_bytes());
    file
}

fn header(name: usize, kind: u32, offset: usize, size: usize) -> [u8; 64] {
    let mut header = [0; 64];
    header[..4].copy_from_slice(&(name as u32).to_le_bytes());
    header[4..8].copy_from_slice(&kind.to_le_bytes());
    header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
    header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
    header
}
