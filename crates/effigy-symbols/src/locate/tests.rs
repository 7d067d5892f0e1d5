use std::fs;

use effigy_process::{Address, AddressRange, CapturedRange, Memory, NotRead};
use tempfile::TempDir;

use super::*;
use crate::image::tests::{Elf, pdb};

/// A folder with files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn locator(folder: &TempDir) -> Locator {
    Locator::new(SearchPaths { folders: vec![folder.path().to_owned()], ..SearchPaths::default() })
}

fn module(id: &[u8]) -> Module {
    Module { path: "/usr/lib/libx.so".into(), build_id: Some(BuildId(id.to_vec())), ..Module::default() }
}

#[test]
fn an_image_is_found_by_its_identity_alone() {
    let image = Elf::new(&[1; 20]).bytes();
    for name in ["libx.so", "usr/lib/libx.so", &format!(".build-id/01/{}", "01".repeat(19))] {
        let folder = folder(&[(name, &image)]);
        let found = locator(&folder).image(&module(&[1; 20]));
        assert_eq!(found.file.as_ref().map(|image| image.path().to_owned()), Some(folder.path().join(name)));
    }
}

#[test]
fn another_version_is_passed_over_and_named() {
    let (other, right) = (Elf::new(&[2; 20]).bytes(), Elf::new(&[1; 20]).bytes());
    let folder = folder(&[("libx.so", &other), ("usr/lib/libx.so", &right)]);
    let found = locator(&folder).image(&module(&[1; 20]));
    assert!(found.file.as_ref().is_some_and(|image| image.path().ends_with("usr/lib/libx.so")));
    let mismatches: Vec<_> = found.mismatches().collect();
    let identity = format!("build id {}", "02".repeat(20));
    assert_eq!(mismatches, [(folder.path().join("libx.so").as_path(), identity.as_str())]);
    assert_eq!(locator(&folder).image(&module(&[3; 20])).mismatches().count(), 2);
}

#[test]
fn without_an_identity_nothing_is_looked_for() {
    let folder = folder(&[("libx.so", &Elf::new(&[1; 20]).bytes())]);
    let unknown = Module { build_id: None, ..module(&[]) };
    let found = locator(&folder).image(&unknown);
    assert!(found.file.is_none() && found.wanted.is_none() && found.tried.is_empty());
    // The file that a process has mapped is the one without more ado.
    let path = folder.path().join("libx.so");
    let mapped = Locator::default().with_mapped(Box::new(move |_| Some(path.clone())));
    assert!(mapped.image(&unknown).file.is_some());
    assert_eq!(mapped.image(&module(&[7; 20])).mismatches().count(), 1);
}

/// Memory in one piece.
struct Held(Vec<CapturedRange>, Vec<u8>);

impl Held {
    fn new(start: u64, bytes: &[u8]) -> Arc<Self> {
        let range = AddressRange::sized(Address(start), bytes.len() as u64);
        Arc::new(Self(vec![CapturedRange { range, offset: None }], bytes.to_vec()))
    }
}

