//! Seeds of the unwinder: an image, a stack and registers, put together as the target `unwind` takes them apart.

use std::fmt::Write;

use object::{Architecture, BinaryFormat, Object, ObjectSection, ObjectSegment};

/// Where the target has image and stack.
const BASE: u64 = 0x40_0000;
const STACK: u64 = 0x7000;
/// Bytes that stand for registers.
const REGISTERS: usize = 32;
/// Words on the stack, and of records that are taken of a symbol file.
const WORDS: usize = 96;
const GROUPS: usize = 40;
/// Bytes of headers at the beginning of a program of Windows.
const HEADERS: usize = 0x400;
/// Between functions that records of a symbol file are about.
const APART: u64 = 0x20;

/// Bits of the target's byte for the form: the image has headers that lead to call frame information; it is a file as
/// well; it is one of Windows. The bits from the fifth on scale what registers point to.
const WRAPPED: u8 = 1;
const FILE: u8 = 2;
const WINDOWS: u8 = 4;
const SCALE_SHIFT: u8 = 4;
/// What the target puts before an image that is wrapped, in bytes.
const HEAD: i32 = 176;

/// An architecture: its number in the target, where its general registers have the instruction pointer, the stack pointer,
/// the frame pointer and the return address, and its words.
#[derive(Clone, Copy)]
struct Machine {
    which: u8,
    places: [usize; 4],
    word: usize,
    big_endian: bool,
}

const fn machine(which: u8, places: [usize; 4], word: usize) -> Machine {
    Machine { which, places, word, big_endian: false }
}

const X86_64: Machine = machine(0, [16, 19, 4, 16], 8);
const AARCH64: Machine = machine(1, [32, 31, 29, 30], 8);
const X86: Machine = machine(2, [12, 15, 5, 12], 4);
const ARM: Machine = machine(3, [15, 13, 11, 14], 4);
const RISCV64: Machine = machine(4, [0, 2, 8, 1], 8);
const PPC64LE: Machine = machine(5, [32, 1, 31, 36], 8);
const S390X: Machine = Machine { big_endian: true, ..machine(6, [1, 17, 13, 16], 8) };
const X32: Machine = machine(7, [16, 19, 4, 16], 8);

/// All of them.
pub(super) fn seeds(images: &[Vec<u8>], symbol_files: &[Vec<u8>], objects: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = images.iter().chain(objects).flat_map(|image| of_image(image)).collect();
    for (machine, initial, bodies) in PROGRAMS {
        seeds.extend(bodies.iter().map(|body| {
            let image = call_frames(initial, body);
            put_together(
                *machine,
                WRAPPED,
                &image,
                &stack(*machine, u64::from(HEAD.unsigned_abs()) + CODE_AT),
                FRAME_CODE,
            )
        }));
    }
    for text in symbol_files.iter().map(|file| rebased(file)).chain([OWN_RECORDS.to_owned()]) {
        for machine in [X86_64, X86, AARCH64, ARM] {
            let records = [stack(machine, 0x10), b"\n".to_vec(), text.clone().into_bytes()].concat();
            seeds.push(put_together(machine, 0, &[0x90; 64], &records, 0x10));
        }
    }
    seeds
}

/// An image as a file that is loaded as it lies, with the instruction pointer at several places of its code; one of Windows
/// also as it is loaded, without the file.
fn of_image(bytes: &[u8]) -> Vec<Vec<u8>> {
    let Ok(file) = object::File::parse(bytes) else { return Vec::new() };
    let Some(machine) = machine_of(&file) else { return Vec::new() };
    let base = file.segments().map(|segment| segment.address()).min().unwrap_or(0);
    let (base, form) = match file.format() {
        BinaryFormat::Pe => (file.relative_address_base(), FILE | WINDOWS),
        _ => (base, FILE),
    };
    let Some(text) = file.section_by_name(".text").or_else(|| file.section_by_name("__text")) else {
        return Vec::new();
    };
    let start = text.address().saturating_sub(base);
    let mut seeds = Vec::new();
    for part in 0..4 {
        let at = start + text.size() * part / 4;
        let stack = stack(machine, at);
        if bytes.len() <= usize::from(u16::MAX) {
            seeds.push(put_together(machine, form, bytes, &stack, at));
        }
        let loaded = loaded(bytes, &file, base);
        if file.format() == BinaryFormat::Pe && loaded.len() <= usize::from(u16::MAX) {
            seeds.push(put_together(machine, WINDOWS, &loaded, &stack, at));
        }
    }
    seeds
}

fn machine_of(file: &object::File<'_>) -> Option<Machine> {
    Some(match file.architecture() {
        Architecture::X86_64 => X86_64,
        Architecture::X86_64_X32 => X32,
        Architecture::I386 => X86,
        Architecture::Aarch64 => AARCH64,
        Architecture::Arm => ARM,
        Architecture::Riscv64 => RISCV64,
        Architecture::PowerPc64 if file.is_little_endian() => PPC64LE,
        Architecture::S390x => S390X,
        _ => return None,
    })
}

