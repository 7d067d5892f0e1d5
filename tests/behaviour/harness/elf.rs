//! A reader of ELF cores that knows nothing of effigy's: headers, segments, notes, memory by address.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PN_XNUM: u64 = 0xffff;
pub(crate) const NT_PRSTATUS: u32 = 1;

/// A core file.
pub(crate) struct Core {
    file: File,
    /// 32 or 64.
    pub(crate) bits: u32,
    pub(crate) machine: u16,
    pub(crate) segments: Vec<Segment>,
    pub(crate) notes: Vec<Note>,
}

/// A program header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) kind: u32,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) in_file: u64,
    pub(crate) in_memory: u64,
}

/// A note.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) name: String,
    pub(crate) kind: u32,
    pub(crate) bytes: Vec<u8>,
}

impl Core {
    #[track_caller]
    pub(crate) fn open(path: &Path) -> Self {
        let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let header = bytes_at(&file, 0, 64);
        assert_eq!(&header[..4], b"\x7fELF", "{} is no ELF file", path.display());
        let bits = if header[4] == 2 { 64 } else { 32 };
        let word = |at: usize, length: usize| number(&header, at, length);
        assert_eq!(word(16, 2), 4, "e_type is not ET_CORE");
        let (table, entry, mut count, sections) = if bits == 64 {
            (word(32, 8), word(54, 2), word(56, 2), word(40, 8))
        } else {
            (word(28, 4), word(42, 2), word(44, 2), word(32, 4))
        };
        if count == PN_XNUM {
            // The true number is sh_info of the first section header.
            count = number(&bytes_at(&file, sections + if bits == 64 { 44 } else { 28 }, 4), 0, 4);
        }
        let bytes = bytes_at(&file, table, usize::try_from(entry * count).unwrap());
        let size = usize::try_from(entry).unwrap();
        let segments: Vec<_> = bytes.chunks_exact(size).map(|entry| segment(entry, bits)).collect();
        let notes = segments
            .iter()
            .filter(|segment| segment.kind == PT_NOTE)
            .flat_map(|segment| notes(&bytes_at(&file, segment.offset, usize::try_from(segment.in_file).unwrap())))
            .collect();
        let machine = u16::try_from(word(18, 2)).unwrap();
        Self { file, bits, machine, segments, notes }
    }

    /// Memory segments.
    pub(crate) fn loads(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.kind == PT_LOAD)
    }

    /// The memory segment that covers the address, whether or not its bytes are in the file.
    pub(crate) fn load_at(&self, address: u64) -> Option<&Segment> {
        self.loads().find(|load| address >= load.address && address - load.address < load.in_memory)
    }

    /// Memory, if all of it is in the file.
    pub(crate) fn memory(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = address + bytes.len() as u64;
            let load = self.loads().find(|load| at >= load.address && at - load.address < load.in_file)?;
            let offset = at - load.address;
            let part = usize::try_from(load.in_file - offset).unwrap().min(length - bytes.len());
            bytes.extend(bytes_at(&self.file, load.offset + offset, part));
        }
        Some(bytes)
    }

    /// Descriptors of the notes of this name and type.
    pub(crate) fn notes_of(&self, name: &str, kind: u32) -> impl Iterator<Item = &[u8]> {
        self.notes.iter().filter(move |note| note.kind == kind && note.name == name).map(|note| note.bytes.as_slice())
    }

    /// Thread ids, from the `pr_pid` of each NT_PRSTATUS, in the file's order.
    pub(crate) fn threads(&self) -> Vec<u32> {
        let at = if self.bits == 64 { 32 } else { 24 };
        self.notes_of("CORE", NT_PRSTATUS).map(|bytes| u32::try_from(number(bytes, at, 4)).unwrap()).collect()
    }
}

fn segment(entry: &[u8], bits: u32) -> Segment {
    let word = |at, length| number(entry, at, length);
    let narrow = |at, length| u32::try_from(number(entry, at, length)).unwrap();
    if bits == 64 {
        Segment {
            kind: narrow(0, 4),
            offset: word(8, 8),
            address: word(16, 8),
            in_file: word(32, 8),
            in_memory: word(40, 8),
        }
    } else {
        Segment {
            kind: narrow(0, 4),
            offset: word(4, 4),
            address: word(8, 4),
            in_file: word(16, 4),
            in_memory: word(20, 4),
        }
    }
}

fn notes(bytes: &[u8]) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut at = 0;
    while at + 12 <= bytes.len() {
        let length = |offset| usize::try_from(number(bytes, at + offset, 4)).unwrap();
        let (name_length, length_of_bytes) = (length(0), length(4));
        let kind = u32::try_from(number(bytes, at + 8, 4)).unwrap();
        let name = &bytes[at + 12..at + 12 + name_length];
        let start = at + 12 + name_length.next_multiple_of(4);
        notes.push(Note {
            name: String::from_utf8_lossy(name).trim_end_matches('\0').to_owned(),
            kind,
            bytes: bytes[start..start + length_of_bytes].to_vec(),
        });
        at = start + length_of_bytes.next_multiple_of(4);
    }
    notes
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[track_caller]
fn bytes_at(file: &File, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset)
        .unwrap_or_else(|error| panic!("the core ends early: {length:#x} bytes at {offset:#x}: {error}"));
    bytes
}
