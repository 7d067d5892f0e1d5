//! Where the interpreter's structures have their fields, in bytes from each structure's beginning.
//!
//! The offsets of 3.9 to 3.12 were printed by a C program of one `offsetof` a field, compiled with gcc for x86-64 against
//! the headers (with `Py_BUILD_CORE`) of CPython 3.9.18, 3.10.13, 3.11.2, 3.11.7, 3.12.1 and 3.12.10; they are equal
//! within each minor version. A build for debugging that traces references (`Py_TRACE_REFS`) has others. From 3.13 on the
//! interpreter says them itself, in the `_Py_DebugOffsets` that `_PyRuntime` begins with.

use effigy_process::Address;

use super::read::Reader;
use super::{PythonError, Version};

/// How one version looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) interpreters: Interpreters,
    pub(super) thread: Thread,
    pub(super) frame: Frame,
    pub(super) code: Code,
    pub(super) bytes: Bytes,
    pub(super) text: Text,
}

/// `_PyRuntimeState` and `PyInterpreterState`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interpreters {
    /// In `_PyRuntimeState`: `interpreters.head`.
    pub(super) head: u64,
    /// `next`.
    pub(super) next: u64,
    /// `threads.head`, in 3.9 and 3.10 `tstate_head`.
    pub(super) threads: u64,
}

/// `PyThreadState`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Thread {
    /// `next`.
    pub(super) next: u64,
    /// `interp`, which leads back to the interpreter.
    pub(super) interpreter: u64,
    /// Where the innermost frame is found.
    pub(super) frame: Innermost,
    /// `thread_id`.
    pub(super) thread_id: u64,
    /// `native_thread_id`, from 3.11 on.
    pub(super) native_id: Option<u64>,
}

/// Where a thread keeps its innermost frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Innermost {
    /// In its own structure.
    Here(u64),
    /// In the structure, on the C stack, that `cframe` points to.
    Behind {
        /// Of `cframe`.
        pointer: u64,
        /// Of `_PyCFrame.current_frame`.
        frame: u64,
    },
}

/// `PyFrameObject` in 3.9 and 3.10, `_PyInterpreterFrame` later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// `f_back`, or `previous`.
    pub(super) back: u64,
    /// `f_code`, or `f_executable`.
    pub(super) code: u64,
    /// What tells the instruction that it is at.
    pub(super) at: Instruction,
    /// What tells whether C called it.
    pub(super) entry: Entry,
}

/// How a frame says which instruction it is at. An instruction unit has two bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Instruction {
    /// `f_lasti` in bytes from the code's beginning.
    Bytes(u64),
    /// `f_lasti` in units.
    Units(u64),
    /// `prev_instr` or `instr_ptr`, the address of the instruction.
    Pointer(u64),
}

/// What tells whether a frame was called by C.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Every frame was.
    Every,
    /// `is_entry`, a byte that is not zero.
    Flag(u64),
    /// The frame before it is no Python's, its `owner` being [`OWNED_BY_C_STACK`].
    Shim(u64),
}

/// `FRAME_OWNED_BY_CSTACK`: a frame that stands for the C function that entered the interpreter, in 3.12 and 3.13.
pub(super) const OWNED_BY_C_STACK: u8 = 3;

/// `PyCodeObject`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Code {
    /// `co_filename`.
    pub(super) file: u64,
    /// `co_name`, or where there is one `co_qualname`.
    pub(super) name: u64,
    /// `co_firstlineno`.
    pub(super) first_line: u64,
    /// `co_lnotab`, or `co_linetable`.
    pub(super) lines: u64,
    /// How that is written.
    pub(super) table: Table,
    /// `co_code_adaptive`, the first instruction; of use where frames point to theirs.
    pub(super) instructions: u64,
}

/// How the lines of a function's instructions are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// Pairs of steps in bytes and lines (`Objects/lnotab_notes.txt` of 3.9).
    Steps,
    /// Pairs of lengths in bytes and steps in lines, with a mark for no line (PEP 626; `Objects/lnotab_notes.txt` of 3.10).
    Ranges,
    /// Entries of one to ten bytes with columns (PEP 657; `Objects/locations.md` of 3.11).
    Locations,
}