impl Memory for Held {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        let range = self.0[0].range;
        if !range.contains(address) {
            return Err(NotRead::NotCaptured);
        }
        let rest = &self.1[usize::try_from(address.0 - range.start().0).unwrap()..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

impl CapturedMemory for Held {
    fn captured(&self) -> &[CapturedRange] {
        &self.0
    }
}

#[test]
fn without_an_identity_an_image_is_told_by_its_code() {
    const START: u64 = 0x7000_0000_0000;
    let file = Elf::default().bytes();
    let code = &file[0x1000..0x1010];
    let mut other = code.to_vec();
    other[15] ^= 1;
    let folder = folder(&[("libx.so", &file)]);
    let range = AddressRange::sized(Address(START), 0x3000);
    let nameless = Module { build_id: None, range, ..module(&[]) };
    for (memory, is_found, mismatches) in [
        (Held::new(START, code), true, 0),
        (Held::new(START, &other), false, 1),
        // Not all of it, and none of it.
        (Held::new(START, &code[..8]), false, 0),
        (Held::new(START + 0x2000, code), false, 0),
    ] {
        let found = locator(&folder).with_memory(memory.clone()).image(&nameless);
        assert_eq!((found.file.is_some(), found.mismatches().count()), (is_found, mismatches), "{:?}", found.tried);
        // An identity is never put aside for what looks alike.
        let found = locator(&folder).with_memory(memory).image(&Module { range, ..module(&[1; 20]) });
        assert!(found.file.is_none());
    }
}

#[test]
fn a_file_without_identity_is_not_a_module_with_one() {
    let folder = folder(&[("libx.so", &Elf::default().bytes())]);
    let found = locator(&folder).image(&module(&[1; 20]));
    assert!(found.file.is_none());
    assert_eq!(found.mismatches().map(|(_, identity)| identity).collect::<Vec<_>>(), ["no identity"]);
}

#[test]
fn pipes_and_folders_are_not_opened() {
    let folder = folder(&[("libx.so/inside", b"")]);
    let found = locator(&folder).image(&module(&[1; 20]));
    assert!(matches!(found.tried[0].outcome, Outcome::Unusable(ImageError::NotAFile { .. })), "{:?}", found.tried);
}

#[test]
fn debug_files_are_found_by_build_id_and_by_link() {
    let (image, debug) = (Elf::new(&[1; 20]).bytes(), Elf::new(&[1; 20]).debug_only().bytes());
    let by_id = format!(".build-id/01/{}.debug", "01".repeat(19));
    let folder = folder(&[("libx.so", &image), (&by_id, &debug)]);
    let found = locator(&folder).debug(&module(&[1; 20]));
    assert!(found.file.as_ref().is_some_and(|debug| debug.is_debug_only()));
    // A debug file is no image.
    fs::write(folder.path().join("libx.so"), &debug).unwrap();
    let found = locator(&folder).image(&module(&[1; 20]));
    assert!(found.file.is_none());
    assert!(matches!(found.tried[0].outcome, Outcome::OnlySymbols));
}

#[test]
fn a_link_needs_the_right_checksum_where_there_is_no_build_id() {
    let debug = Elf::default().debug_only().bytes();
    let mut sum = flate2::Crc::new();
    sum.update(&debug);
    for (checksum, is_found) in [(sum.sum(), true), (sum.sum() ^ 1, false)] {
        let image = Elf::default().section(".gnu_debuglink", &[b"x.debug\0", &checksum.to_le_bytes()[..]].concat());
        let folder = folder(&[("libx.so", &image.bytes()), (".debug/x.debug", &debug)]);
        let path = folder.path().join("libx.so");
        let locator = Locator::default().with_mapped(Box::new(move |_| Some(path.clone())));
        let found = locator.debug(&Module { path: "/x".into(), ..Module::default() });
        assert_eq!(found.file.as_ref().unwrap().is_debug_only(), is_found, "{:?}", found.tried);
        assert_eq!(found.mismatches().count(), usize::from(!is_found));
    }
}

#[test]
fn what_debug_files_share_is_found_by_its_build_id() {
    let link = [b"../.dwz/common\0", &[9; 20][..]].concat();
    let debug = Elf::new(&[1; 20]).debug_only().section(".gnu_debugaltlink", &link).bytes();
    let (right, wrong) = (Elf::new(&[9; 20]).bytes(), Elf::new(&[8; 20]).bytes());
    let by_id = format!(".build-id/09/{}.debug", "09".repeat(19));
    let folder = folder(&[("debug/x.debug", &debug), (".dwz/common", &wrong), (&by_id, &right)]);
    let debug = Image::open(&folder.path().join("debug/x.debug")).unwrap();
    let found = locator(&folder).shared(&debug);
    assert!(found.file.as_ref().is_some_and(|file| file.path().ends_with(&by_id)), "{found:?}");
    assert_eq!(found.mismatches().count(), 1);
}

#[test]
fn pdbs_are_told_by_guid_and_age() {
    let identity = PdbIdentity { guid: Guid([5; 16]), age: 3, path: "c:\\build\\Xy.pdb".into() };
    let pe = PeIdentity { time_stamp: 1, checksum: 0, size_of_image: 4096 };
    let module = Module { path: "C:\\Xy.dll".into(), pe: Some(pe), pdb: Some(identity), ..Module::default() };
    for (guid, age, is_found) in [([5; 16], 3, true), ([5; 16], 4, false), ([6; 16], 3, false)] {
        let folder = folder(&[("xy.pdb", &pdb(Guid(guid), age))]);
        let found = locator(&folder).pdb(&module);
        assert_eq!(found.file.is_some(), is_found, "{:?}", found.tried);
        assert_eq!(found.mismatches().count(), usize::from(!is_found));
    }
    let broken = folder(&[("xy.pdb", &b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0"[..])]);
    assert!(locator(&broken).pdb(&module).file.is_none());
}

#[test]
fn breakpads_symbols_are_told_by_their_first_line() {
    let id = format!("{}0", "01".repeat(16));
    let text = format!("MODULE Linux x86_64 {id} libx.so\nPUBLIC 10 0 f\n");
    let path = format!("libx.so/{id}/libx.so.sym");
    let folder = folder(&[(&path, text.as_bytes()), ("libx.so.sym", b"MODULE Linux x86_64 00 libx.so\n")]);
    assert!(locator(&folder).breakpad(&module(&[1; 20])).file.as_ref().is_some_and(|file| file.ends_with(&path)));
    assert_eq!(locator(&folder).breakpad(&module(&[2; 20])).mismatches().count(), 1);
}
