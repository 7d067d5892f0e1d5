//! What streams say that has no place in the process: their fields by name.

use super::source::Block;
use super::{Dump, ReadError, ipt, stability, utf16};
use crate::minidump::layout::stream;
use crate::opened::{Field, FieldValue, LONGEST_TEXT, MOST_CONTENT};

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
    /// The whole stream is text in UTF-16.
    WideText,
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
/// `MINIDUMP_EXCEPTION_STREAM`.
const EXCEPTION: &[Row] = &[
    ("ThreadId", 0, HALF),
    ("ExceptionCode", 8, HALF),
    ("ExceptionFlags", 12, HALF),
    ("ExceptionRecord", 16, WORD),
    ("ExceptionAddress", 24, WORD),
    ("NumberParameters", 32, HALF),
    ("ThreadContextSize", 160, HALF),
    ("ThreadContextRva", 164, HALF),
];
/// `MINIDUMP_SYSTEM_INFO`, up to what differs between processors.
const SYSTEM_INFO: &[Row] = &[
    ("ProcessorArchitecture", 0, Shape::Number(2)),
    ("ProcessorLevel", 2, Shape::Number(2)),
    ("ProcessorRevision", 4, Shape::Number(2)),
    ("NumberOfProcessors", 6, Shape::Number(1)),
    ("ProductType", 7, Shape::Number(1)),
    ("MajorVersion", 8, HALF),
    ("MinorVersion", 12, HALF),
    ("BuildNumber", 16, HALF),
    ("PlatformId", 20, HALF),
    ("CSDVersionRva", 24, HALF),
    ("SuiteMask", 28, Shape::Number(2)),
];
/// `MINIDUMP_THREAD_INFO_LIST`.
const THREAD_INFOS: &[Row] = &[("SizeOfHeader", 0, HALF), ("SizeOfEntry", 4, HALF), ("NumberOfEntries", 8, HALF)];
/// `MINIDUMP_SYSTEM_MEMORY_INFO_1`: basic information, the file cache, and the system's counts of pages.
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
    ("CurrentSize", 56, WORD),
    ("PeakSize", 64, WORD),
    ("PageFaultCount", 72, HALF),
    ("MinimumWorkingSet", 76, WORD),
    ("MaximumWorkingSet", 84, WORD),
    ("CurrentSizeIncludingTransitionInPages", 92, WORD),
    ("PeakSizeIncludingTransitionInPages", 100, WORD),
    ("TransitionRePurposeCount", 108, HALF),
    ("FileCacheFlags", 112, HALF),
    ("AvailablePages", 116, WORD),
    ("CommittedPages", 124, WORD),
    ("CommitLimit", 132, WORD),
    ("PeakCommitment", 140, WORD),
    ("IdleProcessTime", 148, WORD),
    ("IoReadTransferCount", 156, WORD),
    ("IoWriteTransferCount", 164, WORD),
    ("IoOtherTransferCount", 172, WORD),
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
    ("JobSharedCommitUsage", 112, WORD),
    ("JobPrivateCommitUsage", 120, WORD),
    ("JobPeakPrivateCommitUsage", 128, WORD),
    ("JobPrivateCommitLimit", 136, WORD),
    ("JobTotalCommitLimit", 144, WORD),
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
const TEXT: &[Row] = &[("Text", 0, Shape::Text)];
const WIDE_TEXT: &[Row] = &[("Text", 0, Shape::WideText)];

