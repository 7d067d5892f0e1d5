#![no_main]
//! The unwinder: tables, symbol file, stack and registers all hostile, of every architecture that it knows.

use std::path::Path;
use std::sync::Arc;

use effigy_process::{
    Address, AddressRange, Architecture, CompactBytes, Memory, Module, NotRead, PeIdentity, Process, Protection,
    Region, RegisterSet, Registers, note,
};
use effigy_symbols::image::Image;
use effigy_symbols::unwind::{BreakpadUnwind, UnwindImages, Unwinder};
use libfuzzer_sys::fuzz_target;

const BASE: u64 = 0x40_0000;
const STACK: u64 = 0x7000;
const MOST_FRAMES: usize = 200;

const ARCHITECTURES: [Architecture; 8] = [
    Architecture::X86_64,
    Architecture::Aarch64,
    Architecture::X86,
    Architecture::Arm,
    Architecture::Riscv64,
    Architecture::Ppc64le,
    Architecture::S390x,
    Architecture::X32,
];

struct Bytes<'b> {
    image: &'b [u8],
    stack: &'b [u8],
}

impl Memory for Bytes<'_> {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        for (start, bytes) in [(BASE, self.image), (STACK, self.stack)] {
            let offset = address.0.checked_sub(start).and_then(|offset| usize::try_from(offset).ok());
            let Some(rest) = offset.and_then(|offset| bytes.get(offset..)).filter(|rest| !rest.is_empty()) else {
                continue;
            };
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            return Ok(count);
        }
        Err(NotRead::NotCaptured)
    }
}

struct Files {
    image: Option<Arc<Image>>,
    records: Arc<BreakpadUnwind>,
}

impl UnwindImages for Files {
    fn image(&self, _: usize) -> Option<Arc<Image>> {
        self.image.clone()
    }

    fn debug(&self, _: usize) -> Option<Arc<Image>> {
        self.image.clone()
    }

    fn breakpad(&self, _: usize) -> Option<Arc<BreakpadUnwind>> {
        Some(Arc::clone(&self.records))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&[which, form, low, high, registers @ ..], rest)) = bytes.split_first_chunk::<36>() else { return };
    let architecture = ARCHITECTURES[usize::from(which) % ARCHITECTURES.len()];
    let (image, stack) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes([low, high]))));
    let image = loaded(image, form);
    let range = |start, size| AddressRange::sized(Address(start), size);
    let module = Module {
        range: range(BASE, image.len() as u64),
        pe: (form & 4 != 0).then(PeIdentity::default),
        ..Module::default()
    };
    let region = |start, size, protection| Region { range: range(start, size), protection, ..Region::default() };
    let process = Process {
        architecture,
        byte_order: architecture.usual_byte_order(),
        modules: vec![module],
        regions: vec![
            region(STACK, stack.len() as u64, Protection::READ | Protection::WRITE),
            region(BASE, image.len() as u64, Protection::READ | Protection::EXECUTE),
        ],
        ..Process::default()
    };
    let file = (form & 2 != 0).then(|| Image::from_bytes(image.clone(), Path::new("image")).ok().map(Arc::new));
    let files = Files { image: file.flatten(), records: Arc::new(BreakpadUnwind::parse(stack)) };
    let memory = Bytes { image: &image, stack };
    let found = Unwinder::new(&process, &memory, &files)
        .unwind(&thread(architecture, &registers, 8 << (form >> 4 & 7)), MOST_FRAMES);
    assert!(found.frames.len() <= MOST_FRAMES);
});

/// The image, with the headers that lead to call frame information where the form asks for them.
fn loaded(bytes: &[u8], form: u8) -> Vec<u8> {
    let mut image = bytes.to_vec();
    if form & 1 != 0 && image.len() > 0x80 {
        let size = image.len() as u64;
        let mut head = vec![0; 176];
        head[..5].copy_from_slice(b"\x7fELF\x02");
        head[32] = 64;
        head[54..58].copy_from_slice(&[56, 0, 2, 0]);
        head[64] = 1;
        head[104..112].copy_from_slice(&size.to_le_bytes());
        head[120..124].copy_from_slice(&0x6474_e550u32.to_le_bytes());
        head[136] = 176;
        head[160..168].copy_from_slice(&size.to_le_bytes());
        head.extend_from_slice(&[1, 0x1b, 3, 0x3b]);
        head.extend_from_slice(&image);
        image = head;
    }
    image
}

/// Registers whose words lie in the image or the stack, by the bytes that stand for them: each a number of `step` bytes.
fn thread(architecture: Architecture, bytes: &[u8], step: u64) -> Registers {
    let word = architecture.word_size();
    let mut general = vec![0; architecture.general_size()];
    for (index, place) in general.chunks_exact_mut(word).enumerate() {
        let byte = bytes[index % bytes.len()];
        let value = if byte & 1 == 0 { BASE } else { STACK } + u64::from(byte >> 1) * step + u64::from(byte & 2);
        match architecture.usual_byte_order() {
            effigy_process::ByteOrder::Little => place.copy_from_slice(&value.to_le_bytes()[..word]),
            effigy_process::ByteOrder::Big => place.copy_from_slice(&value.to_be_bytes()[8 - word..]),
        }
    }
    Registers {
        architecture,
        byte_order: architecture.usual_byte_order(),
        sets: vec![RegisterSet { note: note::PRSTATUS, bytes: CompactBytes::new(&general) }],
        missing: 0,
    }
}
