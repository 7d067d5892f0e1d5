//! The system, and what is known of the process as a whole.

use std::mem::offset_of;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use effigy_process::{Cpu, Identity, MemoryCounters, PageFaults, Platform, ProcessId, System, Version};

use super::context::architecture;
use super::source::Block;
use super::{Dump, ReadError, utf16};
use crate::minidump::layout::{MiscInfo, SystemInfo, VmCounters, misc, processor, stream};

/// Where `MINIDUMP_MISC_INFO_4` has its `BuildString`, and how long that is, in bytes.
const BUILD_STRING: (u64, u64) = (232, 520);

impl Dump {
    /// The system that the process ran on.
    ///
    /// # Errors
    /// When the stream is cut off.
    pub fn system(&self) -> Result<System, ReadError> {
        let Some(block) = self.block(stream::SYSTEM_INFO)? else {
            return Ok(System { platform: Platform::UNKNOWN, ..System::default() });
        };
        // What follows differs between writers. Zeros for these would be Windows on x86.
        block.part(0, offset_of!(SystemInfo, csd_version_rva) as u64, "the system's facts")?;
        let raw: SystemInfo = block.prefix("the system's facts")?;
        let platform = platform(raw.platform.get());
        let mut budget = self.file.budget();
        let text = match raw.csd_version_rva.get() {
            0 => String::new(),
            rva => self.file.string(rva.into(), "the service pack", &mut budget).unwrap_or_default(),
        };
        let version =
            Version { major: raw.major_version.get(), minor: raw.minor_version.get(), build: raw.build_number.get() };
        let known = version != Version::default();
        let mut system = System {
            platform,
            numbers: known.then_some(version),
            build: self.build_string().unwrap_or_default(),
            product_type: (platform == Platform::Windows).then_some(raw.product_type),
            suite_mask: (platform == Platform::Windows).then_some(raw.suite_mask.get()),
            processors: Some(raw.processors.into()).filter(|count| *count > 0),
            page_size: architecture(raw.architecture.get()).usual_page_size(),
            cpu: cpu(&raw, self.processor_mhz()),
            ..System::default()
        };
        if platform.is_linux() {
            uname(&text, &mut system);
        }
        system.service_pack = text;
        Ok(system)
    }

    /// What MiscInfo and the kernel's text files say of who the process is.
    ///
    /// # Errors
    /// When the stream is cut off.
    pub fn identity(&self) -> Result<Identity, ReadError> {
        let mut identity = Identity::default();
        if let Some(status) = self.kernel_file(stream::LINUX_PROC_STATUS)? {
            from_status(&status, &mut identity);
        }
        let Some(block) = self.block(stream::MISC_INFO)? else { return Ok(identity) };
        let raw: MiscInfo = block.prefix("the process's id and times")?;
        let flags = raw.flags.get();
        let seconds = |number: u32| Duration::from_secs(number.into());
        if flags & misc::PROCESS_ID != 0 {
            identity.pid = Some(ProcessId(raw.process_id.get()));
        }
        if flags & misc::PROCESS_TIMES != 0 {
            identity.started =
                Some(raw.process_created.get()).filter(|time| *time != 0).map(|time| UNIX_EPOCH + seconds(time));
            identity.user_time = Some(seconds(raw.process_user_time.get()));
            identity.kernel_time = Some(seconds(raw.process_kernel_time.get()));
        }
        Ok(identity)
    }

    /// When the dump was taken; `None` when it does not say.
    #[must_use]
    pub fn captured_at(&self) -> Option<SystemTime> {
        let seconds = Some(self.captured()).filter(|seconds| *seconds != 0)?;
        Some(UNIX_EPOCH + Duration::from_secs(seconds.into()))
    }