/// `PyBytesObject`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bytes {
    /// `ob_size`.
    pub(super) size: u64,
    /// `ob_sval`.
    pub(super) data: u64,
}

/// `PyASCIIObject` and `PyCompactUnicodeObject`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// `length`, in characters.
    pub(super) length: u64,
    /// `state`, 32 bits.
    pub(super) state: u64,
    /// Where ASCII begins: the size of `PyASCIIObject`.
    pub(super) ascii: u64,
    /// Where other text begins: the size of `PyCompactUnicodeObject`.
    pub(super) wide: u64,
}

const BYTES: Bytes = Bytes { size: 16, data: 32 };
/// With `wstr`, which 3.12 dropped.
const OLD_TEXT: Text = Text { length: 16, state: 32, ascii: 48, wide: 72 };
const TEXT: Text = Text { length: 16, state: 32, ascii: 40, wide: 56 };

const PYTHON_3_9: Layout = Layout {
    interpreters: Interpreters { head: 32, next: 0, threads: 8 },
    thread: Thread { next: 8, interpreter: 16, frame: Innermost::Here(24), thread_id: 176, native_id: None },
    frame: Frame { back: 24, code: 32, at: Instruction::Bytes(104), entry: Entry::Every },
    code: Code { file: 104, name: 112, first_line: 40, lines: 120, table: Table::Steps, instructions: 0 },
    bytes: BYTES,
    text: OLD_TEXT,
};

const PYTHON_3_10: Layout = Layout {
    frame: Frame { back: 24, code: 32, at: Instruction::Units(96), entry: Entry::Every },
    code: Code { file: 104, name: 112, first_line: 40, lines: 120, table: Table::Ranges, instructions: 0 },
    ..PYTHON_3_9
};

const PYTHON_3_11: Layout = Layout {
    interpreters: Interpreters { head: 40, next: 0, threads: 16 },
    thread: Thread {
        next: 8,
        interpreter: 16,
        frame: Innermost::Behind { pointer: 56, frame: 8 },
        thread_id: 152,
        native_id: Some(160),
    },
    frame: Frame { back: 48, code: 32, at: Instruction::Pointer(56), entry: Entry::Flag(68) },
    code: Code { file: 112, name: 128, first_line: 72, lines: 136, table: Table::Locations, instructions: 184 },
    bytes: BYTES,
    text: OLD_TEXT,
};

const PYTHON_3_12: Layout = Layout {
    interpreters: Interpreters { head: 40, next: 0, threads: 72 },
    thread: Thread {
        next: 8,
        interpreter: 16,
        frame: Innermost::Behind { pointer: 56, frame: 0 },
        thread_id: 136,
        native_id: Some(144),
    },
    frame: Frame { back: 8, code: 0, at: Instruction::Pointer(56), entry: Entry::Shim(70) },
    code: Code { file: 112, name: 128, first_line: 68, lines: 136, table: Table::Locations, instructions: 192 },
    bytes: BYTES,
    text: TEXT,
};

/// The layout of a version; for 3.13, what the runtime says of itself.
pub(super) fn find(reader: &Reader<'_>, runtime: Address, version: Version) -> Result<Layout, PythonError> {
    match (version.major, version.minor) {
        (3, 9) => Ok(PYTHON_3_9),
        (3, 10) => Ok(PYTHON_3_10),
        (3, 11) => Ok(PYTHON_3_11),
        (3, 12) => Ok(PYTHON_3_12),
        (3, 13) => told(reader, runtime, version),
        _ => Err(PythonError::Version(version)),
    }
}

/// What `_Py_DebugOffsets` of 3.13 begins with.
pub(super) const COOKIE: [u8; 8] = *b"xdebugpy";
/// Its size in bytes, all of it numbers of eight bytes behind the cookie.
pub(super) const TOLD_SIZE: usize = 584;
/// The highest offset that is believed: the largest structure, `_PyRuntimeState`, has some 300 kB.
const FARTHEST: u64 = 1 << 20;

