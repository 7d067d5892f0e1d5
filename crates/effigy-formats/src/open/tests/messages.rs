//! What is said of damaged files: what was read, where in the file, and which field is to blame.

use super::damage::{core_of, note};
use super::*;

/// Types of streams, as minidumpapiset.h numbers them.
mod stream {
    pub(super) const THREAD_LIST: u32 = 3;
    pub(super) const MODULE_LIST: u32 = 4;
    pub(super) const EXCEPTION: u32 = 6;
    pub(super) const SYSTEM_INFO: u32 = 7;
    pub(super) const MEMORY64_LIST: u32 = 9;
    pub(super) const HANDLE_DATA: u32 = 12;
    pub(super) const MISC_INFO: u32 = 15;
    pub(super) const MEMORY_INFO_LIST: u32 = 16;
    pub(super) const THREAD_NAMES: u32 = 24;
}

/// Everything that opening a file tells: the error with its causes, or the warnings.
fn told(outcome: Result<OpenedDump, OpenError>) -> Vec<String> {
    match outcome {
        Ok(opened) => {
            let bad = opened.warnings.iter().filter(|warning| !warning.harmless);
            bad.inspect(|warning| assert!(warning.offset.is_some(), "{warning}")).map(ToString::to_string).collect()
        }
        Err(error) => {
            let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
            vec![causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")]
        }
    }
}

#[track_caller]
fn expect(bytes: Vec<u8>, expected: &str) {
    let told = told(opened(bytes));
    let count = told.iter().filter(|text| text.contains(expected)).count();
    assert_eq!(count, 1, "{expected:?} in {told:#?}");
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().unwrap())
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// A minidump, and where it is damaged.
struct Minidump {
    bytes: Vec<u8>,
}

impl Minidump {
    fn new() -> Self {
        Self { bytes: written(Format::Minidump) }
    }

    /// Which entry of the directory a stream has, where that stands, and where the stream begins.
    fn place(&self, kind: u32) -> (usize, usize, usize) {
        let directory = half(&self.bytes, 12) as usize;
        let index = (0..).find(|index| half(&self.bytes, directory + 12 * index) == kind).unwrap();
        let entry = directory + 12 * index;
        (index, entry, half(&self.bytes, entry + 8) as usize)
    }

    fn end(&self) -> usize {
        self.bytes.len()
    }

    #[track_caller]
    fn with(mut self, at: usize, value: u32, expected: &str) {
        put(&mut self.bytes, at, value);
        expect(self.bytes, expected);
    }
}

/// An offset behind the end of any file here.
const NOWHERE: u32 = 0xffff_fff0;

#[test]
fn headers_of_minidumps() {
    let mut cut = Minidump::new().bytes;
    cut.truncate(8);
    expect(cut, "reading the minidump: the header of 32 bytes at offset 0x0 reaches beyond 0x8, the end of the file");
    Minidump::new().with(4, 0x1234, "Header.Version at offset 0x4 is 0x1234");
    let end = Minidump::new().end();
    let many = format!(
        "Header.NumberOfStreams at offset 0x8: the directory of 12884901876 bytes at offset 0x20 reaches beyond {end:#x}, the \
         end of the file"
    );
    Minidump::new().with(8, 0x3fff_ffff, &many);
}

#[test]
fn directories_of_minidumps() {
    for (kind, name) in [
        (stream::THREAD_LIST, "ThreadListStream"),
        (stream::MODULE_LIST, "ModuleListStream"),
        (stream::EXCEPTION, "ExceptionStream"),
        (stream::SYSTEM_INFO, "SystemInfoStream"),
        (stream::MEMORY_INFO_LIST, "MemoryInfoListStream"),
        (stream::MEMORY64_LIST, "Memory64ListStream"),
    ] {
        let dump = Minidump::new();
        let (index, entry, _) = dump.place(kind);
        let (size, end, at) = (half(&dump.bytes, entry + 4), dump.end(), entry + 4);
        let expected = format!(
            "Directory[{index}].Location at offset {at:#x}: {name} of {size} bytes at offset 0xfffffff0 reaches beyond {end:#x}, \
             the end of the file"
        );
        dump.with(entry + 8, NOWHERE, &expected);
    }
}

#[test]
fn lists_of_minidumps() {
    for (kind, what, each) in
        [(stream::THREAD_LIST, "the list of threads", 48), (stream::MODULE_LIST, "the list of modules", 108)]
    {
        let dump = Minidump::new();
        let (_, entry, at) = dump.place(kind);
        let size = half(&dump.bytes, entry + 4);
        let expected =
            format!("{what} at offset {at:#x} counts 4294967295 entries of {each} bytes in a stream of {size} bytes");
        dump.with(at, u32::MAX, &expected);
    }
    let dump = Minidump::new();
    let (_, _, at) = dump.place(stream::MEMORY64_LIST);
    dump.with(at + 4, 1, &format!("the list of memory at offset {at:#x} counts 42949"));
    let dump = Minidump::new();
    let (_, _, at) = dump.place(stream::MEMORY_INFO_LIST);
    let expected = format!(
        "the list of regions at offset {at:#x} says that each entry has 8 bytes (SizeOfEntry), and they have 48"
    );
    dump.with(at + 4, 8, &expected);
    let dump = Minidump::new();
    let (_, entry, at) = dump.place(stream::HANDLE_DATA);
    let size = half(&dump.bytes, entry + 4);
    let expected = format!(
        "the list of handles at offset {at:#x} says that its head has 65535 bytes (SizeOfHeader), and its stream has {size}"
    );
    dump.with(at, 0xffff, &expected);
}

#[test]
fn fields_of_minidumps_that_lead_nowhere() {
    for (kind, start, each, index, at, field, what) in [
        (stream::THREAD_LIST, 4, 48, 1, 44, "ThreadList[1].ThreadContext", "a thread's context"),
        (stream::MODULE_LIST, 4, 108, 0, 20, "ModuleList[0].ModuleNameRva", "a module's name"),
        (stream::MODULE_LIST, 4, 108, 1, 80, "ModuleList[1].CvRecord", "a module's CodeView record"),
        (stream::EXCEPTION, 0, 168, 0, 164, "Exception.ThreadContext", "the exception's context"),
        (stream::THREAD_NAMES, 4, 12, 0, 4, "ThreadNames[0].RvaOfThreadName", "a thread's name"),
        (stream::HANDLE_DATA, 16, 40, 1, 8, "HandleData[1].TypeNameRva", "a handle's name"),
        (stream::HANDLE_DATA, 16, 40, 0, 12, "HandleData[0].ObjectNameRva", "a handle's name"),
    ] {
        let dump = Minidump::new();
        let (_, _, list) = dump.place(kind);
        let place = list + start + each * index + at;
        // A location begins with its length.
        let begins = if what.ends_with("name") { place } else { place - 4 };
        let expected = format!("{field} at offset {begins:#x}: {what} of ");
        dump.with(place, NOWHERE, &expected);
    }
}

#[test]
fn streams_of_minidumps_that_are_too_short() {
    for (kind, name, what) in [
        (stream::EXCEPTION, "ExceptionStream", "the exception of 168 bytes"),
        (stream::SYSTEM_INFO, "SystemInfoStream", "the system's facts of 24 bytes"),
        (stream::THREAD_LIST, "ThreadListStream", "the list of threads of 4 bytes"),
        (stream::THREAD_NAMES, "ThreadNamesStream", "the list of thread names of 4 bytes"),
        (stream::MISC_INFO, "MiscInfoStream", "the process's id and times of 24 bytes"),
    ] {
        let dump = Minidump::new();
        let (_, entry, at) = dump.place(kind);
        let end = at + 2;
        let expected = format!("{what} at offset {at:#x} reaches beyond {end:#x}, the end of {name}");
        dump.with(entry + 4, 2, &expected);
    }
}

#[test]
fn what_the_files_end_cuts_off() {
    for format in [Format::Minidump, Format::ElfCore] {
        let mut bytes = written(format);
        bytes.truncate(bytes.len() - 0x1800);
        let end = bytes.len();
        let there = format!(
            "the file is truncated: it ends at {end:#x}, and of the memory that it lists 6144 bytes are missing"
        );
        expect(bytes, &there);
    }
}

#[test]
fn headers_of_cores() {
    let with = |at: usize, value: u8, expected: &str| {
        let mut bytes = written(Format::ElfCore);
        bytes[at] = value;
        expect(bytes, expected);
    };
    with(
        4,
        9,
        "reading the core: e_ident[EI_CLASS] at offset 0x4 is 9, and 1 (32 bits) or 2 (64 bits) is what effigy reads",
    );
    with(5, 9, "e_ident[EI_DATA] at offset 0x5 is 9");
    with(16, 3, "not a core: e_type at offset 0x10 is 3 (a program or a library) in place of 4");
    with(54, 12, "e_phentsize at offset 0x36 is 12, and 56 is what effigy reads");
    let mut many = written(Format::ElfCore);
    many[56..58].fill(0xff);
    expect(many, "e_shoff at offset 0x28 is 0, and the place of the section header that counts the segments");
    let cut = |length: usize| written(Format::ElfCore)[..length].to_vec();
    expect(cut(20), "the core ends at 0x14, before the end of its ELF header (64 bytes at offset 0x0)");
    let count = u16::from_le_bytes(*written(Format::ElfCore)[56..].first_chunk().unwrap());
    let mut far = written(Format::ElfCore);
    put(&mut far, 32, 0x7fff_ffff);
    let (size, end) = (u32::from(count) * 56, far.len());
    let expected =
        format!("the core ends at {end:#x}, before the end of its program headers ({size} bytes at offset 0x7fffffff)");
    expect(far, &expected);
    let left = count - 1;
    let expected =
        format!("the core ends at 0x96, before {left} of its {count} program headers, which begin at 0x40 (e_phoff)");
    expect(cut(64 + 56 + 30), &expected);
}

/// A core of these notes, and where the first of them begins.
fn core_with(notes: &[u8]) -> (Vec<u8>, u64) {
    let place = 128 + 56;
    let mut bytes = core_of(&[[4, place, 0, 0, notes.len() as u64, 0, 4]]);
    assert_eq!(bytes.len() as u64, place);
    bytes.extend_from_slice(notes);
    (bytes, place)
}

#[test]
fn notes_of_cores_that_are_too_short() {
    for (kind, size, expected) in [
        (1, 60, "NT_PRSTATUS at offset 0xcc has 60 bytes, and its pr_cstime ends at 112"),
        (1, 200, "NT_PRSTATUS at offset 0xcc has 200 bytes, and its pr_reg ends at 328"),
        (3, 40, "NT_PRPSINFO at offset 0xcc has 40 bytes, and its pr_fname ends at 56"),
        (0x5349_4749, 8, "NT_SIGINFO at offset 0xcc has 8 bytes, and its si_code ends at 12"),
        (0x4649_4c45, 8, "NT_FILE at offset 0xcc has 8 bytes, and its page_size ends at 16"),
        (
            0x4649_4c45,
            40,
            "NT_FILE at offset 0xcc counts 506381209866536711 entries of 24 bytes (count), and has 40 bytes",
        ),
    ] {
        let (bytes, _) = core_with(&note(b"CORE\0\0\0\0", kind, &vec![7; size]));
        expect(bytes, expected);
    }
}

#[test]
fn notes_of_cores_that_reach_too_far() {
    let whole = note(b"CORE\0\0\0\0", 6, &[0; 16]);
    let mut long = whole.clone();
    put(&mut long, 4, 0x1000);
    let (bytes, place) = core_with(&long);
    let end = bytes.len();
    let expected = format!(
        "the note at offset {place:#x} has a name of 8 bytes (n_namesz) and contents of 4096 (n_descsz), which reach beyond \
         {end:#x}, the end of its segment"
    );
    expect(bytes, &expected);
    let (bytes, place) = core_with(&[&whole[..], &[0; 8]].concat());
    let (at, end) = (place + whole.len() as u64, bytes.len());
    expect(bytes, &format!("a note's header at offset {at:#x} reaches beyond {end:#x}, the end of its segment"));
    let (mut bytes, place) = core_with(&whole);
    bytes.truncate(bytes.len() - 4);
    let (size, end) = (whole.len(), bytes.len());
    expect(
        bytes,
        &format!("the core ends at {end:#x}, before the end of its notes ({size} bytes at offset {place:#x})"),
    );
}

#[test]
fn tables_of_compressed_dumps() {
    let mut writer = crate::container::SeekableWriter::new(Vec::new(), std::num::NonZero::<usize>::MIN).unwrap();
    io::Write::write_all(&mut writer, &written(Format::Minidump)).unwrap();
    let (whole, _) = writer.finish().unwrap();
    let (foot, frames) = (whole.len() - 9, half(&whole, whole.len() - 9) as usize);
    // Without checksums in the table: zstd's own frames have them.
    let table = foot - 8 * frames;
    let with = |at: usize, value: u32, expected: String| {
        let mut bytes = whole.clone();
        put(&mut bytes, at, value);
        expect(bytes, &format!("the table of the compressed file is damaged: {expected}"));
    };
    with(foot, u32::MAX, format!("Number_Of_Frames at offset {foot:#x}: so many entries are longer than the file"));
    with(foot, 0, format!("Number_Of_Frames at offset {foot:#x}: before so many entries there is no beginning"));
    with(table - 4, 1, format!("Frame_Size at offset {:#x}: the table does not end where the file does", table - 4));
    with(table, u32::MAX, format!("Compressed_Size at offset {table:#x}: the frame reaches beyond"));
    with(table, 1, format!("Compressed_Size at offset {table:#x}: the frames of all entries end before"));
    let mut bytes = whole.clone();
    bytes[foot + 4] |= 4;
    expect(bytes, &format!("Seek_Table_Descriptor at offset {:#x}: reserved bits are set", foot + 4));
}

#[test]
fn packed_dumps_that_were_cut() {
    // Numbers that take as much room packed.
    let noise =
        (0..1_000_000u32).flat_map(|number| number.wrapping_mul(0x9e37_79b1).rotate_left(number % 31).to_le_bytes());
    let contents: Vec<u8> = written(Format::Minidump).into_iter().chain(noise).collect();
    let mut packed = zstd::encode_all(&contents[..], 1).unwrap();
    packed.truncate(packed.len() / 2);
    let size = packed.len();
    expect(packed, &format!(": unpacking the zstd file of {size} bytes, after "));
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut writer, &contents[..4096]).unwrap();
    let packed = writer.finish().unwrap()[..12].to_vec();
    expect(packed, "unpacking the gzip file of 12 bytes, after 0 bytes of what is in it: ");
}

