//! Files made by hand, and real ones.

mod builders;

use std::path::{Path, PathBuf};

pub(crate) use self::builders::{Elf, Out, Pe, pdb};
use super::*;

/// The shared collection of dumps and of files with symbols; a test counts as skipped without it.
pub(crate) fn corpus() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let path = std::env::var_os("EFFIGY_CORPUS").map_or_else(beside, PathBuf::from);
    if !path.is_dir() {
        println!("SKIPPED no corpus of dumps");
        return None;
    }
    Some(path)
}

fn image(bytes: Vec<u8>) -> Image {
    Image::from_bytes(bytes, Path::new("made")).unwrap()
}

fn read(image: &Image, address: u64, length: usize) -> Option<Vec<u8>> {
    let mut buffer = vec![0; length];
    let count = image.read(address, &mut buffer)?;
    buffer.truncate(count);
    Some(buffer)
}

#[test]
fn facts_of_elf_of_both_classes_and_orders() {
    for (is_64, order) in
        [(true, ByteOrder::Little), (true, ByteOrder::Big), (false, ByteOrder::Little), (false, ByteOrder::Big)]
    {
        let made = Elf { is_64, order, ..Elf::new(&[7; 20]) };
        let image = image(made.section(".debug_str", b"abcdef").bytes());
        assert_eq!((image.kind(), image.byte_order()), (ImageKind::Elf, order));
        assert_eq!(image.architecture(), Architecture::of_elf(made_machine(is_64, order), is_64, order));
        assert_eq!(image.identity().build_id, Some(BuildId(vec![7; 20])));
        assert_eq!(image.base(), 0x40_1000);
        assert_eq!(image.segments().len(), 2);
        assert_eq!(image.segments()[0].protection, Protection::READ | Protection::EXECUTE);
        assert!(image.section(".text").is_some_and(|text| text.executable && text.loaded && text.address == 0x40_1000));
        assert_eq!(image.data(".debug_str"), Some(&b"abcdef"[..]));
        let mut part = [0; 4];
        assert_eq!(image.read_section(".debug_str", 4, &mut part), Some(2));
        assert_eq!(&part[..2], b"ef");
        assert_eq!((image.read_section(".debug_str", 6, &mut part), image.data(".none")), (None, None));
    }
}

fn made_machine(is_64: bool, order: ByteOrder) -> u16 {
    Elf { is_64, order, ..Elf::default() }.machine()
}

#[test]
fn what_the_loader_maps() {
    let image = image(Elf::new(&[7; 20]).bytes());
    // The text of 16 bytes, and the rest of its page as it is in the file.
    let text = read(&image, 0x40_1000, 64).unwrap();
    assert_eq!(text, builders::TEXT);
    let rest = read(&image, 0x40_1010, 0x2000).unwrap();
    assert_eq!(rest.len(), 0xff0);
    assert!(rest.iter().all(|byte| *byte == builders::PADDING));
    assert_eq!(image.segment_at(0x40_1fff).map(|segment| segment.address), Some(0x40_1000));
    assert!(read(&image, 0x40_2000, 1).is_none());
    // Data, what is zero behind it, and nothing.
    assert_eq!(read(&image, 0x40_3020, 64).unwrap().len(), 16);
    assert!(read(&image, 0x40_3030, 1).is_none());
    // What lies before the data in its page comes with it.
    assert_eq!(read(&image, 0x40_3000, 64).unwrap().len(), 0x20);
    assert!(read(&image, u64::MAX, 1).is_none());
}

#[test]
fn compressed_sections_come_out() {
    use std::io::Write;
    let contents = b"debug ".repeat(1000);
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&contents).unwrap();
    let zlib = encoder.finish().unwrap();
    let zstd = zstd::encode_all(&*contents, 1).unwrap();
    let made = Elf::new(&[7; 20])
        .compressed(".debug_info", 1, contents.len(), &zlib)
        .compressed(".debug_line", 2, contents.len(), &zstd)
        .compressed(".debug_wrong", 2, contents.len() + 1, &zstd)
        .compressed(".debug_other", 9, contents.len(), &zstd)
        .section(".zdebug_str", &[b"ZLIB", &6000u64.to_be_bytes()[..], &zlib].concat());
    let image = image(made.bytes());
    for name in [".debug_info", ".debug_line", ".debug_str"] {
        assert_eq!(image.section(name).map(|section| section.size), Some(6000), "{name}");
        assert_eq!(image.read_section(name, 0, &mut [0; 4]), None, "{name}");
        assert_eq!(image.data(name), Some(&*contents), "{name}");
        let mut part = [0; 5];
        assert_eq!(image.read_section(name, 5996, &mut part), Some(4), "{name}");
    }
    assert_eq!((image.data(".debug_wrong"), image.data(".debug_other")), (None, None));
}

