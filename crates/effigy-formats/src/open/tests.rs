//! Opening what is written here.

use std::sync::Arc;

use effigy_process::{Address, CountMoment, Fault, Journal, Memory, Platform, Region, RegionFlags, Series, ThreadId};

use super::*;
use crate::minidump::sample;
use crate::{Compression, Format};

/// Files by name, and scratch files.
pub(crate) struct Folder(Vec<(&'static str, Vec<u8>)>);

impl Folder {
    pub(crate) fn empty() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn of(files: impl Into<Vec<(&'static str, Vec<u8>)>>) -> Self {
        Self(files.into())
    }
}

impl Surroundings for Folder {
    fn open(&mut self, path: &Path) -> io::Result<SharedSource> {
        let file = self.0.iter().find(|(name, _)| Path::new(name) == path);
        file.map(|(_, bytes)| Arc::new(bytes.clone()) as SharedSource).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn scratch(&mut self) -> io::Result<File> {
        tempfile::tempfile()
    }
}

fn opened(bytes: Vec<u8>) -> Result<OpenedDump, OpenError> {
    open(Arc::new(bytes), &mut Folder(Vec::new()))
}

fn written(format: Format) -> Vec<u8> {
    sample::written(format, &sample::crashed(), &sample::extents())
}

/// Everything that the writers store comes back, from both formats.
#[test]
fn our_own_dumps_come_back_whole() {
    let mut process = sample::crashed();
    let series =
        Series { name: "cpu".into(), times: vec![1.5, 2.5], values: vec![Some(3.25), None], ..Series::default() };
    (process.regions[0].anonymous, process.regions[1].swapped) = (Some(4096), Some(8192));
    process.regions[1].flags = RegionFlags::LOCKED;
    process.regions_counted = Some(CountMoment { time: process.captured, while_stopped: false });
    process.journal = Some(Journal { trigger: "cpu >= 80 %".into(), series: vec![series] });
    for format in [Format::Minidump, Format::ElfCore] {
        let opened = opened(sample::written(format, &process, &sample::extents())).unwrap();
        let read = &opened.process;
        assert_eq!(opened.warnings, []);
        assert_eq!(read.system, process.system);
        assert_eq!(read.identity, process.identity);
        assert_eq!((&read.credentials, &read.counters), (&process.credentials, &process.counters));
        assert_eq!((read.captured, read.page_faults), (process.captured, process.page_faults));
        assert_eq!((&read.modules, &read.handles), (&process.modules, &process.handles));
        assert_eq!((&read.fault_alone(), read.selected), (&process.fault, process.selected));
        assert_eq!((&read.gaps, &read.comment), (&process.gaps, &process.comment));
        assert_eq!(read.journal, process.journal);
        assert_eq!(read.threads.len(), process.threads.len());
        for written in &process.threads {
            let thread = read.thread(written.id).unwrap();
            assert_eq!((&thread.times, &thread.scheduling), (&written.times, &written.scheduling));
            assert_eq!((&thread.name, thread.state), (&written.name, written.state));
            assert_eq!(thread.registers, written.registers, "{format:?} {}", written.id);
        }
        let ranges = |process: &Process| process.regions.iter().map(|region| region.maps_line()).collect::<Vec<_>>();
        assert_eq!(ranges(read), ranges(&process));
        let counted = |process: &Process| {
            let counters =
                |each: &Region| (each.resident, each.swapped, each.mapped_elsewhere, each.anonymous, each.flags);
            process.regions.iter().map(counters).collect::<Vec<_>>()
        };
        assert_eq!((counted(read), read.regions_counted), (counted(&process), process.regions_counted));
        let files = |process: &Process| (process.files.status.clone(), process.files.auxv.clone());
        assert_eq!(files(read), files(&process));
    }
}

trait FaultAlone {
    fn fault_alone(&self) -> Option<Fault>;
}

impl FaultAlone for Process {
    /// The fault without the registers that go with it.
    fn fault_alone(&self) -> Option<Fault> {
        self.fault.clone().map(|fault| Fault { registers: None, ..fault })
    }
}

mod cores;
pub(crate) mod corpus;
mod damage;
mod laziness;
mod messages;
mod notes;
mod oracle;

#[test]
fn compressed_dumps_are_read_in_place_or_unpacked() {
    let dump = written(Format::Minidump);
    let mut writer = crate::container::SeekableWriter::new(Vec::new(), std::num::NonZero::<usize>::MIN).unwrap();
    io::Write::write_all(&mut writer, &dump).unwrap();
    let (seekable, _) = writer.finish().unwrap();
    let plain = zstd::encode_all(&dump[..], 1).unwrap();
    for (bytes, compression, warnings) in [(seekable, Compression::SeekableZstd, 0), (plain, Compression::Zstd, 1)] {
        let opened = opened(bytes).unwrap();
        assert_eq!((opened.compression, opened.warnings.len()), (Some(compression), warnings));
        assert_eq!(opened.process.threads.len(), 3);
        let at = sample::stack().start();
        let mut byte = [0];
        assert_eq!(opened.memory.read(at, &mut byte), Ok(1));
        assert_eq!(byte[0], sample::byte_at(at.0));
    }
}

#[test]
fn a_pair_is_opened_by_its_configuration() {
    let text = b"[UserModeDump]\ndefault=a.dmp\nmemory=b.dmp\n".to_vec();
    let files = vec![("a.dmp", written(Format::Minidump)), ("b.dmp", written(Format::Minidump))];
    let opened = open(Arc::new(text.clone()), &mut Folder(files)).unwrap();
    assert_eq!((opened.kind, opened.process.threads.len()), (DumpKind::ReflectionPair, 3));
    assert_eq!(opened.process.system.platform, Platform::Linux);
    assert!(opened.memory.read(sample::stack().start(), &mut [0]).is_ok());
    assert!(matches!(opened_text(text), Err(OpenError::Pair(PairError::Open { .. }))));
}

fn opened_text(text: Vec<u8>) -> Result<OpenedDump, OpenError> {
    opened(text)
}

#[test]
fn a_truncated_dump_warns_and_gives_what_it_has() {
    for format in [Format::Minidump, Format::ElfCore] {
        let mut bytes = written(format);
        bytes.truncate(bytes.len() - 0x1800);
        let opened = opened(bytes).unwrap();
        assert!(opened.warnings.iter().any(|warning| warning.text.contains("6144 bytes are missing")), "{format:?}");
        assert_eq!((opened.coverage.is_full(), opened.held().is_full()), (Some(true), Some(false)));
        assert!(opened.process.thread(ThreadId(101)).is_some());
        let end = Address(sample::stack().end().0 - 1);
        assert_eq!(opened.memory.read(end, &mut [0]), Err(NotRead::NotCaptured));
    }
}

#[test]
fn what_is_no_dump_is_named() {
    assert!(matches!(opened(Vec::new()), Err(OpenError::Empty)));
    let error = opened(b"PK\x03\x04 and so on".to_vec()).unwrap_err();
    assert_eq!(error.to_string(), "the file is no dump: it begins with 50 4b 03 04 20 61 6e 64");
}
