//! Symbols in Breakpad's format: text files that begin with the identity of their image.

use std::path::{Path, PathBuf};

use effigy_process::Module;

use super::candidates::{Candidates, last_part, path, plain};
use super::identity::beginning;
use super::{Found, Locator, Outcome, Search, is_missing};
use crate::image::ImageError;

/// Most bytes of the first line that are read.
const LONGEST_LINE: usize = 4096;

/// What Breakpad calls a module, and its identity as its tools write it: GUID and age without hyphens; for ELF the
/// beginning of the build id, for Mach-O the UUID, with a 0 behind. `None` for a module without any.
#[must_use]
pub fn breakpad_id(module: &Module) -> Option<(Vec<u8>, String)> {
    let digits = |guid: String| guid.replace('-', "");
    let name = module.name().to_vec();
    if let Some(pdb) = &module.pdb {
        let pdb_name = last_part(&pdb.path);
        let name = if module.pe.is_some() && !pdb_name.is_empty() { pdb_name.to_vec() } else { name };
        return Some((name, format!("{}{:x}", digits(pdb.guid.windows()), pdb.age)));
    }
    if let Some(id) = &module.build_id {
        return Some((name, format!("{}0", digits(beginning(id).windows()))));
    }
    module.uuid.map(|uuid| (name, format!("{}0", digits(uuid.to_string()))))
}

pub(super) fn find(locator: &Locator, module: &Module) -> Found<PathBuf> {
    let known = breakpad_id(module).and_then(|(name, id)| Some((plain(&name)?, id)));
    let Some((name, id)) = known else { return Search::new(None).found() };
    let mut search = Search::new(Some(format!("Breakpad's id {id}")));
    // NAME.pdb becomes NAME.sym, any other name gets the ending added.
    let is_pdb = name.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("pdb"));
    let file = if is_pdb { name.with_extension("sym") } else { joined(&name, ".sym") };
    for folder in Candidates::new(locator.paths(), module).folders() {
        for path in [folder.join(&name).join(&id).join(&file), folder.join(&file)] {
            search.try_path(&path, |path| judge(path, &id));
        }
    }
    search.found()
}

fn joined(name: &Path, ending: &str) -> PathBuf {
    let mut text = name.as_os_str().to_owned();
    text.push(ending);
    text.into()
}

/// Whether a file is a module's: its first line is `MODULE SYSTEM ARCHITECTURE ID NAME`.
fn judge(file: &Path, wanted: &str) -> Outcome {
    let mut line = [0; LONGEST_LINE];
    let count = match super::pdb::open(file).and_then(|source| source.read_at(0, &mut line)) {
        Ok(count) => count,
        Err(error) if is_missing(&error) => return Outcome::Missing,
        Err(source) => return Outcome::Unusable(ImageError::Read { path: file.to_owned(), source }),
    };
    let line = line[..count].split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    match (words.next(), words.nth(2)) {
        (Some(b"MODULE"), Some(id)) if id.eq_ignore_ascii_case(wanted.as_bytes()) => Outcome::Match,
        (Some(b"MODULE"), Some(id)) => Outcome::Other(format!("Breakpad's id {}", path(id).display())),
        _ => Outcome::Unusable(ImageError::NotAnImage { path: file.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use effigy_process::{BuildId, Guid, PdbIdentity, PeIdentity};

    use super::*;

    #[test]
    fn ids_as_breakpad_writes_them() {
        let id = [0x46, 0x45, 0x04, 0x5a, 0xa3, 0xe6, 0x46, 0xea, 0x17, 0x25, 0x26, 0x54, 0x80, 0x81, 0xf6, 0xa5, 1, 2];
        let mut module =
            Module { path: "/lib/libx.so".into(), build_id: Some(BuildId(id.into())), ..Module::default() };
        let expected = "5A044546E6A3EA46172526548081F6A50".to_owned();
        assert_eq!(breakpad_id(&module), Some((b"libx.so".to_vec(), expected)));
        module.pe = Some(PeIdentity::default());
        module.pdb = Some(PdbIdentity { guid: Guid([0x11; 16]), age: 26, path: "c:\\x\\y.pdb".into() });
        assert_eq!(breakpad_id(&module), Some((b"y.pdb".to_vec(), format!("{}1a", "11".repeat(16)))));
        assert_eq!(breakpad_id(&Module::default()), None);
    }
}