/// An image as it lies in memory: the beginning of the file, and each segment at its place.
fn loaded(bytes: &[u8], file: &object::File<'_>, base: u64) -> Vec<u8> {
    let mut memory = Vec::new();
    let head = (0, &bytes[..bytes.len().min(HEADERS)]);
    let places = file.segments().map(|segment| (segment.address().saturating_sub(base), segment.data().unwrap_or(&[])));
    for (at, data) in std::iter::once(head).chain(places) {
        let Some(end) = usize::try_from(at).ok().and_then(|at| at.checked_add(data.len())) else { continue };
        if end <= usize::from(u16::MAX) {
            memory.resize(memory.len().max(end), 0);
            memory[end - data.len()..end].copy_from_slice(data);
        }
    }
    memory
}

/// The bytes that the target takes apart; `at` is where in the image the instruction pointer is to be.
fn put_together(machine: Machine, form: u8, image: &[u8], stack: &[u8], at: u64) -> Vec<u8> {
    let scale = (0..8).find(|scale| at >> scale < 128 * 8).unwrap_or(7);
    // The lowest bit says whether it is the stack that is pointed to.
    let code = u8::try_from((at >> (3 + scale)) << 1).unwrap_or(u8::MAX - 1);
    let mut registers = [1; REGISTERS];
    let [pointer, stack_pointer, frame, back] = machine.places.map(|place| place % REGISTERS);
    registers[frame] = 0x11;
    registers[back] = code;
    registers[stack_pointer] = 1;
    registers[pointer] = code;
    let image = &image[..image.len().min(usize::from(u16::MAX))];
    let [low, high] = u16::try_from(image.len()).unwrap_or(u16::MAX).to_le_bytes();
    [&[machine.which, form | scale << SCALE_SHIFT, low, high], &registers[..], image, stack].concat()
}

/// A stack: each second word is an address in the code behind `at`, the others are on the stack further up.
fn stack(machine: Machine, at: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(WORDS * 8);
    for index in 0..WORDS as u64 {
        let word = machine.word as u64;
        let value = if index % 2 == 0 { STACK + (index + 6) * word } else { BASE + at + index % 24 * 4 };
        let (big, little) = (value.to_be_bytes(), value.to_le_bytes());
        bytes.extend(if machine.big_endian { &big[8 - machine.word..] } else { &little[..machine.word] });
    }
    bytes
}

/// What the initial instructions of a description are, and those of its function.
type Programs = (&'static Machine, &'static [u8], &'static [&'static [u8]]);
/// Instructions for call frames, DWARF 5, section 6.4.2: a usual prologue, an epilogue with remembered state, expressions,
/// values; what GNU and arm64 have added.
const PROGRAMS: [Programs; 2] = [
    (
        &X86_64,
        &[16, 0x0c, 7, 8, 0x90, 1],
        &[
            &[0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6],
            &[0x0a, 0x42, 0x0e, 24, 0x83, 3, 0x0b, 0x2e, 8, 0x08, 3, 0x07, 12, 0xc6],
            &[0x0f, 3, 0x77, 8, 0x06, 0x10, 6, 2, 0x76, 0x70, 0x16, 3, 2, 0x77, 16],
            &[0x02, 1, 0x14, 6, 2, 0x09, 3, 6, 0x05, 12, 4, 0x03, 2, 0, 0x12, 7, 0x7e, 0x13, 0x7f],
        ],
    ),
    (
        &AARCH64,
        &[30, 0x0c, 31, 0],
        &[&[0x2d, 0x41, 0x0e, 32, 0x9d, 4, 0x9e, 3], &[0x41, 0x0c, 29, 16, 0x9d, 2, 0x9e, 1, 0x2d, 0x0a, 0x0b]],
    ),
];
/// Where the code lies behind the head in an image that [`call_frames`] makes, and where the instruction pointer is in it.
const CODE_AT: u64 = 132;
const FRAME_CODE: u64 = 176 + CODE_AT + 4;

/// The rest of a sorted table with one entry, a description and one function, behind the first word of the table, which
/// the target puts before it; then code.
fn call_frames(initial: &[u8], body: &[u8]) -> Vec<u8> {
    let table = HEAD;
    let description = table + 20;
    let mut cie = vec![0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78];
    // The register of the return address, then augmentation data: addresses are relative and of four bytes.
    cie.extend([initial[0], 1, 0x1b]);
    cie.extend_from_slice(&initial[1..]);
    let cie = with_length(cie);
    let function = description + length(&cie);
    let code = table + i32::try_from(CODE_AT).unwrap_or(0);
    let mut fde = Vec::new();
    fde.extend((function + 4 - description).to_le_bytes());
    fde.extend((code - (function + 8)).to_le_bytes());
    fde.extend(64i32.to_le_bytes());
    fde.push(0);
    fde.extend_from_slice(body);
    let fde = with_length(fde);
    let mut image = Vec::new();
    for word in [description - (table + 4), 1, code - table, function - table] {
        image.extend(word.to_le_bytes());
    }
    image.extend([cie, fde, vec![0; 4]].concat());
    image.resize(usize::try_from(CODE_AT).unwrap_or(0) - 4, 0);
    image.resize(image.len() + 128, 0x90);
    image
}

