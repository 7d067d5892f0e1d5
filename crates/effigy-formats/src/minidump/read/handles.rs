//! Handles.

use std::mem::offset_of;

use effigy_process::{Handle, HandleKind, WindowsHandle};

use super::error::Wrong;
use super::{Dump, ReadError};
use crate::minidump::layout::{HandleDescriptor, HandleHeader, stream};

/// Bytes of `MINIDUMP_HANDLE_DESCRIPTOR`, which lacks the last two fields of its successor.
const FIRST_DESCRIPTOR: usize = 32;

impl Dump {
    /// The open handles, in the dump's order.
    ///
    /// # Errors
    /// When the list is cut off.
    pub fn handles(&self) -> Result<Vec<Handle>, ReadError> {
        self.listed_handles(&mut Wrong::default())
    }

    /// The same, with what is wrong with their names.
    pub(super) fn listed_handles(&self, wrong: &mut Wrong) -> Result<Vec<Handle>, ReadError> {
        let what = "the list of handles";
        let Some(block) = self.block(stream::HANDLE_DATA)? else { return Ok(Vec::new()) };
        let head: HandleHeader = block.record(0, what)?;
        let head = (head.header_size.get(), head.entry_size.get(), head.count.get().into());
        let entries: Vec<HandleDescriptor> = block.sized(head, FIRST_DESCRIPTOR, what)?;
        let mut budget = self.file.budget();
        let mut name = |rva: u32, index, member, at| match rva {
            0 => String::new(),
            rva => self.file.string(rva.into(), "a handle's name", &mut budget).unwrap_or_else(|error| {
                wrong.add(error.led_by("HandleData", Some(index as u64), member, block.field_of(head, index, at)));
                String::new()
            }),
        };
        let (of_type, of_object) =
            (offset_of!(HandleDescriptor, type_name_rva), offset_of!(HandleDescriptor, object_name_rva));
        let handles = entries.iter().enumerate().map(|(index, raw)| {
            let type_name = name(raw.type_name_rva.get(), index, "TypeNameRva", of_type);
            Handle {
                number: raw.handle.get(),
                kind: kind(&type_name),
                target: name(raw.object_name_rva.get(), index, "ObjectNameRva", of_object).into(),
                windows: Some(WindowsHandle {
                    type_name: type_name.into(),
                    attributes: raw.attributes.get(),
                    granted_access: raw.granted_access.get(),
                    handle_count: raw.handle_count.get(),
                    pointer_count: raw.pointer_count.get(),
                }),
                ..Handle::default()
            }
        });
        Ok(handles.collect())
    }
}

/// The kind of a handle by the name of its type.
fn kind(type_name: &str) -> HandleKind {
    match type_name {
        "File" => HandleKind::File,
        "Directory" => HandleKind::Directory,
        "Device" => HandleKind::Device,
        _ => HandleKind::Other,
    }
}
