//! Notes about the process as a whole: `NT_PRPSINFO`, `NT_SIGINFO`, `NT_AUXV`.

use bstr::{BString, ByteSlice};
use effigy_process::{Address, Identity, ProcessId};

use super::cursor::Shape;

/// `struct elf_prpsinfo`, of which there are three: with 64-bit words; with 32-bit words and 16-bit user ids (x86, arm);
/// with 32-bit words and 32-bit user ids. They are told apart by their length.
pub(super) fn process_info(shape: Shape, bytes: &[u8]) -> Option<Identity> {
    let mut at = shape.cursor(bytes);
    at.take(4)?;
    if shape.word_size() == 8 && bytes.len() >= 136 {
        at.take(4)?;
        at.word()?;
        at.take(8)?;
    } else {
        at.half()?;
        at.take(if bytes.len() >= 128 { 8 } else { 4 })?;
    }
    let (pid, parent, group, session) = (at.half()?, at.half()?, at.half()?, at.half()?);
    Some(Identity {
        // Some writers leave it at zero, which no process has.
        pid: Some(ProcessId(pid)).filter(|pid| pid.0 != 0),
        parent: Some(ProcessId(parent)),
        group: Some(group),
        session: Some(session),
        name: text(at.take(16)?),
        ..Identity::default()
    })
}

/// Up to the first zero byte.
fn text(bytes: &[u8]) -> BString {
    bytes.split_str(b"\0").next().unwrap_or_default().into()
}

/// What is needed of a `siginfo_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signal {
    pub(super) number: i32,
    pub(super) code: i32,
    /// `si_addr`, for signals that have one.
    pub(super) address: Option<Address>,
}

/// `siginfo_t`: number, error, code, then, aligned to a word, what the signal has.
pub(super) fn signal(shape: Shape, bytes: &[u8]) -> Option<Signal> {
    let mut at = shape.cursor(bytes);
    let (number, _error, code) = (at.half()?.cast_signed(), at.half()?, at.half()?.cast_signed());
    if shape.word_size() == 8 {
        at.half()?;
    }
    // SIGILL, SIGTRAP, SIGBUS, SIGFPE and SIGSEGV, when the kernel raised them for an instruction; SI_KERNEL has no
    // address.
    let has_address = matches!(number, 4 | 5 | 7 | 8 | 11) && code > 0 && code != 0x80;
    let address = at.word().filter(|_| has_address).map(Address);
    Some(Signal { number, code, address })
}

/// The auxiliary vector: types and values, up to `AT_NULL`.
pub(super) fn auxiliary(shape: Shape, bytes: &[u8]) -> Vec<(u64, u64)> {
    let mut at = shape.cursor(bytes);
    std::iter::from_fn(|| Some((at.word()?, at.word()?))).take_while(|(kind, _)| *kind != 0).collect()
}
