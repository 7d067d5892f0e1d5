//! Which version of Python a module is.

use std::fmt;

use effigy_process::Module;

/// A minor version of Python: what its structures look like goes by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The 3 of 3.11.
    pub major: u8,
    /// The 11 of 3.11.
    pub minor: u8,
}

impl Version {
    /// From `PY_VERSION_HEX`, a byte each for major, minor, micro and release: 0x030b02f0 is 3.11.2.
    #[must_use]
    pub fn from_hex(hex: u32) -> Self {
        let [major, minor, ..] = hex.to_be_bytes();
        Self { major, minor }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The version of Python that a module is: by `py_version`, the value of its symbol `Py_Version` (3.11 and later), else by
/// its name, as in `libpython3.11.so.1.0` and `/usr/bin/python3.11`.
///
/// `None` where neither tells (`python3`), and for images of Windows, where the structures have other offsets.
#[must_use]
pub fn version_of(module: &Module, py_version: Option<u32>) -> Option<Version> {
    if module.pe.is_some() {
        return None;
    }
    let told = py_version.map(Version::from_hex).filter(|version| version.major == 3);
    told.or_else(|| by_name(module.name())).or_else(|| by_name(module.soname.as_ref()?))
}

/// The version in `libpython3.11.so.1.0`, `python3.11`, `python3.13t` or `python3.9-dbg`.
fn by_name(name: &[u8]) -> Option<Version> {
    let name = name.strip_prefix(b"lib").unwrap_or(name).strip_prefix(b"python")?;
    let (major, rest) = number(name)?;
    let (minor, rest) = number(rest.strip_prefix(b".")?)?;
    let marked = rest.iter().position(|byte| !byte.is_ascii_lowercase()).unwrap_or(rest.len());
    matches!(rest[marked..].first(), None | Some(b'.' | b'-')).then_some(Version { major, minor })
}

/// The decimal number that a name begins with, and what is behind it.
fn number(text: &[u8]) -> Option<(u8, &[u8])> {
    let digits = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let number = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
    Some((number, &text[digits..]))
}

#[cfg(test)]
mod tests {
    use effigy_process::PeIdentity;

    use super::*;

    #[test]
    fn names_tell_versions() {
        let named = |path: &str| {
            let module = Module { path: path.into(), ..Module::default() };
            version_of(&module, None).map(|version| version.to_string())
        };
        for name in ["/usr/lib/libpython3.11.so.1.0", "/usr/bin/python3.11", "python3.11d", "python3.11-dbg"] {
            assert_eq!(named(name).as_deref(), Some("3.11"), "{name}");
        }
        assert_eq!(named("/opt/lib/libpython3.13t.so.1.0").as_deref(), Some("3.13"));
        for name in ["/usr/bin/python3", "libpython3.so", "libpythonic3.11.so", "python3.999", "python3.11_x", ""] {
            assert_eq!(named(name), None, "{name}");
        }
    }

    #[test]
    fn the_symbol_is_believed_before_the_name() {
        let mut module = Module { path: "/usr/bin/python3.9".into(), ..Module::default() };
        assert_eq!(version_of(&module, Some(0x030b_02f0)), Some(Version { major: 3, minor: 11 }));
        assert_eq!(version_of(&module, Some(0)), Some(Version { major: 3, minor: 9 }));
        module.path = "/usr/bin/python3".into();
        assert_eq!(version_of(&module, None), None);
        module.soname = Some("libpython3.12.so.1.0".into());
        assert_eq!(version_of(&module, None), Some(Version { major: 3, minor: 12 }));
        module.pe = Some(PeIdentity::default());
        assert_eq!(version_of(&module, Some(0x030b_02f0)), None);
    }
}
