//! What is known of each module for unwinding: found when the first frame needs it, and kept for all threads.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, RwLock};

use effigy_process::{Address, Memory, Module, Process, Protection};
use gimli::UnwindContext;

use super::breakpad::BreakpadUnwind;
use super::compact::CompactTable;
use super::dwarf::{CfiSection, Row};
use super::exidx::IndexTable;
use super::pe::PeImage;
use super::{UnwindImages, Unwinder};
use crate::go::{GoFrame, GoTable};
use crate::image::{Image, ImageKind};

/// Rows of call frame information, and of other tables, that are kept for a module.
const MOST_ROWS: usize = 1 << 16;

/// Modules that are looked at for one address. Images overlap only where the kernel put the vdso into a gap of another.
const MOST_OVERLAPPING: usize = 16;

/// All modules of a process.
pub(super) struct Modules<'a> {
    process: &'a Process,
    images: &'a dyn UnwindImages,
    /// Of each module, and of those before it, the highest end.
    ends: Vec<Address>,
    tables: Vec<Tables>,
}

/// The unwind tables of one module.
#[derive(Default)]
struct Tables {
    image: OnceLock<Option<Arc<Image>>>,
    eh_frame: OnceLock<Option<CfiSection>>,
    debug_frame: OnceLock<Option<CfiSection>>,
    apart: OnceLock<Option<CfiSection>>,
    index_table: OnceLock<Option<IndexTable>>,
    compact: OnceLock<Option<CompactTable>>,
    pe: OnceLock<Option<PeImage>>,
    breakpad: OnceLock<Option<Arc<BreakpadUnwind>>>,
    rows: Kept<Option<Arc<Row>>>,
    go: OnceLock<Option<GoTable>>,
    go_frames: Kept<Option<GoFrame>>,
}

/// What was found for offsets into a module.
type Kept<T> = RwLock<HashMap<u64, T>>;

/// What was found for an offset before, or else is found now.
fn kept<T: Clone>(kept: &Kept<T>, offset: u64, find: impl FnOnce() -> T) -> Option<T> {
    if let Some(known) = kept.read().ok()?.get(&offset) {
        return Some(known.clone());
    }
    let found = find();
    let mut kept = kept.write().ok()?;
    if kept.len() < MOST_ROWS {
        kept.insert(offset, found.clone());
    }
    Some(found)
}

impl<'a> Modules<'a> {
    pub(super) fn new(process: &'a Process, images: &'a dyn UnwindImages) -> Self {
        let mut highest = Address(0);
        let ends = process.modules.iter().map(|module| {
            highest = highest.max(module.range.end());
            highest
        });
        let ends = ends.collect();
        let tables = process.modules.iter().map(|_| Tables::default()).collect();
        Self { process, images, ends, tables }
    }

    /// The module whose image holds an address; of two the one that begins later.
    pub(super) fn at(&self, address: Address) -> Option<usize> {
        let modules = &self.process.modules;
        let after = modules.partition_point(|module| module.range.start() <= address);
        let candidates = (0..after).rev().take(MOST_OVERLAPPING).take_while(|index| self.ends[*index] > address);
        candidates.into_iter().find(|index| modules[*index].range.contains(address))
    }

