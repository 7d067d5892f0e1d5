//! 32-bit ARM, whose frames `.ARM.exidx` describes: a program (`arm/ehabi.s`) in a core made by hand, beside gdb.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use effigy_symbols::unwind::{Stack, Trust};

use crate::beside::{Files, hexadecimal, opened, stacks, tool};

/// Where the stack is mapped, and how far into it the stack pointer is.
const STACK: u32 = 0x7eff_f000;
const SIZE: usize = 0x1000;
const TOP: u32 = 0x100;
const THREAD: u32 = 1234;
/// Behind its prologue the innermost function has pushed r7 and the return address.
const COUNTER: u32 = 0x20186;

/// Registers that functions keep, and the two that make a frame.
const KEPT: [&str; 10] = ["r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "sp", "pc"];

/// gdb's Python interface gives just the registers of each frame.
const REGISTERS: &str = r#"python exec("import gdb\nframe = gdb.newest_frame()\nwhile frame is not None:\n    print('FRAME', *[hex(int(frame.read_register(name)) & 0xffffffff) for name in 'r4 r5 r6 r7 r8 r9 r10 r11 sp pc'.split()])\n    try:\n        frame = frame.older()\n    except gdb.error:\n        frame = None\n")"#;

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/unwind/arm/ehabi")
}

/// The words of the stack from the stack pointer on, as the functions push them, and where r11 points.
fn pushed() -> (Vec<u32>, u32) {
    let mut words = Vec::new();
    let room = |words: &mut Vec<u32>, bytes: usize| words.extend(vec![0xdead_beef; bytes / 4]);
    // innermost: r7 and where arguments_on_top goes on, in Thumb code.
    words.extend([0x7070, 0x20179]);
    // arguments_on_top: r4, where many_registers goes on, in ARM code, and four arguments.
    words.extend([0x4040, 0x20168]);
    room(&mut words, 16);
    room(&mut words, 264);
    // many_registers: r4 to r10.
    words.extend([0x41, 0x51, 0x61, 0x71, 0x81, 0x91, 0xa1, 0x20153]);
    room(&mut words, 520 + 16);
    // large_and_vectors: r4, r6 and r7.
    words.extend([0x42, 0x62, 0x72, 0x2013c]);
    room(&mut words, 40);
    let record = STACK + TOP + 4 * u32::try_from(words.len()).unwrap() + 8;
    // with_frame_pointer: r4, r5 and r11.
    words.extend([0x43, 0x53, 0xb3, 0x20128]);
    (words, record)
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn note(name: &[u8; 8], kind: u32, contents: &[u8]) -> Vec<u8> {
    let mut note = bytes(&[5, u32::try_from(contents.len()).unwrap(), kind]);
    note.extend(name);
    note.extend(contents);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

/// A core with one thread, its stack, and the program's first page; the program is mapped where its headers say.
fn core() -> Vec<u8> {
    let (words, record) = pushed();
    let mut registers: Vec<u32> = (0x1000..0x1010).collect();
    (registers[7], registers[11], registers[13]) = (STACK + TOP, record, STACK + TOP);
    (registers[14], registers[15]) = (0x20179, COUNTER);
    // The processor is in Thumb state.
    registers.extend([0x30, u32::MAX]);
    // struct elf_prstatus: the signal, the thread, the registers, and whether those of floating point are there.
    let mut status = bytes(&[11, 0, 0, 11, 0, 0, THREAD]);
    status.resize(72, 0);
    status.extend(bytes(&registers));
    status.extend(bytes(&[0]));
    // NT_FILE: two mappings of the program's file, in pages.
    let mut files = bytes(&[2, 0x1000, 0x10000, 0x11000, 0, 0x20000, 0x21000, 0]);
    files.extend(b"/ehabi\0/ehabi\0");
    // NT_AUXV: AT_PHDR, AT_PHENT, AT_PHNUM, AT_ENTRY.
    let vector = bytes(&[3, 0x10034, 4, 32, 5, 5, 9, 0x20124, 0, 0]);
    let notes = [
        note(b"CORE\0\0\0\0", 1, &status),
        note(b"CORE\0\0\0\0", 6, &vector),
        note(b"CORE\0\0\0\0", 0x4649_4c45, &files),
    ];
    let notes = notes.concat();
    let half = |number: usize| u32::try_from(number).unwrap();
    let headers: [[u32; 8]; 3] = [
        [4, 52 + 96, 0, 0, half(notes.len()), 0, 0, 4],
        [1, 0x1000, 0x10000, 0, 0x1000, 0x1000, 4, 0x1000],
        [1, 0x2000, STACK, 0, half(SIZE), half(SIZE), 6, 0x1000],
    ];
    // ELF of 32 bits: ET_CORE, EM_ARM, EABI 5.
    let mut core = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    core.extend(bytes(&[4 | 40 << 16, 1, 0, 52, 0, 0x500_0000, 52 | 32 << 16, 3, 0]));
    core.extend(headers.into_iter().flat_map(|header| bytes(&header)));
    core.extend(notes);
    assert!(core.len() <= 0x1000);
    core.resize(0x1000, 0);
    core.extend(fs::read(program()).unwrap());
    core.resize(0x2000 + usize::try_from(TOP).unwrap(), 0);
    core.extend(bytes(&words));
    core.resize(0x2000 + SIZE, 0);
    core
}

fn ours(core: &Path) -> Stack {
    let (dump, program) = (opened(core), program());
    let found: BTreeMap<u32, Stack> = stacks(&dump, &Files::new(&dump.process, &[&program], &[]));
    found.into_values().next().unwrap()
}

/// The registers of each frame, in the order of `KEPT`.
fn kept(stack: &Stack) -> Vec<Vec<Option<u64>>> {
    let of = |frame: &effigy_symbols::unwind::Frame| KEPT.map(|name| frame.registers.by_name(name)).to_vec();
    stack.frames.iter().map(of).collect()
}

#[test]
fn frames_that_only_the_index_table_describes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("core");
    fs::write(&path, core()).unwrap();
    let stack = ours(&path);
    let counters: Vec<u64> = stack.frames.iter().map(|frame| frame.address.0).collect();
    let expected = [0x20186, 0x20178, 0x20168, 0x20152, 0x2013c, 0x20128];
    assert_eq!(counters, expected, "{stack:?}");
    assert!(stack.frames[1..].iter().all(|frame| frame.trust == Trust::Cfi), "{stack:?}");
    let Some(gdb) = tool("gdb-multiarch") else { return };
    let mut command = Command::new(gdb);
    command.args(["-q", "-batch", "-nx", "-iex", "set debuginfod enabled off", "-ex", REGISTERS]);
    let output = command.arg(program()).arg(&path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let frame = |line: &str| {
        let words = line.strip_prefix("FRAME ")?.split_whitespace();
        Some(words.map(hexadecimal).collect::<Vec<_>>())
    };
    let theirs: Vec<_> = text.lines().filter_map(frame).collect();
    assert_eq!(kept(&stack), theirs, "{text}{}", String::from_utf8_lossy(&output.stderr));
}
