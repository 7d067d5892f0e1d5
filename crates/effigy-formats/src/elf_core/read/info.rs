//! Notes about the process as a whole: `NT_PRPSINFO`, `NT_SIGINFO`, `NT_AUXV`.

use bstr::{BString, ByteSlice};
use effigy_process::{Address, Identity, ProcessId};

use super::cursor::Shape;

/// `struct elf_prpsinfo`, of which there are three: with 64-bit words; with 32-bit words and 16-bit user ids (x86, arm);
/// with 32-bit words and 32-bit user ids. The last two are told apart by their length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProcessInfo {
    pub(super) state: u8,
    pub(super) letter: u8,
    pub(super) zombie: u8,
    pub(super) nice: i8,
    pub(super) flags: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) group: u32,
    pub(super) session: u32,
    pub(super) name: BString,
    pub(super) arguments: BString,
}

impl ProcessInfo {
    /// `None` when it is cut off before the name's end.
    pub(super) fn read(shape: Shape, bytes: &[u8]) -> Option<Self> {
        let mut at = shape.cursor(bytes);
        let head = at.take(4)?.first_chunk::<4>()?;
        let wide = shape.word_size() == 8;
        if wide {
            at.take(4)?;
        }
        let flags = if wide { at.word()? } else { at.half()?.into() };
        let (uid, gid) = if wide || bytes.len() >= 128 {
            (at.half()?, at.half()?)
        } else {
            (at.short()?.into(), at.short()?.into())
        };
        Some(Self {
            state: head[0],
            letter: head[1],
            zombie: head[2],
            nice: head[3].cast_signed(),
            flags,
            uid,
            gid,
            pid: at.half()?,
            parent: at.half()?,
            group: at.half()?,
            session: at.half()?,
            name: text(at.take(16)?),
            arguments: text(at.take(80).unwrap_or_default()),
        })
    }
}

/// What `NT_PRPSINFO` says of who the process is.
pub(super) fn process_info(shape: Shape, bytes: &[u8]) -> Option<Identity> {
    let info = ProcessInfo::read(shape, bytes)?;
    Some(Identity {
        // Some writers leave it at zero, which no process has.
        pid: Some(ProcessId(info.pid)).filter(|pid| pid.0 != 0),
        parent: Some(ProcessId(info.parent)),
        group: Some(info.group),
        session: Some(info.session),
        name: info.name,
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
        at.half();
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
