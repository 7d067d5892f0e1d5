//! The signal frame that restores a thread (x86-64: `struct rt_sigframe` and `struct ucontext` of the kernel's
//! arch/x86/include/asm/sigframe.h, `struct sigcontext` of its uapi headers).

use effigy_process::Address;
use libc::user_regs_struct;

/// Bytes below the stack pointer that belong to the program (System V ABI for x86-64, 3.2.2).
const RED_ZONE: u64 = 128;
/// Room for what calls need to be told: control messages, pairs of numbers.
pub(super) const SCRATCH: u64 = 1024;
/// `pretcode` and `struct ucontext`; `struct siginfo` behind them is not looked at by `rt_sigreturn`.
const FRAME: u64 = 8 + 304;
/// Both frames start at multiples of this, and so does the state of the vector registers (`xrstor` wants it).
const ALIGN: u64 = 64;

/// `UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS`.
const FLAGS: u64 = 7;
/// No valid mode of an alternate stack: the kernel then leaves the thread's own as it is (`restore_altstack` ignores
/// `EINVAL`).
const NO_CHANGE_OF_STACK: u32 = 0x7fff;
/// `FP_XSTATE_MAGIC1` and `FP_XSTATE_MAGIC2`.
const MAGIC: [u32; 2] = [0x4650_5853, 0x4650_5845];
/// Where `struct _fpx_sw_bytes` lies in the legacy area.
const SOFTWARE: usize = 464;
/// Where the header of the XSAVE area lies: first the mask of what it holds.
const HEADER: usize = 512;
/// State components of the matrix registers (AMX), which threads have only after asking for them.
const MATRIX: u64 = 3 << 17;

/// A prepared piece of stack.
#[derive(Debug)]
pub(super) struct Frames {
    /// Its first address; scratch room is here.
    pub(super) base: Address,
    /// What is to be written there.
    pub(super) bytes: Vec<u8>,
    /// Stack pointer for a call of the thread itself: it returns into its true state.
    pub(super) own_stack: u64,
    /// Stack pointer for a child that the call makes: it returns into `exit`, which ends a process that has no other
    /// thread, or a thread.
    pub(super) child_stack: u64,
}

/// How a child ends that nobody has told to.
pub(super) const CHILD_STATUS: i32 = 0x5e;

impl Frames {
    /// Bytes that frames take below a stack pointer, at most, with vector registers of `xsave` bytes.
    pub(super) fn room(xsave: usize) -> u64 {
        RED_ZONE + SCRATCH + 2 * (FRAME + ALIGN) + xsave as u64 + 4 + 2 * ALIGN
    }

    /// Prepares them for a thread with these registers, vector registers and signal mask.
    pub(super) fn new(
        registers: &user_regs_struct,
        xsave: &[u8],
        mask: u64,
        call: Address,
        restore: Address,
    ) -> Option<Self> {
        let state = floating_point(xsave)?;
        let child_at = SCRATCH;
        let own_at = (child_at + FRAME).next_multiple_of(ALIGN);
        let state_at = (own_at + FRAME).next_multiple_of(ALIGN);
        let size = state_at + state.len() as u64;
        let base = registers.rsp.checked_sub(RED_ZONE + size)? & !(ALIGN - 1);
        let mut bytes = vec![0; usize::try_from(size).ok()?];
        let mut place = |at: u64, frame: &[u8]| {
            if let Some(place) = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at..at + frame.len())) {
                place.copy_from_slice(frame);
            }
        };
        let exit = user_regs_struct {
            rip: call.0,
            rax: libc::SYS_exit.cast_unsigned(),
            rdi: u64::from(CHILD_STATUS.unsigned_abs()),
            rsp: base + child_at,
            ..*registers
        };
        // A child that goes this way takes no signal any more: a handler would be the program's.
        place(child_at, &frame(&exit, 0, u64::MAX, restore));
        place(own_at, &frame(registers, base + state_at, mask, restore));
        place(state_at, &state);
        Some(Self { base: Address(base), bytes, own_stack: base + own_at, child_stack: base + child_at })
    }
}

fn frame(registers: &user_regs_struct, state: u64, mask: u64, restore: Address) -> Vec<u8> {
    let r = registers;
    let mut words = vec![
        restore.0,
        // uc_flags, uc_link, uc_stack
        if state == 0 { FLAGS & !1 } else { FLAGS },
        0,
        0,
        u64::from(NO_CHANGE_OF_STACK),
        0,
    ];
    words.extend([r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15]);
    words.extend([r.rdi, r.rsi, r.rbp, r.rbx, r.rdx, r.rax, r.rcx, r.rsp, r.rip, r.eflags]);
    // cs, gs, fs, ss in 16 bits each; gs and fs are not restored.
    words.push((r.cs & 0xffff) | (r.ss & 0xffff) << 48);
    // err, trapno, oldmask, cr2
    words.extend([0, 0, mask, 0]);
    words.push(state);
    words.extend([0; 8]);
    words.push(mask);
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// The XSAVE area as a signal frame has it: with the kernel's own words in the legacy part, and the mark behind it.
fn floating_point(xsave: &[u8]) -> Option<Vec<u8>> {
    let word = |at: usize| Some(u64::from_le_bytes(xsave.get(at..at + 8)?.try_into().ok()?));
    // The kernel puts the mask of all enabled components there in what PTRACE_GETREGSET gives.
    let enabled = word(SOFTWARE)?;
    let held = word(HEADER)?;
    let features = if held & MATRIX != 0 { enabled } else { enabled & !MATRIX };
    let length = area(features).min(xsave.len());
    let mut state = xsave.get(..length)?.to_vec();
    let size = u32::try_from(length).ok()?;
    state[SOFTWARE..SOFTWARE + 4].copy_from_slice(&MAGIC[0].to_le_bytes());
    state[SOFTWARE + 4..SOFTWARE + 8].copy_from_slice(&(size + 4).to_le_bytes());
    state[SOFTWARE + 8..SOFTWARE + 16].copy_from_slice(&features.to_le_bytes());
    state[SOFTWARE + 16..SOFTWARE + 20].copy_from_slice(&size.to_le_bytes());
    state[SOFTWARE + 20..HEADER].fill(0);
    state.extend(MAGIC[1].to_le_bytes());
    Some(state)
}

/// Length of an uncompacted XSAVE area with these components: CPUID leaf 0xD, subleaf of each.
fn area(features: u64) -> usize {
    let mut length = HEADER + 64;
    for component in (2..63).filter(|component| features & 1 << component != 0) {
        let about = std::arch::x86_64::__cpuid_count(0xd, component);
        length = length.max(about.eax as usize + about.ebx as usize);
    }
    length
}
