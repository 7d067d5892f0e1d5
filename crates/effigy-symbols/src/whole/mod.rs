//! A dump made whole: pages of program images that it leaves out, read from the image files.
//!
//! A dump that holds what a process wrote leaves out what it did not: code and constants are the same in the file. They
//! are read from there when the file is the one that was mapped, by its identity, and only where the file tells what was in
//! memory: not in segments that may be written to, not where the process has copies of its own that the dump does not
//! hold, not where the loader changed something that cannot be told ([`Unfit`]).

mod mappings;

use std::sync::Arc;

use effigy_process::{
    Address, AddressRange, CapturedMemory, CapturedRange, Memory, Module, NotRead, Process, Protection,
};

use self::mappings::Mappings;
use crate::image::{Image, ImageKind, LoaderChanges, Segment, Unfit};
use crate::locate::{Found, Locator};

/// Most modules whose files are looked for. Processes have some hundreds.
const MOST_MODULES: usize = 4096;

/// Most parts of memory that are taken from files: a process has some thousands of mappings.
const MOST_PARTS: usize = 1 << 20;

/// What came of a module's image file.
#[derive(Debug)]
pub struct ModuleFile {
    /// The module's place among those of the process.
    pub module: usize,
    /// What was found, and what was tried.
    pub found: Arc<Found<Image>>,
    /// Why nothing of the file that was found is used, where it is not.
    pub unfit: Option<Unfit>,
    /// Bytes that come from it.
    pub bytes: u64,
}

/// Part of a process's memory that is the same as in an image file.
#[derive(Debug)]
struct Part {
    range: AddressRange,
    /// The image address of its first byte.
    start: u64,
    /// The file's place among `files`.
    file: usize,
}

/// Memory of a process that is read from the files of its images: what a dump leaves out, and nothing that it holds.
#[derive(Debug, Default)]
pub struct ImageMemory {
    files: Vec<ModuleFile>,
    changes: Vec<LoaderChanges>,
    /// By rising address, without overlaps.
    parts: Vec<Part>,
    captured: Vec<CapturedRange>,
    /// Whether there were more modules or mappings than are looked at.
    is_cut: bool,
}

impl ImageMemory {
    /// Looks for the images of a process of which `dump` does not hold all, and finds out which parts of them are in
    /// memory as they are in the files. `within` names the addresses that matter; all do where it is `None`.
    #[must_use]
    pub fn find(process: &Process, dump: &dyn CapturedMemory, locator: &Locator, within: Option<AddressRange>) -> Self {
        let mut memory = Self::default();
        let matters = |module: &Module| match within {
            Some(within) => module.range.intersection(&within).is_some_and(|range| !holds(dump, range)),
            None => !holds(dump, module.range),
        };
        let mappings = Mappings::of(process, dump);
        let wanted = process.modules.iter().enumerate().filter(|(_, module)| is_file(module) && matters(module));
        for (place, module) in wanted {
            if memory.files.len() == MOST_MODULES || memory.parts.len() > MOST_PARTS {
                memory.is_cut = true;
                break;
            }
            memory.add(place, module, locator.image(module), &mappings);
        }
        memory.settle(dump);
        memory
    }

    /// What came of each module's file that was looked for.
    #[must_use]
    pub fn files(&self) -> &[ModuleFile] {
        &self.files
    }

    /// Whether some modules were not looked for, as there are too many of them, or of mappings.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The file that the byte at an address comes from.
    #[must_use]
    pub fn file_at(&self, address: Address) -> Option<&ModuleFile> {
        self.files.get(self.part_at(address)?.file)
    }

    /// What comes from files within a range: by rising address, joined where it is from the same file.
    pub fn within(&self, range: AddressRange) -> impl Iterator<Item = (AddressRange, &ModuleFile)> {
        let first = self.parts.partition_point(|part| part.range.end() <= range.start());
        let parts = self.parts[first..].iter();
        parts.map_while(move |part| Some((part.range.intersection(&range)?, self.files.get(part.file)?)))
    }

    fn part_at(&self, address: Address) -> Option<&Part> {
        let index = self.parts.partition_point(|part| part.range.end() <= address);
        self.parts.get(index).filter(|part| part.range.contains(address))
    }

    /// Adds what a module's file tells.
    fn add(&mut self, place: usize, module: &Module, found: Arc<Found<Image>>, mappings: &Mappings<'_>) {
        let file = self.files.len();
        let mut entry = ModuleFile { module: place, found: found.clone(), unfit: None, bytes: 0 };
        let mut changes = LoaderChanges::default();
        if let Some(image) = &found.file {
            match image.loader_changes(module.range.start().0) {
                Ok(known) => {
                    changes = known;
                    self.add_segments(file, module, image, &changes, mappings);
                }
                Err(unfit) => entry.unfit = Some(unfit),
            }
        }
        self.files.push(entry);
        self.changes.push(changes);
    }

