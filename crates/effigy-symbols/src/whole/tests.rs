use std::fs;

use effigy_process::{BuildId, Guid, PageKind, PageState, PdbIdentity, PeIdentity, Protection, Region, WindowsPages};
use tempfile::TempDir;

use super::*;
use crate::image::tests::{Elf, Pe};
use crate::locate::SearchPaths;

/// Memory that holds zeros at some addresses.
#[derive(Default)]
struct Held(Vec<CapturedRange>);

impl Held {
    fn new(ranges: &[(u64, u64)]) -> Self {
        let range = |(start, end): &(u64, u64)| AddressRange::new(Address(*start), Address(*end));
        Self(ranges.iter().map(|ends| CapturedRange { range: range(ends), offset: Some(0) }).collect())
    }
}

impl Memory for Held {
    fn read(&self, _: Address, _: &mut [u8]) -> Result<usize, NotRead> {
        Err(NotRead::Unreadable)
    }
}

impl CapturedMemory for Held {
    fn captured(&self) -> &[CapturedRange] {
        &self.0
    }
}

const PATH: &str = "/usr/lib/libx.so";
/// Where the image is loaded: its base is 0x401000.
const START: u64 = 0x7000_0000_0000;

fn range(start: u64, end: u64) -> AddressRange {
    AddressRange::new(Address(start), Address(end))
}

fn region(start: u64, end: u64, offset: u64, protection: Protection) -> Region {
    Region { range: range(start, end), offset, protection, inode: 7, name: PATH.into(), ..Region::default() }
}

/// A process with the image of [`Elf`] in it.
fn process() -> Process {
    let build_id = Some(BuildId(vec![1; 20]));
    let module = Module { path: PATH.into(), range: range(START, START + 0x3000), build_id, ..Module::default() };
    let code = region(START, START + 0x1000, 0x1000, Protection::READ | Protection::EXECUTE);
    let data = region(START + 0x2000, START + 0x3000, 0x2000, Protection::READ | Protection::WRITE);
    Process { modules: vec![module], regions: vec![code, data], ..Process::default() }
}

fn find(process: &Process, dump: &Held, name: &str, file: &[u8]) -> (ImageMemory, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), file).unwrap();
    let locator = Locator::new(SearchPaths { folders: vec![folder.path().into()], ..SearchPaths::default() });
    (ImageMemory::find(process, dump, &locator, None), folder)
}

fn parts(memory: &ImageMemory) -> Vec<(u64, u64)> {
    memory.captured().iter().map(|part| (part.range.start().0, part.range.end().0)).collect()
}

fn read(memory: &ImageMemory, address: u64, length: usize) -> Result<Vec<u8>, NotRead> {
    let mut buffer = vec![0; length];
    let count = memory.read(Address(address), &mut buffer)?;
    buffer.truncate(count);
    Ok(buffer)
}

#[test]
fn code_comes_from_the_file_and_data_does_not() {
    let file = Elf::new(&[1; 20]).bytes();
    let (memory, _folder) = find(&process(), &Held::default(), "libx.so", &file);
    assert_eq!(parts(&memory), [(START, START + 0x1000)]);
    assert_eq!(read(&memory, START, 0x2000).unwrap(), file[0x1000..0x2000]);
    assert_eq!(read(&memory, START + 0xff0, 0x20).unwrap().len(), 0x10);
    assert_eq!(read(&memory, START + 0x2000, 1), Err(NotRead::NotCaptured));
    assert_eq!(memory.files()[0].bytes, 0x1000);
    assert!(memory.file_at(Address(START)).is_some() && memory.file_at(Address(START + 0x1000)).is_none());
}

#[test]
fn what_the_dump_holds_is_left_to_it() {
    let file = Elf::new(&[1; 20]).bytes();
    let held = Held::new(&[(START + 0x100, START + 0x200), (START + 0x800, START + 0x1800)]);
    let (memory, _folder) = find(&process(), &held, "libx.so", &file);
    assert_eq!(parts(&memory), [(START, START + 0x100), (START + 0x200, START + 0x800)]);
    assert_eq!(read(&memory, START + 0x200, 16).unwrap(), file[0x1200..0x1210]);
    let all = Held::new(&[(START, START + 0x3000)]);
    assert!(find(&process(), &all, "libx.so", &file).0.files().is_empty());
}

#[test]
fn another_version_gives_nothing() {
    let (memory, folder) = find(&process(), &Held::default(), "libx.so", &Elf::new(&[2; 20]).bytes());
    assert_eq!((parts(&memory), memory.files()[0].bytes), (vec![], 0));
    let mismatches: Vec<_> = memory.files()[0].found.mismatches().map(|(path, _)| path.to_owned()).collect();
    assert_eq!(mismatches, [folder.path().join("libx.so")]);
}

