//! Modules.

use std::mem::offset_of;

use bstr::{BString, ByteSlice};
use effigy_process::{Address, AddressRange, BuildId, FileVersion, Guid, PdbIdentity, PeIdentity, UnloadedModule};
use zerocopy::little_endian::U32;

use super::error::Wrong;
use super::source::{Block, Budget, List};
use super::{Dump, ReadError};
use crate::minidump::layout::{
    self, CODE_VIEW_ELF, CODE_VIEW_OLD_PDB, CODE_VIEW_PDB, Location, UnloadedModuleHeader, VERSION_SIGNATURE, stream,
};

/// Longest build id that we take, in bytes. They have 20 as a rule, and 32 where somebody was careful.
const LONGEST_BUILD_ID: u64 = 64;
/// Longest path of a PDB that we take, in bytes.
const LONGEST_PATH: u64 = 4096;

/// A program image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its path.
    pub name: Result<String, ReadError>,
    /// Where it was loaded.
    pub range: AddressRange,
    /// `TimeDateStamp` of a PE image, 0 for others.
    pub time_stamp: u32,
    /// `CheckSum` of a PE image, 0 for others.
    pub checksum: u32,
    /// Its version; `None` where the dump has none.
    pub version: Option<FileVersion>,
    /// What tells it from other versions of itself; `None` when the dump does not.
    pub identity: Result<Option<ModuleIdentity>, ReadError>,
}

/// What identifies a program image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModuleIdentity {
    /// A build id.
    BuildId(BuildId),
    /// GUID and age of a PDB, and its path. For an ELF image in a dump of an old Breakpad, the GUID is the beginning of
    /// the build id, and for a Mach-O image its UUID.
    Pdb(PdbIdentity),
}

impl Dump {
    /// The modules, in the dump's order: the main program first.
    ///
    /// # Errors
    /// When the list is cut off.
    pub fn modules(&self) -> Result<Vec<Module>, ReadError> {
        let Some(block) = self.block(stream::MODULE_LIST)? else { return Ok(Vec::new()) };
        let list: List<layout::Module> = block.list("the list of modules")?;
        let mut budget = self.file.budget();
        let (name, record) = (offset_of!(layout::Module, name_rva), offset_of!(layout::Module, code_view));
        let led = |index, member| {
            let list = &list;
            move |error: ReadError| list.led(error, "ModuleList", index, member)
        };
        let modules = list.entries.iter().enumerate().map(|(index, raw)| Module {
            name: self
                .file
                .string(raw.name_rva.get().into(), "a module's name", &mut budget)
                .map_err(led(index, ("ModuleNameRva", name))),
            range: AddressRange::sized(Address(raw.base.get()), raw.size.get().into()),
            time_stamp: raw.time_stamp.get(),
            checksum: raw.checksum.get(),
            version: version(&raw.version),
            identity: self.module_identity(raw.code_view, &mut budget).map_err(led(index, ("CvRecord", record))),
        });
        Ok(modules.collect())
    }

    /// The modules that were unloaded before, in the dump's order.
    ///
    /// # Errors
    /// When the list is cut off.
    pub fn unloaded_modules(&self) -> Result<Vec<UnloadedModule>, ReadError> {
        self.listed_unloaded(&mut Wrong::default())
    }