#[test]
fn links_to_other_files() {
    let link = [b"x.debug\0", &0x1234_5678u32.to_le_bytes()[..]].concat();
    let shared = [b"/usr/lib/debug/.dwz/x\0", &[3; 20][..]].concat();
    let image =
        image(Elf::new(&[7; 20]).section(".gnu_debuglink", &link).section(".gnu_debugaltlink", &shared).bytes());
    assert_eq!(image.debug_link(), Some(("x.debug".to_owned(), 0x1234_5678)));
    assert_eq!(image.debug_alt_link(), Some(("/usr/lib/debug/.dwz/x".to_owned(), BuildId(vec![3; 20]))));
}

#[test]
fn a_debug_file_has_no_code() {
    let image = image(Elf::new(&[7; 20]).debug_only().section(".debug_info", b"x").bytes());
    assert!(image.is_debug_only());
    assert_eq!((image.data(".text"), read(&image, 0x40_1000, 1)), (None, None));
    assert_eq!((image.data(".debug_info"), image.base()), (Some(&b"x"[..]), 0x40_1000));
}

#[test]
fn facts_of_pe() {
    let guid = Guid([9; 16]);
    for is_64 in [true, false] {
        let made = Pe { is_64, guid, age: 3, ..Pe::default() };
        let image = image(made.bytes());
        assert_eq!((image.kind(), image.base()), (ImageKind::Pe, made.base));
        let expected = PeIdentity { time_stamp: made.time_stamp, checksum: 0, size_of_image: made.size_of_image() };
        assert_eq!(image.identity().pe, Some(expected));
        let record = PdbIdentity { guid, age: 3, path: "C:\\made.pdb".into() };
        assert_eq!(image.identity().pdb, Some(record));
        assert_eq!(read(&image, made.base + 0x1000, 4).unwrap(), made.text[..4]);
        assert_eq!(image.data(".text").map(<[u8]>::len), Some(made.text.len()));
        assert_eq!(read(&image, made.base, 2).unwrap(), b"MZ");
    }
}

/// A process's memory of which some is there.
struct Loaded(Vec<(u64, Vec<u8>)>);

impl effigy_process::Memory for Loaded {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, effigy_process::NotRead> {
        let part = self.0.iter().find_map(|(start, bytes)| {
            bytes.get(usize::try_from(address.0.checked_sub(*start)?).ok()?..).filter(|rest| !rest.is_empty())
        });
        let part = part.ok_or(effigy_process::NotRead::NotCaptured)?;
        let count = part.len().min(buffer.len());
        buffer[..count].copy_from_slice(&part[..count]);
        Ok(count)
    }
}

#[test]
fn images_as_they_lie_in_memory() {
    let pe = Pe { guid: Guid([9; 16]), ..Pe::default() };
    let file = pe.bytes();
    let start = 0x7ff6_0000_0000;
    let parts = [(0, 0..0x200), (0x1000, 0x200..0x500), (0x2000, 0x600..0x700)];
    let parts = parts.map(|(at, range)| (start + at, file[range].to_vec()));
    let memory = Arc::new(Loaded(parts.to_vec()));
    let image = Image::from_memory(memory, Address(start), 0x4000, Path::new("gone.dll")).unwrap();
    assert_eq!(image.identity(), self::image(file).identity());
    assert_eq!(image.data(".text"), Some(&*pe.text));
    assert_eq!(read(&image, pe.base + 0x1010, 4).unwrap(), pe.text[0x10..0x14]);
    assert_eq!(image.data(".reloc"), None);
    let bytes = builders::mach_o();
    let memory = Arc::new(Loaded(vec![(start, bytes[..0x900].to_vec())]));
    let image = Image::from_memory(memory, Address(start), 0x1000, Path::new("gone.dylib")).unwrap();
    assert_eq!((image.base(), image.data(".text").map(<[u8]>::len)), (0x1_0000_0000, Some(0x10)));
    assert!(Image::from_memory(Arc::new(Loaded(Vec::new())), Address(start), 9, Path::new("none")).is_err());
}