#[test]
fn mappings_that_may_differ_from_the_file_are_left_out() {
    let file = Elf::new(&[1; 20]).bytes();
    let changed = |change: &dyn Fn(&mut Region)| {
        let mut process = process();
        change(&mut process.regions[0]);
        parts(&find(&process, &Held::default(), "libx.so", &file).0)
    };
    assert!(changed(&|region| region.protection |= Protection::WRITE).is_empty());
    assert!(changed(&|region| region.offset = 0x2000).is_empty());
    assert!(changed(&|region| region.name = "/usr/lib/other.so".into()).is_empty());
    let nameless = |region: &mut Region| {
        region.name = "".into();
        region.inode = 0;
    };
    assert!(changed(&nameless).is_empty());
    assert!(changed(&|region| region.anonymous = Some(0x1000)).is_empty());
    assert_eq!(changed(&|region| region.name = format!("{PATH} (deleted)").into()).len(), 1);
    assert_eq!(changed(&|region| region.range = range(START, START + 0x800)), [(START, START + 0x800)]);
}

#[test]
fn copies_that_the_dump_holds_do_no_harm() {
    let mut process = process();
    process.regions[0].range = range(START, START + 0x1000);
    process.regions[0].anonymous = Some(0x100);
    let held = Held::new(&[(START + 0x400, START + 0x500)]);
    let (memory, _folder) = find(&process, &held, "libx.so", &Elf::new(&[1; 20]).bytes());
    assert_eq!(memory.captured_bytes(), 0xf00);
}

#[test]
fn where_no_mappings_are_listed_the_headers_count() {
    let process = Process { regions: Vec::new(), ..process() };
    let (memory, _folder) = find(&process, &Held::default(), "libx.so", &Elf::new(&[1; 20]).bytes());
    assert_eq!(parts(&memory), [(START, START + 0x1000)]);
}

/// A process of Windows with the image of [`Pe`] at an address.
fn windows(pe: &Pe, start: u64) -> Process {
    let identity = PeIdentity { time_stamp: pe.time_stamp, checksum: 0, size_of_image: pe.size_of_image() };
    let pdb = PdbIdentity { guid: pe.guid, age: pe.age, path: "".into() };
    let range = range(start, start + u64::from(pe.size_of_image()));
    let path = "C:\\made.dll".into();
    let module = Module { path, range, pe: Some(identity), pdb: Some(pdb), ..Module::default() };
    let pages = WindowsPages {
        state: PageState::Commit,
        kind: Some(PageKind::Image),
        protection: 0x20,
        allocation_base: Address(start),
        allocation_protection: 0x80,
    };
    let protection = Protection::READ | Protection::EXECUTE;
    let region = Region { range, protection, windows: Some(pages), ..Region::default() };
    Process { modules: vec![module], regions: vec![region], ..Process::default() }
}

#[test]
fn an_image_of_windows_where_it_was_linked_to_be() {
    let pe = Pe::default();
    let (memory, _folder) = find(&windows(&pe, pe.base), &Held::default(), "made.dll", &pe.bytes());
    assert_eq!(read(&memory, pe.base, 2).unwrap(), b"MZ");
    assert_eq!(read(&memory, pe.base + 0x1000, 0x300).unwrap(), pe.text);
    assert!(read(&memory, pe.base + 0x2000, 1).is_err());
    let other = Pe { guid: Guid([8; 16]), ..Pe::default() };
    let (memory, _folder) = find(&windows(&pe, pe.base), &Held::default(), "made.dll", &other.bytes());
    assert!(parts(&memory).is_empty());
}

#[test]
fn an_image_of_windows_elsewhere_is_relocated() {
    for is_64 in [true, false] {
        let pe = Pe { is_64, relocated: vec![0x10, 0x104, 0x1fc], ..Pe::default() };
        let start = if is_64 { 0x7ff6_1234_0000 } else { 0x1234_0000 };
        let (memory, _folder) = find(&windows(&pe, start), &Held::default(), "made.dll", &pe.bytes());
        let width = if is_64 { 8 } else { 4 };
        let mut expected = pe.text.clone();
        for place in [0x10, 0x104, 0x1fc] {
            let bytes = &mut expected[place..place + width];
            let value = bytes.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
            bytes.copy_from_slice(&value.wrapping_add(start - pe.base).to_le_bytes()[..width]);
        }
        assert_eq!(read(&memory, start + 0x1000, 0x300).unwrap(), expected);
        for from in [0x0eu64, 0x11, 0x13, 0x17, 0x105, 0x1ff] {
            let at = usize::try_from(from).unwrap();
            assert_eq!(read(&memory, start + 0x1000 + from, 3).unwrap(), expected[at..at + 3], "{from:#x}");
        }
        // The headers say where the image is, and are not those of the file.
        assert!(read(&memory, start, 1).is_err());
        // Without relocations there is no saying what it looks like.
        let bare = Pe { relocated: Vec::new(), ..pe };
        let (memory, _folder) = find(&windows(&bare, start), &Held::default(), "made.dll", &bare.bytes());
        assert_eq!((parts(&memory).len(), memory.files()[0].unfit), (0, Some(Unfit::Relocations)));
    }
}

