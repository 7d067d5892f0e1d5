//! A core as a process.

use bstr::{BString, ByteSlice};
use effigy_process::{
    Address, AddressRange, Fault, Identity, Platform, Process, ProcessId, Region, System, Thread, ThreadId, ThreadState,
};

use super::super::layout::{Class, OWNER_CORE, OWNER_EFFIGY, OWNER_LINUX, effigy, note};
use super::notes::Note;
use super::threads::Threads;
use super::{Core, CoreError, coverage, files, info, names};
use crate::facts::{self, Document};
use crate::opened::{Coverage, Part, Warning, or_warn, warn};
use crate::{Attachment, working_set};

/// `AT_PAGESZ` of the auxiliary vector.
const PAGE_SIZE: u64 = 6;
/// `AT_SYSINFO_EHDR`: where the kernel's shared object lies.
const VDSO: u64 = 33;
/// `SIGSTOP`, which debuggers write for a process that nothing had happened to.
const STOPPED: i32 = 19;

/// Where `pr_fname` ends in the shorter forms of `struct elf_prpsinfo`.
const NAME_END_64: u64 = 56;
const NAME_END_32: u64 = 44;
/// Where `si_code` ends in a `siginfo_t`.
const SIGNAL_CODE_END: u64 = 12;

/// Most bytes of notes that are taken, all together. What is in a compressed file may be a thousand times as long as
/// the file; 100,000 threads have a third of this.
const LARGEST_NOTES: u64 = 1 << 30;

/// What the notes say, collected in one pass.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) threads: Threads,
    psinfo: Option<Contents>,
    signal: Option<Contents>,
    auxv: Vec<u8>,
    files: Option<Contents>,
    own: Vec<(u32, Contents)>,
    /// Bytes of all of them.
    held: u64,
}

/// Where a note's contents begin in the file, and what they are.
type Contents = (u64, Vec<u8>);

/// A core, as much as its notes say of it.
pub(crate) struct Read {
    pub(crate) process: Process,
    pub(crate) parts: Vec<Part>,
    pub(crate) attachments: Vec<(Attachment, u64)>,
    /// How much of the process's memory it holds, by what stands where; effigy's own cores say it.
    pub(crate) coverage: Coverage,
    /// MINIDUMP_TYPE bits, which effigy's own cores have; 0 for others.
    pub(crate) minidump_type: u64,
}

impl Core {
    /// The process and the notes. What is damaged is left out and becomes a warning.
    pub(crate) fn process(&self, warnings: &mut Vec<Warning>) -> Read {
        let (collected, parts) = self.collect(warnings);
        let auxv = info::auxiliary(self.header.shape, &collected.auxv);
        let value = |kind| auxv.iter().find(|(known, _)| *known == kind).map(|(_, value)| *value);
        let architecture = self.architecture();
        let page = value(PAGE_SIZE).filter(|page| page.is_power_of_two() && *page >= 512);
        let system = System {
            platform: platform(self.system()),
            page_size: page.unwrap_or(architecture.usual_page_size()),
            ..System::default()
        };
        let mut process = Process {
            architecture,
            byte_order: self.byte_order(),
            identity: self.identity(&collected, warnings),
            system,
            ..Process::default()
        };
        let mapped = match &collected.files {
            Some((offset, bytes)) => or_warn(files::table(self.header.shape, bytes, *offset), warnings),
            None => Vec::new(),
        };
        process.regions = collected.regions().unwrap_or_else(|| files::regions(&self.segments, &mapped));
        process.modules = self.modules(&mapped, &auxv, process.system.page_size);
        collected.complete(self, &mut process, warnings);
        process.files.auxv = collected.auxv.clone().into();
        if let Some(main) = process.modules.iter().find(|module| module.is_main) {
            process.identity.executable = main.path.clone();
            process.identity.build_id = main.build_id.clone();
        }
        let (attachments, minidump_type) = collected.complete_own(&mut process, warnings);
        let vdso = value(VDSO).map(Address);
        let known = coverage::Known { mapped: &mapped, vdso, process: &process, parts: &parts };
        let coverage = coverage::of(self, &known);
        Read { process, parts, attachments, coverage, minidump_type }
    }

