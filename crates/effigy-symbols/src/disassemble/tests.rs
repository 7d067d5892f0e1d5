//! Instructions beside those that `objdump` tells, and whatever bytes there are.

use super::*;
use crate::oracle::Workshop;

fn texts(instructions: &[Instruction]) -> Vec<(u64, &str)> {
    instructions.iter().map(|instruction| (instruction.address, instruction.text.as_str())).collect()
}

const CODE: [u8; 17] =
    [0x55, 0x48, 0x89, 0xe5, 0xe8, 0x07, 0x00, 0x00, 0x00, 0x48, 0x8b, 0x05, 0x10, 0x00, 0x00, 0x00, 0xc3];

#[test]
fn instructions_of_x86_64() {
    let disassembler = Disassembler::new(Architecture::X86_64).unwrap();
    let instructions = disassembler.forwards(&CODE, 0x1000, 100);
    assert_eq!(
        texts(&instructions),
        [
            (0x1000, "push rbp"),
            (0x1001, "mov rbp, rsp"),
            (0x1004, "call 0x1010"),
            (0x1009, "mov rax, [0x1020]"),
            (0x1010, "ret"),
        ]
    );
    let targets: Vec<_> = instructions.iter().filter_map(|instruction| instruction.target).collect();
    assert_eq!(targets, [0x1010, 0x1020]);
    assert_eq!(instructions[4].next(), 0x1011);
    assert_eq!(disassembler.forwards(&CODE, 0x1000, 2).len(), 2);
    assert_eq!(disassembler.forwards(&CODE[..6], 0x1000, 9).len(), 2, "the call is cut off");
}

#[test]
fn backwards_ends_where_the_code_ends() {
    let disassembler = Disassembler::new(Architecture::X86_64).unwrap();
    let before = disassembler.backwards(&CODE[..9], 0x1000, 2);
    assert_eq!(texts(&before), [(0x1001, "mov rbp, rsp"), (0x1004, "call 0x1010")]);
    assert!(disassembler.backwards(&[], 0x1000, 2).is_empty());
    let disassembler = Disassembler::new(Architecture::Aarch64).unwrap();
    let code = [0, 0, 0xfd, 0x7b, 0xbf, 0xa9, 0x1f, 0x20, 0x03, 0xd5];
    let before = disassembler.backwards(&code, 0xffe, 1);
    assert_eq!(texts(&before), [(0x1004, "nop")]);
}

#[test]
fn what_is_no_instruction_is_told() {
    let disassembler = Disassembler::new(Architecture::X86_64).unwrap();
    let instructions = disassembler.forwards(&[0x06, 0x90, 0x06, 0x90], 0, 10);
    assert_eq!(texts(&instructions), [(0, "(bad)"), (1, "nop"), (2, "(bad)"), (3, "nop")]);
    assert!(!instructions[0].is_valid);
    assert_eq!(
        Disassembler::new(Architecture::S390x).unwrap_err().to_string(),
        "the instructions of s390x are not known"
    );
}

#[test]
fn instructions_of_64_bit_arm() {
    let disassembler = Disassembler::new(Architecture::Aarch64).unwrap();
    let words: [u32; 6] = [0xa9bf_7bfd, 0x9400_0002, 0x17ff_ffff, 0xb000_0000, 0x5400_0040, 0xffff_ffff];
    let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let instructions = disassembler.forwards(&code, 0x10_0800, 100);
    println!("{:?}", texts(&instructions));
    let targets: Vec<_> = instructions.iter().map(|instruction| instruction.target).collect();
    assert_eq!(targets, [None, Some(0x10_080c), Some(0x10_0804), Some(0x10_1000), Some(0x10_0818), None]);
    assert_eq!(instructions[1].text, "bl 0x10080c");
    assert_eq!(instructions[2].text, "b 0x100804");
    assert!(instructions[3].text.ends_with("0x101000"), "{}", instructions[3].text);
    assert!(!instructions[5].is_valid);
}

#[test]
fn thumb_means_nothing_to_other_processors() {
    let disassembler = Disassembler::new(Architecture::X86_64).unwrap().thumb();
    assert_eq!(disassembler.forwards(&CODE, 0x1000, 100).len(), 5);
}