#[test]
fn what_the_loader_of_windows_fills_in_is_not_taken() {
    let pages = |pe: &Pe| {
        let (memory, _folder) = find(&windows(pe, pe.base), &Held::default(), "made.dll", &pe.bytes());
        let unfit = memory.files()[0].unfit;
        ([0, 0x1000, 0x3000].map(|at| read(&memory, pe.base + at, 1).is_ok()), unfit)
    };
    assert_eq!(pages(&Pe::default()), ([true, true, true], None));
    // Import addresses.
    assert_eq!(pages(&Pe { imports: (0x3010, 8), ..Pe::default() }), ([true, true, false], None));
    // The address of what checks calls; an address of code is none of data that is filled in.
    let configuration = vec![(0, 0x100), (112, 0x40_3010), (120, 0x40_1000)];
    assert_eq!(pages(&Pe { configuration, ..Pe::default() }), ([true, true, false], None));
    // Functions that the loader chooses from; what is for the kernel alone does no harm.
    let configuration = vec![(0, 0x100), (224, 0x3_0000_0080)];
    let chosen = |kind| pages(&Pe { configuration: configuration.clone(), dynamic: Some(kind), ..Pe::default() });
    assert_eq!(chosen(7), ([false, false, false], Some(Unfit::Chosen)));
    assert_eq!(chosen(3), ([true, true, true], None));
}

#[test]
fn code_that_is_relocated_is_not_taken() {
    for (dynamic, unfit) in [
        (vec![(1, 1), (0, 0)], None),
        (vec![(22, 0), (0, 0)], Some(Unfit::TextRelocations)),
        (vec![(30, 4), (0, 0)], Some(Unfit::TextRelocations)),
        (vec![(30, 8), (0, 0)], None),
    ] {
        let file = Elf { dynamic, ..Elf::new(&[1; 20]) };
        let (memory, _folder) = find(&process(), &Held::default(), "libx.so", &file.bytes());
        assert_eq!((memory.files()[0].unfit, memory.captured().is_empty()), (unfit, unfit.is_some()));
    }
}

/// The test program's own code, and that of its libraries, as it lies in its memory.
#[test]
fn the_running_program_is_as_in_its_files() {
    let maps = fs::read("/proc/self/maps").unwrap();
    let regions: Vec<Region> = maps.split(|byte| *byte == b'\n').filter_map(Region::from_maps_line).collect();
    let own = fs::read_link("/proc/self/exe").unwrap();
    let path = own.to_str().unwrap();
    let mapped: Vec<_> = regions.iter().filter(|region| region.path().0 == path).collect();
    let image = Image::open(&own).unwrap();
    let Some(id) = image.identity().build_id.clone() else {
        println!("SKIPPED the test program has no build id");
        return;
    };
    let whole = AddressRange::new(mapped[0].range.start(), mapped.last().unwrap().range.end());
    let module = Module { path: path.into(), range: whole, build_id: Some(id), ..Module::default() };
    let process = Process { modules: vec![module], regions: regions.clone(), ..Process::default() };
    let locator = Locator::new(SearchPaths::of_this_system());
    let memory = ImageMemory::find(&process, &Held::default(), &locator, None);
    let code: u64 = mapped
        .iter()
        .filter(|region| region.protection.contains(Protection::EXECUTE))
        .map(|region| region.range.size())
        .sum();
    assert!(memory.captured_bytes() >= code && code > 0, "{:?}", memory.captured());
    let own_memory = fs::File::open("/proc/self/mem").unwrap();
    for part in memory.captured() {
        let size = usize::try_from(part.range.size()).unwrap();
        let (mut expected, mut bytes) = (vec![0; size], vec![0; size]);
        std::os::unix::fs::FileExt::read_exact_at(&own_memory, &mut expected, part.range.start().0).unwrap();
        memory.read_exact(part.range.start(), &mut bytes).unwrap();
        assert!(bytes == expected, "{}", part.range);
    }
}
