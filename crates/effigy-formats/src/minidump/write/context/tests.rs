use effigy_process::{Architecture, note};
use zerocopy::IntoBytes;

use super::*;
use crate::minidump::layout::context::flag;
use crate::minidump::sample;

fn words32(count: u32) -> Vec<u8> {
    (0..count).flat_map(|index| (0x100 + index).to_le_bytes()).collect()
}

#[test]
fn x86_64_registers_find_their_places() {
    let thread = sample::thread(1, 0x401_000, 0x7000);
    let context = x86_64::context(thread.registers.as_ref().unwrap());
    assert_eq!(context.rip.get(), 0x401_000);
    assert_eq!(context.general[4].get(), 0x7000, "rsp");
    assert_eq!(context.general[0].get(), 0x1000 + 10, "rax");
    assert_eq!(context.general[15].get(), 0x1000, "r15");
    assert_eq!(context.segments[0].get(), 0x33, "cs");
    assert_eq!(context.segments[5].get(), 0x2b, "ss");
    assert_eq!(context.eflags.get(), 0x1000 + 18);
    assert_eq!(context.mxcsr.get(), 0x1f80);
    assert_eq!(context.float[..], sample::fxsave()[..]);
    assert_eq!(context.flags.get(), 0x10_000f);
}

#[test]
fn x86_64_takes_floating_point_from_xsave_or_leaves_it_out() {
    let mut registers = sample::thread(1, 1, 2).registers.unwrap();
    registers.sets.retain(|set| set.note != note::PRFPREG);
    let context = x86_64::context(&registers);
    assert_eq!(context.mxcsr.get(), 0x1f80);
    assert_eq!(context.flags.get() & flag::X86_FLOATING_POINT, flag::X86_FLOATING_POINT);

    registers.sets.retain(|set| set.note == note::PRSTATUS);
    let context = x86_64::context(&registers);
    assert_eq!(context.float, [0; 512]);
    assert_eq!(context.flags.get(), 0x10_0007);
}

#[test]
fn x86_registers_find_their_places() {
    let sets = [(note::PRSTATUS, words32(17)), (note::PRFPREG, vec![7; 108]), (note::PRXFPREG, sample::fxsave())];
    let context = x86::context(&sample::registers(Architecture::X86, &sets));
    let found = [context.ebx, context.eax, context.eip, context.esp, context.ss].map(|word| word.get());
    assert_eq!(found, [0x100, 0x106, 0x10c, 0x10f, 0x110]);
    assert_eq!(context.float, [7; 108]);
    assert_eq!(context.extended[..], sample::fxsave()[..]);
    assert_eq!(context.flags.get(), 0x1_002f);
}

#[test]
fn arm64_registers_find_their_places() {
    let general = (0..34u64).flat_map(|index| (0x100 + index).to_le_bytes()).collect();
    let mut float: Vec<u8> = (0..32).flat_map(|number| [number; 16]).collect();
    float.extend(11u32.to_le_bytes());
    float.extend(22u32.to_le_bytes());
    float.extend([0; 8]);
    let context =
        arm64::context(&sample::registers(Architecture::Aarch64, &[(note::PRSTATUS, general), (note::PRFPREG, float)]));
    assert_eq!((context.x[30].get(), context.sp.get(), context.pc.get()), (0x11e, 0x11f, 0x120));
    assert_eq!((context.cpsr.get(), context.fpsr.get(), context.fpcr.get()), (0x121, 11, 22));
    assert_eq!(context.v[511], 31);
    assert_eq!(context.flags.get(), 0x40_0007);
}

#[test]
fn arm_registers_find_their_places() {
    let mut vfp = vec![3; 256];
    vfp.extend(0x42u32.to_le_bytes());
    let sets = [(note::PRSTATUS, words32(18)), (note::ARM_VFP, vfp)];
    let context = arm::context(&sample::registers(Architecture::Arm, &sets));
    assert_eq!((context.r[15].get(), context.cpsr.get(), context.fpscr.get()), (0x10f, 0x110, 0x42));
    assert_eq!(context.d, [3; 256]);
    assert_eq!(context.flags.get(), 0x4000_0007);
}

#[test]
fn sets_of_the_wrong_length_do_no_harm() {
    for architecture in [Architecture::X86, Architecture::X86_64, Architecture::Arm, Architecture::Aarch64] {
        let all = [note::PRSTATUS, note::PRFPREG, note::PRXFPREG, note::X86_XSTATE, note::ARM_VFP];
        for length in [0, 3, 100] {
            let sets = all.map(|note| (note, vec![1; length]));
            let registers = sample::registers(architecture, &sets);
            let mut out = Vec::new();
            let mut output = Output::writing(&mut out);
            ContextLayout(architecture).write(&registers, &mut output).unwrap();
            assert_eq!(output.position(), ContextLayout(architecture).size());
        }
    }
}

#[test]
fn riscv_has_no_context() {
    assert!(matches!(ContextLayout::of(Architecture::Riscv64), Err(WriteError::Architecture { .. })));
    assert_eq!(x86_64::context(&sample::registers(Architecture::X86_64, &[])).as_bytes().len(), 1232);
}
