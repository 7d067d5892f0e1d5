//! What streams say that has no place in the process: their fields by name.

use super::source::Block;
use super::{Dump, ReadError, utf16};
use crate::opened::{Field, FieldValue};

/// Most bytes of a text that is shown whole.
const LONGEST_TEXT: u64 = 64 << 10;

/// How a field lies in its stream.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A number of so many bytes.
    Number(u64),
    /// A GUID.
    Guid,
    /// UTF-16 of so many bytes.
    Wide(u64),
    /// The whole stream is text, or JSON.
    Text,
}

/// A field's name, where it begins in its record, and how it lies there.
pub(super) type Row = (&'static str, u64, Shape);

pub(super) const HALF: Shape = Shape::Number(4);
pub(super) const WORD: Shape = Shape::Number(8);

/// `MINIDUMP_HEADER` behind its signature.
const HEADER: &[Row] = &[
    ("Version", 4, HALF),
    ("NumberOfStreams", 8, HALF),
    ("StreamDirectoryRva", 12, HALF),
    ("CheckSum", 16, HALF),
    ("TimeDateStamp", 20, HALF),
    ("Flags", 24, WORD),
];
/// `MINIDUMP_FUNCTION_TABLE_STREAM`.
const FUNCTION_TABLE: &[Row] = &[
    ("SizeOfHeader", 0, HALF),
    ("SizeOfDescriptor", 4, HALF),
    ("SizeOfNativeDescriptor", 8, HALF),
    ("SizeOfFunctionEntry", 12, HALF),
    ("NumberOfDescriptors", 16, HALF),
    ("SizeOfAlignPad", 20, HALF),
];
/// `MINIDUMP_HANDLE_OPERATION_LIST`.
const HANDLE_OPERATIONS: &[Row] =
    &[("SizeOfHeader", 0, HALF), ("SizeOfEntry", 4, HALF), ("NumberOfEntries", 8, HALF), ("Reserved", 12, HALF)];
/// `MINIDUMP_TOKEN_INFO_LIST` and the first `MINIDUMP_TOKEN_INFO_HEADER`.
const TOKENS: &[Row] = &[
    ("TokenListSize", 0, HALF),
    ("TokenListEntries", 4, HALF),
    ("ListHeaderSize", 8, HALF),
    ("ElementHeaderSize", 12, HALF),
];
/// `MINIDUMP_THREAD_EX_LIST`.
const THREADS_EX: &[Row] = &[("NumberOfThreads", 0, HALF)];
/// `MINIDUMP_SYSTEM_MEMORY_INFO_1`: basic information first.
const SYSTEM_MEMORY: &[Row] = &[
    ("Revision", 0, Shape::Number(2)),
    ("Flags", 2, Shape::Number(2)),
    ("TimerResolution", 4, HALF),
    ("PageSize", 8, HALF),
    ("NumberOfPhysicalPages", 12, HALF),
    ("LowestPhysicalPageNumber", 16, HALF),
    ("HighestPhysicalPageNumber", 20, HALF),
    ("AllocationGranularity", 24, HALF),
    ("MinimumUserModeAddress", 28, WORD),
    ("MaximumUserModeAddress", 36, WORD),
    ("ActiveProcessorsAffinityMask", 44, WORD),
    ("NumberOfProcessors", 52, HALF),
];
/// `MINIDUMP_PROCESS_VM_COUNTERS_2`.
const VM_COUNTERS: &[Row] = &[
    ("Revision", 0, Shape::Number(2)),
    ("Flags", 2, Shape::Number(2)),
    ("PageFaultCount", 4, HALF),
    ("PeakWorkingSetSize", 8, WORD),
    ("WorkingSetSize", 16, WORD),
    ("QuotaPeakPagedPoolUsage", 24, WORD),
    ("QuotaPagedPoolUsage", 32, WORD),
    ("QuotaPeakNonPagedPoolUsage", 40, WORD),
    ("QuotaNonPagedPoolUsage", 48, WORD),
    ("PagefileUsage", 56, WORD),
    ("PeakPagefileUsage", 64, WORD),
    ("PeakVirtualSize", 72, WORD),
    ("VirtualSize", 80, WORD),
    ("PrivateUsage", 88, WORD),
    ("PrivateWorkingSetSize", 96, WORD),
    ("SharedCommitUsage", 104, WORD),
];
/// `MINIDUMP_MISC_INFO_5`, what the process has no place for.
const MISC_INFO: &[Row] = &[
    ("SizeOfInfo", 0, HALF),
    ("Flags1", 4, HALF),
    ("ProcessorMaxMhz", 24, HALF),
    ("ProcessorCurrentMhz", 28, HALF),
    ("ProcessorMhzLimit", 32, HALF),
    ("ProcessIntegrityLevel", 44, HALF),
    ("ProcessExecuteFlags", 48, HALF),
    ("ProtectedProcess", 52, HALF),
    ("TimeZoneId", 56, HALF),
    ("TimeZoneBias", 60, HALF),
    ("TimeZoneStandardName", 64, Shape::Wide(64)),
    ("TimeZoneDaylightName", 148, Shape::Wide(64)),
    ("BuildString", 232, Shape::Wide(520)),
    ("DbgBldStr", 752, Shape::Wide(80)),
    ("XStateDataEnabledFeatures", 840, WORD),
    ("ProcessCookie", 1360, HALF),
];
/// `MDRawBreakpadInfo`.
const BREAKPAD_INFO: &[Row] = &[("Validity", 0, HALF), ("DumpThreadId", 4, HALF), ("RequestingThreadId", 8, HALF)];
/// `MDRawAssertionInfo`.
const ASSERTION: &[Row] = &[
    ("Expression", 0, Shape::Wide(256)),
    ("Function", 256, Shape::Wide(256)),
    ("File", 512, Shape::Wide(256)),
    ("Line", 768, HALF),
    ("Type", 772, HALF),
];
/// `MinidumpCrashpadInfo`.
const CRASHPAD: &[Row] = &[
    ("Version", 0, HALF),
    ("ReportId", 4, Shape::Guid),
    ("ClientId", 20, Shape::Guid),
    ("SimpleAnnotationsSize", 36, HALF),
    ("SimpleAnnotationsRva", 40, HALF),
    ("ModuleListSize", 44, HALF),
    ("ModuleListRva", 48, HALF),
];
/// `MDRawDebug64`, which Breakpad writes for the dynamic linker's state.
const DSO_DEBUG: &[Row] = &[("Version", 0, HALF), ("Map", 4, HALF), ("DsoCount", 8, HALF)];
const TEXT: &[Row] = &[("Text", 0, Shape::Text)];

fn rows(kind: u32) -> &'static [Row] {
    match kind {
        8 => THREADS_EX,
        13 => FUNCTION_TABLE,
        15 => MISC_INFO,
        18 => HANDLE_OPERATIONS,
        19 => TOKENS,
        21 => SYSTEM_MEMORY,
        22 => VM_COUNTERS,
        0x4767_0001 => BREAKPAD_INFO,
        0x4767_0002 => ASSERTION,
        0x4767_000a => DSO_DEBUG,
        0x4767_000d | 0x4d7a_0002..=0x4d7a_0004 | 0xface_cafa..=0xface_cafd => TEXT,
        0x4350_0001 => CRASHPAD,
        _ => &[],
    }
}

