//! Modules.

use bstr::{BStr, ByteSlice};
use effigy_process::{Address, AddressRange, BuildId};
use zerocopy::little_endian::U32;

use super::source::Block;
use super::{Dump, ReadError, Text};
use crate::minidump::layout::{self, CODE_VIEW_ELF, CODE_VIEW_PDB, Location, stream};

/// Longest build id that we take, in bytes. They have 20 as a rule, and 32 where somebody was careful.
const LONGEST_BUILD_ID: usize = 64;

/// A program image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module<'a> {
    /// Its path.
    pub name: Result<Text<'a>, ReadError>,
    /// Where it was loaded.
    pub range: AddressRange,
    /// `TimeDateStamp` of a PE image, 0 for others.
    pub time_stamp: u32,
    /// What tells it from other versions of itself; `None` when the dump does not.
    pub identity: Result<Option<ModuleIdentity<'a>>, ReadError>,
}

/// What identifies a program image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModuleIdentity<'a> {
    /// A build id.
    BuildId(BuildId),
    /// The GUID, as its 16 bytes lie in the file, and age of a PDB, and its path. For an ELF image in a dump of an old
    /// Breakpad, the GUID is the beginning of the build id.
    Pdb {
        /// GUID.
        guid: [u8; 16],
        /// Age.
        age: u32,
        /// Path of the PDB.
        path: &'a BStr,
    },
}

impl<'a> Dump<'a> {
    /// The modules, in the dump's order: the main program first.
    ///
    /// # Errors
    /// When the list is cut off.
    pub fn modules(&self) -> Result<Vec<Module<'a>>, ReadError> {
        let Some(block) = self.block(stream::MODULE_LIST)? else { return Ok(Vec::new()) };
        let entries: &[layout::Module] = block.counted("the list of modules")?;
        let modules = entries.iter().map(|raw| Module {
            name: self.file.string(raw.name_rva.get().into(), "a module's name"),
            range: AddressRange::sized(Address(raw.base.get()), raw.size.get().into()),
            time_stamp: raw.time_stamp.get(),
            identity: self.identity(raw.code_view),
        });
        Ok(modules.collect())
    }

    fn identity(&self, location: Location) -> Result<Option<ModuleIdentity<'a>>, ReadError> {
        let what = "a module's CodeView record";
        let Some(block) = self.file.at(location, what)? else { return Ok(None) };
        match block.record::<U32>(0, what)?.get() {
            CODE_VIEW_ELF => Ok(build_id(block)),
            CODE_VIEW_PDB => pdb(block, what).map(Some),
            _ => Ok(None),
        }
    }
}

/// The build id behind a record's first word.
fn build_id(block: Block<'_>) -> Option<ModuleIdentity<'_>> {
    let id = block.bytes().get(4..).filter(|id| !id.is_empty() && id.len() <= LONGEST_BUILD_ID)?;
    Some(ModuleIdentity::BuildId(BuildId(id.to_vec())))
}

fn pdb<'a>(block: Block<'a>, what: &'static str) -> Result<ModuleIdentity<'a>, ReadError> {
    let guid = *block.record::<[u8; 16]>(4, what)?;
    let age = block.record::<U32>(20, what)?.get();
    let path = block.bytes().get(24..).unwrap_or_default().split_str(b"\0").next().unwrap_or_default();
    Ok(ModuleIdentity::Pdb { guid, age, path: BStr::new(path) })
}
