//! Image and symbol files: ELF, PE and Mach-O, whatever the processor and the order of its bytes.
//!
//! An [`Image`] knows its headers: identity, sections, segments. What is in a section is read when it is asked for.
//! Symbol tables, lines and unwind tables are the business of others; so is finding the file.
//!
//! Words: an *image address* is one that the file's own tables use (`p_vaddr` of ELF, `ImageBase` plus RVA of PE, `vmaddr`
//! of Mach-O). What lies at image address `a` lies in the process at `a - image.base() + module.range.start()`.

mod elf;
mod fixups;
mod macho;
mod pack;
mod pe;
pub(crate) mod source;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use effigy_process::{Address, Architecture, BuildId, ByteOrder, Guid, Memory, PdbIdentity, PeIdentity, Protection};

use self::fixups::{Fixups, PeFixups};
pub use self::fixups::{LoaderChanges, Unfit};
use self::pack::Packing;
use self::source::Source;

/// Longest name of a section that is kept, in bytes.
const LONGEST_NAME: usize = 255;

/// What kind of file an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ImageKind {
    /// ELF: Linux and most others.
    Elf,
    /// Portable Executable: Windows.
    Pe,
    /// Mach-O: macOS and iOS.
    MachO,
}

/// What tells an image from other versions of itself. Several of these may be known, or none.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ImageIdentity {
    /// ELF: `NT_GNU_BUILD_ID`.
    pub build_id: Option<BuildId>,
    /// PE: its CodeView record, which names its PDB.
    pub pdb: Option<PdbIdentity>,
    /// PE: time stamp, checksum and size.
    pub pe: Option<PeIdentity>,
    /// Mach-O: `LC_UUID`.
    pub uuid: Option<Guid>,
}

/// A section of an image.
#[derive(Debug)]
pub struct Section {
    /// Its name as ELF has it: `__eh_frame` of Mach-O is `.eh_frame`, and `.zdebug_info` is `.debug_info`.
    pub name: String,
    /// Its image address; 0 where it is not loaded.
    pub address: u64,
    /// Its length in bytes when it is uncompressed.
    pub size: u64,
    /// Whether it is part of the image in memory.
    pub loaded: bool,
    /// Whether it holds code.
    pub executable: bool,
    /// Where its bytes lie in the file, without a compression header; empty where the file has none.
    file: Range<u64>,
    packing: Packing,
    /// What is in it, once it was asked for; `None` inside where it is damaged.
    contents: OnceLock<Option<Box<[u8]>>>,
}

/// Part of an image that is loaded in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its image address.
    pub address: u64,
    /// Length in memory, in bytes. What the file has less of is zero.
    pub memory_size: u64,
    /// Where its bytes lie in the file.
    pub file: Range<u64>,
    /// What its pages may be used for, before anything changes that.
    pub protection: Protection,
}

impl Segment {
    /// First image address past it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.address.saturating_add(self.memory_size)
    }

    fn file_size(&self) -> u64 {
        self.file.end.saturating_sub(self.file.start)
    }
}

/// What the headers of a file say.
#[derive(Debug)]
struct Facts {
    kind: ImageKind,
    architecture: Architecture,
    byte_order: ByteOrder,
    base: u64,
    identity: ImageIdentity,
    sections: Vec<Section>,
    /// By rising address.
    segments: Vec<Segment>,
    debug_only: bool,
    fixups: Fixups,
}

/// An image file, or a file with the symbols of one, opened by offset with `pread` and never mapped: one that shrinks
/// while it is read gives fewer bytes, and no signal.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    source: Source,
    facts: Facts,
}

/// Why a file is no image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// It cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A folder, a device, a pipe.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// What is not.
        path: PathBuf,
    },
    /// It begins like none of the three.
    #[error("{} is neither ELF nor PE nor Mach-O", path.display())]
    NotAnImage {
        /// The file.
        path: PathBuf,
    },
    /// A header is damaged, or lies outside the file.
    #[error("{}: bad {what} at offset {offset:#x}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is damaged.
        what: &'static str,
        /// Where it should be, in bytes from the file's beginning.
        offset: u64,
    },
}

/// What is damaged in a file, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Damage {
    what: &'static str,
    offset: u64,
}

