//! What tells a module from other versions of itself, and whether a file has it.

use effigy_process::{BuildId, Guid, Module, PdbIdentity, PeIdentity};

use crate::image::{Image, ImageIdentity};

/// Bytes of code that Breakpad makes an identity of for images without a build id.
const HASHED: usize = 4096;

/// What a module's file must be, for people; `None` when nothing is known by which it could be told.
#[must_use]
pub fn wanted(module: &Module) -> Option<String> {
    let words = ImageIdentity {
        build_id: module.build_id.clone(),
        pdb: module.pdb.clone(),
        pe: module.pe.filter(|pe| pe.time_stamp != 0),
        uuid: module.uuid,
    };
    describe(&words)
}

/// An identity in words; `None` for none.
pub(super) fn describe(identity: &ImageIdentity) -> Option<String> {
    let ImageIdentity { build_id, pdb, pe, uuid } = identity;
    let words = [
        build_id.as_ref().map(|id| format!("build id {id}")),
        uuid.map(|uuid| format!("UUID {uuid}")),
        pe.map(|pe| format!("time stamp {:08X} and size {:#x}", pe.time_stamp, pe.size_of_image)),
        pdb.as_ref().map(|pdb| format!("PDB {} age {}", pdb.guid.windows(), pdb.age)),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// Whether an image is a module's: `Ok(false)` where one of the two has no identity that the other could be compared
/// with. The error is the image's identity in words.
pub(super) fn compare(image: &Image, module: &Module) -> Result<bool, String> {
    let own = image.identity();
    let other = || describe(own).unwrap_or_else(|| "no identity".to_owned());
    let verdicts = [
        pair(module.build_id.as_ref(), own.build_id.as_ref(), |a, b| a == b),
        pair(module.uuid.as_ref(), own.uuid.as_ref(), |a, b| a == b),
        pair(module.pe.as_ref().filter(|pe| pe.time_stamp != 0), own.pe.as_ref(), same_pe),
        pair(module.pdb.as_ref(), own.pdb.as_ref(), |a, b| a.guid == b.guid && a.age == b.age),
        module.pdb.as_ref().filter(|_| own.pe.is_none()).and_then(|pdb| is_breakpads(image, pdb)),
    ];
    let known: Vec<bool> = verdicts.into_iter().flatten().collect();
    match known.iter().all(|same| *same) {
        true => Ok(!known.is_empty()),
        false => Err(other()),
    }
}

fn pair<T>(wanted: Option<&T>, own: Option<&T>, same: impl Fn(&T, &T) -> bool) -> Option<bool> {
    Some(same(wanted?, own?))
}

/// Checksums are 0 where the linker was not asked for one.
fn same_pe(wanted: &PeIdentity, own: &PeIdentity) -> bool {
    let checksums = wanted.checksum == own.checksum || wanted.checksum == 0 || own.checksum == 0;
    wanted.time_stamp == own.time_stamp && wanted.size_of_image == own.size_of_image && checksums
}

/// Whether the GUID that an old Breakpad wrote for an ELF image is this one's: the beginning of its build id, or made of
/// the beginning of its code where it has none. Some wrote the first three parts of it the other way round.
fn is_breakpads(image: &Image, wanted: &PdbIdentity) -> Option<bool> {
    let own = match &image.identity().build_id {
        Some(id) => beginning(id),
        None => hash_of_code(image)?,
    };
    Some(own == wanted.guid && wanted.age == 0)
}

/// The first 16 bytes of a build id, filled up with zeros: as much as there is room for where Breakpad kept it.
pub(super) fn beginning(id: &BuildId) -> Guid {
    let mut guid = Guid::default();
    guid.0.iter_mut().zip(&id.0).for_each(|(to, from)| *to = *from);
    guid
}

/// The first page of `.text`, 16 bytes of it exclusive-ored with the next (`FileID::HashElfTextSection` of Breakpad).
fn hash_of_code(image: &Image) -> Option<Guid> {
    let mut code = [0; HASHED];
    let count = image.read_section(".text", 0, &mut code)?;
    let mut guid = Guid::default();
    for part in code[..count].chunks_exact(16) {
        guid.0.iter_mut().zip(part).for_each(|(sum, byte)| *sum ^= byte);
    }
    Some(guid)
}

/// Why a debug file is not a module's; `None` when it is.
pub(super) fn mismatch(image: &Image, module: &Module) -> Option<String> {
    match compare(image, module) {
        Ok(true) => None,
        Ok(false) => Some("no identity".to_owned()),
        Err(other) => Some(other),
    }
}
