//! Dumps that are large and empty, made here: what it costs to open them is what their tables cost.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// Segments of the core, of a GiB each.
const SEGMENTS: u64 = 100;
const SEGMENT: u64 = 1 << 30;
/// Ranges of the minidump, of a page each.
const RANGES: u64 = 60_000;
const PAGE: u64 = 4096;
/// Where memory begins in the process, and how far apart ranges are.
const BASE: u64 = 0x10_0000_0000;
const APART: u64 = 16 * PAGE;

/// Bytes of a structure, written field by field.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16(&mut self, values: &[u16]) -> &mut Self {
        values.iter().for_each(|value| self.0.extend(value.to_le_bytes()));
        self
    }

    fn u32(&mut self, values: &[u32]) -> &mut Self {
        values.iter().for_each(|value| self.0.extend(value.to_le_bytes()));
        self
    }

    fn u64(&mut self, values: &[u64]) -> &mut Self {
        values.iter().for_each(|value| self.0.extend(value.to_le_bytes()));
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }
}

fn create(path: &Path, bytes: &Bytes, size: u64) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut writer = BufWriter::new(&file);
    writer.write_all(&bytes.0).and_then(|()| writer.flush()).context("cannot write a dump")?;
    drop(writer);
    file.set_len(size).context("cannot make a hole")
}

/// An x86-64 core with one thread.
pub(super) fn sparse_core(path: &Path) -> Result<()> {
    let (header, entry) = (64, 56);
    let notes_at = header + entry * (SEGMENTS + 1);
    let mut notes = Bytes::default();
    // `struct elf_prstatus` has 336 bytes; registers from 112 on.
    notes.u32(&[5, 336, 1]).bytes(b"CORE\0\0\0\0").bytes(&[0; 32]).u32(&[1, 1]).bytes(&[0; 296]);
    // lldb reads cores of Linux only with a note of that name.
    notes.u32(&[6, 0, 0x202]).bytes(b"LINUX\0\0\0");
    let notes_size = notes.0.len() as u64;
    let data = (notes_at + notes_size).next_multiple_of(PAGE);
    let mut core = Bytes::default();
    core.bytes(b"\x7fELF\x02\x01\x01").bytes(&[0; 9]).u16(&[4, 62]).u32(&[1]).u64(&[0, header, 0]).u32(&[0]);
    core.u16(&[64, 56, u16::try_from(SEGMENTS + 1)?, 0, 0, 0]);
    core.u32(&[4, 0]).u64(&[notes_at, 0, 0, notes_size, notes_size, 4]);
    for segment in 0..SEGMENTS {
        let address = BASE + 2 * segment * SEGMENT;
        core.u32(&[1, 6]).u64(&[data + segment * SEGMENT, address, 0, SEGMENT, SEGMENT, PAGE]);
    }
    core.bytes(&notes.0);
    create(path, &core, data + SEGMENTS * SEGMENT)
}

/// A minidump of a 64-bit Linux with one thread, its memory in many ranges.
pub(super) fn minidump_of_ranges(path: &Path) -> Result<()> {
    const STREAMS: u32 = 4;
    let (system_at, system_size) = (32 + 12 * STREAMS, 56);
    let (threads_at, threads_size) = (system_at + system_size, 4 + 48);
    let (context_at, context_size) = (threads_at + threads_size + 4, 1232);
    let (modules_at, modules_size) = (context_at + context_size, 4);
    let ranges_at = modules_at + modules_size + 4;
    let ranges_size = u32::try_from(16 * (RANGES + 1))?;
    let data = u64::from(ranges_at + ranges_size).next_multiple_of(PAGE);
    let mut dump = Bytes::default();
    dump.bytes(b"MDMP").u32(&[0xa793, STREAMS, 32, 0, 1_700_000_000]).u64(&[2]);
    dump.u32(&[7, system_size, system_at, 3, threads_size, threads_at]);
    dump.u32(&[4, modules_size, modules_at, 9, ranges_size, ranges_at]);
    // Processor architecture 9 is x86-64, platform 0x8201 Linux.
    dump.u16(&[9, 6, 0]).bytes(&[1, 0]).u32(&[6, 1, 0, 0x8201, 0]).u16(&[0, 0]).bytes(&[0; 24]);
    dump.u32(&[1, 1, 0, 0, 0]).u64(&[0, BASE]).u32(&[u32::try_from(PAGE)?, u32::try_from(data)?]);
    dump.u32(&[context_size, context_at]).u32(&[0]);
    let mut context = Bytes::default();
    // CONTEXT_FULL of x86-64; rsp at 152, rip at 248.
    context.bytes(&[0; 48]).u32(&[0x0010_000b, 0]).bytes(&[0; 96]).u64(&[BASE]).bytes(&[0; 88]).u64(&[BASE]);
    context.0.resize(1232, 0);
    dump.bytes(&context.0).u32(&[0, 0]);
    dump.u64(&[RANGES, data]);
    for range in 0..RANGES {
        dump.u64(&[BASE + range * APART, PAGE]);
    }
    create(path, &dump, data + RANGES * PAGE)
}
