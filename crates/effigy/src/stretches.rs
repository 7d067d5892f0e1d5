//! Memory read from one end to the other: bytes where there are some, and where there are none, why.

use std::ops::ControlFlow;

/// Addresses without bytes, and why.
pub(crate) use effigy_analysis::Unread as Missing;
use effigy_process::{Address, AddressRange, CapturedMemory, GapSubject, NotRead, Process};

use crate::subject::Subject;

/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;
/// Where a read failed within a region, the next try is at the next multiple of this.
const PAGE: u64 = 4096;

/// Calls `visit` for all of `range`, by rising address, with bytes or the reason why there are none, until it breaks. Gives
/// what was missing, joined where it adjoins.
pub(crate) fn visit(
    subject: &Subject,
    range: AddressRange,
    mut visit: impl FnMut(AddressRange, Result<&[u8], NotRead>) -> ControlFlow<()>,
) -> Vec<Missing> {
    let borders = Borders::of(subject, range);
    let mut missing: Vec<Missing> = Vec::new();
    let mut buffer = vec![0; CHUNK.min(usize::try_from(range.size()).unwrap_or(CHUNK))];
    let mut at = range.start();
    while at < range.end() {
        let wanted = usize::try_from(range.end().0 - at.0).unwrap_or(CHUNK).min(buffer.len());
        let told = match subject.memory().read(at, &mut buffer[..wanted]) {
            Ok(count) if count > 0 => {
                let count = count.min(wanted);
                let part = AddressRange::sized(at, count as u64);
                at = part.end();
                visit(part, Ok(&buffer[..count]))
            }
            outcome => {
                let reason = outcome.err().unwrap_or(NotRead::Unreadable);
                let part = AddressRange::new(at, borders.behind(at).min(range.end()));
                at = part.end();
                push(&mut missing, Missing { range: part, reason });
                visit(part, Err(reason))
            }
        };
        if told.is_break() {
            break;
        }
    }
    missing
}

/// The parts of a range that there are, by rising address.
pub(crate) fn captured(subject: &Subject, range: AddressRange) -> impl Iterator<Item = AddressRange> + '_ {
    let there = subject.memory().captured_from(range.start()).iter();
    there.map_while(move |captured| captured.range.intersection(&range))
}

/// How many bytes of a range there are.
pub(crate) fn captured_bytes(subject: &Subject, range: AddressRange) -> u64 {
    captured(subject, range).map(|part| part.size()).sum()
}

/// Adds to a list, joined to the last where it continues that.
fn push(list: &mut Vec<Missing>, next: Missing) {
    match list.last_mut() {
        Some(last) if last.reason == next.reason && last.range.end() == next.range.start() => {
            last.range = AddressRange::new(last.range.start(), next.range.end());
        }
        _ => list.push(next),
    }
}

/// Where it may change whether and why there are no bytes.
struct Borders<'a> {
    process: &'a Process,
    /// A dump's memory: of that it is known what there is.
    captured: Option<&'a dyn CapturedMemory>,
    gaps: Vec<Address>,
}

impl<'a> Borders<'a> {
    fn of(subject: &'a Subject, range: AddressRange) -> Self {
        let process = subject.process();
        let ranges = process.gaps.iter().filter_map(|gap| match &gap.subject {
            GapSubject::Memory(gap) => gap.intersection(&range),
            _ => None,
        });
        let mut gaps: Vec<Address> = ranges.flat_map(|gap| [gap.start(), gap.end()]).collect();
        gaps.sort_unstable();
        Self { process, captured: subject.dump().map(|_| subject.memory()), gaps }
    }

    /// The next border behind an address at which there is nothing.
    fn behind(&self, at: Address) -> Address {
        let page = Address(at.0 & !(PAGE - 1)).saturating_add(PAGE);
        let regions = &self.process.regions;
        let region = regions.get(regions.partition_point(|region| region.range.end() <= at));
        let by_region = region.map(|region| match (region.range.contains(at), self.captured) {
            (true, Some(_)) => region.range.end(),
            (true, None) => page,
            (false, _) => region.range.start(),
        });
        let captured = self.captured.and_then(|memory| memory.captured_from(at).first());
        let by_memory = captured.map(|captured| {
            // It is said to be there, and cannot be read.
            let again = || self.captured?.try_again_at(at).filter(|again| *again > at);
            if captured.range.contains(at) { again().unwrap_or(page) } else { captured.range.start() }
        });
        let by_gap = self.gaps.get(self.gaps.partition_point(|border| *border <= at)).copied();
        let border = [by_region, by_memory, by_gap].into_iter().flatten().min();
        border.filter(|border| *border > at).unwrap_or(Address(u64::MAX))
    }
}
