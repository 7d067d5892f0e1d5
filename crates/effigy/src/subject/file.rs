//! Opening a dump, or saying why that is not possible.

use std::io;
use std::path::Path;

use effigy_formats::container::ContainerError;
use effigy_formats::elf_core::read::CoreError;
use effigy_formats::minidump::read::ReadError;
use effigy_formats::{OpenError, OpenedDump, UnpackError};

use super::Refused;
use crate::exit::Exit;
use crate::files::{self, FileError};
use crate::print;

/// Opens a dump.
pub(crate) fn open(path: &Path) -> Result<OpenedDump, Refused> {
    let name = print::safe(path.as_os_str().as_encoded_bytes());
    files::open(path).map_err(|error| match error {
        FileError::File(error) => match error.kind() {
            io::ErrorKind::NotFound => (Exit::NoTarget, format!("there is no file {name}{}", meant(&name))),
            io::ErrorKind::PermissionDenied => (Exit::NotPermitted, format!("opening {name}: {error}")),
            io::ErrorKind::InvalidInput => (Exit::NotDump, format!("{name} is {error}")),
            _ => (Exit::NotDump, format!("opening {name}: {error}")),
        },
        FileError::Dump(error) => {
            let text = format!("{name} cannot be read as a dump: {}{}", print::chain(&error), advice(&error));
            (Exit::from(&error), text)
        }
    })
}

/// What a name that is a number was meant for.
fn meant(name: &str) -> String {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return String::new();
    }
    format!("; this is about dumps, and effigy dump {name} takes one of process {name}")
}

/// What may help where a file ends too early.
const CUT: &str = "; the file may have been cut: it was copied in part, or whoever wrote it ran out of room";

/// What may help.
fn advice(error: &OpenError) -> &'static str {
    match error {
        OpenError::NotDump { .. } => {
            "; effigy reads minidumps, ELF cores and the .ini of a reflection pair, also packed with zstd, gzip or xz"
        }
        OpenError::Empty => "; whoever wrote it may have run out of room",
        OpenError::Unpack(UnpackError::Scratch(_)) => "; TMPDIR may name a folder with more room",
        OpenError::Unpack(UnpackError::Container(ContainerError::BadSeekTable { .. })) => {
            "; zstd -d may unpack it all the same, as it does not need that table"
        }
        OpenError::Core(CoreError::NotCore { kind: 2 | 3 }) => {
            "; it is the file of a program: what is read is a dump of its process"
        }
        OpenError::Core(CoreError::Truncated { .. }) | OpenError::Minidump(ReadError::OutOfBounds { .. }) => CUT,
        OpenError::Minidump(ReadError::Field { .. }) | OpenError::Unpack(UnpackError::Damaged { .. }) => CUT,
        _ => "",
    }
}
