//! What was split off a module (`.dwo`, `.dwp`) and what it shares with others (dwz): found once, and kept.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bstr::BStr;
use gimli::{DebugCuIndex, IndexSectionId};

use super::files::DwarfFiles;
use super::header::UnitKind;
use super::part::{DwarfFile, Shares};
use super::scope::Scope;
use super::unit::Unit;
use crate::image::Image;

/// Files beside the module's own.
#[derive(Debug)]
pub(super) struct Companions {
    finder: Arc<dyn DwarfFiles>,
    shared: OnceLock<Option<Arc<DwarfFile>>>,
    package: OnceLock<Option<Arc<Image>>>,
    /// By what ties them to their skeletons.
    split: Mutex<HashMap<u64, Option<Arc<DwarfFile>>>>,
}

impl Companions {
    pub(super) fn new(finder: Arc<dyn DwarfFiles>) -> Self {
        Self { finder, shared: OnceLock::new(), package: OnceLock::new(), split: Mutex::new(HashMap::new()) }
    }

    /// The file that is shared with other modules.
    pub(super) fn shared(&self, image: &Image) -> Option<Arc<DwarfFile>> {
        let open = || {
            let image = self.finder.shared(image)?;
            Some(Arc::new(DwarfFile::new(image, false, Shares::default())))
        };
        self.shared.get_or_init(open).clone()
    }

    /// The unit of which `skeleton` is what stayed; `None` where it cannot be found.
    pub(super) fn split_off(&self, skeleton: &Scope, id: u64) -> Option<Scope> {
        let known = self.lock().get(&id).cloned();
        let file = match known {
            Some(file) => file?,
            None => {
                let file = self.find(skeleton, id);
                self.lock().insert(id, file.clone());
                file?
            }
        };
        let unit = unit_of(&file, id)?;
        let skeleton_of = (skeleton.file.clone(), skeleton.unit.clone());
        Some(Scope { file, unit, skeleton: Some(skeleton_of), shared: skeleton.shared.clone() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Option<Arc<DwarfFile>>>> {
        self.split.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, skeleton: &Scope, id: u64) -> Option<Arc<DwarfFile>> {
        let image = &skeleton.file.image;
        let package = self.package.get_or_init(|| self.finder.package(image));
        if let Some(file) = package.as_ref().and_then(|package| packed(package, id)) {
            return Some(file);
        }
        let name = skeleton.text(skeleton.unit.root.dwo_name.as_ref()?)?;
        let directory = skeleton.directory().unwrap_or_default();
        let (directory, name) = (BStr::new(directory.as_slice()), BStr::new(name.as_slice()));
        let fits = |image: &Arc<Image>| unit_of(&DwarfFile::new(image.clone(), true, Shares::default()), id).is_some();
        let image = self.finder.split(image, directory, name, &fits)?;
        Some(Arc::new(DwarfFile::new(image, true, Shares::default())))
    }
}

/// The unit with an identifier in a file that was split off.
fn unit_of(file: &DwarfFile, id: u64) -> Option<Arc<Unit>> {
    file.spans().iter().find_map(|span| {
        let (header, _) = file.header_at(span.offset, 0)?;
        match (header.kind, header.dwo_id) {
            (UnitKind::Split, Some(found)) => (found == id).then(|| file.unit_at(span.offset)).flatten(),
            // Before DWARF 5 the first entry says it.
            (UnitKind::Compilation, None) => file.unit_at(span.offset).filter(|unit| unit.root.dwo_id == Some(id)),
            _ => None,
        }
    })
}

/// A unit's share of a package.
fn packed(package: &Arc<Image>, id: u64) -> Option<Arc<DwarfFile>> {
    let all = DwarfFile::new(package.clone(), true, Shares::default());
    let index = DebugCuIndex::new(package.data(".debug_cu_index")?, all.endian()).index().ok()?;
    let mut shares = Shares::default();
    for section in index.sections(index.find(id)?).ok()? {
        let start = u64::from(section.offset);
        let range: Range<u64> = start..start + u64::from(section.size);
        let share = match section.section {
            IndexSectionId::DebugInfo => &mut shares.info,
            IndexSectionId::DebugAbbrev => &mut shares.abbreviations,
            IndexSectionId::DebugLine => &mut shares.lines,
            IndexSectionId::DebugStrOffsets => &mut shares.string_offsets,
            IndexSectionId::DebugRngLists => &mut shares.range_lists,
            _ => continue,
        };
        *share = Some(range);
    }
    Some(Arc::new(DwarfFile::new(package.clone(), true, shares)))
}
