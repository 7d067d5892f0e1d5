//! Program images: the executable and its libraries.

use std::fmt;

use bstr::BString;
use serde::{Serialize, Serializer};

use crate::AddressRange;

/// Identity of a program image: the contents of its `NT_GNU_BUILD_ID` note, as a rule 20 bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BuildId(pub Vec<u8>);

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for BuildId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A program image as it lies in the target's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Module {
    /// Path as `/proc/PID/maps` names it, without the ` (deleted)` mark; `linux-gate.so` for the vdso.
    #[serde(serialize_with = "crate::text::lossy")]
    pub path: BString,
    /// From the load base to the end of the last loadable segment (`p_vaddr + p_memsz`), page rounded. This is the
    /// image's true size: libraries' uninitialised data counts.
    pub range: AddressRange,
    /// The build id, read from the target's memory.
    pub build_id: Option<BuildId>,
    /// `DT_SONAME`, where it could be read.
    #[serde(serialize_with = "crate::text::lossy_option")]
    pub soname: Option<BString>,
    /// Whether this is the main program.
    pub is_main: bool,
    /// Whether the file was deleted or replaced since it was mapped.
    pub deleted: bool,
    /// Length in bytes of the image file, where it could be reached.
    pub file_size: Option<u64>,
}

impl Module {
    /// The last component of the path.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or(&self.path)
    }
}