/// Thumb instructions have two bytes or four, and are found from behind all the same.
#[test]
fn thumb_backwards() {
    let disassembler = Disassembler::new(Architecture::Arm).unwrap().thumb();
    // push {r4, lr}; bl 0x1000; cbz r0, 0x100c; nop
    let code = [0x10, 0xb5, 0xff, 0xf7, 0xfd, 0xff, 0x10, 0xb1, 0x00, 0xbf];
    let before = disassembler.backwards(&code, 0x1000, 3);
    let told: Vec<_> = before.iter().map(|each| (each.address, each.bytes.len(), each.target)).collect();
    assert_eq!(told, [(0x1002, 4, Some(0x1000)), (0x1006, 2, Some(0x100e)), (0x1008, 2, None)]);
    assert!(before[0].text.ends_with("0x1000"), "{before:?}");
}

/// What the decoder does not know, or would panic at.
#[test]
fn odd_instructions_of_32_bit_arm() {
    let disassembler = Disassembler::new(Architecture::Arm).unwrap();
    // nop, wfi, a hint that is none, an addition of vectors, a load of the last register and the one behind it.
    let words = [0xe320_f000u32, 0xe320_f003, 0xe320_f0ff, 0xf220_0844, 0xe1c0_f0d0];
    let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let told: Vec<_> = disassembler.forwards(&code, 0, 9).into_iter().map(|each| each.text).collect();
    assert_eq!(told, ["nop", "wfi", ".inst 0xe320f0ff", ".inst 0xf2200844", "(bad)"]);
    let thumb = disassembler.thumb().forwards(&[0x20, 0xef, 0x44, 0x08, 0x70, 0x47], 0, 9);
    assert_eq!(texts(&thumb), [(0, ".inst.w 0xef200844"), (4, "bx lr")]);
}

/// Lengths and targets of all instructions of a program are those of objdump.
#[test]
fn lengths_are_those_of_objdump() {
    let workshop = Workshop::new();
    workshop.write("a.c", "#include <stdio.h>\n#include <math.h>\nint main(int c, char **v) { double s = 0; for (int i = 0; i < c; i++) { s += sqrt(c * i) / 3; printf(\"%f %s\", s, v[i]); } return s; }");
    if workshop.line("gcc -w -O3 -static -ffast-math a.c -o a -lm").is_none() {
        return;
    }
    let Some(said) = workshop.line("objdump -d --no-show-raw-insn -j .text a") else { return };
    let addresses: Vec<u64> =
        said.lines().filter_map(|line| u64::from_str_radix(line.trim_start().split_once(":\t")?.0, 16).ok()).collect();
    let image = crate::image::Image::open(&workshop.path("a")).unwrap();
    let disassembler = Disassembler::new(Architecture::X86_64).unwrap();
    let section = image.section(".text").unwrap();
    let code = image.data(".text").unwrap();
    let ours = disassembler.forwards(code, section.address, MOST_INSTRUCTIONS);
    let ours: Vec<u64> = ours.iter().map(|instruction| instruction.address).collect();
    let different = addresses.iter().zip(&ours).position(|(their, our)| their != our);
    assert!(addresses.len() > 10_000);
    // Prefixes that mean nothing are instructions of their own to one and not to the other.
    let common = ours.iter().filter(|address| addresses.binary_search(address).is_ok()).count();
    assert!(common * 1000 >= addresses.len() * 999, "{common} of {}; first at {different:?}", addresses.len());
}

#[test]
fn any_bytes_are_no_harm() {
    let mut seed = 3u64;
    let mut bytes = Vec::new();
    for _ in 0..1 << 17 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&seed.to_le_bytes()[4..]);
    }
    let all = [Architecture::X86, Architecture::X86_64, Architecture::Aarch64, Architecture::Arm];
    let all = all.map(|architecture| Disassembler::new(architecture).unwrap());
    for disassembler in all.into_iter().chain([all[3].thumb()]) {
        let instructions = disassembler.forwards(&bytes, u64::MAX - 100, usize::MAX);
        let total: usize = instructions.iter().map(|instruction| instruction.bytes.len()).sum();
        assert!(bytes.len() - total < LONGEST_INSTRUCTION);
        let before = disassembler.backwards(&bytes[..999], u64::MAX - 10, 5);
        assert!(before.len() <= 5);
    }
}
