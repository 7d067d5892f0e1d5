//! Program images: the executable and its libraries.

use std::fmt;

use bstr::BString;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

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

/// From hexadecimal digits.
impl<'de> Deserialize<'de> for BuildId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hexadecimal(&String::deserialize(deserializer)?).map(Self)
    }
}

/// Bytes from pairs of hexadecimal digits.
fn hexadecimal<E: de::Error>(text: &str) -> Result<Vec<u8>, E> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect::<Option<_>>().ok_or_else(|| E::custom("not pairs of hexadecimal digits"))
}

/// A GUID, or UUID: the 16 bytes as they lie in the file of which they are part.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// The GUID as Windows writes it: three little-endian numbers, then eight bytes. Also what symbol servers and
    /// Breakpad's symbol files call modules by, without the hyphens.
    #[must_use]
    pub fn windows(&self) -> String {
        let [a, b, c, d, e, f, g, h, rest @ ..] = self.0;
        let tail: String = rest.iter().map(|byte| format!("{byte:02X}")).collect();
        let (head, end) = tail.split_at(4);
        format!("{d:02X}{c:02X}{b:02X}{a:02X}-{f:02X}{e:02X}-{h:02X}{g:02X}-{head}-{end}")
    }
}

/// The bytes in their order: how Apple writes a UUID.
impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let hyphen = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{hyphen}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As Windows writes it.
impl Serialize for Guid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.windows())
    }
}

/// As Windows writes it.
impl<'de> Deserialize<'de> for Guid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?.replace('-', "");
        let bytes: [u8; 16] =
            hexadecimal(&digits)?.try_into().map_err(|_| de::Error::custom("a GUID has 32 digits"))?;
        let [d, c, b, a, f, e, h, g, rest @ ..] = bytes;
        let mut guid = Self([a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, 0, 0, 0]);
        guid.0[8..].copy_from_slice(&rest);
        Ok(guid)
    }
}

/// Which PDB belongs to an image: its CodeView record `RSDS`, or `NB10` in old ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PdbIdentity {
    /// The PDB's GUID; the first four bytes hold the signature, and the others nothing, of a PDB from before there were
    /// GUIDs (`NB10`).
    pub guid: Guid,
    /// How often the PDB was written since.
    pub age: u32,
    /// Its path on the machine that built it.
    #[serde(serialize_with = "crate::text::lossy")]
    pub path: BString,
}

/// What tells a PE image from other versions of itself, from its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PeIdentity {
    /// `TimeDateStamp`, in seconds since 1970; of late a hash instead.
    pub time_stamp: u32,
    /// `CheckSum`; 0 for none.
    pub checksum: u32,
    /// `SizeOfImage` in bytes.
    pub size_of_image: u32,
}

/// The version in an image's resources (`VS_FIXEDFILEINFO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FileVersion {
    /// Of the file: four numbers, written with dots between them.
    pub file: [u16; 4],
    /// Of the product that it is part of.
    pub product: [u16; 4],
    /// `VS_FF_*` bits that are valid: 1 debug, 2 pre-release, 4 patched, 8 private build.
    pub flags: u32,
}

/// An image that was unloaded before the dump was taken.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct UnloadedModule {
    /// Its name.
    #[serde(serialize_with = "crate::text::lossy")]
    pub name: BString,
    /// Where it had been.
    pub range: AddressRange,
    /// What tells it from other versions of itself.
    pub pe: PeIdentity,
}

/// A program image as it lies in the target's memory.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Module {
    /// Path as `/proc/PID/maps` names it, without the ` (deleted)` mark; `linux-gate.so` for the vdso.
    #[serde(serialize_with = "crate::text::lossy")]
    pub path: BString,
    /// From the load base to the end of the last loadable segment (`p_vaddr + p_memsz`), page rounded. This is the
    /// image's true size: libraries' uninitialised data counts.
    pub range: AddressRange,
    /// The build id, read from the target's memory.
    pub build_id: Option<BuildId>,
    /// The `LC_UUID` of a Mach-O image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Guid>,
    /// Which PDB belongs to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pdb: Option<PdbIdentity>,
    /// What tells a PE image from other versions of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pe: Option<PeIdentity>,
    /// The version in its resources, or of a Mach-O library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<FileVersion>,
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
    /// The last component of the path. A backslash separates only where the path is one of Windows: elsewhere it may be
    /// part of a name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        let windows = self.pe.is_some();
        self.path.rsplit(|byte| *byte == b'/' || windows && *byte == b'\\').next().unwrap_or(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_are_written_in_two_ways() {
        let guid = Guid([0x52, 0x98, 0x53, 0x1a, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
        assert_eq!(guid.windows(), "1A539852-0302-0504-0607-08090A0B0C0D");
        assert_eq!(guid.to_string(), "5298531A-0203-0405-0607-08090A0B0C0D");
    }

    #[test]
    fn names_end_paths_of_both_kinds() {
        let mut module = Module { path: "C:\\a\\b.dll".into(), ..Module::default() };
        assert_eq!(module.name(), b"C:\\a\\b.dll");
        module.pe = Some(PeIdentity::default());
        assert_eq!(module.name(), b"b.dll");
    }
}
