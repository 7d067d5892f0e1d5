//! What a dump does not hold.

use std::collections::BTreeMap;

use effigy_dump::sink::size;
use effigy_formats::{Coverage, DumpKind, OpenedDump};
use effigy_process::{Gap, GapReason, GapSubject};
use serde::Serialize;

use crate::report::gap_lines;
use crate::stretches;
use crate::subject::Subject;
use crate::words;

/// What is missing for one reason.
#[derive(Debug, Default, Serialize)]
pub(super) struct Group {
    reason: &'static str,
    /// Whether the dump is the poorer for it.
    loss: bool,
    /// Ranges of memory.
    ranges: u64,
    /// Their bytes.
    bytes: u64,
    /// Threads without registers.
    registers: u64,
    /// Other facts, by name.
    facts: Vec<String>,
}

/// What image files have of what a dump leaves out.
#[derive(Debug, Serialize)]
pub(super) struct ImagesAnswer {
    /// Bytes that can be read from them.
    bytes: u64,
    /// Files of which some are.
    files: Vec<String>,
    /// Modules of which no file was found, with what it must be.
    not_found: Vec<NotFound>,
}

#[derive(Debug, Serialize)]
struct NotFound {
    module: String,
    /// Its identity in words; null when nothing is known by which a file could be told.
    wanted: Option<String>,
}

/// The image files of a dump, where they were looked for.
pub(super) fn images(subject: &Subject) -> Option<ImagesAnswer> {
    let images = subject.images()?;
    let files = images.files().files();
    let used = files.iter().filter(|file| file.bytes > 0).filter_map(|file| file.found.file.as_ref());
    let unfound = files.iter().filter(|file| file.found.file.is_none());
    let not_found = unfound.filter_map(|file| {
        let module = subject.process().modules.get(file.module)?;
        let module = String::from_utf8_lossy(&module.path).into_owned();
        Some(NotFound { module, wanted: file.found.wanted.clone() })
    });
    Some(ImagesAnswer {
        bytes: images.bytes(),
        files: used.map(|image| image.path().to_string_lossy().into_owned()).collect(),
        not_found: not_found.collect(),
    })
}

/// Gaps that are about the process, and not about how effigy just looked at it.
fn gaps(subject: &Subject) -> impl Iterator<Item = &Gap> {
    let live = subject.dump().is_none();
    subject
        .process()
        .gaps
        .iter()
        .filter(move |gap| !(live && (gap.reason == GapReason::AlreadyTraced || gap.reason == GapReason::NotFrozen)))
}

/// Everything that is missing, by reason.
pub(super) fn groups(subject: &Subject) -> Vec<Group> {
    let mut groups: BTreeMap<&'static str, Group> = BTreeMap::new();
    for gap in gaps(subject) {
        let reason = gap.reason.as_str();
        let group = groups.entry(reason).or_default();
        (group.reason, group.loss) = (reason, gap.reason.is_loss());
        match &gap.subject {
            GapSubject::Memory(range) => {
                group.ranges += 1;
                group.bytes = group.bytes.saturating_add(range.size());
            }
            GapSubject::Registers(_) => group.registers += 1,
            GapSubject::Fact(name) => group.facts.push(name.clone()),
        }
    }
    groups.into_values().collect()
}

/// The same for people, and how much of what is mapped is there.
pub(super) fn lines(subject: &Subject) -> Vec<String> {
    let mut lines = gap_lines(gaps(subject));
    if let Some((count, bytes)) = not_captured(subject) {
        let regions = words::count(count, "region");
        // Of pages that a process has never touched, and of files, there is often nothing to hold.
        let usual = if subject.dump().is_some_and(|dump| dump.held().has_all_listed()) {
            ", such as pages that were never touched"
        } else {
            ""
        };
        lines.push(format!("not in this dump: {} of what is mapped, in {regions}{usual}", size(bytes)));
    }
    // Other dumps say themselves what they hold, but for those that were cut, or made of one that does not say.
    let says_nothing = |dump: &&OpenedDump| dump.kind == DumpKind::ElfCore && dump.minidump_type == 0;
    let is_cut = |dump: &&OpenedDump| dump.memory.missing() > 0 || dump.memory.repeated() > 0;
    let is_in_doubt = |dump: &&OpenedDump| says_nothing(dump) || dump.held().is_full().is_none() || is_cut(dump);
    match subject.dump().filter(is_in_doubt).map(OpenedDump::held).as_deref() {
        None | Some(Coverage::Full) => {}
        Some(Coverage::Partial(why)) => lines.push(format!("this is not all that the process had written: {why}")),
        Some(other) => {
            lines.push(format!("whether this is all that the process had written is not known: {}", other.why()))
        }
    }
    if let Some(images) = subject.images().filter(|images| images.bytes() > 0) {
        let files = words::count(images.used() as u64, "image file");
        lines.push(format!("of that, {} can be read from {files}", size(images.bytes())));
    }
    lines
}

/// Regions of a dump of which not all is there, and how many bytes are not.
fn not_captured(subject: &Subject) -> Option<(u64, u64)> {
    subject.dump()?;
    let regions = subject.process().regions.iter().map(|region| region.range);
    let missing = regions.map(|range| range.size().saturating_sub(stretches::captured_bytes(subject, range)));
    let (count, bytes) = missing
        .filter(|bytes| *bytes > 0)
        .fold((0u64, 0u64), |(count, sum), bytes| (count + 1, sum.saturating_add(bytes)));
    (count > 0).then_some((count, bytes))
}
