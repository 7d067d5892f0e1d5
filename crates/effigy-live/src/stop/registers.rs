//! Reading the register sets of a stopped thread: `PTRACE_GETREGSET`, for every set that its architecture has.

use std::cell::Cell;

use effigy_process::{Architecture, CompactBytes, RegisterSet, Registers, note};
use nix::errno::Errno;
use nix::unistd::Pid;

/// Room for the largest set: an arm64 SVE or SME state takes up to 64 KiB and a little.
const ROOM: usize = (64 << 10) + 4096;

#[cfg(target_arch = "x86_64")]
const NATIVE: (Architecture, &[u32]) = (Architecture::X86_64, &[note::X86_XSTATE, note::PRFPREG, note::X86_SHSTK]);
/// What a 32-bit thread has under a 64-bit kernel, and how long its general registers are.
#[cfg(target_arch = "x86_64")]
const COMPAT: Option<(Architecture, &[u32])> =
    Some((Architecture::X86, &[note::PRFPREG, note::PRXFPREG, note::X86_XSTATE, note::I386_TLS]));

#[cfg(target_arch = "x86")]
const NATIVE: (Architecture, &[u32]) =
    (Architecture::X86, &[note::PRFPREG, note::PRXFPREG, note::X86_XSTATE, note::I386_TLS]);
#[cfg(target_arch = "x86")]
const COMPAT: Option<(Architecture, &[u32])> = None;

#[cfg(target_arch = "aarch64")]
const NATIVE: (Architecture, &[u32]) = (
    Architecture::Aarch64,
    &[
        note::PRFPREG,
        note::ARM_TLS,
        note::ARM_SYSTEM_CALL,
        note::ARM_SVE,
        note::ARM_PAC_MASK,
        note::ARM_TAGGED_ADDR_CTRL,
        note::ARM_SSVE,
        note::ARM_ZA,
        note::ARM_ZT,
        note::ARM_FPMR,
    ],
);
#[cfg(target_arch = "aarch64")]
const COMPAT: Option<(Architecture, &[u32])> = Some((Architecture::Arm, &[note::ARM_VFP, note::ARM_TLS]));

#[cfg(target_arch = "arm")]
const NATIVE: (Architecture, &[u32]) = (Architecture::Arm, &[note::ARM_VFP]);
#[cfg(target_arch = "arm")]
const COMPAT: Option<(Architecture, &[u32])> = None;

#[cfg(target_arch = "riscv64")]
const NATIVE: (Architecture, &[u32]) = (Architecture::Riscv64, &[note::PRFPREG, note::RISCV_VECTOR]);
#[cfg(target_arch = "riscv64")]
const COMPAT: Option<(Architecture, &[u32])> = None;

/// Reads all register sets of a stopped thread. A set that the processor or the kernel lacks is left out.
pub(crate) fn read_registers(tid: Pid) -> Result<Registers, Errno> {
    thread_local! {
        static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let mut buffer = BUFFER.take();
    buffer.resize(ROOM, 0);
    let result = read_into(tid, &mut buffer);
    BUFFER.set(buffer);
    result
}

fn read_into(tid: Pid, buffer: &mut [u8]) -> Result<Registers, Errno> {
    let general = read_set(tid, note::PRSTATUS, buffer)?;
    // The kernel gives a 32-bit thread's registers in the 32-bit layout: the length tells which it is.
    let (architecture, others) = match COMPAT {
        Some(compat) if general.len() == compat.0.general_size() => compat,
        _ => NATIVE,
    };
    let mut sets = vec![RegisterSet { note: note::PRSTATUS, bytes: general }];
    for &note in others {
        let last = sets.last().map(|set: &RegisterSet| set.note);
        if note == note::PRFPREG && architecture == Architecture::X86_64 && last == Some(note::X86_XSTATE) {
            // The XSAVE area begins with the same 512 bytes.
            continue;
        }
        if let Ok(bytes) = read_set(tid, note, buffer)
            && !bytes.is_empty()
        {
            sets.push(RegisterSet { note, bytes });
        }
    }
    Ok(Registers { architecture, sets, ..Registers::default() })
}

/// Reads one register set of a stopped thread.
#[cfg(target_arch = "x86_64")]
pub(crate) fn read_one(tid: u32, note: u32) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; ROOM];
    Ok(read_set(crate::trace::pid_of(tid), note, &mut buffer)?.to_vec())
}

fn read_set(tid: Pid, note: u32, buffer: &mut [u8]) -> Result<CompactBytes, Errno> {
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: the vector describes `buffer`, which is live and exclusive; the kernel writes at most `iov_len` bytes and
    // puts their number there.
    let result = unsafe { libc::ptrace(libc::PTRACE_GETREGSET, tid.as_raw(), note as usize, &raw mut vector) };
    Errno::result(result)?;
    let length = vector.iov_len.min(ROOM);
    Ok(CompactBytes::new(&buffer[..written(note, &buffer[..length])]))
}

/// Bytes of `set` that the kernel wrote. For sets whose length depends on the thread's vector length, `PTRACE_GETREGSET`
/// gives the longest there can be as the length and writes no more than there is: the rest is what the buffer held.
fn written(note: u32, set: &[u8]) -> usize {
    let word = |at: usize, size: usize| -> Option<usize> {
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(set.get(at..at + size)?);
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    let length = match note {
        // `struct user_sve_header` and `struct user_za_header` begin with the length of the whole.
        note::ARM_SVE | note::ARM_SSVE | note::ARM_ZA => word(0, 4),
        // `struct __riscv_v_regset_state`: five words, the last of them `vlenb`, then 32 registers of that length.
        note::RISCV_VECTOR => word(32, 8).and_then(|vlenb| vlenb.checked_mul(32)?.checked_add(40)),
        _ => None,
    };
    length.map_or(set.len(), |length| length.min(set.len()))
}
