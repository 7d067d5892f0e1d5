//! HandleData: what the process holds open.

use std::borrow::Cow;

use bstr::ByteSlice;
use effigy_process::{Handle, HandleKind, Process};
use zerocopy::FromZeros;

use super::Scene;
use super::output::{Output, narrow, size_of_u32, string_size};
use crate::WriteError;
use crate::minidump::layout::{HandleDescriptor, HandleHeader};

/// `OBJ_INHERIT` of ntdef.h: a program started by this one would have the handle too.
const INHERIT: u32 = 0x2;
/// `FILE_GENERIC_READ` of winnt.h.
const GENERIC_READ: u32 = 0x12_0089;
/// `FILE_GENERIC_WRITE` of winnt.h.
const GENERIC_WRITE: u32 = 0x12_0116;

/// Bits of `open(2)`'s flags, from asm-generic/fcntl.h.
mod open {
    pub(super) const ACCESS_MODE: u32 = 0o3;
    pub(super) const WRITE_ONLY: u32 = 0o1;
    pub(super) const READ_WRITE: u32 = 0o2;
    pub(super) const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    pub(super) const PATH: u32 = 0o10_000_000;
}

/// Writes the list, behind it the names of the kinds of handles that there are, and behind these the handles' names.
pub(super) fn write(scene: &Scene<'_>, out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    let handles = &scene.process.handles;
    if handles.is_empty() {
        return Ok(None);
    }
    let start = out.position();
    out.record(&HandleHeader {
        header_size: size_of_u32::<HandleHeader>().into(),
        entry_size: size_of_u32::<HandleDescriptor>().into(),
        count: narrow(handles.len() as u64).into(),
        reserved: 0.into(),
    })?;
    let size = (size_of::<HandleHeader>() + handles.len() * size_of::<HandleDescriptor>()) as u64;

    let (kinds, mut rva) = place_kinds(scene.process, start + size);
    for handle in handles {
        let kind = kinds.iter().find(|(kind, _)| *kind == handle.kind).map_or(0, |(_, rva)| *rva);
        out.record(&descriptor(handle, kind, rva))?;
        rva += string_size(&object_name(handle));
    }
    kinds.iter().try_for_each(|(kind, _)| out.string(kind.as_str()))?;
    handles.iter().try_for_each(|handle| out.string(&object_name(handle)))?;
    Ok(Some(size))
}

/// The kinds of handles that there are, with the places of their names, one behind the other from `rva` on, and where
/// the last name ends.
fn place_kinds(process: &Process, mut rva: u64) -> (Vec<(HandleKind, u64)>, u64) {
    let mut kinds = Vec::new();
    for handle in &process.handles {
        if !kinds.iter().any(|(kind, _)| *kind == handle.kind) {
            kinds.push((handle.kind, rva));
            rva += string_size(handle.kind.as_str());
        }
    }
    (kinds, rva)
}

fn descriptor(handle: &Handle, type_name: u64, object_name: u64) -> HandleDescriptor {
    HandleDescriptor {
        handle: handle.number.into(),
        type_name_rva: narrow(type_name).into(),
        object_name_rva: narrow(object_name).into(),
        attributes: handle.flags.map_or(0, attributes).into(),
        granted_access: handle.flags.map_or(0, granted_access).into(),
        ..HandleDescriptor::new_zeroed()
    }
}

fn attributes(flags: u32) -> u32 {
    if flags & open::CLOSE_ON_EXEC == 0 { INHERIT } else { 0 }
}

/// What may be done through a handle. One opened with `O_PATH` only names its file.
fn granted_access(flags: u32) -> u32 {
    match flags & open::ACCESS_MODE {
        _ if flags & open::PATH != 0 => 0,
        open::WRITE_ONLY => GENERIC_WRITE,
        open::READ_WRITE => GENERIC_READ | GENERIC_WRITE,
        _ => GENERIC_READ,
    }
}

/// Where the handle leads to; a socket's ends belong to that.
fn object_name(handle: &Handle) -> Cow<'_, str> {
    let target = handle.target.to_str_lossy();
    let Some(socket) = &handle.socket else { return target };
    let mut name = format!("{target} {}", socket.protocol);
    if !socket.local.is_empty() {
        name.push(' ');
        name.push_str(&socket.local);
    }
    if !socket.remote.is_empty() {
        name.push_str(" -> ");
        name.push_str(&socket.remote);
    }
    if !socket.state.is_empty() {
        name.push(' ');
        name.push_str(&socket.state);
    }
    Cow::Owned(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_follows_open() {
        assert_eq!(granted_access(0), GENERIC_READ);
        assert_eq!(granted_access(0o1), GENERIC_WRITE);
        assert_eq!(granted_access(0o2_000_002), GENERIC_READ | GENERIC_WRITE);
        assert_eq!(granted_access(0o10_000_000), 0);
        assert_eq!(attributes(0o2), INHERIT);
        assert_eq!(attributes(0o2_000_002), 0);
    }
}
