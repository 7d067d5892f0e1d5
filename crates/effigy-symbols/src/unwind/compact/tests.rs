//! Sections made by hand, and that of a program of macOS beside what llvm-objdump reads in it.

use std::path::Path;
use std::sync::Arc;

use effigy_process::{Address, Architecture};

use super::super::testing::{Bytes, OneImage, process, thread};
use super::super::{Stack, Trust, Unwinder};
use super::encoding::{FrameLayout, Saved};
use super::table::{CompactTable, Entry};
use super::*;
use crate::image::Image;
use crate::oracle::{Workshop, corpus};

/// Where the image is loaded, and where its file says.
const BASE: u64 = 0x10_0000;
const FILE_BASE: u64 = 0x1_0000_0000;
const STACK: u64 = 0x7000;
const CODE: usize = 0x1000;
const TABLE: usize = 0x3000;

/// A Mach-O file of 64 bits: code from 0x1000 on, and `__unwind_info`.
fn mach_o(architecture: Architecture, code: &[u8], table: &[u8]) -> Vec<u8> {
    let (cpu, subtype) = if architecture == Architecture::Aarch64 { (0x0100_000c, 0) } else { (0x0100_0007, 3) };
    let size = TABLE + table.len();
    let mut bytes = Vec::new();
    let words = |bytes: &mut Vec<u8>, list: &[u32]| list.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    let longs = |bytes: &mut Vec<u8>, list: &[u64]| list.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    let name = |bytes: &mut Vec<u8>, text: &str| {
        let mut field = text.as_bytes().to_vec();
        field.resize(16, 0);
        bytes.extend(field);
    };
    // MH_MAGIC_64, MH_EXECUTE, one command.
    words(&mut bytes, &[0xfeed_facf, cpu, subtype, 2, 1, 72 + 2 * 80, 0, 0]);
    // LC_SEGMENT_64
    words(&mut bytes, &[0x19, 72 + 2 * 80]);
    name(&mut bytes, "__TEXT");
    longs(&mut bytes, &[FILE_BASE, size as u64, 0, size as u64]);
    words(&mut bytes, &[5, 5, 2, 0]);
    for (section, at, length, flags) in
        [("__text", CODE, code.len(), 0x8000_0000u32), ("__unwind_info", TABLE, table.len(), 0)]
    {
        name(&mut bytes, section);
        name(&mut bytes, "__TEXT");
        longs(&mut bytes, &[FILE_BASE + at as u64, length as u64]);
        words(&mut bytes, &[u32::try_from(at).unwrap(), 2, 0, 0, flags, 0, 0, 0]);
    }
    bytes.resize(size, 0);
    bytes[CODE..CODE + code.len()].copy_from_slice(code);
    bytes[TABLE..].copy_from_slice(table);
    bytes
}

