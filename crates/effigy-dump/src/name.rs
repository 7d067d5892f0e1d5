//! What a dump file is called.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;
use effigy_formats::Format;
use jiff::Zoned;

/// Longest part of a process's name that goes into a file name, in bytes.
const LONGEST: usize = 64;

/// What the placeholders in a name stand for.
#[derive(Clone, Debug)]
pub struct NameParts {
    /// The process's name, as it is.
    pub process: Vec<u8>,
    /// Its id.
    pub pid: u32,
    /// The signal or exception code, in hexadecimal; 0 for a dump without a fault.
    pub exception: u32,
    /// Local time of the capture.
    pub time: Zoned,
}

impl NameParts {
    /// Replaces ProcDump's placeholders: PROCESSNAME, PID, EXCEPTIONCODE, YYMMDD, HHMMSS.
    #[must_use]
    pub fn fill(&self, pattern: &str) -> String {
        pattern
            .replace("PROCESSNAME", &sanitize(&self.process))
            .replace("EXCEPTIONCODE", &format!("{:08X}", self.exception))
            .replace("YYMMDD", &self.time.strftime("%y%m%d").to_string())
            .replace("HHMMSS", &self.time.strftime("%H%M%S").to_string())
            .replace("PID", &self.pid.to_string())
    }
}

/// Where a dump goes and what it is called.
///
/// `wanted` is what was asked for: nothing, a folder (one that exists, or a path that ends in `/`), or a path of a
/// file with placeholders. A process's name is never taken for more than one component of a path.
#[must_use]
pub fn destination(wanted: Option<&Path>, format: Format, compressed: bool, parts: &NameParts) -> PathBuf {
    let extension = match format {
        Format::Minidump => "dmp",
        Format::ElfCore => "core",
    };
    let default = || parts.fill(&format!("PROCESSNAME_YYMMDD_HHMMSS.{extension}"));
    let mut path = match wanted {
        None => PathBuf::from(default()),
        Some(folder) if folder.is_dir() || folder.as_os_str().as_encoded_bytes().ends_with(b"/") => {
            folder.join(default())
        }
        Some(path) => match (path.file_name(), path.file_name().and_then(|name| name.to_str())) {
            (Some(_), Some(name)) => path.with_file_name(parts.fill(name)),
            // A name that is not UTF-8 has no placeholders.
            _ => path.to_owned(),
        },
    };
    if compressed && path.extension().is_none_or(|extension| extension != "zst") {
        path.as_mut_os_string().push(".zst");
    }
    path
}

/// The format that a file's ending asks for: `.core`, `.elf`, or a name that begins with `core` or ends in
/// `.core.PID`; anything else is a minidump. An ending `.zst` is looked through.
#[must_use]
pub fn format_of(path: &Path) -> Format {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.strip_suffix(".zst").unwrap_or(&name);
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    let numbered = !ending.is_empty() && ending.bytes().all(|byte| byte.is_ascii_digit());
    let core =
        matches!(ending, "core" | "elf") || name == "core" || numbered && (stem == "core" || stem.ends_with(".core"));
    if core { Format::ElfCore } else { Format::Minidump }
}

/// `path` with a counter before its ending: `a.dmp` becomes `a-1.dmp`, `a.dmp.zst` becomes `a-1.dmp.zst`.
#[must_use]
pub fn numbered(path: &Path, counter: u32) -> PathBuf {
    inserted(path, &format!("-{counter}"))
}

/// `path` with something before its ending.
pub(crate) fn inserted(path: &Path, addition: &str) -> PathBuf {
    let (stem, ending) = split(path);
    let mut name = stem.to_os_string();
    name.push(addition);
    name.push(ending);
    path.with_file_name(name)
}

/// `path` with another ending, which begins with a dot.
pub(crate) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = split(path).0.to_os_string();
    name.push(ending);
    path.with_file_name(name)
}

/// A file's name without its ending, and that: everything from the last dot on, or from the last but one where the last
/// is that of a compressed dump. A name that begins with its only dot has no ending.
fn split(path: &Path) -> (&OsStr, &OsStr) {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let plain = [".dmp.zst", ".mdmp.zst", ".core.zst"].iter().find_map(|ending| name.strip_suffix(ending.as_bytes()));
    let at = plain.map(<[u8]>::len).or_else(|| name.rfind_byte(b'.')).filter(|at| *at > 0).unwrap_or(name.len());
    let (stem, ending) = name.split_at(at);
    (OsStr::from_bytes(stem), OsStr::from_bytes(ending))
}

/// A process's name as part of a file name: letters, digits, `.`, `-`, `_`; everything else becomes `_`.
fn sanitize(name: &[u8]) -> String {
    let clean: String = name
        .chars()
        .map(|letter| if letter.is_alphanumeric() || matches!(letter, '.' | '-' | '_') { letter } else { '_' })
        .take(LONGEST)
        .collect();
    // A leading dot would hide the file or climb out of its folder, a leading dash would be an option of every tool.
    let clean = clean.trim_start_matches(['.', '-']);
    if clean.is_empty() { "process".to_owned() } else { clean.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(name: &str) -> NameParts {
        let time = jiff::civil::date(2026, 11, 21).at(3, 4, 5, 0).to_zoned(jiff::tz::TimeZone::UTC).unwrap();
        NameParts { process: name.into(), pid: 42, exception: 11, time }
    }

    fn named(wanted: Option<&str>, process: &str) -> String {
        let path = destination(wanted.map(Path::new), Format::Minidump, false, &parts(process));
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn names() {
        assert_eq!(named(None, "redis-server"), "redis-server_261121_030405.dmp");
        assert_eq!(named(Some("/nowhere/"), "x"), "/nowhere/x_261121_030405.dmp");
        assert_eq!(named(Some("a/PROCESSNAME-PID-EXCEPTIONCODE.dmp"), "x"), "a/x-42-0000000B.dmp");
        assert_eq!(named(None, "../../etc/passwd"), "_.._etc_passwd_261121_030405.dmp");
        assert_eq!(named(None, "a\nb c%"), "a_b_c__261121_030405.dmp");
        assert_eq!(named(None, "..."), "process_261121_030405.dmp");
        assert_eq!(named(None, "-rf"), "rf_261121_030405.dmp");
        assert_eq!(named(None, "größe"), "größe_261121_030405.dmp");
    }

    #[test]
    fn formats_by_ending() {
        for (name, format) in [
            ("a.dmp", Format::Minidump),
            ("a", Format::Minidump),
            ("core", Format::ElfCore),
            ("core.77", Format::ElfCore),
            ("x.core", Format::ElfCore),
            ("x.core.zst", Format::ElfCore),
            ("x.77", Format::Minidump),
            ("x.elf", Format::ElfCore),
        ] {
            assert_eq!(format_of(Path::new(name)), format, "{name}");
        }
    }

    #[test]
    fn counters_go_before_the_ending() {
        assert_eq!(numbered(Path::new("d/a.dmp"), 2), Path::new("d/a-2.dmp"));
        assert_eq!(numbered(Path::new("a.core.zst"), 1), Path::new("a-1.core.zst"));
        assert_eq!(numbered(Path::new("core"), 1), Path::new("core-1"));
        assert_eq!(numbered(Path::new(".dmp"), 1), Path::new(".dmp-1"));
        let not_unicode = |name| Path::new(OsStr::from_bytes(name));
        assert_eq!(numbered(not_unicode(b"\xff.dmp"), 1), not_unicode(b"\xff-1.dmp"));
    }
}