/// Padded with instructions that do nothing, behind its length.
fn with_length(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    [&length(&bytes).to_le_bytes()[..], &bytes].concat()
}

fn length(bytes: &[u8]) -> i32 {
    i32::try_from(bytes.len()).unwrap_or(i32::MAX)
}

/// Records of every kind at the beginning of an image.
const OWN_RECORDS: &str = "\
STACK CFI INIT 0 20 .cfa: $rsp 8 + .ra: .cfa 8 - ^
STACK CFI 4 .cfa: $rsp 16 + $rbp: .cfa 16 - ^
STACK CFI 10 .cfa: $rbp 16 +
STACK CFI INIT 20 20 .cfa: sp 16 + .ra: x30 x29: .cfa 16 - ^
STACK WIN 4 0 20 3 0 4 8 8 0 1 $T0 .raSearch = $eip $T0 ^ = $esp $T0 4 + = $ebp $ebp =
STACK WIN 0 20 20 3 0 4 8 8 0 0 1
";

/// Records about stacks of a symbol file, of functions that lie far apart in it, as if these were the first of an image.
fn rebased(file: &[u8]) -> String {
    let text = String::from_utf8_lossy(file);
    let begins = |line: &&str| line.starts_with("STACK CFI INIT ") || line.starts_with("STACK WIN ");
    let stride = (text.lines().filter(begins).count() / GROUPS).max(1);
    let mut made = String::new();
    let (mut seen, mut place, mut base) = (0, 0, None);
    for line in text.lines() {
        if begins(&line) {
            base = (seen % stride == 0).then(|| hexadecimal(line, 3)).flatten();
            place = (seen / stride) as u64 * APART;
            seen += 1;
        }
        let word = if begins(&line) { 3 } else { 2 };
        let Some((base, address)) = base.zip(hexadecimal(line, word)).filter(|_| line.starts_with("STACK ")) else {
            continue;
        };
        let mut words: Vec<&str> = line.split(' ').collect();
        let moved = format!("{:x}", address.saturating_sub(base) + place);
        words[word] = &moved;
        let _ = writeln!(made, "{}", words.join(" "));
    }
    made
}

fn hexadecimal(line: &str, word: usize) -> Option<u64> {
    u64::from_str_radix(line.split(' ').nth(word)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_move_to_the_beginning() {
        let file = "MODULE a\nSTACK CFI INIT 1000 30 .cfa: $rsp 8 +\nSTACK CFI 1004 .cfa: $rsp 16 +\nFUNC 1 2 3 f\n\
            STACK WIN 4 2000 10 0 0 0 0 0 0 1 $eip\n";
        let expected = "STACK CFI INIT 0 30 .cfa: $rsp 8 +\nSTACK CFI 4 .cfa: $rsp 16 +\n\
            STACK WIN 4 20 10 0 0 0 0 0 0 1 $eip\n";
        assert_eq!(rebased(file.as_bytes()), expected);
    }

    /// As the target takes them apart.
    #[test]
    fn registers_point_to_the_code() {
        for at in [0u64, 0x10, 0x3f8, 0x1200, 0xf000] {
            let seed = put_together(X86_64, FILE, &[0; 16], &[], at);
            let step = 8u64 << (seed[1] >> SCALE_SHIFT);
            let byte = seed[4 + 16];
            let pointed = u64::from(byte >> 1) * step + u64::from(byte & 2);
            assert!(byte & 1 == 0 && pointed.abs_diff(at) < step + 2, "{at:#x} became {pointed:#x}");
            assert_eq!((seed[1] & 0xf, seed[4 + 19]), (FILE, 1));
        }
    }

    #[test]
    fn call_frames_lie_where_the_table_says() {
        let (_, initial, bodies) = PROGRAMS[0];
        let image = call_frames(initial, bodies[0]);
        // Behind the head and the word that the target writes.
        let word = |at: i32| {
            let at = usize::try_from(at - HEAD - 4).unwrap();
            i32::from_le_bytes(image[at..at + 4].try_into().unwrap())
        };
        let description = HEAD + 4 + word(HEAD + 4);
        let function = HEAD + word(HEAD + 16);
        assert_eq!(word(description + 4), 0);
        assert_eq!(function + 4 - word(function + 4), description);
        let code = function + 8 + word(function + 8);
        assert_eq!(code, HEAD + word(HEAD + 12));
        assert!(image.len() > 0x80 && word(code).to_le_bytes() == [0x90; 4]);
    }
}
