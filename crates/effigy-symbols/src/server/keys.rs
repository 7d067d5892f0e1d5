//! What files are called on servers: by their identity.

use std::path::PathBuf;

use effigy_process::{BuildId, Module, PdbIdentity};

use crate::locate::candidates::{last_part, plain};

/// A file that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    symbol_server: Option<Key>,
    debuginfod: Option<Key>,
}

/// A name on a server: its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    parts: Vec<String>,
    /// What debuginfod's addresses begin with; nothing for symbol servers.
    prefix: &'static str,
}

impl Wanted {
    /// A module's image: NAME/STAMPSIZE/NAME (SymStore's layout), or by build id.
    pub(super) fn image(module: &Module) -> Option<Self> {
        let pe = module.pe.filter(|pe| pe.time_stamp != 0);
        let symbol_server =
            pe.and_then(|pe| Key::symbol_server(module.name(), format!("{:08X}{:x}", pe.time_stamp, pe.size_of_image)));
        let debuginfod = module.build_id.as_ref().map(|id| Key::debuginfod(id, &["executable"]));
        (symbol_server.is_some() || debuginfod.is_some()).then_some(Self { symbol_server, debuginfod })
    }

    /// A PDB: NAME/GUIDAGE/NAME; an old one by its signature in place of a GUID.
    pub(super) fn pdb(pdb: &PdbIdentity) -> Option<Self> {
        let is_old = pdb.guid.0[4..] == [0; 12];
        let guid = pdb.guid.windows().replace('-', "");
        let guid = if is_old { &guid[..8] } else { &guid };
        let key = Key::symbol_server(last_part(&pdb.path), format!("{guid}{:x}", pdb.age))?;
        Some(Self { symbol_server: Some(key), debuginfod: None })
    }

    /// The symbols of an ELF image.
    pub(super) fn debug(id: &BuildId) -> Self {
        Self { symbol_server: None, debuginfod: Some(Key::debuginfod(id, &["debuginfo"])) }
    }

    /// A source file by its full path; `None` for another.
    pub(super) fn source(id: &BuildId, path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let is_plain = parts.iter().all(|part| !matches!(*part, "" | "." | ".."));
        let key = Key::debuginfod(id, &[&["source"][..], &parts].concat());
        is_plain.then_some(Self { symbol_server: None, debuginfod: Some(key) })
    }

    pub(super) fn on_symbol_server(&self) -> Option<Key> {
        self.symbol_server.clone()
    }

    pub(super) fn on_debuginfod(&self) -> Option<Key> {
        self.debuginfod.clone()
    }
}

impl Key {
    fn symbol_server(name: &[u8], identity: String) -> Option<Self> {
        let name = plain(name)?.to_str()?.to_owned();
        Some(Self { parts: vec![name.clone(), identity, name], prefix: "" })
    }

    fn debuginfod(id: &BuildId, rest: &[&str]) -> Self {
        let rest = rest.iter().map(|part| (*part).to_owned());
        Self { parts: std::iter::once(id.to_string()).chain(rest).collect(), prefix: "buildid/" }
    }

    /// Whether it is a name on a symbol server.
    pub(super) fn is_symbol_server(&self) -> bool {
        self.prefix.is_empty()
    }

    /// Where it is in a folder.
    pub(super) fn path(&self) -> PathBuf {
        self.parts.iter().collect()
    }

    /// Where it is on a server.
    pub(super) fn url(&self, server: &str) -> String {
        let parts: Vec<String> = self.parts.iter().map(|part| escaped(part)).collect();
        format!("{}/{}{}", server.trim_end_matches('/'), self.prefix, parts.join("/"))
    }

    /// Where a symbol server says where the file is.
    pub(super) fn pointer_url(&self, server: &str) -> String {
        self.with_name("file.ptr").url(server)
    }

    /// Where a symbol server has the file packed: its name ends in an underscore.
    pub(super) fn packed_url(&self, server: &str) -> String {
        let mut name = self.parts.last().cloned().unwrap_or_default();
        name.pop();
        name.push('_');
        self.with_name(&name).url(server)
    }

    fn with_name(&self, name: &str) -> Self {
        let mut key = self.clone();
        if let Some(last) = key.parts.last_mut() {
            name.clone_into(last);
        }
        key
    }
}

/// A part of an address with everything escaped that could mean something there (RFC 3986, 2.3).
fn escaped(part: &str) -> String {
    let mut text = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use effigy_process::{Guid, PeIdentity};

    use super::*;

    #[test]
    fn names_on_symbol_servers() {
        let pe = Some(PeIdentity { time_stamp: 0x5AE5_5DB5, checksum: 1, size_of_image: 0x1c9_1000 });
        let module = Module { path: "C:\\a b\\my lib.dll".into(), pe, ..Module::default() };
        let key = Wanted::image(&module).unwrap().on_symbol_server().unwrap();
        assert_eq!(key.url("http://h/sym/"), "http://h/sym/my%20lib.dll/5AE55DB51c91000/my%20lib.dll");
        assert_eq!(key.packed_url("http://h"), "http://h/my%20lib.dll/5AE55DB51c91000/my%20lib.dl_");
        assert_eq!(key.pointer_url("http://h"), "http://h/my%20lib.dll/5AE55DB51c91000/file.ptr");
        let pdb = PdbIdentity { guid: Guid([0x11; 16]), age: 26, path: "c:\\b\\x.pdb".into() };
        let key = Wanted::pdb(&pdb).unwrap().on_symbol_server().unwrap();
        assert_eq!(key.url("http://h"), format!("http://h/x.pdb/{}1a/x.pdb", "11".repeat(16)));
        let mut old = PdbIdentity { guid: Guid::default(), ..pdb };
        old.guid.0[..4].copy_from_slice(&[4, 3, 2, 1]);
        assert_eq!(
            Wanted::pdb(&old).unwrap().on_symbol_server().unwrap().path(),
            PathBuf::from("x.pdb/010203041a/x.pdb")
        );
    }

    #[test]
    fn names_on_debuginfod() {
        let id = BuildId(vec![0xab, 1]);
        let module = Module { path: "/x".into(), build_id: Some(id.clone()), ..Module::default() };
        let key = Wanted::image(&module).unwrap().on_debuginfod().unwrap();
        assert_eq!(key.url("http://h:8002"), "http://h:8002/buildid/ab01/executable");
        assert_eq!(Wanted::debug(&id).on_debuginfod().unwrap().url("http://h/"), "http://h/buildid/ab01/debuginfo");
        let source = Wanted::source(&id, "/usr/src/a+b/c.c").unwrap().on_debuginfod().unwrap();
        assert_eq!(source.url("http://h"), "http://h/buildid/ab01/source/usr/src/a%2Bb/c.c");
        assert_eq!((Wanted::source(&id, "/a/../b"), Wanted::source(&id, "a.c")), (None, None));
        assert_eq!(Wanted::image(&Module::default()), None);
    }
}