    pub(super) fn module(&self, index: usize) -> &'a Module {
        &self.process.modules[index]
    }

    /// The image file, where there is one.
    pub(super) fn image(&self, index: usize) -> Option<&Arc<Image>> {
        self.tables[index].image.get_or_init(|| self.images.image(index)).as_ref()
    }

    pub(super) fn breakpad(&self, index: usize) -> Option<&BreakpadUnwind> {
        self.tables[index].breakpad.get_or_init(|| self.images.breakpad(index)).as_deref()
    }

    /// The tables of a PE image, from its file or from memory.
    pub(super) fn pe(&self, index: usize, memory: &dyn Memory) -> Option<&PeImage> {
        let tables = &self.tables[index];
        let open = || PeImage::open(self.image(index).cloned(), self.module(index).range, memory);
        tables.pe.get_or_init(open).as_ref()
    }

    /// The compact unwind information of a Mach-O image, from its file.
    pub(super) fn compact(&self, index: usize) -> Option<&CompactTable> {
        self.tables[index].compact.get_or_init(|| CompactTable::of_image(self.image(index)?)).as_ref()
    }

    /// The index table of an image of 32-bit ARM, from its file or from memory.
    pub(super) fn index_table(&self, index: usize, memory: &dyn Memory) -> Option<&IndexTable> {
        let open = || match self.image(index) {
            Some(image) => IndexTable::of_image(image),
            None => IndexTable::in_memory(self.module(index).range, self.process.byte_order, memory),
        };
        self.tables[index].index_table.get_or_init(open).as_ref()
    }

    /// Whether a module is a PE image, as far as is known.
    pub(super) fn is_pe(&self, index: usize) -> bool {
        match self.image(index) {
            Some(image) => image.kind() == ImageKind::Pe,
            None => self.module(index).pe.is_some(),
        }
    }

    /// The call frame information for an address of a module, `None` where there is none.
    pub(super) fn row(
        &self,
        index: usize,
        address: Address,
        memory: &dyn Memory,
        context: &mut UnwindContext<usize>,
    ) -> Option<Arc<Row>> {
        let offset = address.0.checked_sub(self.module(index).range.start().0)?;
        let find = || self.sections(index, memory).find_map(|section| section.row(offset, context)).map(Arc::new);
        kept(&self.tables[index].rows, offset, find)?
    }

    /// What Go's table, from the image's file or from memory, tells of an address of a module.
    pub(super) fn go_frame(&self, index: usize, address: Address) -> Option<GoFrame> {
        let offset = address.0.checked_sub(self.module(index).range.start().0)?;
        let tables = &self.tables[index];
        let table = tables.go.get_or_init(|| GoTable::of_image(self.image(index)?)).as_ref()?;
        kept(&tables.go_frames, offset, || table.frame_at(offset))?
    }

    /// The sections to ask, each opened only when those before it know nothing.
    fn sections<'s>(&'s self, index: usize, memory: &'s dyn Memory) -> impl Iterator<Item = &'s CfiSection> {
        (0..3).filter_map(move |which| {
            let tables = &self.tables[index];
            let range = self.module(index).range;
            let loaded = || CfiSection::in_memory(range, self.process, memory);
            match which {
                0 => tables.eh_frame.get_or_init(|| match self.image(index) {
                    Some(image) => CfiSection::eh_frame(image).or_else(loaded),
                    None => loaded(),
                }),
                1 => tables.debug_frame.get_or_init(|| CfiSection::debug_frame(self.image(index)?)),
                _ => tables.apart.get_or_init(|| CfiSection::debug_frame(&self.images.debug(index)?)),
            }
            .as_ref()
        })
    }
}

impl Unwinder<'_> {
    /// Whether code may lie at an address; `None` where nothing is known of it.
    pub(super) fn is_code(&self, address: Address) -> Option<bool> {
        if let Some(region) = self.process.region_at(address) {
            // Of a region that may not be used in any way, the dump just does not say how it may be used.
            if !region.protection.is_empty() {
                return Some(region.protection.contains(Protection::EXECUTE));
            }
        }
        if let Some(index) = self.modules.at(address) {
            return Some(self.in_code_of(index, address).unwrap_or(true));
        }
        (!self.process.regions.is_empty()).then_some(false)
    }

    /// Whether an address is in an executable part of a module, where its image tells.
    fn in_code_of(&self, index: usize, address: Address) -> Option<bool> {
        let image = self.modules.image(index)?;
        let offset = address.0.checked_sub(self.modules.module(index).range.start().0)?;
        let at = image.base().checked_add(offset)?;
        let segment = image.segment_at(at)?;
        Some(segment.protection.contains(Protection::EXECUTE))
    }

    /// Reads code: from memory, or where the dump left it out, from the image file. Says how many bytes there were.
    pub(super) fn code(&self, address: Address, buffer: &mut [u8]) -> usize {
        match self.memory.read(address, buffer) {
            Ok(count) if count > 0 => count,
            _ => self.code_of_image(address, buffer).unwrap_or(0),
        }
    }

    fn code_of_image(&self, address: Address, buffer: &mut [u8]) -> Option<usize> {
        let index = self.modules.at(address)?;
        let offset = address.0.checked_sub(self.modules.module(index).range.start().0)?;
        let image = self.modules.image(index)?;
        image.read(image.base().checked_add(offset)?, buffer)
    }
}