/// A table of pages: those with `true` are compressed, and use the first two encodings of their functions as shared ones.
fn table(pages: &[(bool, &[(u32, u32)])], end: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let common: Vec<u32> =
        pages.iter().filter(|page| page.0).flat_map(|page| page.1).map(|entry| entry.1).take(2).collect();
    let half = |number: usize| u32::try_from(number).unwrap();
    let index_at = 28 + 4 * common.len();
    let mut page_at = index_at + 12 * (pages.len() + 1);
    let mut index = Vec::new();
    let mut contents: Vec<u32> = Vec::new();
    for (compressed, functions) in pages {
        let first = functions[0].0;
        index.extend([first, half(page_at), 0]);
        let before = contents.len();
        if *compressed {
            let own: Vec<u32> = functions.iter().map(|entry| entry.1).filter(|one| !common.contains(one)).collect();
            let list = 12;
            contents.extend([3, list | half(functions.len()) << 16]);
            contents.push((list + 4 * half(functions.len())) | half(own.len()) << 16);
            for (function, encoding) in *functions {
                let number = common.iter().chain(&own).position(|one| one == encoding).unwrap();
                contents.push(half(number) << 24 | (function - first));
            }
            contents.extend(own);
        } else {
            contents.extend([2, 8 | half(functions.len()) << 16]);
            functions.iter().for_each(|(function, encoding)| contents.extend([*function, *encoding]));
        }
        page_at += 4 * (contents.len() - before);
    }
    index.extend([end, 0, 0]);
    let header = [1, 28, half(common.len()), 0, 0, half(index_at), half(pages.len() + 1)];
    for word in header.into_iter().chain(common).chain(index).chain(contents) {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

fn image(architecture: Architecture, code: &[u8], table: &[u8]) -> Arc<Image> {
    let bytes = mach_o(architecture, code, table);
    Arc::new(Image::from_bytes(bytes, Path::new("made")).unwrap())
}

fn walk(image: Arc<Image>, words: &[u64], registers: &[(&str, u64)]) -> Stack {
    let architecture = image.architecture();
    let regions = [(STACK, 0x1000, false), (BASE, 0x8000, true)];
    let process = process(architecture, &[(BASE, 0x8000)], &regions);
    let mut words = words.to_vec();
    words.resize(512, 0);
    let memory = Bytes::new(&[Bytes::words(STACK, &words)]);
    Unwinder::new(&process, &memory, &OneImage(image)).unwind(&thread(architecture, registers), 10)
}

fn entry(image: &Arc<Image>, offset: u64) -> Option<(u64, u32)> {
    CompactTable::of_image(image)?.entry(offset).map(|Entry { function, encoding }| (function, encoding))
}

#[test]
fn pages_of_both_kinds() {
    let regular: &[(u32, u32)] = &[(0x1000, 0x0100_0001), (0x1040, 0), (0x1080, 0x0202_0000)];
    let compressed: &[(u32, u32)] = &[(0x1100, 1), (0x1110, 2), (0x1120, 3), (0x1130, 1), (0x1140, 4)];
    let image = image(Architecture::X86_64, &[], &table(&[(false, regular), (true, compressed)], 0x1200));
    for (offset, found) in [
        (0xfff, None),
        (0x1000, Some((0x1000, 0x0100_0001))),
        (0x103f, Some((0x1000, 0x0100_0001))),
        // Of this one nothing is known.
        (0x1050, None),
        (0x10ff, Some((0x1080, 0x0202_0000))),
        (0x1100, Some((0x1100, 1))),
        (0x1111, Some((0x1110, 2))),
        (0x112f, Some((0x1120, 3))),
        (0x1130, Some((0x1130, 1))),
        (0x11ff, Some((0x1140, 4))),
        (0x1200, None),
        (u64::MAX, None),
    ] {
        assert_eq!(entry(&image, offset), found, "{offset:#x}");
    }
}

/// All that a table may be cut to, and tables whose every word is each of a few bad ones.
#[test]
fn damaged_tables_are_no_harm() {
    let functions: &[(u32, u32)] = &[(0x1000, 0x0301_07ff), (0x1040, 0x0200_1fff), (0x1080, 0x0400_001f)];
    let whole = table(&[(false, functions), (true, functions)], 0x1200);
    let look = |table: &[u8]| {
        let image = image(Architecture::X86_64, &[0xff; 0x100], table);
        for offset in (0xff0..0x1210).step_by(0x10) {
            let found = CompactTable::of_image(&image).and_then(|table| Some((table.entry(offset)?, table)));
            if let Some((entry, table)) = found {
                let _ = encoding::x86_64(entry.encoding, |into| table.code_word(entry.function, into));
                let _ = encoding::arm64(entry.encoding);
            }
        }
    };
    (0..whole.len()).for_each(|length| look(&whole[..length]));
    for at in (0..whole.len()).step_by(4) {
        for word in [0u32, 1, 0x7fff_ffff, 0xffff_ffff, 0xffff_0003] {
            let mut bytes = whole.clone();
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
            look(&bytes);
        }
    }
    // Every mode with every number of registers and many orders.
    for word in (0..0x1000_0000u32).step_by(0x3fb) {
        let _ = (encoding::x86_64(word, |_| Some(u32::MAX)), encoding::arm64(word));
    }
}

#[test]
fn registers_of_x86_64() {
    let saved = |list: &[(u16, u64)]| -> Vec<Saved> {
        list.iter().map(|(register, below)| Saved { register: *register, below: *below }).collect()
    };
    // rbx, nothing, r14 from three words below the frame pointer on.
    let with = encoding::x86_64(0x0103_0101, |_| None);
    assert_eq!(with, Some(FrameLayout::WithPointer { saved: saved(&[(3, 40), (14, 24)]) }), "{with:?}");
    // Of five words three are for registers: digits 5, 0, 3 stand for rbp, rbx and r15.
    let order = 5 * 20 + 3;
    let without = encoding::x86_64(0x0205_0000 | 3 << 10 | order, |_| None);
    let expected = saved(&[(6, 32), (3, 24), (15, 16)]);
    assert_eq!(without, Some(FrameLayout::WithoutPointer { size: 40, saved: expected }));
    // The size is in the code, seven bytes in; one word was pushed before.
    let large = encoding::x86_64(0x0307_0000 | 1 << 13 | 1 << 10, |into| (into == 7).then_some(0x2000));
    let expected = saved(&[(3, 16)]);
    assert_eq!(large, Some(FrameLayout::WithoutPointer { size: 0x2008, saved: expected }));
    // Call frame information, nothing, seven registers, and a frame smaller than what it saved.
    for word in [0x0400_0010, 0, 0x02ff_0000 | 7 << 10, 0x0201_0000 | 1 << 10] {
        assert_eq!(encoding::x86_64(word, |_| None), None, "{word:#x}");
    }
}

/// A frame without a frame pointer, one with, and one whose size is in its code.
#[test]
fn frames_of_x86_64() {
    let functions: &[(u32, u32)] =
        &[(0x1000, 0x0203_0000 | 1 << 10), (0x1100, 0x0101_0001), (0x1200, 0x0303_0000), (0x1300, 0)];
    let mut code = vec![0x90; 0x400];
    code[0x203..0x207].copy_from_slice(&0x40u32.to_le_bytes());
    for call in [0x180, 0x280, 0x380] {
        code[call - 5] = 0xe8;
    }
    let image = image(Architecture::X86_64, &code, &table(&[(true, functions)], 0x1400));
    let mut words = vec![0; 32];
    // rbx and the return address, then a frame with a frame pointer, of which rbx is saved one word below.
    (words[1], words[2]) = (0xb1, BASE + 0x1180);
    (words[5], words[6], words[7]) = (0xb2, STACK + 0x500, BASE + 0x1280);
    words[8 + 7] = BASE + 0x1380;
    let registers = [("rip", BASE + 0x1050), ("rsp", STACK), ("rbp", STACK + 48), ("rbx", 0xb0)];
    let stack = walk(image, &words, &registers);
    let told: Vec<_> = stack.frames.iter().map(|frame| (frame.address.0 - BASE, frame.trust)).collect();
    let expected =
        [(0x1050, Trust::Context), (0x1180, Trust::Compact), (0x1280, Trust::Compact), (0x1380, Trust::Compact)];
    assert_eq!(told[..4], expected, "{stack:?}");
    let of = |name| stack.frames.iter().map(|frame| frame.registers.by_name(name)).take(4).collect::<Vec<_>>();
    assert_eq!(of("rbx"), [Some(0xb0), Some(0xb1), Some(0xb2), Some(0xb2)]);
    assert_eq!(of("rbp"), [Some(STACK + 48), Some(STACK + 48), Some(STACK + 0x500), Some(STACK + 0x500)]);
    assert_eq!(of("rsp"), [Some(STACK), Some(STACK + 24), Some(STACK + 64), Some(STACK + 128)]);
}

/// In a prologue the table does not hold yet: the code tells.
#[test]
fn the_first_instructions_of_a_function() {
    // push rbp; mov rbp, rsp; nop…; pop rbp; ret
    let mut code = vec![0x90; 0x200];
    code[..4].copy_from_slice(&[0x55, 0x48, 0x89, 0xe5]);
    code[0x20..0x22].copy_from_slice(&[0x5d, 0xc3]);
    code[0x180 - 5] = 0xe8;
    let image = image(Architecture::X86_64, &code, &table(&[(true, &[(0x1000, 0x0100_0000), (0x1100, 0)])], 0x1200));
    for (into, sp, trust) in [(0, 8, Trust::FramePointer), (1, 0, Trust::FramePointer), (4, 0, Trust::Compact)] {
        let fp = if into == 4 { STACK } else { STACK + 0x800 };
        let registers = [("rip", BASE + 0x1000 + into), ("rsp", STACK + sp), ("rbp", fp)];
        let stack = walk(image.clone(), &[STACK + 0x800, BASE + 0x1180], &registers);
        let caller = &stack.frames[1];
        assert_eq!((caller.address, caller.trust), (Address(BASE + 0x1180), trust), "{into}: {stack:?}");
        let registers = (caller.registers.stack_pointer(), caller.registers.frame_pointer());
        assert_eq!(registers, (Some(Address(STACK + 16)), Some(Address(STACK + 0x800))), "{into}");
    }
}

#[test]
fn frames_of_arm64() {
    // A leaf with 32 bytes of stack that saved x19 and x20, and a frame that saved x21, x22, x27 and x28.
    let functions: &[(u32, u32)] = &[(0x1000, 0x0200_2001), (0x1100, 0x0400_0012), (0x1200, 0)];
    let mut code = vec![0; 0x300];
    for call in [0x180usize, 0x280] {
        code[call - 4..call].copy_from_slice(&0x9400_0001u32.to_le_bytes());
    }
    let image = image(Architecture::Aarch64, &code, &table(&[(true, functions)], 0x1300));
    let mut words = vec![0; 32];
    (words[3], words[2]) = (0x13, 0x14);
    // The record of the second frame is at 10 words; what it saved lies below, downwards.
    (words[10], words[11]) = (STACK + 0x400, BASE + 0x1280);
    (words[9], words[8], words[7], words[6]) = (0x15, 0x16, 0x1b, 0x1c);
    let registers = [("pc", BASE + 0x1010), ("sp", STACK), ("x29", STACK + 80), ("x30", BASE + 0x1180)];
    let stack = walk(image, &words, &registers);
    let told: Vec<_> = stack.frames.iter().map(|frame| (frame.address.0 - BASE, frame.trust)).take(3).collect();
    assert_eq!(told, [(0x1010, Trust::Context), (0x1180, Trust::Compact), (0x1280, Trust::Compact)], "{stack:?}");
    let of = |frame: usize, name| stack.frames[frame].registers.by_name(name);
    assert_eq!([of(1, "x19"), of(1, "x20"), of(1, "sp")], [Some(0x13), Some(0x14), Some(STACK + 32)]);
    let saved = ["x21", "x22", "x27", "x28"].map(|name| of(2, name));
    assert_eq!(saved, [0x15, 0x16, 0x1b, 0x1c].map(Some));
    assert_eq!((of(2, "sp"), of(2, "x29")), (Some(STACK + 96), Some(STACK + 0x400)));
}

/// Every function of a program of macOS has the encoding that llvm-objdump tells.
#[test]
fn a_program_of_macos_beside_llvm() {
    let Some(corpus) = corpus() else { return };
    let program = corpus.join("symbolic/symbols/macos_crash");
    let arguments = ["--macho", "--unwind-info", program.to_str().unwrap()];
    let Some(said) = Workshop::new().run_if_there("llvm-objdump", &arguments) else { return };
    let image = Arc::new(Image::open(&program).unwrap());
    let table = CompactTable::of_image(&image).unwrap();
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let mut compared = 0;
    for line in said.lines().filter(|line| line.contains("function offset=") && line.contains("encoding")) {
        let value = |name: &str| {
            let rest = line.split_once(name)?.1;
            number(rest.split([',', ' ']).next()?)
        };
        let function = value("function offset=").unwrap();
        let encoding = line.rsplit("=").next().and_then(number).unwrap();
        let found = table.entry(function).map(|entry| (entry.function, u64::from(entry.encoding)));
        assert_eq!(found, (encoding != 0).then_some((function, encoding)), "{line}");
        compared += 1;
    }
    assert!(compared > 100, "{compared} functions: {said}");
}

/// Where the code tells: behind each call of each function the table leads to the same caller as the instructions up to
/// the function's return. No function of this program has a frame pointer.
#[test]
fn a_program_of_macos_beside_its_own_code() {
    /// A word of the stack is an address of code that names the word's place.
    const CODE_AT: u64 = 0x5000_0000_0000;
    const WORDS: u64 = 0x2000;
    let Some(corpus) = corpus() else { return };
    let image = Arc::new(Image::open(&corpus.join("symbolic/symbols/macos_crash")).unwrap());
    let size = image.segments().iter().map(|segment| segment.end()).max().unwrap() - image.base();
    let regions = [(STACK, 8 * WORDS, false), (BASE, size, true), (CODE_AT, 0x100_0000, true)];
    let process = process(Architecture::X86_64, &[(BASE, size)], &regions);
    let words: Vec<u64> = (0..WORDS).map(|word| CODE_AT + STACK + 8 * word).collect();
    let memory = Bytes::new(&[Bytes::words(STACK, &words)]);
    let images = OneImage(image.clone());
    let unwinder = Unwinder::new(&process, &memory, &images);
    let text = image.section(".text").unwrap();
    let code = image.data(".text").unwrap();
    let table = CompactTable::of_image(&image).unwrap();
    let kept = ["rip", "rsp", "rbx", "rbp", "r12", "r13", "r14", "r15"];
    let mut compared = 0;
    for instruction in &mut iced_x86::Decoder::with_ip(64, code, text.address, 0) {
        let is_call = matches!(instruction.mnemonic(), iced_x86::Mnemonic::Call);
        let address = BASE + instruction.next_ip() - image.base();
        let function = table.entry(address - 1 - BASE).filter(|_| is_call);
        if function.is_none()
            || !returns(code, text.address, instruction.next_ip(), |ip| table.entry(ip - image.base()) == function)
        {
            continue;
        }
        let mut walk = Walk::new(&unwinder);
        let registers = [("rip", address), ("rsp", STACK + 0x400), ("rbp", 1), ("rbx", 2), ("r12", 3), ("r13", 4)];
        let registers = FrameRegisters::of_thread(&thread(Architecture::X86_64, &registers)).unwrap();
        let frame = Frame {
            registers,
            address: Address(address),
            lookup: Address(address - 1),
            cfa: None,
            trust: Trust::Context,
            module: Some(0),
            signal: false,
        };
        let called = Nature { interrupted: false, exact: true };
        // Of some functions only call frame information tells.
        let Ok(ours) = walk.by_compact(0, &frame, called) else { continue };
        let Ok(told) = walk.by_way_to_return(&frame) else { continue };
        let of = |caller: &Caller| kept.map(|name| caller.registers.by_name(name));
        assert_eq!(of(&ours), of(&told), "{:#x}", address - BASE);
        compared += 1;
    }
    assert!(compared > 200, "{compared} calls");
}

/// Whether code goes on to a return without leaving its function, as it does behind a call that never comes back.
fn returns(code: &[u8], start: u64, from: u64, is_inside: impl Fn(u64) -> bool) -> bool {
    use iced_x86::{Decoder, FlowControl, OpKind};
    let mut at = from;
    for _ in 0..1000 {
        let Some(rest) = usize::try_from(at - start).ok().and_then(|into| code.get(into..)) else { return false };
        if !is_inside(at) {
            return false;
        }
        let instruction = Decoder::with_ip(64, rest, at, 0).decode();
        at = match instruction.flow_control() {
            FlowControl::Return => return true,
            FlowControl::UnconditionalBranch if instruction.op0_kind() == OpKind::NearBranch64 => {
                instruction.near_branch_target()
            }
            FlowControl::Next | FlowControl::ConditionalBranch | FlowControl::Call | FlowControl::IndirectCall => {
                instruction.next_ip()
            }
            _ => return false,
        };
        if at < start {
            return false;
        }
    }
    false
}
