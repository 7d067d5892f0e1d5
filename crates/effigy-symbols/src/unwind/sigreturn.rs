//! Signal trampolines by their instructions, and the registers that the kernel put on the stack for them.
//!
//! Source: `setup_rt_frame` and the structures `rt_sigframe`, `ucontext` and `sigcontext` of arch/*/kernel/signal.c and
//! arch/*/include/uapi/asm of Linux 6.18. glibc and the vdso describe their trampolines by call frame information, which
//! is used first but on arm64, where the vdso's gives two registers of 33; musl's have none.

use effigy_process::{Address, Architecture, ByteOrder};

use super::registers::FrameRegisters;
use super::step::{Caller, Failure};
use super::walk::{Nature, Walk};
use super::{Frame, Trust};

/// The longest trampoline, in bytes.
const LONGEST: usize = 9;

/// Where the saved registers lie, and in which order.
struct Saved {
    address: u64,
    names: &'static [&'static str],
}

/// Fields of `struct sigcontext`, one a word, from the first register on.
const X86_64: [&str; 17] = [
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp", "rip",
];
const X86: [&str; 15] = ["", "", "", "", "edi", "esi", "ebp", "esp", "ebx", "edx", "ecx", "eax", "", "", "eip"];
const AARCH64: [&str; 33] = [
    "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
    "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30", "sp", "pc",
];
const ARM: [&str; 16] =
    ["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "sp", "lr", "pc"];
const RISCV64: [&str; 32] = [
    "pc", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "s2",
    "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
];

impl Walk<'_, '_> {
    /// The trampoline in the kernel's own page of code, where its call frame information says too little.
    pub(super) fn trampoline_of_the_kernel(&mut self, frame: &Frame, nature: Nature) -> Result<Caller, Failure> {
        let module = frame.module.ok_or(Failure::Nothing)?;
        if self.has_kernels_trampolines(module) { self.trampoline(frame, nature) } else { Err(Failure::Nothing) }
    }

    /// A trampoline that nothing describes.
    pub(super) fn trampoline(&mut self, frame: &Frame, _: Nature) -> Result<Caller, Failure> {
        let mut code = [0; LONGEST];
        let count = self.unwinder.code(frame.address, &mut code);
        let sp = frame.registers.stack_pointer().ok_or(Failure::Nothing)?.0;
        let saved = self.saved(&code[..count], sp)?;
        let mut registers = FrameRegisters::empty(frame.registers.architecture()).ok_or(Failure::Nothing)?;
        for (index, name) in saved.names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let at = saved.address.wrapping_add(index as u64 * self.word());
            registers.set_by_name(name, self.pointer(at)?);
        }
        Ok(Caller { registers, cfa: None, trust: Trust::Cfi, signal: true, exact: true })
    }

    /// Whether what returns to an address, with this stack pointer, returns to a trampoline.
    pub(super) fn returns_to_trampoline(&mut self, address: u64, sp: u64) -> bool {
        let mut code = [0; LONGEST];
        let count = self.unwinder.code(self.unsigned(Address(address)), &mut code);
        self.saved(&code[..count], sp).is_ok()
    }

    fn saved(&mut self, code: &[u8], sp: u64) -> Result<Saved, Failure> {
        let at = |above: u64, names| Ok(Saved { address: sp.wrapping_add(above), names });
        let half = |at: usize| code.get(at..).and_then(|code| ByteOrder::Little.half(code));
        match self.unwinder.process.architecture {
            // mov rax, 15; syscall: struct ucontext is on top of the stack
            Architecture::X86_64 if code.starts_with(&[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05]) => at(40, &X86_64),
            // mov eax, 173; int 0x80: the third of the handler's arguments is the address of struct ucontext
            Architecture::X86 if code.starts_with(&[0xb8, 0xad, 0, 0, 0, 0xcd, 0x80]) => {
                let context = self.pointer(sp.wrapping_add(8))?;
                Ok(Saved { address: context.wrapping_add(20), names: &X86 })
            }
            // pop eax; mov eax, 119; int 0x80: behind the signal's number
            Architecture::X86 if code.starts_with(&[0x58, 0xb8, 0x77, 0, 0, 0, 0xcd, 0x80]) => at(4, &X86),
            // mov x8, 139; svc 0: siginfo, then ucontext, whose sigcontext is aligned to 16 bytes
            Architecture::Aarch64 if half(0) == Some(0xd280_1168) && half(4) == Some(0xd400_0001) => {
                at(128 + 176 + 8, &AARCH64)
            }
            // mov r7, 173; svc 0, in ARM and Thumb code: siginfo, then ucontext
            Architecture::Arm if half(0) == Some(0xe3a0_70ad) || half(0) == Some(0xdf00_27ad) => {
                at(128 + 20 + 12, &ARM)
            }
            // mov r7, 119; svc 0: ucontext
            Architecture::Arm if half(0) == Some(0xe3a0_7077) || half(0) == Some(0xdf00_2777) => at(20 + 12, &ARM),
            // li a7, 139; ecall
            Architecture::Riscv64 if half(0) == Some(0x08b0_0893) && half(4) == Some(0x0000_0073) => {
                at(128 + 176, &RISCV64)
            }
            _ => Err(Failure::Nothing),
        }
    }
}