    /// The process's memory and page faults, as Windows counts them.
    ///
    /// # Errors
    /// When the stream is cut off.
    pub fn vm_counters(&self) -> Result<Option<(MemoryCounters, PageFaults)>, ReadError> {
        let Some(block) = self.block(stream::PROCESS_VM_COUNTERS)? else { return Ok(None) };
        let raw: VmCounters = block.prefix("the process's memory counters")?;
        let counters = MemoryCounters {
            size: raw.virtual_size.get(),
            peak_size: raw.peak_virtual_size.get(),
            resident: raw.working_set.get(),
            peak_resident: raw.peak_working_set.get(),
            data: raw.private_usage.get(),
            ..MemoryCounters::default()
        };
        // Windows does not tell faults that needed the disk from others.
        Ok(Some((counters, PageFaults { minor: raw.page_faults.get().into(), major: 0 })))
    }

    fn build_string(&self) -> Option<String> {
        let block = self.block(stream::MISC_INFO).ok()??;
        let (at, size) = BUILD_STRING;
        Some(utf16(&block.records(at, size / 2, "the build").ok()?))
    }

    fn processor_mhz(&self) -> u32 {
        let block = self.block(stream::MISC_INFO).ok().flatten();
        let raw = block.and_then(|block: Block| block.prefix::<MiscInfo>("the processor's frequency").ok());
        raw.filter(|raw| raw.flags.get() & misc::PROCESSOR_POWER_INFO != 0)
            .map_or(0, |raw| raw.processor_current_mhz.get())
    }
}

/// The platform of a `VER_PLATFORM_*` or one of Breakpad's numbers.
fn platform(number: u32) -> Platform {
    match number {
        // Windows 3.1 with Win32s, Windows 95 and its successors, Windows NT.
        0..=2 => Platform::Windows,
        0x8101 => Platform::MacOs,
        0x8102 => Platform::Ios,
        0x8201 => Platform::Linux,
        0x8203 => Platform::Android,
        other => Platform::Other(other),
    }
}

fn cpu(raw: &SystemInfo, mhz: u32) -> Cpu {
    let mut cpu = Cpu { mhz, family: raw.processor_level.get().into(), ..Cpu::default() };
    let [stepping, model] = raw.processor_revision.get().to_le_bytes();
    (cpu.model, cpu.stepping) = (model.into(), stepping.into());
    // On other architectures, and with 64-bit Windows, feature bits lie where the vendor would.
    let x86 = matches!(raw.architecture.get(), processor::X86 | processor::AMD64 | processor::X86_ON_64);
    if x86 && raw.cpu_vendor.iter().all(u8::is_ascii_graphic) {
        cpu.vendor = String::from_utf8_lossy(&raw.cpu_vendor).into_owned();
        cpu.signature = raw.cpu_signature.get();
        cpu.features = raw.cpu_features.get();
    }
    debug_assert_eq!(offset_of!(SystemInfo, cpu_vendor), 32, "as in minidumpapiset.h");
    cpu
}

/// `uname -srvm`, which Breakpad puts where Windows has its service pack: name, release, version of several words,
/// machine.
fn uname(text: &str, system: &mut System) {
    let mut words = text.splitn(3, ' ');
    system.name = words.next().unwrap_or_default().to_owned();
    system.release = words.next().unwrap_or_default().to_owned();
    let rest = words.next().unwrap_or_default();
    system.version = rest.rsplit_once(' ').map_or(rest, |(version, _)| version).to_owned();
}

/// Lines of `/proc/PID/status`.
pub(crate) fn from_status(status: &[u8], identity: &mut Identity) {
    use bstr::ByteSlice;
    for line in status.lines() {
        let Some((name, value)) = line.split_once_str(":") else { continue };
        let value = value.trim();
        let number = || value.to_str().ok()?.parse().ok();
        match name {
            b"Name" => identity.name = value.into(),
            b"Tgid" => identity.pid = number().map(ProcessId).or(identity.pid),
            b"Pid" if identity.pid.is_none() => identity.pid = number().map(ProcessId),
            b"PPid" => identity.parent = number().map(ProcessId),
            _ => {}
        }
    }
}
