//! CONTEXTs, brought into the form in which the kernel of Linux keeps registers.

use std::mem::offset_of;

use effigy_process::{Architecture, ByteOrder, CompactBytes, RegisterSet, Registers, note};

use crate::minidump::layout::context::{Amd64, Arm, Arm64, Arm64Old, X86, flag};
use crate::minidump::layout::processor;

/// `CONTEXT_XSTATE` below the architecture's bit: behind the CONTEXT lie a CONTEXT_EX and an XSAVE area.
const XSTATE: u32 = 0x40;
/// Component 2 of XSAVE: the upper halves of the ymm registers.
const AVX: u64 = 0x4;
/// Bytes of that component.
const AVX_SIZE: usize = 256;
/// Where it lies behind the legacy area, both in an area of standard form and in a compacted one: it comes first.
const XSAVE_HEADER: usize = 64;

/// The architecture of a processor's number.
pub(super) fn architecture(number: u16) -> Architecture {
    let other = |machine, pointer_size| Architecture::Other { machine, pointer_size };
    match number {
        processor::X86 | processor::X86_ON_64 => Architecture::X86,
        processor::AMD64 => Architecture::X86_64,
        processor::ARM => Architecture::Arm,
        processor::ARM64 | processor::ARM64_OLD => Architecture::Aarch64,
        // ELF's numbers for the others of winnt.h and of Breakpad: MIPS, PowerPC, Itanium, SPARC, RISC-V.
        1 => other(8, 4),
        0x8004 => other(8, 8),
        3 => other(20, 4),
        0x8002 => Architecture::Ppc64,
        6 => other(50, 8),
        0x8001 => other(2, 4),
        0x8005 => other(243, 4),
        0x8006 => Architecture::Riscv64,
        _ => Architecture::default(),
    }
}

/// The registers in a CONTEXT for a processor; `None` when it is one that we do not know, or too short for any.
/// `environment` is the thread's environment block, which `gs` leads to on 64-bit Windows.
pub(super) fn registers(number: u16, bytes: &[u8], environment: Option<u64>) -> Option<Registers> {
    let context = Context { bytes };
    let mut made = match number {
        processor::AMD64 => context.amd64(environment)?,
        processor::X86 | processor::X86_ON_64 => context.x86()?,
        processor::ARM64 => context.arm64(&ARM64)?,
        processor::ARM64_OLD => context.arm64(&ARM64_OLD)?,
        processor::ARM => context.arm()?,
        _ => return None,
    };
    made.architecture = architecture(number);
    made.byte_order = ByteOrder::Little;
    Some(made)
}

/// A CONTEXT, of which the end may be missing.
struct Context<'a> {
    bytes: &'a [u8],
}

/// General registers as they are collected.
#[derive(Default)]
struct Words {
    bytes: Vec<u8>,
    missing: u64,
    count: u32,
}

impl Words {
    /// Adds a word of `size` bytes; `None` for one whose value is not known.
    fn push(&mut self, value: Option<u64>, size: usize) {
        if value.is_none() {
            self.missing |= 1u64.checked_shl(self.count).unwrap_or(0);
        }
        self.bytes.extend_from_slice(&value.unwrap_or(0).to_le_bytes()[..size]);
        self.count += 1;
    }

    fn finish(self, others: impl IntoIterator<Item = (u32, Option<Vec<u8>>)>) -> Registers {
        let general = (note::PRSTATUS, Some(self.bytes));
        let known = std::iter::once(general).chain(others).filter_map(|(note, bytes)| Some((note, bytes?)));
        let sets = known.map(|(note, bytes)| RegisterSet { note, bytes: CompactBytes::new(&bytes) }).collect();
        Registers { sets, missing: self.missing, ..Registers::default() }
    }
}

/// Where things are in the two CONTEXTs of arm64.
struct Arm64Layout {
    x: usize,
    cpsr: usize,
    fpcr: usize,
    fpsr: usize,
    v: usize,
}

const ARM64: Arm64Layout = Arm64Layout {
    x: offset_of!(Arm64, x),
    cpsr: offset_of!(Arm64, cpsr),
    fpcr: offset_of!(Arm64, fpcr),
    fpsr: offset_of!(Arm64, fpsr),
    v: offset_of!(Arm64, v),
};
const ARM64_OLD: Arm64Layout = Arm64Layout {
    x: offset_of!(Arm64Old, x),
    cpsr: offset_of!(Arm64Old, cpsr),
    fpcr: offset_of!(Arm64Old, fpcr),
    fpsr: offset_of!(Arm64Old, fpsr),
    v: offset_of!(Arm64Old, v),
};