impl Image {
    /// Opens a file and reads its headers. Of a fat Mach-O file it is the first image.
    ///
    /// # Errors
    /// When it cannot be read, is no image, or its headers are damaged.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let mut slices = Self::open_slices(path)?;
        if slices.is_empty() {
            return Err(ImageError::NotAnImage { path: path.to_owned() });
        }
        Ok(slices.swap_remove(0))
    }

    /// Opens a file and reads the headers of all images in it: a fat Mach-O file holds one for each processor, any other
    /// file one.
    ///
    /// # Errors
    /// As [`open`](Self::open). A damaged image in a fat file is left out.
    pub fn open_slices(path: &Path) -> Result<Vec<Self>, ImageError> {
        let failed = |source| ImageError::Read { path: path.to_owned(), source };
        // Opening a pipe would wait for its other end, and opening a device may do anything.
        if !path.metadata().map_err(failed)?.is_file() {
            return Err(ImageError::NotAFile { path: path.to_owned() });
        }
        let source = File::open(path).and_then(Source::of_file).map_err(failed)?;
        Self::slices_of(source, path)
    }

    /// The image in `bytes`, which are called `name` in messages: the vdso out of a process's memory, or what was
    /// unpacked from `.gnu_debugdata`.
    ///
    /// # Errors
    /// When they are no image, or its headers are damaged.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>, name: &Path) -> Result<Self, ImageError> {
        Self::of_source(Source::of_bytes(bytes.into()), name)
    }

    /// The image that lies in a process's memory from `start` on, `size` bytes of it, as far as its headers are there: for
    /// images whose files are gone. Of ELF there are no sections but those that unwinding needs, as the others are not
    /// loaded. Writable parts are as the process left them.
    ///
    /// # Errors
    /// When there is no image, or its headers are damaged or missing.
    pub fn from_memory(
        memory: Arc<dyn Memory + Send + Sync>,
        start: Address,
        size: u64,
        name: &Path,
    ) -> Result<Self, ImageError> {
        Self::of_source(Source::of_memory(memory, start, size), name)
    }

    fn slices_of(source: Source, path: &Path) -> Result<Vec<Self>, ImageError> {
        match macho::fat_slices(&source) {
            Some(slices) => Ok(slices.into_iter().filter_map(|slice| Self::of_source(slice, path).ok()).collect()),
            None => Ok(vec![Self::of_source(source, path)?]),
        }
    }

    fn of_source(source: Source, path: &Path) -> Result<Self, ImageError> {
        let mut start = [0; 5];
        let failed = |source| ImageError::Read { path: path.to_owned(), source };
        let count = source.read_at(0, &mut start).map_err(failed)?;
        let facts = match &start[..count] {
            [0x7f, b'E', b'L', b'F', class] => elf::read(&source, *class),
            [b'M', b'Z', ..] => pe::read(&source),
            [0xfe, 0xed, 0xfa, 0xce | 0xcf, ..] | [0xce | 0xcf, 0xfa, 0xed, 0xfe, ..] => macho::read(&source),
            _ => return Err(ImageError::NotAnImage { path: path.to_owned() }),
        };
        let mut facts =
            facts.map_err(|Damage { what, offset }| ImageError::Malformed { path: path.to_owned(), what, offset })?;
        facts.segments.sort_by_key(|segment| segment.address);
        Ok(Self { path: path.to_owned(), source, facts })
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// ELF, PE or Mach-O.
    #[must_use]
    pub fn kind(&self) -> ImageKind {
        self.facts.kind
    }

    /// The processor that it is for.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        self.facts.architecture
    }

    /// The order of the bytes of its numbers.
    #[must_use]
    pub fn byte_order(&self) -> ByteOrder {
        self.facts.byte_order
    }

    /// The image address of the module's start: of the page of the lowest segment for ELF, `ImageBase` for PE, and the
    /// address of `__TEXT` for Mach-O.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.facts.base
    }

    /// By how much the addresses that stand in it are above image addresses, wrapping: not at all in a file, and in memory
    /// by as much as it was loaded above where it was linked to be.
    #[must_use]
    pub fn slide(&self) -> u64 {
        self.source.loaded_at().map_or(0, |start| start.0.wrapping_sub(self.base()))
    }

    /// What tells it from other versions of itself.
    #[must_use]
    pub fn identity(&self) -> &ImageIdentity {
        &self.facts.identity
    }

    /// Whether it holds only symbols, with its code left out: a separate debug file.
    #[must_use]
    pub fn is_debug_only(&self) -> bool {
        self.facts.debug_only
    }

    /// Its sections, as they follow each other in the file.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.facts.sections
    }

    /// What is loaded of it, by rising address.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.facts.segments
    }

    /// The first section of a name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.facts.sections.iter().find(|section| section.name == name)
    }

    /// All bytes of a section, uncompressed. They are kept for as long as the image lives. `None` where there is no such
    /// section, the file has no bytes for it, or it is damaged.
    #[must_use]
    pub fn data(&self, name: &str) -> Option<&[u8]> {
        let section = self.section(name).filter(|section| !section.file.is_empty())?;
        let size = section.file.end.checked_sub(section.file.start)?;
        if section.packing == Packing::Plain
            && let Some(bytes) = self.source.borrowed(section.file.start, size)
        {
            return Some(bytes);
        }
        let load = || section.packing.unpack(self.source.bytes(section.file.start, size)?, section.size);
        section.contents.get_or_init(|| load().map(Vec::into_boxed_slice)).as_deref()
    }

    /// Fills the beginning of `buffer` with a section's bytes from `offset` on, and says how many there were: fewer than
    /// asked for only at its end. Nothing else of it is read. `None` where there are none, and where it is compressed and
    /// was not unpacked by [`data`](Self::data).
    #[must_use]
    pub fn read_section(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Option<usize> {
        let section = self.section(name)?;
        if let Some(Some(contents)) = section.contents.get() {
            let rest = contents.get(usize::try_from(offset).ok()?..).filter(|rest| !rest.is_empty())?;
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            return Some(count);
        }
        let at = section.file.start.checked_add(offset).filter(|at| *at < section.file.end)?;
        if section.packing != Packing::Plain {
            return None;
        }
        self.read_file(at, section.file.end - at, buffer)
    }

    /// The segment to which the loader maps an image address: the one that holds it, or of ELF the one whose page it
    /// pads.
    #[must_use]
    pub fn segment_at(&self, image_address: u64) -> Option<&Segment> {
        self.mapped(image_address).map(|(segment, _)| segment)
    }

    /// Fills the beginning of `buffer` with the file's bytes that the loader maps at an image address, and says how many
    /// there were. `None` where nothing is mapped, and where the loader puts zeros.
    ///
    /// What the loader then changes (relocations, anything in writable segments) is as it is in the file.
    #[must_use]
    pub fn read(&self, image_address: u64, buffer: &mut [u8]) -> Option<usize> {
        let (_, file) = self.mapped(image_address)?;
        self.read_file(file.start, file.end.checked_sub(file.start)?, buffer)
    }

    /// Where what the loader maps at an image address lies in the file, up to the end of what is mapped in one piece.
    fn mapped(&self, address: u64) -> Option<(&Segment, Range<u64>)> {
        let segments = &self.facts.segments;
        let after = segments.partition_point(|segment| segment.address <= address);
        let below = after.checked_sub(1).and_then(|index| segments.get(index));
        if let Some(segment) = below.filter(|segment| address < segment.end()) {
            let at = segment.file.start.checked_add(address - segment.address)?;
            return (at < segment.file.end).then_some((segment, at..segment.file.end));
        }
        // The loader maps whole pages: what lies around a segment in the file comes with it.
        if self.facts.kind != ImageKind::Elf {
            return None;
        }
        let page = self.facts.architecture.usual_page_size();
        if let Some(above) = segments.get(after).filter(|above| above.address & !(page - 1) <= address) {
            let at = above.file.start.checked_sub(above.address - address)?;
            return (above.file_size() > 0).then_some((above, at..above.file.start));
        }
        let below = below.filter(|below| below.file_size() == below.memory_size && below.memory_size > 0)?;
        let end = below.end().checked_next_multiple_of(page).filter(|end| address < *end)?;
        let at = below.file.end.checked_add(address - below.end())?;
        Some((below, at..at.checked_add(end - address)?))
    }

    /// Bytes of the file, at most `size` of them.
    fn read_file(&self, offset: u64, size: u64, buffer: &mut [u8]) -> Option<usize> {
        let length = usize::try_from(size).unwrap_or(usize::MAX).min(buffer.len());
        self.source.read_at(offset, &mut buffer[..length]).ok().filter(|count| *count > 0)
    }

    /// The name of the file with its symbols and that file's CRC-32, from `.gnu_debuglink`.
    #[must_use]
    pub fn debug_link(&self) -> Option<(String, u32)> {
        let bytes = self.data(".gnu_debuglink")?;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let name = String::from_utf8(bytes.get(..end)?.to_vec()).ok().filter(|name| !name.is_empty())?;
        let checksum = self.facts.byte_order.half(bytes.get((end + 1).next_multiple_of(4)..)?)?;
        Some((name, checksum))
    }

    /// The name and build id of the file that holds what several debug files have in common (dwz), from
    /// `.gnu_debugaltlink`.
    #[must_use]
    pub fn debug_alt_link(&self) -> Option<(String, BuildId)> {
        let bytes = self.data(".gnu_debugaltlink")?;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let name = String::from_utf8(bytes.get(..end)?.to_vec()).ok().filter(|name| !name.is_empty())?;
        let id = bytes.get(end + 1..).filter(|id| (1..=64).contains(&id.len()))?;
        Some((name, BuildId(id.to_vec())))
    }
}

impl Section {
    /// A section whose bytes lie at `file`; one whose name says that it is compressed as GNU tools once did it is called
    /// as if it were not.
    fn new(source: &Source, name: &[u8], address: u64, size: u64, file: Range<u64>) -> Self {
        let name = String::from_utf8_lossy(&name[..name.len().min(LONGEST_NAME)]).into_owned();
        let mut section = Self {
            name,
            address,
            size,
            loaded: false,
            executable: false,
            file,
            packing: Packing::Plain,
            contents: OnceLock::new(),
        };
        if let Some(rest) = section.name.strip_prefix(".zdebug_")
            && let Some(size) = pack::gnu_header(source, &section.file)
        {
            section.name = format!(".debug_{rest}");
            section.size = size;
            section.file.start += pack::GNU_HEADER;
            section.packing = Packing::Zlib;
        }
        section
    }
}

#[cfg(test)]
pub(crate) mod tests;
