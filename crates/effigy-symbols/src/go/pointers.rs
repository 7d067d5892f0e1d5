//! Addresses that stand in an image: in a file of a program that may be loaded anywhere they may be but in its relocations,
//! and in memory they are those of the process.

use std::sync::{Arc, OnceLock};

use effigy_process::{ByteOrder, Protection};

use super::search;
use crate::image::{Image, ImageKind};

/// Bytes of a relocation of 64 bits with its addend (`Elf64_Rela`).
const RELOCATION: usize = 24;

/// Longest table of relocations that is read, in bytes.
const LONGEST: u64 = 256 << 20;

/// Reads addresses as image addresses.
#[derive(Debug)]
pub(super) struct Pointers {
    image: Arc<Image>,
    /// Image addresses that the loader writes, by where it writes them; rising.
    relocated: OnceLock<Vec<(u64, u64)>>,
}

impl Pointers {
    pub(super) fn new(image: &Arc<Image>) -> Self {
        Self { image: image.clone(), relocated: OnceLock::new() }
    }

    /// The image address that stands at an image address; `None` where nothing does, or zero.
    pub(super) fn at(&self, place: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        let bytes = bytes.get_mut(..self.word())?;
        if self.image.read(place, bytes)? < bytes.len() {
            return None;
        }
        match self.image.byte_order().number(bytes) {
            0 => {
                let relocated = self.relocated();
                let index = relocated.binary_search_by_key(&place, |(place, _)| *place).ok()?;
                Some(relocated.get(index)?.1)
            }
            address => Some(address.wrapping_sub(self.image.slide())),
        }
    }

    /// Where in data an image address stands, at the first place that `is_it`.
    pub(super) fn find(&self, address: u64, is_it: &dyn Fn(u64) -> bool) -> Option<u64> {
        let word = self.word();
        let value = address.wrapping_add(self.image.slide());
        let needle = match self.image.byte_order() {
            ByteOrder::Little => value.to_le_bytes()[..word].to_vec(),
            ByteOrder::Big => value.to_be_bytes()[8 - word..].to_vec(),
        };
        let aligned = |place: u64| place.is_multiple_of(word as u64).then_some(place).filter(|place| is_it(*place));
        let ranges = search::ranges(&self.image, &[".go.module", ".noptrdata", ".data"], |segment| {
            segment.protection.contains(Protection::WRITE)
        });
        search::find(&self.image, &ranges, &needle, &aligned).or_else(|| {
            let places = self.relocated().iter().filter(|(_, told)| *told == address);
            places.map(|(place, _)| *place).find(|place| is_it(*place))
        })
    }

    fn word(&self) -> usize {
        self.image.architecture().pointer_size()
    }

    /// Those of `R_*_RELATIVE`, which name no symbol. Images of 32 bits have the addresses where they belong.
    fn relocated(&self) -> &[(u64, u64)] {
        self.relocated.get_or_init(|| {
            let is_elf = self.image.kind() == ImageKind::Elf && self.word() == 8;
            let section = self.image.section(".rela.dyn").filter(|section| is_elf && section.size <= LONGEST);
            let bytes = section.and_then(|section| self.image.data(&section.name)).unwrap_or_default();
            let order = self.image.byte_order();
            let relocations = bytes.as_chunks::<RELOCATION>().0.iter().filter_map(|entry| {
                let symbol = order.number(&entry[8..16]) >> 32;
                (symbol == 0).then(|| (order.number(&entry[..8]), order.number(&entry[16..])))
            });
            let mut relocated: Vec<_> = relocations.collect();
            relocated.sort_unstable();
            relocated
        })
    }
}