    fn add_segments(
        &mut self,
        file: usize,
        module: &Module,
        image: &Image,
        changes: &LoaderChanges,
        mappings: &Mappings<'_>,
    ) {
        let base = image.base();
        let loaded = |address: u64| Some(Address(address.checked_sub(base)?.checked_add(module.range.start().0)?));
        let mut free = 0;
        for (segment, start, end) in image.segments().iter().filter_map(|segment| mapped(image, segment)) {
            // Segments that lie over each other are nonsense, and would have each mapping looked at again.
            if start < std::mem::replace(&mut free, end) {
                return;
            }
            let Some(range) = loaded(start).zip(loaded(end)).map(|(start, end)| AddressRange::new(start, end)) else {
                continue;
            };
            let Some(range) = range.intersection(&module.range) else { continue };
            let image_address = |at: Address| at.0 - module.range.start().0 + base;
            let at_start = segment.file.start.wrapping_add(start.wrapping_sub(segment.address));
            for part in mappings.of_file(module, image.kind(), range, at_start) {
                let unknown = changes
                    .unknown()
                    .iter()
                    .filter_map(|unknown| Some(AddressRange::new(loaded(unknown.start)?, loaded(unknown.end)?)));
                let known = without(part, unknown);
                self.parts.extend(known.map(|range| Part { range, start: image_address(range.start()), file }));
            }
        }
    }

    /// Sorts the parts, cuts off what an earlier one or the dump holds, and sums up.
    fn settle(&mut self, dump: &dyn CapturedMemory) {
        self.parts.sort_by_key(|part| part.range.start());
        let mut end = Address(0);
        let mut settled = Vec::with_capacity(self.parts.len());
        for part in std::mem::take(&mut self.parts) {
            let rest = AddressRange::new(part.range.start().max(end), part.range.end());
            end = end.max(part.range.end());
            let held = dump.captured_from(rest.start()).iter().map(|captured| captured.range);
            for range in without(rest, held.take_while(|held| held.start() < rest.end())) {
                let start = part.start + (range.start().0 - part.range.start().0);
                if let Some(file) = self.files.get_mut(part.file) {
                    file.bytes += range.size();
                }
                settled.push(Part { range, start, file: part.file });
            }
        }
        self.captured = settled.iter().map(|part| CapturedRange { range: part.range, offset: None }).collect();
        self.parts = settled;
    }
}

/// Whether a module comes from a file at all. The vdso does not.
fn is_file(module: &Module) -> bool {
    module.path != "linux-gate.so" && !module.path.starts_with(b"[")
}

/// Whether a dump holds all of a range.
fn holds(dump: &dyn CapturedMemory, range: AddressRange) -> bool {
    let mut at = range.start();
    for captured in dump.captured_from(at) {
        if captured.range.start() > at || at >= range.end() {
            break;
        }
        at = captured.range.end();
    }
    at >= range.end()
}

/// Image addresses at which a segment's file is mapped and not written to: whole pages for ELF, whose loader knows no
/// others. Where it puts zeros behind the file's bytes, the file's bytes end.
fn mapped<'a>(image: &Image, segment: &'a Segment) -> Option<(&'a Segment, u64, u64)> {
    let size = segment.file.end.checked_sub(segment.file.start).filter(|size| *size > 0)?;
    if segment.protection.contains(Protection::WRITE) || segment.protection.is_empty() {
        return None;
    }
    let end = segment.address.checked_add(size)?;
    if image.kind() != ImageKind::Elf {
        return Some((segment, segment.address, end));
    }
    let page = image.architecture().usual_page_size();
    let start = segment.address & !(page - 1);
    let end = if size == segment.memory_size { end.checked_next_multiple_of(page)? } else { end };
    Some((segment, start, end))
}

/// What of a range is in none of `others`, which come by rising address.
fn without(range: AddressRange, others: impl Iterator<Item = AddressRange>) -> impl Iterator<Item = AddressRange> {
    let mut at = range.start();
    let end = range.end();
    let last = AddressRange::new(end, end);
    let gaps = others.chain([last]).map(move |other| {
        let gap = AddressRange::new(at, other.start().min(end));
        at = at.max(other.end());
        gap
    });
    gaps.filter(|gap| !gap.is_empty())
}

impl ImageMemory {
    /// Reads what lies at `address` in one piece in a file.
    fn read_piece(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        let part = self.part_at(address).ok_or(NotRead::NotCaptured)?;
        let left = usize::try_from(part.range.end().0 - address.0).unwrap_or(usize::MAX).min(buffer.len());
        let at = part.start + (address.0 - part.range.start().0);
        let known =
            self.files.get(part.file).and_then(|file| file.found.file.as_ref()).zip(self.changes.get(part.file));
        let count = known.and_then(|(image, changes)| changes.read(image, at, &mut buffer[..left]));
        count.ok_or(NotRead::Unreadable)
    }
}

impl Memory for ImageMemory {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        let mut done = self.read_piece(address, buffer)?;
        // What is whole in memory may lie in pieces in the file.
        while let Some(next) = address.checked_add(done as u64).filter(|_| done < buffer.len()) {
            match self.read_piece(next, &mut buffer[done..]) {
                Ok(count) if count > 0 => done += count,
                _ => break,
            }
        }
        Ok(done)
    }
}

impl CapturedMemory for ImageMemory {
    fn captured(&self) -> &[CapturedRange] {
        &self.captured
    }
}

#[cfg(test)]
mod tests;