fn rows(kind: u32) -> &'static [Row] {
    match kind {
        stream::EXCEPTION => EXCEPTION,
        stream::SYSTEM_INFO => SYSTEM_INFO,
        stream::THREAD_EX_LIST => THREADS_EX,
        stream::FUNCTION_TABLE => FUNCTION_TABLE,
        stream::MISC_INFO => MISC_INFO,
        stream::THREAD_INFO_LIST => THREAD_INFOS,
        stream::HANDLE_OPERATION_LIST => HANDLE_OPERATIONS,
        stream::TOKEN => TOKENS,
        21 => SYSTEM_MEMORY,
        stream::PROCESS_VM_COUNTERS => VM_COUNTERS,
        0x4767_0001 => BREAKPAD_INFO,
        0x4767_0002 => ASSERTION,
        stream::COMMENT_W => WIDE_TEXT,
        stream::CRASHPAD_INFO => CRASHPAD,
        kind if is_text(kind) => TEXT,
        _ => &[],
    }
}

/// Streams that are text from their beginning to their end. What lldb takes for text of Facebook's is text here too.
fn is_text(kind: u32) -> bool {
    matches!(
        kind,
        stream::COMMENT_A
            | stream::LINUX_CPU_INFO..=stream::LINUX_ENVIRON
            | stream::LINUX_PROC_STAT..=0x4767_000d
            | 0x4d7a_0002..=stream::MOZ_SOFT_ERRORS
            | 0xface_1ca7
            | 0xface_cafa..=0xface_cafe
            | 0xface_cb00
            | 0xface_cccc
            | 0xface_dead
            | 0xface_e000
            | stream::EFFIGY_FACTS
            | stream::EFFIGY_ATTACHMENTS
    )
}

/// Why a stream whose name is known is not taken apart.
fn why_undecoded(kind: u32) -> Option<&'static str> {
    Some(match kind {
        stream::JAVA_SCRIPT_DATA => {
            "Microsoft names this stream in minidumpapiset.h and publishes nothing of its layout, which is that of its \
             debugger's script extension for Chakra"
        }
        0x8000..=0x800c => "Windows CE's streams are named in minidumpapiset.h, which has no structures for them",
        0xface_caf0 | 0xface_caff => "no layout of this stream is published; lldb shows its bytes as well",
        _ => return None,
    })
}

impl Dump {
    /// The fields of a stream of type `kind`, as many as it has, and the records that it lists.
    pub(super) fn fields(&self, kind: u32, block: &Block) -> Result<Vec<Field>, ReadError> {
        if let Some(why) = why_undecoded(kind) {
            return Ok(Field::undecoded(why, &beginning(block, MOST_CONTENT)?));
        }
        match kind {
            stream::IPT_TRACE => return ipt::fields(block),
            stream::LINUX_AUXV => return self.auxiliary_vector(block),
            stream::LINUX_DSO_DEBUG => return self.shared_objects(block),
            stream::STABILITY_REPORT => {
                return stability::fields(&block.bytes("the stability report")?, block.offset());
            }
            _ => {}
        }
        let mut fields = read_rows(rows(kind), block)?;
        fields.extend(self.records_of(kind, block)?);
        Ok(fields)
    }

    /// The header of the file.
    pub(crate) fn header_fields(&self) -> Vec<Field> {
        read_rows(HEADER, &self.file).unwrap_or_default()
    }
}

/// The first bytes of a stream, `most` of them at the most.
pub(super) fn beginning(block: &Block, most: usize) -> Result<Vec<u8>, ReadError> {
    block.part(0, block.len().min(most as u64), "a stream")?.bytes("a stream")
}

/// The fields of a record, as many as it has: what an older system wrote is shorter.
pub(super) fn read_rows(rows: &[Row], block: &Block) -> Result<Vec<Field>, ReadError> {
    let mut fields = Vec::new();
    for (name, at, shape) in rows {
        let size = match shape {
            Shape::Number(size) | Shape::Wide(size) => *size,
            Shape::Guid => 16,
            Shape::Text | Shape::WideText => block.len().min(LONGEST_TEXT as u64),
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
            Self::Wide(_) | Self::WideText => {
                let units: Vec<_> =
                    bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]).into()).collect();
                FieldValue::Text(utf16(&units))
            }
            Self::Text => FieldValue::Text(String::from_utf8_lossy(bytes).into_owned()),
        }
    }
}