#[test]
fn configurations_of_pairs() {
    let with = |text: &[u8], expected: &str| expect(text.to_vec(), expected);
    with(b"[UserModeDump]\ndefault=\xff\n", "no text in UTF-8 from offset 0x17 on");
    with(b"[UserModeDump]\ndefault=a.dmp\n", "does not say which file memory= is");
    with(b"[UserModeDump]\ndefault=a\ndefault=b\n", "default= is there a second time in line 3");
    with(b"[UserModeDump]\ndefault=a\nmemory=b/..\n", "memory= in line 3 of the configuration file names no file");
    with(b"[UserModeDump]\ndefault=a\nmemory=b\n", "opening a, which the configuration file names as default=");
    let text = b"[UserModeDump]\ndefault=a.dmp\nmemory=b.dmp\n".to_vec();
    let with_memory = |bytes: Vec<u8>, expected: &str| {
        let files = vec![("a.dmp", written(Format::Minidump)), ("b.dmp", bytes)];
        let told = told(open(Arc::new(text.clone()), &mut Folder(files)));
        let expected = format!("reading b.dmp, which the configuration file names as memory=: {expected}");
        assert!(told[0].contains(&expected), "{expected:?} in {told:#?}");
    };
    let cut = written(Format::Minidump)[..20].to_vec();
    with_memory(cut, "the header of 32 bytes at offset 0x0 reaches beyond 0x14, the end of the file");
    let mut dump = Minidump::new();
    let (_, _, at) = dump.place(stream::MEMORY64_LIST);
    put(&mut dump.bytes, at + 4, 1);
    with_memory(dump.bytes, &format!("the list of memory at offset {at:#x} counts 42949"));
}
