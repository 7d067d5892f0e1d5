//! The unwind codes of arm64.

/// An unwind code: what an instruction of the prologue did, so that it can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// The stack pointer was lowered by so many bytes.
    Raise(u64),
    /// One or two registers were stored at the stack pointer and so many bytes on; or the stack pointer was lowered by
    /// these bytes first. `None` for a register that is not followed.
    Save { first: Option<u16>, second: Option<u16>, offset: u64, writes_back: bool },
    /// The frame pointer was set to the stack pointer and so many bytes on.
    SetFrame(u64),
    /// Something that unwinding need not undo.
    Nothing,
    /// The next two registers were stored; of floating-point registers, if that is not replaced.
    Next,
    /// The end of this piece of the prologue; that of the function that it was split from goes on.
    EndOfPrologue,
    /// The processor was interrupted: stack pointer and program counter lie on the stack.
    MachineFrame,
    /// Nobody says what it means.
    Unknown(u8),
}

const LR: u16 = 30;

impl Code {
    pub(super) fn pair(first: u16, second: u16, offset: u64, writes_back: bool) -> Self {
        Self::Save { first: Some(first), second: Some(second), offset, writes_back }
    }

    pub(super) fn one(register: u16, offset: u64, writes_back: bool) -> Self {
        Self::Save { first: Some(register), second: None, offset, writes_back }
    }

    /// A store of floating-point registers: only the stack pointer matters.
    pub(super) fn floating(offset: u64, writes_back: bool) -> Self {
        if writes_back { Self::Raise(offset) } else { Self::Nothing }
    }
}

/// Codes in their order, up to the end that is marked.
pub(super) fn decode(bytes: &[u8]) -> Vec<Code> {
    let mut codes = Vec::new();
    let mut rest = bytes;
    while let Some((first, length)) = rest.first().map(|first| (*first, length(*first))) {
        let Some((taken, after)) = rest.split_at_checked(length) else { break };
        if first == END {
            break;
        }
        rest = after;
        let whole = taken.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        codes.push(match length {
            1 => short(first),
            2 => long(first, whole),
            3 => any_register(whole),
            _ => Code::Raise(u64::from(whole & 0xff_ffff) * 16),
        });
    }
    continue_pairs(&mut codes);
    codes
}

const END: u8 = 0xe4;

fn length(first: u8) -> usize {
    match first {
        0xc0..=0xdf | 0xe2 => 2,
        0xe7 => 3,
        0xe0 => 4,
        _ => 1,
    }
}

/// `save_next` stores the two registers that follow those of the code behind it, above them: codes are in the order of
/// undoing.
fn continue_pairs(codes: &mut [Code]) {
    let mut last = None;
    for code in codes.iter_mut().rev() {
        last = match (*code, last) {
            (Code::Save { first: Some(first), second: Some(second), offset, writes_back }, _)
                if second == first + 1 =>
            {
                Some((first, if writes_back { 0 } else { offset }))
            }
            (Code::Next, Some((register, offset))) if register + 3 < LR => {
                *code = Code::pair(register + 2, register + 3, offset + 16, false);
                Some((register + 2, offset + 16))
            }
            _ => None,
        };
    }
}

fn short(byte: u8) -> Code {
    let low = u64::from(byte);
    match byte {
        // alloc_s
        0..=0x1f => Code::Raise((low & 0x1f) * 16),
        // save_r19r20_x
        0x20..=0x3f => Code::pair(19, 20, (low & 0x1f) * 8, true),
        // save_fplr, save_fplr_x
        0x40..=0x7f => Code::pair(29, LR, (low & 0x3f) * 8, false),
        0x80..=0xbf => Code::pair(29, LR, ((low & 0x3f) + 1) * 8, true),
        // set_fp
        0xe1 => Code::SetFrame(0),
        // nop; pac_sign_lr, whose signature is taken off every return address
        0xe3 | 0xfc => Code::Nothing,
        // end_c
        0xe5 => Code::EndOfPrologue,
        // save_next
        0xe6 => Code::Next,
        // MSFT_OP_MACHINE_FRAME; clear_unwound_to_call only says that the address is no return address
        0xe9 => Code::MachineFrame,
        0xec => Code::Nothing,
        _ => Code::Unknown(byte),
    }
}

fn long(first: u8, code: u32) -> Code {
    let offset = u64::from(code & 0x3f) * 8;
    let raised = offset + 8;
    let register = 19 + u16::try_from(code >> 6 & 0xf).unwrap_or(0);
    match first {
        // alloc_m
        0xc0..=0xc7 => Code::Raise(u64::from(code & 0x7ff) * 16),
        // save_regp, save_regp_x
        0xc8..=0xcb => Code::pair(register, register + 1, offset, false),
        0xcc..=0xcf => Code::pair(register, register + 1, raised, true),
        // save_reg, save_reg_x
        0xd0..=0xd3 => Code::one(register, offset, false),
        0xd4 | 0xd5 => {
            let register = 19 + u16::try_from(code >> 5 & 0xf).unwrap_or(0);
            Code::one(register, (u64::from(code & 0x1f) + 1) * 8, true)
        }
        // save_lrpair
        0xd6 | 0xd7 => {
            let register = 19 + 2 * u16::try_from(code >> 6 & 7).unwrap_or(0);
            Code::pair(register, LR, offset, false)
        }
        // save_fregp, save_fregp_x, save_freg, save_freg_x
        0xd8 | 0xd9 => Code::floating(offset, false),
        0xda | 0xdb => Code::floating(raised, true),
        0xdc | 0xdd => Code::floating(offset, false),
        0xde => Code::floating((u64::from(code & 0x1f) + 1) * 8, true),
        // add_fp
        0xe2 => Code::SetFrame(u64::from(code & 0xff) * 8),
        _ => Code::Unknown(first),
    }
}

/// save_any_reg: 11100111 0pxrrrrr ffoooooo.
fn any_register(code: u32) -> Code {
    let (pair, writes_back) = (code >> 14 & 1 == 1, code >> 13 & 1 == 1);
    let register = u16::try_from(code >> 8 & 0x1f).unwrap_or(0);
    let (kind, offset) = (code >> 6 & 3, u64::from(code & 0x3f));
    // Quarter registers, and whatever moves the stack pointer, count in units of sixteen bytes.
    let unit = if kind == 2 || pair || writes_back { 16 } else { 8 };
    let offset = if writes_back { (offset + 1) * 16 } else { offset * unit };
    match kind {
        0 if pair => Code::pair(register, register + 1, offset, writes_back),
        0 => Code::one(register, offset, writes_back),
        1 | 2 => Code::floating(offset, writes_back),
        _ => Code::Unknown(0xe7),
    }
}