/// Places in 3.13's `_Py_DebugOffsets`, by `offsetof` in its headers.
pub(super) mod told_at {
    pub(in crate::python) const VERSION: usize = 8;
    pub(in crate::python) const INTERPRETERS_HEAD: usize = 40;
    pub(in crate::python) const INTERPRETER_NEXT: usize = 64;
    pub(in crate::python) const INTERPRETER_THREADS: usize = 72;
    pub(in crate::python) const THREAD_NEXT: usize = 168;
    pub(in crate::python) const THREAD_INTERPRETER: usize = 176;
    pub(in crate::python) const THREAD_FRAME: usize = 184;
    pub(in crate::python) const THREAD_ID: usize = 192;
    pub(in crate::python) const THREAD_NATIVE_ID: usize = 200;
    pub(in crate::python) const FRAME_BACK: usize = 232;
    pub(in crate::python) const FRAME_CODE: usize = 240;
    pub(in crate::python) const FRAME_INSTRUCTION: usize = 248;
    pub(in crate::python) const FRAME_OWNER: usize = 264;
    pub(in crate::python) const CODE_FILE: usize = 280;
    pub(in crate::python) const CODE_QUALIFIED_NAME: usize = 296;
    pub(in crate::python) const CODE_LINES: usize = 304;
    pub(in crate::python) const CODE_FIRST_LINE: usize = 312;
    pub(in crate::python) const CODE_INSTRUCTIONS: usize = 344;
    pub(in crate::python) const BYTES_SIZE: usize = 520;
    pub(in crate::python) const BYTES_DATA: usize = 528;
    pub(in crate::python) const TEXT_STATE: usize = 544;
    pub(in crate::python) const TEXT_LENGTH: usize = 552;
    pub(in crate::python) const TEXT_ASCII: usize = 560;
}

fn told(reader: &Reader<'_>, runtime: Address, version: Version) -> Result<Layout, PythonError> {
    let table = reader.block::<TOLD_SIZE>(runtime, 0, "_Py_DebugOffsets")?;
    let unlike = || PythonError::Unlike { what: "_Py_DebugOffsets", address: runtime, version };
    let number = |at: usize| table.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let same = number(told_at::VERSION)
        .and_then(|hex| u32::try_from(hex).ok())
        .is_some_and(|hex| Version::from_hex(hex) == version);
    if !table.starts_with(&COOKIE) || !same {
        return Err(unlike());
    }
    let field = |at: usize| number(at).filter(|offset| *offset < FARTHEST).ok_or_else(unlike);
    let ascii = field(told_at::TEXT_ASCII)?;
    Ok(Layout {
        interpreters: Interpreters {
            head: field(told_at::INTERPRETERS_HEAD)?,
            next: field(told_at::INTERPRETER_NEXT)?,
            threads: field(told_at::INTERPRETER_THREADS)?,
        },
        thread: Thread {
            next: field(told_at::THREAD_NEXT)?,
            interpreter: field(told_at::THREAD_INTERPRETER)?,
            frame: Innermost::Here(field(told_at::THREAD_FRAME)?),
            thread_id: field(told_at::THREAD_ID)?,
            native_id: Some(field(told_at::THREAD_NATIVE_ID)?),
        },
        frame: Frame {
            back: field(told_at::FRAME_BACK)?,
            code: field(told_at::FRAME_CODE)?,
            at: Instruction::Pointer(field(told_at::FRAME_INSTRUCTION)?),
            entry: Entry::Shim(field(told_at::FRAME_OWNER)?),
        },
        code: Code {
            file: field(told_at::CODE_FILE)?,
            name: field(told_at::CODE_QUALIFIED_NAME)?,
            first_line: field(told_at::CODE_FIRST_LINE)?,
            lines: field(told_at::CODE_LINES)?,
            table: Table::Locations,
            instructions: field(told_at::CODE_INSTRUCTIONS)?,
        },
        bytes: Bytes { size: field(told_at::BYTES_SIZE)?, data: field(told_at::BYTES_DATA)? },
        text: Text {
            length: field(told_at::TEXT_LENGTH)?,
            state: field(told_at::TEXT_STATE)?,
            ascii,
            // `PyCompactUnicodeObject` adds `utf8_length` and `utf8`.
            wide: ascii.saturating_add(16),
        },
    })
}