    fn collect(&self, warnings: &mut Vec<Warning>) -> (Collected, Vec<Part>) {
        let mut collected = Collected::default();
        let mut parts = Vec::new();
        for note in self.notes() {
            let note = match note {
                Ok(note) => note,
                Err(error) => {
                    warn(Warning::of(&error), warnings);
                    break;
                }
            };
            parts.push(Part {
                number: note.kind,
                name: names::of(&note.owner, note.kind),
                offset: note.offset,
                size: note.size,
                owner: note.owner.clone(),
                fields: Vec::new(),
            });
            or_warn(collected.add(self, &note), warnings);
        }
        (collected, parts)
    }

    fn identity(&self, collected: &Collected, warnings: &mut Vec<Warning>) -> Identity {
        let Some((offset, bytes)) = &collected.psinfo else { return Identity::default() };
        let least = if self.class() == Class::Elf64 { NAME_END_64 } else { NAME_END_32 };
        let short = || short(("NT_PRPSINFO", *offset, bytes), "pr_fname", least);
        or_warn(info::process_info(self.header.shape, bytes).ok_or_else(short), warnings)
    }
}

/// What is wrong with a note (its name, where its contents begin, and what they are) that ends before a field of it does.
fn short(note: (&'static str, u64, &[u8]), field: &'static str, least: u64) -> CoreError {
    let (note, offset, bytes) = note;
    CoreError::ShortNote { note, offset, size: bytes.len() as u64, field, least }
}

/// The system of an ELF file's `EI_OSABI`.
fn platform(number: u8) -> Platform {
    match number {
        0 | 3 => Platform::Linux,
        other => Platform::Other(other.into()),
    }
}

impl Collected {
    /// Takes what a note says. Those of qemu's emulator have empty owners.
    fn add(&mut self, core: &Core, note: &Note) -> Result<(), CoreError> {
        let owner: &[u8] = &note.owner;
        self.held = self.held.saturating_add(note.size);
        if self.held > LARGEST_NOTES {
            return Err(CoreError::TooLarge {
                what: "note after so many others",
                offset: note.offset,
                size: note.size,
            });
        }
        if owner == OWNER_EFFIGY.as_bytes() {
            if note.kind != note::NOTHING {
                self.own.push((note.kind, (note.offset, note.description()?)));
            }
            return Ok(());
        }
        if !(owner.is_empty() || owner == OWNER_CORE.as_bytes() || owner == OWNER_LINUX.as_bytes()) {
            return Ok(());
        }
        match note.kind {
            note::PRPSINFO => self.psinfo = Some((note.offset, note.description()?)),
            note::AUXV => self.auxv = note.description()?,
            note::FILE => self.files = Some((note.offset, note.description()?)),
            note::SIGINFO => {
                // The first one belongs to the first thread, which is the one that made the process end.
                let bytes = note.description()?;
                self.signal.get_or_insert((note.offset, bytes));
            }
            kind => self.threads.add(core, kind, &note.description()?, note.offset)?,
        }
        Ok(())
    }

    /// The regions that effigy stored.
    fn regions(&self) -> Option<Vec<Region>> {
        let maps = self.own(effigy::MAPS)?;
        let mut regions: Vec<Region> = maps.lines().filter_map(Region::from_maps_line).collect();
        regions.sort_by_key(|region| region.range.start());
        Some(regions).filter(|regions| !regions.is_empty())
    }

    fn own(&self, kind: u32) -> Option<&[u8]> {
        self.own_placed(kind).map(|(_, bytes)| bytes.as_slice())
    }

    fn own_placed(&self, kind: u32) -> Option<&Contents> {
        self.own.iter().find(|(known, _)| *known == kind).map(|(_, contents)| contents)
    }

    fn document(&self, kind: u32) -> Option<Document> {
        self.own_placed(kind)
            .map(|(offset, bytes)| Document { offset: *offset, text: bytes.to_str_lossy().into_owned() })
    }

    /// Threads, the fault, and times.
    fn complete(&self, core: &Core, process: &mut Process, warnings: &mut Vec<Warning>) {
        process.threads = self.threads.finish();
        if process.threads.is_empty() {
            warnings.push(Warning::remark("the core has no threads (no NT_PRSTATUS note)"));
        }
        process.selected = process.threads.first().map(|thread| thread.id);
        let info = self.signal.as_ref().and_then(|(offset, bytes)| {
            let info = info::signal(core.header.shape, bytes);
            or_warn(
                info.map(Some).ok_or_else(|| short(("NT_SIGINFO", *offset, bytes), "si_code", SIGNAL_CODE_END)),
                warnings,
            )
        });
        let number = info.map(|info| info.number).filter(|number| *number != 0).or(self.threads.signal());
        if let (Some(thread), Some(number)) =
            (process.selected, number.filter(|number| !matches!(number, 0 | &STOPPED)))
        {
            let info = info.filter(|info| info.number == number);
            let code = info.map_or(0, |info| info.code);
            process.fault = Some(Fault::signal(thread, number, code, info.and_then(|info| info.address)));
        }
        if process.identity.pid.is_none() {
            process.identity.pid = self.threads.process_id().map(ProcessId);
        }
        let state = self.psinfo.as_ref().and_then(|(_, bytes)| bytes.get(1));
        if let Some(state) = state.filter(|state| **state != 0) {
            let main = process.identity.pid.map(|pid| ThreadId(pid.0));
            let thread = process.threads.iter_mut().find(|thread| Some(thread.id) == main);
            let set = |thread: &mut Thread| thread.state = Some(ThreadState(char::from(*state)));
            thread.into_iter().for_each(set);
        }
    }

    /// What effigy's own notes say.
    fn complete_own(&self, process: &mut Process, warnings: &mut Vec<Warning>) -> (Vec<(Attachment, u64)>, u64) {
        let bytes = |kind| BString::from(self.own(kind).unwrap_or_default());
        let files = &mut process.files;
        files.status = bytes(effigy::STATUS);
        files.limits = bytes(effigy::LIMITS);
        files.cgroup = bytes(effigy::CGROUP);
        files.environment = bytes(effigy::ENVIRONMENT);
        files.command_line = bytes(effigy::COMMAND_LINE);
        files.cpuinfo = bytes(effigy::CPUINFO);
        files.release = bytes(effigy::RELEASE);
        files.stat = bytes(effigy::STAT);
        files.uptime = bytes(effigy::UPTIME);
        process.comment = self.own(effigy::COMMENT).unwrap_or_default().to_str_lossy().into_owned();
        let (facts, gaps) = (self.document(effigy::FACTS), self.document(effigy::GAPS));
        let selected = process.selected;
        let minidump_type = facts::complete(facts.as_ref(), gaps.as_ref(), process, warnings);
        process.selected = selected;
        if let Some((offset, bytes)) = self.own_placed(effigy::WORKING_SETS) {
            working_set::complete_from(bytes, *offset, process, warnings);
        }
        let attached = facts::attachments(self.document(effigy::ATTACHMENTS).as_ref(), warnings);
        (attached, minidump_type.unwrap_or(0))
    }
}

/// Where a mapping of a file lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) range: AddressRange,
    /// Offset in the file, in bytes.
    pub(super) offset: u64,
    pub(super) path: BString,
}

impl Mapped {
    pub(super) fn holds(&self, address: Address) -> bool {
        self.range.contains(address)
    }
}