    /// The same, with what is wrong with their names.
    pub(super) fn listed_unloaded(&self, wrong: &mut Wrong) -> Result<Vec<UnloadedModule>, ReadError> {
        let what = "the list of unloaded modules";
        let Some(block) = self.block(stream::UNLOADED_MODULE_LIST)? else { return Ok(Vec::new()) };
        let head: UnloadedModuleHeader = block.record(0, what)?;
        let head = (head.header_size.get(), head.entry_size.get(), head.count.get().into());
        let entries: Vec<layout::UnloadedModule> = block.sized(head, size_of::<layout::UnloadedModule>(), what)?;
        let mut budget = self.file.budget();
        let mut name = |rva: u32, index: usize| {
            let name = self.file.string(rva.into(), "an unloaded module's name", &mut budget);
            name.unwrap_or_else(|error| {
                let at = block.field_of(head, index, offset_of!(layout::UnloadedModule, name_rva));
                wrong.add(error.led_by("UnloadedModuleList", Some(index as u64), "ModuleNameRva", at));
                String::new()
            })
        };
        let modules = entries.iter().enumerate().map(|(index, raw)| UnloadedModule {
            name: name(raw.name_rva.get(), index).into(),
            range: AddressRange::sized(Address(raw.base.get()), raw.size.get().into()),
            pe: PeIdentity {
                time_stamp: raw.time_stamp.get(),
                checksum: raw.checksum.get(),
                size_of_image: raw.size.get(),
            },
        });
        Ok(modules.collect())
    }

    fn module_identity(&self, location: Location, budget: &mut Budget) -> Result<Option<ModuleIdentity>, ReadError> {
        let what = "a module's CodeView record";
        let Some(block) = self.file.at(location, what)? else { return Ok(None) };
        budget.spend(what, block.offset(), block.len().min(LONGEST_PATH))?;
        match block.record::<U32>(0, what)?.get() {
            CODE_VIEW_ELF => build_id(&block, what),
            CODE_VIEW_PDB => pdb(&block, what).map(Some),
            CODE_VIEW_OLD_PDB => old_pdb(&block, what).map(Some),
            _ => Ok(None),
        }
    }
}

/// The version of a `VS_FIXEDFILEINFO`: its signature, then its own version, then file and product version, flags.
fn version(raw: &[U32; 13]) -> Option<FileVersion> {
    let four = |high: U32, low: U32| {
        let ([a, b], [c, d]) = (halves(high.get()), halves(low.get()));
        [a, b, c, d]
    };
    (raw[0].get() == VERSION_SIGNATURE).then(|| FileVersion {
        file: four(raw[2], raw[3]),
        product: four(raw[4], raw[5]),
        flags: raw[6].get() & raw[7].get(),
    })
}

/// The high and the low half of a number.
fn halves(number: u32) -> [u16; 2] {
    let [a, b, c, d] = number.to_be_bytes();
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

/// The build id behind a record's first word.
fn build_id(block: &Block, what: &'static str) -> Result<Option<ModuleIdentity>, ReadError> {
    let size = block.len().saturating_sub(4);
    if size == 0 || size > LONGEST_BUILD_ID {
        return Ok(None);
    }
    Ok(Some(ModuleIdentity::BuildId(BuildId(block.part(4, size, what)?.bytes(what)?))))
}

fn pdb(block: &Block, what: &'static str) -> Result<ModuleIdentity, ReadError> {
    let guid = Guid(block.record::<[u8; 16]>(4, what)?);
    let age = block.record::<U32>(20, what)?.get();
    Ok(ModuleIdentity::Pdb(PdbIdentity { guid, age, path: path_at(block, 24, what)? }))
}

/// `NB10`: offset, then signature and age, then the path.
fn old_pdb(block: &Block, what: &'static str) -> Result<ModuleIdentity, ReadError> {
    let mut guid = Guid::default();
    guid.0[..4].copy_from_slice(&block.record::<[u8; 4]>(8, what)?);
    let age = block.record::<U32>(12, what)?.get();
    Ok(ModuleIdentity::Pdb(PdbIdentity { guid, age, path: path_at(block, 16, what)? }))
}

/// The path from `start` to its zero byte, or to the end.
fn path_at(block: &Block, start: u64, what: &'static str) -> Result<BString, ReadError> {
    let size = block.len().saturating_sub(start).min(LONGEST_PATH);
    let bytes = block.part(start.min(block.len()), size, what)?.bytes(what)?;
    Ok(bytes.split_str(b"\0").next().unwrap_or_default().into())
}
