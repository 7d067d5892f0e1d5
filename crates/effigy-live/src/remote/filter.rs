//! What a seccomp filter would say to a call: classic BPF, run here over the filters of a thread (seccomp(2), kernel
//! net/core/filter.c and kernel/seccomp.c).

/// `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) when_true: u8,
    pub(super) when_false: u8,
    pub(super) k: u32,
}

/// `AUDIT_ARCH_X86_64`.
const ARCHITECTURE: u32 = 0xc000_003e;
/// Return values of filters, without their data.
const ACTION: u32 = 0xffff_0000;
const ALLOW: u32 = 0x7fff_0000;
const LOG: u32 = 0x7ffc_0000;
const TRACE: u32 = 0x7ff0_0000;
const ERRNO: u32 = 0x0005_0000;

/// Whether a thread that makes the call under this filter, unattended, is none the worse for it. A refusal by number is
/// harmless; a signal, an end, or a question to a supervisor is not.
pub(super) fn is_harmless(program: &[Instruction], number: i64, instruction_pointer: u64, arguments: [u64; 6]) -> bool {
    run(program, number, instruction_pointer, arguments)
        .is_some_and(|result| matches!(result & ACTION, ALLOW | LOG | TRACE | ERRNO))
}

/// Runs a filter; `None` for a program that does not end as one should.
fn run(program: &[Instruction], number: i64, instruction_pointer: u64, arguments: [u64; 6]) -> Option<u32> {
    let mut data = Vec::with_capacity(64);
    data.extend(u32::try_from(number).ok()?.to_le_bytes());
    data.extend(ARCHITECTURE.to_le_bytes());
    data.extend(instruction_pointer.to_le_bytes());
    arguments.iter().for_each(|argument| data.extend(argument.to_le_bytes()));
    let load = |at: u32| {
        let at = at as usize;
        Some(u32::from_le_bytes(data.get(at..at.checked_add(4)?)?.try_into().ok()?))
    };
    let (mut a, mut x, mut scratch, mut at) = (0u32, 0u32, [0u32; 16], 0usize);
    loop {
        // Jumps lead forward only, so this ends.
        let Instruction { code, when_true, when_false, k } = *program.get(at)?;
        at += 1;
        let source = if code & 8 != 0 { x } else { k };
        match code & 7 {
            // LD
            0 => {
                a = match code & 0xe0 {
                    0x00 => k,
                    0x20 => load(k)?,
                    0x60 => *scratch.get(k as usize)?,
                    0x80 => 64,
                    _ => return None,
                };
            }
            // LDX
            1 => {
                x = match code & 0xe0 {
                    0x00 => k,
                    0x60 => *scratch.get(k as usize)?,
                    0x80 => 64,
                    _ => return None,
                };
            }
            // ST, STX
            2 => *scratch.get_mut(k as usize)? = a,
            3 => *scratch.get_mut(k as usize)? = x,
            // ALU
            4 => {
                a = match code & 0xf0 {
                    0x00 => a.wrapping_add(source),
                    0x10 => a.wrapping_sub(source),
                    0x20 => a.wrapping_mul(source),
                    0x30 => a.checked_div(source)?,
                    0x40 => a | source,
                    0x50 => a & source,
                    0x60 => a.checked_shl(source)?,
                    0x70 => a.checked_shr(source)?,
                    0x80 => a.wrapping_neg(),
                    0x90 => a.checked_rem(source)?,
                    0xa0 => a ^ source,
                    _ => return None,
                };
            }
            // JMP
            5 => {
                let taken = match code & 0xf0 {
                    0x00 => {
                        at = at.checked_add(k as usize)?;
                        continue;
                    }
                    0x10 => a == source,
                    0x20 => a > source,
                    0x30 => a >= source,
                    0x40 => a & source != 0,
                    _ => return None,
                };
                at += usize::from(if taken { when_true } else { when_false });
            }
            // RET
            6 => return Some(if code & 0x18 == 0x10 { a } else { k }),
            // MISC: TAX, TXA
            _ => {
                if code & 0xf8 == 0x80 {
                    a = x;
                } else {
                    x = a;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instruction(code: u16, when_true: u8, when_false: u8, k: u32) -> Instruction {
        Instruction { code, when_true, when_false, k }
    }

    /// The usual shape: the architecture, then the number, then a list.
    fn denying(number: u32, action: u32) -> Vec<Instruction> {
        vec![
            instruction(0x20, 0, 0, 4),
            instruction(0x15, 1, 0, ARCHITECTURE),
            instruction(0x06, 0, 0, 0),
            instruction(0x20, 0, 0, 0),
            instruction(0x15, 0, 1, number),
            instruction(0x06, 0, 0, action),
            instruction(0x06, 0, 0, ALLOW),
        ]
    }

    #[test]
    fn a_list_of_denied_calls() {
        let kill = denying(56, 0x8000_0000);
        assert!(!is_harmless(&kill, 56, 0, [0; 6]));
        assert!(is_harmless(&kill, 61, 0, [0; 6]));
        assert!(is_harmless(&denying(56, ERRNO | 1), 56, 0, [0; 6]));
        assert!(!is_harmless(&denying(56, 0x0003_0000), 56, 0, [0; 6]), "a trap is a signal");
        assert!(!is_harmless(&denying(56, 0x7fc0_0000), 56, 0, [0; 6]), "a supervisor may never answer");
    }

    #[test]
    fn arguments_are_seen() {
        // Only clone with CLONE_NEWUSER is denied: the low half of the first argument.
        let program = [
            instruction(0x20, 0, 0, 16),
            instruction(0x45, 0, 1, 0x1000_0000),
            instruction(0x06, 0, 0, 0),
            instruction(0x06, 0, 0, ALLOW),
        ];
        assert!(is_harmless(&program, 56, 0, [0x400, 0, 0, 0, 0, 0]));
        assert!(!is_harmless(&program, 56, 0, [0x1000_0000, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn nonsense_is_not_harmless() {
        assert!(!is_harmless(&[], 56, 0, [0; 6]));
        assert!(!is_harmless(&[instruction(0x05, 0, 0, u32::MAX)], 56, 0, [0; 6]));
        assert!(!is_harmless(&[instruction(0x20, 0, 0, 4096), instruction(6, 0, 0, ALLOW)], 56, 0, [0; 6]));
    }
}