impl Dump {
    /// The fields of a stream of type `kind`, as many as it has, and the records that it lists.
    pub(super) fn fields(&self, kind: u32, block: &Block) -> Result<Vec<Field>, ReadError> {
        let mut fields = read_rows(rows(kind), block)?;
        fields.extend(self.records_of(kind, block)?);
        Ok(fields)
    }

    /// The header of the file.
    pub(crate) fn header_fields(&self) -> Vec<Field> {
        read_rows(HEADER, &self.file).unwrap_or_default()
    }
}

/// The fields of a record, as many as it has: what an older system wrote is shorter.
pub(super) fn read_rows(rows: &[Row], block: &Block) -> Result<Vec<Field>, ReadError> {
    let mut fields = Vec::new();
    for (name, at, shape) in rows {
        let size = match shape {
            Shape::Number(size) | Shape::Wide(size) => *size,
            Shape::Guid => 16,
            Shape::Text => block.len().min(LONGEST_TEXT),
        };
        if at + size > block.len() {
            break;
        }
        let bytes = block.part(*at, size, name)?.bytes(name)?;
        fields.push(Field { name, value: shape.value(&bytes) });
    }
    Ok(fields)
}

impl Shape {
    fn value(self, bytes: &[u8]) -> FieldValue {
        match self {
            Self::Number(_) => FieldValue::Number(effigy_process::ByteOrder::Little.number(bytes)),
            Self::Guid => {
                let guid = bytes.first_chunk().map(|bytes| effigy_process::Guid(*bytes)).unwrap_or_default();
                FieldValue::Text(guid.windows())
            }
            Self::Wide(_) => {
                let units: Vec<_> =
                    bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]).into()).collect();
                FieldValue::Text(utf16(&units))
            }
            Self::Text => FieldValue::Text(String::from_utf8_lossy(bytes).into_owned()),
        }
    }
}
