//! Memory made up as an interpreter of some version would have it.

use effigy_process::{Address, Memory, NotRead};

use super::layout::{COOKIE, Entry, Innermost, Instruction, Layout, OWNED_BY_C_STACK, TOLD_SIZE, told_at};

/// Structures in memory, each followed by nothing.
#[derive(Default)]
pub(super) struct Fake {
    /// By rising address.
    blocks: Vec<(u64, Vec<u8>)>,
    next: u64,
}

impl Memory for Fake {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        let before = self.blocks.partition_point(|(start, _)| *start <= address.0);
        let (start, bytes) = before.checked_sub(1).map(|index| &self.blocks[index]).ok_or(NotRead::Unmapped)?;
        let offset = usize::try_from(address.0 - start).unwrap();
        let rest = bytes.get(offset..).filter(|rest| !rest.is_empty()).ok_or(NotRead::NotCaptured)?;
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

/// A frame that is to be made up.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) code: Address,
    /// Bytes behind the first instruction.
    pub(super) position: i64,
    pub(super) is_entry: bool,
}

impl Fake {
    /// A structure of zeros.
    pub(super) fn block(&mut self, size: usize) -> Address {
        let start = self.next.max(0x7000_0000_0000);
        self.next = start + (size as u64).next_multiple_of(64) + 64;
        self.blocks.push((start, vec![0; size]));
        Address(start)
    }

