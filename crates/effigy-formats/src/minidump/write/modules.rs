//! ModuleList: program images.

use std::io::Write;

use bstr::ByteSlice;
use effigy_process::{BuildId, Module};
use zerocopy::FromZeros;
use zerocopy::little_endian::U32;

use super::output::{Output, narrow, string_size};
use super::{Scene, location};
use crate::WriteError;
use crate::minidump::layout::{self, CODE_VIEW_ELF, Location};

/// Writes the list, and behind it for each module its name and the record with its build id.
pub(super) fn write(scene: &Scene<'_>, out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    let modules = &scene.process.modules;
    let start = out.position();
    out.record(&narrow(modules.len() as u64).to_le_bytes())?;
    let size = 4 + (modules.len() * size_of::<layout::Module>()) as u64;

    let mut behind = start + size;
    for module in main_first(modules) {
        let name = behind;
        let code_view = name + string_size(&module.path.to_str_lossy());
        let code_view_size = module.build_id.as_ref().map_or(0, code_view_size);
        out.record(&layout::Module {
            name_rva: narrow(name).into(),
            code_view: if code_view_size == 0 { Location::default() } else { location(code_view, code_view_size) },
            ..entry(module)
        })?;
        behind = code_view + code_view_size.next_multiple_of(4);
    }
    for module in main_first(modules) {
        out.string(&module.path.to_str_lossy())?;
        if let Some(id) = &module.build_id {
            out.record(&U32::from(CODE_VIEW_ELF))?;
            out.write_all(&id.0)?;
            out.align(4)?;
        }
    }
    Ok(Some(size))
}

/// The modules with the main program in front: readers take the first for it.
fn main_first(modules: &[Module]) -> impl Iterator<Item = &Module> {
    let (main, others) = (|module: &&Module| module.is_main, |module: &&Module| !module.is_main);
    modules.iter().filter(main).chain(modules.iter().filter(others))
}

/// The entry without what lies elsewhere. Checksum and time stamp are those of PE images.
fn entry(module: &Module) -> layout::Module {
    let mut entry = layout::Module::new_zeroed();
    entry.base = module.range.start().0.into();
    entry.size = narrow(module.range.size()).into();
    entry
}

/// Length in bytes of the CodeView record for a build id.
fn code_view_size(id: &BuildId) -> u64 {
    4 + id.0.len() as u64
}
