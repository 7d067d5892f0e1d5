//! What kind a dump is that is to be converted, and what its header may say afterwards.

use effigy_formats::{DumpKind, OpenedDump};
use effigy_process::{CapturedMemory, CapturedRange, Protection};

use crate::kind::{Kind, MinidumpType};

/// Bits that speak of memory.
const MEMORY: MinidumpType = MinidumpType::DATA_SEGS
    .union(MinidumpType::FULL_MEMORY)
    .union(MinidumpType::FILTER_MEMORY)
    .union(MinidumpType::SCAN_MEMORY)
    .union(MinidumpType::INDIRECTLY_REFERENCED)
    .union(MinidumpType::PRIVATE_READ_WRITE)
    .union(MinidumpType::WITHOUT_OPTIONAL_DATA)
    .union(MinidumpType::CODE_SEGS)
    .union(MinidumpType::PRIVATE_WRITE_COPY)
    .union(MinidumpType::MODULE_HEADERS);

/// The kind of a dump. A minidump says it, and so does a core of effigy; another core is taken for full when it has all that
/// it lists as memory that may be written and the code of its programs, for miniplus without the code, and else for mini.
#[must_use]
pub fn kind_of(dump: &OpenedDump) -> Kind {
    if dump.kind == DumpKind::ElfCore && dump.minidump_type == 0 {
        return match (dump.coverage.has_all_listed(), has_code(dump)) {
            (true, true) => Kind::Full,
            (true, false) => Kind::MiniPlus,
            (false, _) => Kind::Mini,
        };
    }
    let bits = MinidumpType::from_bits_truncate(dump.minidump_type);
    let named = [Kind::Triage, Kind::Mini, Kind::MiniPlus, Kind::Full].into_iter();
    named.clone().find(|kind| kind.mask() == bits).unwrap_or_else(|| {
        // Those of others: by the bit that says most.
        let says = |bit| bits.contains(bit);
        if says(MinidumpType::FULL_MEMORY) {
            Kind::Full
        } else if says(MinidumpType::PRIVATE_READ_WRITE) {
            Kind::MiniPlus
        } else if says(MinidumpType::FILTER_TRIAGE) {
            Kind::Triage
        } else {
            Kind::Mini
        }
    })
}

/// Whether a core has code of a mapped file beyond its first page.
fn has_code(dump: &OpenedDump) -> bool {
    let page = dump.process.system.page_size;
    let code = dump.process.regions.iter().filter(|region| {
        region.inode != 0 && region.protection.contains(Protection::EXECUTE) && region.range.size() > page
    });
    code.clone().any(|region| {
        let last = effigy_process::Address(region.range.end().0 - 1);
        // What was added from an image file does not make it another kind.
        let holds = |captured: &CapturedRange| captured.range.contains(last) && captured.offset.is_some();
        dump.memory.captured_from(last).first().is_some_and(holds)
    })
}

/// Whether a dump holds what a dump of another kind must.
pub(super) fn suffices(dump: &OpenedDump, wanted: Kind) -> bool {
    let have = kind_of(dump);
    match wanted {
        Kind::Full => have == Kind::Full,
        Kind::MiniPlus => matches!(have, Kind::Full | Kind::MiniPlus),
        Kind::Mini => have != Kind::Triage,
        Kind::Triage | Kind::Custom(_) => true,
    }
}

/// The bits for the new dump's header: those of the old one, but for what they say of memory where that changes.
pub(super) fn header_bits(dump: &OpenedDump, wanted: Option<Kind>) -> u64 {
    let old = match dump.kind {
        DumpKind::ElfCore if dump.minidump_type == 0 => kind_of(dump).mask().bits(),
        _ => dump.minidump_type,
    };
    match wanted {
        None => old,
        Some(kind) if kind.is_triage() => kind.mask().bits(),
        Some(kind) => (old & !MEMORY.bits()) | (kind.mask() & MEMORY).bits(),
    }
}