    pub(super) fn put(&mut self, base: Address, offset: u64, bytes: &[u8]) {
        let index = self.blocks.binary_search_by_key(&base.0, |(start, _)| *start).unwrap();
        let block = &mut self.blocks[index].1;
        let offset = usize::try_from(offset).unwrap();
        block[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn number(&mut self, base: Address, offset: u64, number: u64) {
        self.put(base, offset, &number.to_le_bytes());
    }

    /// Takes a structure away.
    pub(super) fn forget(&mut self, base: Address) {
        self.blocks.retain(|(start, _)| *start != base.0);
    }

    /// A `str` in the narrowest form that holds it.
    pub(super) fn text(&mut self, layout: &Layout, text: &str) -> Address {
        let widest = text.chars().map(u32::from).max().unwrap_or(0);
        let (width, ascii, start) = match widest {
            0..0x80 => (1, 0x40, layout.text.ascii),
            0x80..0x100 => (1, 0, layout.text.wide),
            0x100..0x1_0000 => (2, 0, layout.text.wide),
            _ => (4, 0, layout.text.wide),
        };
        let bytes: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_le_bytes().into_iter().take(width)).collect();
        let at = self.block(usize::try_from(start).unwrap() + bytes.len());
        let state = 1 | u32::try_from(width).unwrap() << 2 | 0x20 | ascii;
        self.number(at, layout.text.length, text.chars().count() as u64);
        self.put(at, layout.text.state, &state.to_le_bytes());
        self.put(at, start, &bytes);
        at
    }

    /// A code object whose first line is 10.
    pub(super) fn code(&mut self, layout: &Layout, name: &str, table: &[u8]) -> Address {
        let lines = self.block(usize::try_from(layout.bytes.data).unwrap() + table.len());
        self.number(lines, layout.bytes.size, table.len() as u64);
        self.put(lines, layout.bytes.data, table);
        let (name, file) = (self.text(layout, name), self.text(layout, "/srv/app.py"));
        let code = self.block(256);
        self.number(code, layout.code.name, name.0);
        self.number(code, layout.code.file, file.0);
        self.number(code, layout.code.lines, lines.0);
        self.put(code, layout.code.first_line, &10_i32.to_le_bytes());
        code
    }

    /// Frames, innermost first, with those that stand for C where this version has such; the innermost one's address and
    /// all of them.
    pub(super) fn frames(&mut self, layout: &Layout, frames: &[Made]) -> Vec<Address> {
        let mut made = Vec::new();
        for frame in frames {
            let at = self.block(128);
            self.number(at, layout.frame.code, frame.code.0);
            match layout.frame.at {
                Instruction::Bytes(offset) => {
                    self.put(at, offset, &i32::try_from(frame.position).unwrap().to_le_bytes());
                }
                Instruction::Units(offset) => {
                    self.put(at, offset, &i32::try_from(frame.position / 2).unwrap().to_le_bytes());
                }
                Instruction::Pointer(offset) => {
                    let first = frame.code.0 + layout.code.instructions;
                    self.number(at, offset, first.wrapping_add_signed(frame.position));
                }
            }
            made.push(at);
            match layout.frame.entry {
                Entry::Every => {}
                Entry::Flag(offset) => self.put(at, offset, &[frame.is_entry.into()]),
                Entry::Shim(offset) if frame.is_entry => {
                    let shim = self.block(128);
                    self.put(shim, offset, &[OWNED_BY_C_STACK]);
                    made.push(shim);
                }
                Entry::Shim(_) => {}
            }
        }
        for pair in made.windows(2) {
            self.number(pair[0], layout.frame.back, pair[1].0);
        }
        made
    }

    pub(super) fn thread(&mut self, layout: &Layout, id: u32, innermost: Option<Address>) -> Address {
        let thread = self.block(512);
        self.number(thread, layout.thread.thread_id, 0x7fff_0000 + u64::from(id));
        if let Some(offset) = layout.thread.native_id {
            self.number(thread, offset, id.into());
        }
        let innermost = innermost.map_or(0, |frame| frame.0);
        match layout.thread.frame {
            Innermost::Here(offset) => self.number(thread, offset, innermost),
            Innermost::Behind { pointer, frame } => {
                let place = self.block(32);
                self.number(place, frame, innermost);
                self.number(thread, pointer, place.0);
            }
        }
        thread
    }

    /// An interpreter with these threads.
    pub(super) fn interpreter(&mut self, layout: &Layout, threads: &[Address]) -> Address {
        let interpreter = self.block(8192);
        self.number(interpreter, layout.interpreters.threads, threads.first().map_or(0, |thread| thread.0));
        for thread in threads {
            self.number(*thread, layout.thread.interpreter, interpreter.0);
        }
        for pair in threads.windows(2) {
            self.number(pair[0], layout.thread.next, pair[1].0);
        }
        interpreter
    }

    /// `_PyRuntime`, which in 3.13 tells the layout.
    pub(super) fn runtime(&mut self, layout: &Layout, interpreters: &[Address]) -> Address {
        let runtime = self.block(1024);
        for pair in interpreters.windows(2) {
            self.number(pair[0], layout.interpreters.next, pair[1].0);
        }
        self.number(runtime, layout.interpreters.head, interpreters.first().map_or(0, |first| first.0));
        runtime
    }
}

/// What 3.13.0 tells of itself, by `offsetof` in its headers; `head` is in a runtime of 1 KiB.
pub(super) fn told() -> [u8; TOLD_SIZE] {
    let mut table = [0; TOLD_SIZE];
    table[..8].copy_from_slice(&COOKIE);
    for (at, number) in [
        (told_at::VERSION, 0x030d_00f0_u64),
        (told_at::INTERPRETERS_HEAD, 632),
        (told_at::INTERPRETER_NEXT, 7264),
        (told_at::INTERPRETER_THREADS, 7344),
        (told_at::THREAD_NEXT, 8),
        (told_at::THREAD_INTERPRETER, 16),
        (told_at::THREAD_FRAME, 72),
        (told_at::THREAD_ID, 152),
        (told_at::THREAD_NATIVE_ID, 160),
        (told_at::FRAME_BACK, 8),
        (told_at::FRAME_CODE, 0),
        (told_at::FRAME_INSTRUCTION, 56),
        (told_at::FRAME_OWNER, 70),
        (told_at::CODE_FILE, 112),
        (told_at::CODE_QUALIFIED_NAME, 128),
        (told_at::CODE_LINES, 136),
        (told_at::CODE_FIRST_LINE, 68),
        (told_at::CODE_INSTRUCTIONS, 200),
        (told_at::BYTES_SIZE, 16),
        (told_at::BYTES_DATA, 32),
        (told_at::TEXT_STATE, 32),
        (told_at::TEXT_LENGTH, 16),
        (told_at::TEXT_ASCII, 40),
    ] {
        table[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    table
}