#[test]
fn the_vdso_as_it_lies_in_memory() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let Some(line) = maps.lines().find(|line| line.ends_with("[vdso]")) else { return };
    let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
    let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
    let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
    let own = std::fs::File::open("/proc/self/mem").unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&own, &mut bytes, start).unwrap();
    let file = image(bytes.clone());
    let memory = Arc::new(Loaded(vec![(start, bytes)]));
    let loaded = Image::from_memory(memory, Address(start), end - start, Path::new("vdso")).unwrap();
    assert_eq!(loaded.identity(), file.identity());
    assert!(loaded.identity().build_id.is_some());
    assert_eq!(loaded.data(".eh_frame_hdr"), file.data(".eh_frame_hdr"));
    let (found, whole) = (loaded.data(".eh_frame").unwrap(), file.data(".eh_frame").unwrap());
    assert!(found.starts_with(whole));
}

#[test]
fn hostile_bytes_are_refused_or_harmless() {
    let mut state = 0x1234_5678_9abc_def0u64;
    let mut random = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % bound
    };
    let files = [Elf::new(&[7; 20]).bytes(), Pe::default().bytes(), builders::mach_o()];
    for file in files {
        for cut in [0, 1, 4, 16, 60, 64, 100, 300, file.len() - 1] {
            exhaust(&file[..cut.min(file.len())]);
        }
        for _ in 0..3000 {
            let mut bytes = file.clone();
            for _ in 0..=random(4) {
                let at = if random(2) == 0 { random(bytes.len().min(0x300)) } else { random(bytes.len()) };
                bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random(5)];
            }
            exhaust(&bytes);
        }
    }
}

/// Asks all that can be asked.
fn exhaust(bytes: &[u8]) {
    let Ok(image) = Image::from_bytes(bytes, Path::new("hostile")) else { return };
    for section in image.sections().iter().take(50) {
        let _ = (image.data(&section.name), image.read_section(&section.name, 1, &mut [0; 8]));
    }
    for segment in image.segments().iter().take(50) {
        for address in [segment.address, segment.address.wrapping_sub(1), segment.end(), segment.end().wrapping_sub(1)]
        {
            let _ = (image.read(address, &mut [0; 8]), image.segment_at(address));
        }
    }
    let _ = (image.debug_link(), image.debug_alt_link(), image.base());
}

#[test]
fn real_files_of_three_systems() {
    let Some(corpus) = corpus() else { return };
    let symbols = corpus.join("symbolic/symbols");
    let program = Image::open(&symbols.join("macos_crash")).unwrap();
    let bundle = Image::open(&symbols.join("macos_crash.dSYM_Contents_Resources_DWARF_crash")).unwrap();
    assert_eq!((program.kind(), program.architecture()), (ImageKind::MachO, Architecture::X86_64));
    assert!(program.identity().uuid.is_some() && program.identity() == bundle.identity());
    assert_eq!(program.base(), bundle.base());
    assert!(bundle.is_debug_only() && !program.is_debug_only());
    assert!(bundle.data(".debug_info").is_some_and(|data| !data.is_empty()) && bundle.data(".text").is_none());
    assert!(program.data(".text").is_some() && program.section(".unwind_info").is_some());
    let windows = Image::open(&symbols.join("windows_CrashWithException.exe")).unwrap();
    assert_eq!((windows.kind(), windows.architecture()), (ImageKind::Pe, Architecture::X86_64));
    assert!(windows.identity().pdb.as_ref().is_some_and(|pdb| pdb.path.ends_with(b".pdb")));
    assert!(windows.data(".pdata").is_some());
    let linux = Image::open(&symbols.join("linux_arm64_cfi_test")).unwrap();
    assert_eq!((linux.kind(), linux.architecture()), (ImageKind::Elf, Architecture::Aarch64));
    let big = Image::open(&corpus.join("lldb/elf-core_linux-s390x.out")).unwrap();
    assert_eq!((big.architecture(), big.byte_order()), (Architecture::S390x, ByteOrder::Big));
}

#[test]
fn the_running_program() {
    let image = Image::open(Path::new("/proc/self/exe")).unwrap();
    assert!(image.section(".text").is_some_and(|text| text.executable));
    assert!(image.data(".eh_frame_hdr").is_some_and(|data| data[0] == 1));
}

#[test]
fn other_files_say_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    std::fs::write(&path, "#!/bin/sh\n").unwrap();
    let error = Image::open(&path).unwrap_err().to_string();
    assert!(error.ends_with("text is neither ELF nor PE nor Mach-O"), "{error}");
    assert!(matches!(Image::open(folder.path()), Err(ImageError::NotAFile { .. })));
    assert!(matches!(Image::open(&folder.path().join("none")), Err(ImageError::Read { .. })));
    std::fs::write(&path, b"\x7fELF\x02\x01\x01\0").unwrap();
    let error = Image::open(&path).unwrap_err().to_string();
    assert!(error.ends_with("text: bad ELF header at offset 0x0"), "{error}");
}