impl Context<'_> {
    fn number<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..)?.first_chunk().copied()
    }

    fn word(&self, at: usize) -> Option<u64> {
        self.number(at).map(u64::from_le_bytes)
    }

    fn half(&self, at: usize) -> Option<u64> {
        self.number(at).map(|bytes| u32::from_le_bytes(bytes).into())
    }

    fn short(&self, at: usize) -> Option<u64> {
        self.number(at).map(|bytes| u16::from_le_bytes(bytes).into())
    }

    fn block(&self, at: usize, size: usize) -> Option<Vec<u8>> {
        self.bytes.get(at..at.checked_add(size)?).map(<[u8]>::to_vec)
    }

    /// Whether a part of the general registers is valid. Some writers name no part, or not even the architecture, and
    /// fill them all (Breakpad on macOS).
    fn has(flags: u64, architecture: u32, part: u32) -> bool {
        flags & 0xff == 0 || flags & u64::from(architecture) == 0 || flags & u64::from(part) != 0
    }

    fn amd64(&self, environment: Option<u64>) -> Option<Registers> {
        let flags = self.half(offset_of!(Amd64, flags))?;
        let has = |part| Self::has(flags, flag::AMD64, part);
        let names = |part: u32| flags & u64::from(part) != 0;
        let general = |number: usize, part| self.word(offset_of!(Amd64, general) + number * 8).filter(|_| has(part));
        let segment = |number: usize, part| self.short(offset_of!(Amd64, segments) + number * 2).filter(|_| has(part));
        let mut words = Words::default();
        // r15 to r12, rbp, rbx, r11 to r8, rax, rcx, rdx, rsi, rdi.
        for number in [15, 14, 13, 12, 5, 3, 11, 10, 9, 8, 0, 1, 2, 6, 7] {
            words.push(general(number, flag::INTEGER), 8);
        }
        words.push(None, 8);
        words.push(self.word(offset_of!(Amd64, rip)).filter(|_| has(flag::CONTROL)), 8);
        words.push(segment(0, flag::CONTROL), 8);
        words.push(self.half(offset_of!(Amd64, eflags)).filter(|_| has(flag::CONTROL)), 8);
        words.push(general(4, flag::CONTROL), 8);
        words.push(segment(5, flag::CONTROL), 8);
        words.push(None, 8);
        words.push(environment, 8);
        for number in [1, 2, 3, 4] {
            words.push(segment(number, flag::X86_SEGMENTS), 8);
        }
        let legacy = self.block(offset_of!(Amd64, float), 512).filter(|_| names(flag::X86_FLOATING_POINT));
        let extended = legacy.as_deref().and_then(|legacy| self.xsave(legacy, flags, size_of::<Amd64>()));
        Some(words.finish([(note::PRFPREG, legacy), (note::X86_XSTATE, extended)]))
    }

    fn x86(&self) -> Option<Registers> {
        let flags = self.half(offset_of!(X86, flags))?;
        let has = |part| Self::has(flags, flag::X86, part);
        let names = |part: u32| flags & u64::from(part) != 0;
        let (control, integer, segments) = (flag::CONTROL, flag::INTEGER, flag::X86_SEGMENTS);
        let mut words = Words::default();
        for (at, part) in [
            (offset_of!(X86, ebx), integer),
            (offset_of!(X86, ecx), integer),
            (offset_of!(X86, edx), integer),
            (offset_of!(X86, esi), integer),
            (offset_of!(X86, edi), integer),
            (offset_of!(X86, ebp), control),
            (offset_of!(X86, eax), integer),
            (offset_of!(X86, ds), segments),
            (offset_of!(X86, es), segments),
            (offset_of!(X86, fs), segments),
            (offset_of!(X86, gs), segments),
        ] {
            words.push(self.half(at).filter(|_| has(part)), 4);
        }
        words.push(None, 4);
        for at in [
            offset_of!(X86, eip),
            offset_of!(X86, cs),
            offset_of!(X86, eflags),
            offset_of!(X86, esp),
            offset_of!(X86, ss),
        ] {
            words.push(self.half(at).filter(|_| has(control)), 4);
        }
        let float = self.block(offset_of!(X86, float), 108).filter(|_| names(flag::X86_FLOATING_POINT));
        let legacy = self.block(offset_of!(X86, extended), 512).filter(|_| names(flag::X86_EXTENDED));
        let extended = legacy.as_deref().and_then(|legacy| self.xsave(legacy, flags, size_of::<X86>()));
        Some(words.finish([(note::PRFPREG, float), (note::PRXFPREG, legacy), (note::X86_XSTATE, extended)]))
    }

    /// The XSAVE area in standard form, as far as AVX: `legacy` and what lies behind the CONTEXT proper, which is `size`
    /// bytes long. There a CONTEXT_EX says, counted from itself, where the area is.
    fn xsave(&self, legacy: &[u8], flags: u64, size: usize) -> Option<Vec<u8>> {
        if flags & u64::from(XSTATE) == 0 {
            return None;
        }
        // Three pairs of offset and length: all, legacy, extended.
        let offset = i32::from_le_bytes(self.number(size + 16)?);
        let start = size.checked_add_signed(isize::try_from(offset).ok()?)?;
        let present = self.word(start)?;
        let ymm = self.block(start.checked_add(XSAVE_HEADER)?, AVX_SIZE).filter(|_| present & AVX != 0);
        let mask = 0x3 | if ymm.is_some() { AVX } else { 0 };
        let mut area = legacy.to_vec();
        // XCR0 stands in the part that is left to software, as in the kernel's notes.
        area[464..472].copy_from_slice(&(0x3 | AVX).to_le_bytes());
        area.extend_from_slice(&mask.to_le_bytes());
        area.resize(512 + XSAVE_HEADER, 0);
        area.extend_from_slice(&ymm.unwrap_or_else(|| vec![0; AVX_SIZE]));
        Some(area)
    }

    fn arm64(&self, layout: &Arm64Layout) -> Option<Registers> {
        self.half(0)?;
        let mut words = Words::default();
        // x0 to x30, then sp and pc behind them.
        (0..33).for_each(|number| words.push(self.word(layout.x + number * 8), 8));
        words.push(self.half(layout.cpsr), 8);
        let float = || {
            let mut bytes = self.block(layout.v, 512)?;
            bytes.extend_from_slice(&self.number::<4>(layout.fpsr)?);
            bytes.extend_from_slice(&self.number::<4>(layout.fpcr)?);
            bytes.resize(528, 0);
            Some(bytes)
        };
        Some(words.finish([(note::PRFPREG, float())]))
    }

    fn arm(&self) -> Option<Registers> {
        self.half(0)?;
        let mut words = Words::default();
        (0..16).for_each(|number| words.push(self.half(offset_of!(Arm, r) + number * 4), 4));
        words.push(self.half(offset_of!(Arm, cpsr)), 4);
        words.push(None, 4);
        let float = || {
            let mut bytes = self.block(offset_of!(Arm, d), 256)?;
            bytes.extend_from_slice(&self.number::<4>(offset_of!(Arm, fpscr))?);
            Some(bytes)
        };
        Some(words.finish([(note::ARM_VFP, float())]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_that_is_cut_short_has_what_it_has() {
        let mut bytes = vec![0; 300];
        bytes[48..52].copy_from_slice(&0x10_0003u32.to_le_bytes());
        bytes[0xf8..0x100].copy_from_slice(&0x1234u64.to_le_bytes());
        let made = registers(processor::AMD64, &bytes, None).unwrap();
        let general = made.general().unwrap();
        assert_eq!((general.get("rip"), general.get("ds"), general.get("gs_base")), (Some(0x1234), None, None));
        assert_eq!(made.set(note::PRFPREG), None);
        assert_eq!(registers(processor::AMD64, &bytes[..20], None), None);
    }

    #[test]
    fn the_old_arm64_context_has_its_own_order() {
        let mut bytes = vec![0; 796];
        bytes[8..16].copy_from_slice(&7u64.to_le_bytes());
        bytes[264..272].copy_from_slice(&0x4000u64.to_le_bytes());
        let general = registers(processor::ARM64_OLD, &bytes, None).unwrap().general().unwrap();
        assert_eq!((general.get("x0"), general.get("pc")), (Some(7), Some(0x4000)));
    }
}
