//! A snapshot made by code, for tests.

use std::io::{self, Read};
use std::time::SystemTime;

use effigy_process::{
    Address, AddressRange, Architecture, Device, Gap, Identity, Module, NotRead, PageClass, PageRun, Process,
    ProcessId, Protection, Region, Sharing, Snapshot, System,
};

/// Regions with the runs that are present; each byte of memory is the low byte of its page's number.
pub(crate) struct FakeSnapshot {
    pub(crate) process: Process,
    runs: Vec<Vec<PageRun>>,
    /// Pages whose read fails.
    pub(crate) broken: Vec<Address>,
}

impl FakeSnapshot {
    pub(crate) fn new() -> Self {
        let identity = Identity {
            pid: Some(ProcessId(7)),
            namespace_pids: vec![7],
            parent: Some(ProcessId(1)),
            group: Some(7),
            session: Some(7),
            name: "fake".into(),
            executable: "/opt/fake".into(),
            executable_deleted: false,
            build_id: None,
            started: Some(SystemTime::UNIX_EPOCH),
            ..Identity::default()
        };
        let process = Process {
            system: System { page_size: 4096, name: "Linux".into(), release: "6.18.0".into(), ..System::default() },
            architecture: Architecture::X86_64,
            identity,
            captured: Some(SystemTime::UNIX_EPOCH),
            ..Process::default()
        };
        Self { process, runs: Vec::new(), broken: Vec::new() }
    }

    /// Adds private anonymous memory; `present` are (start, size).
    pub(crate) fn anonymous(&mut self, start: u64, end: u64, present: &[(u64, u64)]) {
        self.region(start, end, 0, PageClass::Private, present);
    }

    /// Adds a private mapping of a file.
    pub(crate) fn file(&mut self, start: u64, end: u64, present: &[(u64, u64)]) {
        self.region(start, end, 99, PageClass::File, present);
    }

    fn region(&mut self, start: u64, end: u64, inode: u64, class: PageClass, present: &[(u64, u64)]) {
        self.process.regions.push(Region {
            range: AddressRange::new(Address(start), Address(end)),
            protection: Protection::READ | Protection::WRITE,
            sharing: Sharing::Private,
            offset: 0,
            device: Device::default(),
            inode,
            name: if inode == 0 { "".into() } else { "/opt/fake".into() },
            resident: Some(present.iter().map(|(_, size)| size).sum()),
            ..Region::default()
        });
        self.runs.push(
            present
                .iter()
                .map(|(start, size)| PageRun { range: AddressRange::sized(Address(*start), *size), class })
                .collect(),
        );
    }

    pub(crate) fn last_region(&mut self) -> &mut Region {
        self.process.regions.last_mut().unwrap()
    }
}

impl Snapshot for FakeSnapshot {
    fn process(&self) -> &Process {
        &self.process
    }

    fn scan(&self, region: &Region, visit: &mut dyn FnMut(PageRun)) -> io::Result<Vec<Gap>> {
        let whole = |each: &Region| each.range.contains(region.range.start());
        let index = self.process.regions.iter().position(whole).unwrap();
        let within = |run: &PageRun| Some(PageRun { range: run.range.intersection(&region.range)?, ..*run });
        self.runs[index].iter().filter_map(within).for_each(visit);
        Ok(Vec::new())
    }

    fn read(&self, _region: &Region, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        for (index, byte) in buffer.iter_mut().enumerate() {
            let at = Address(address.0 + index as u64);
            if self.broken.contains(&at.page_floor(4096)) {
                return if index == 0 { Err(NotRead::Unreadable) } else { Ok(index) };
            }
            *byte = u8::try_from((at.0 >> 12) & 0xff).unwrap();
        }
        Ok(buffer.len())
    }

    fn open_image(&self, _module: &Module) -> io::Result<Box<dyn Read + Send>> {
        Err(io::ErrorKind::NotFound.into())
    }
}
