//! What WinDbg says when it opens a dump, and in its words.

use std::time::{Duration, SystemTime};

use effigy_formats::{Coverage, DumpKind};
use effigy_process::{Address, Architecture, Fault, FaultKind, Platform, Process, System};
use jiff::Timestamp;

use super::process_uptime;
use crate::print::{self, Page};
use crate::subject::Subject;
use crate::words;

/// What kind of dump it is, and how much is in it.
pub(super) fn kind(subject: &Subject) -> String {
    let Some(dump) = subject.dump() else {
        return "Live process: All of its memory can be read, and changes meanwhile".to_owned();
    };
    let (name, full_name) = match dump.kind {
        DumpKind::Minidump => ("User Mini Dump File", "User Mini Dump File with Full Memory"),
        DumpKind::ElfCore => ("User ELF Core File", "User ELF Core File with Full Memory"),
        _ => ("User Mini Dump File, reflected", "User Mini Dump File with Full Memory, reflected"),
    };
    match &*dump.held() {
        Coverage::Full => format!("{full_name}: Only application data is available"),
        // One that was made of a core which does not tell is no fuller than that, whatever its header says.
        Coverage::Listed(_) => format!("{name}: All memory that it lists as writable is available"),
        Coverage::Partial(_) => format!("{name}: Only registers, stack and portions of memory are available"),
        _ => format!("{name}: Whether all memory is available is not known"),
    }
}

/// Prints the banner.
pub(super) fn print(subject: &Subject, page: &mut Page) {
    let process = subject.process();
    match subject.dump() {
        Some(dump) => {
            page.line(format!("Loading Dump File [{}]", subject.name()));
            for line in process.comment.lines() {
                page.line(format!("Comment: '{}'", print::safe(line.as_bytes())));
            }
            page.line(kind(subject));
            if let Some(compression) = dump.compression {
                page.line(format!("The file is compressed ({})", compression.as_str()));
            }
        }
        None => page.line(kind(subject)),
    }
    page.line(system(process));
    let host = &process.system.host;
    if !host.is_empty() {
        page.line(format!("Machine Name: {}", print::safe(host.as_bytes())));
    }
    if let Some(product) = product(&process.system) {
        page.line(product);
    }
    if !process.system.build.is_empty() {
        page.line(format!("Edition build lab: {}", print::safe(process.system.build.as_bytes())));
    }
    page.line(format!("Debug session time: {}", process.captured.map_or_else(|| "not available".into(), time)));
    let up = process.system.uptime.and_then(|uptime| Duration::try_from_secs_f64(uptime).ok());
    page.line(format!("System Uptime: {}", span(up)));
    page.line(format!("Process Uptime: {}", span(process_uptime(process))));
    let identity = &process.identity;
    if let (Some(kernel), Some(user)) = (identity.kernel_time, identity.user_time) {
        page.line(format!("  Kernel time: {}", words::span(kernel)));
        page.line(format!("  User time: {}", words::span(user)));
    }
}

fn span(time: Option<Duration>) -> String {
    time.map_or_else(|| "not available".to_owned(), words::span)
}

/// `Sat Nov 21 10:56:59.000 2026 (UTC + 0:00)`.
fn time(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(
        |_| "not available".to_owned(),
        |stamp| stamp.strftime("%a %b %e %H:%M:%S%.3f %Y (UTC + 0:00)").to_string(),
    )
}

/// `Windows 10 Version 19045 MP (8 procs) Free x64`, `Linux 6.18.44 MP (2 procs) x86_64`.
fn system(process: &Process) -> String {
    let system = &process.system;
    let processors = match system.processors {
        Some(1) => " UP".to_owned(),
        Some(number) => format!(" MP ({number} procs)"),
        None => String::new(),
    };
    let pack = match system.service_pack.as_str() {
        pack if pack.is_empty() || system.platform.is_linux() => String::new(),
        pack => format!(" ({})", print::safe(pack.as_bytes())),
    };
    if system.platform == Platform::Windows {
        let version = system.numbers.unwrap_or_default();
        let name = windows_name(version.major, version.minor);
        let architecture = windows_architecture(process.architecture);
        return format!("Windows {name} Version {}{pack}{processors} Free {architecture}", version.build);
    }
    let numbers = system.numbers.filter(|numbers| *numbers != effigy_process::Version::default());
    let release = match (&system.release, numbers) {
        (release, _) if !release.is_empty() => format!(" {}", print::safe(release.as_bytes())),
        (_, Some(numbers)) => format!(" {numbers}"),
        _ => String::new(),
    };
    let name = if system.platform.as_str() == "unknown" { "Unknown system" } else { system.platform.as_str() };
    format!("{name}{release}{pack}{processors} {}", process.architecture)
}

fn windows_name(major: u32, minor: u32) -> String {
    match (major, minor) {
        (10, _) => "10".to_owned(),
        (6, 3) => "8.1".to_owned(),
        (6, 2) => "8".to_owned(),
        (6, 1) => "7".to_owned(),
        (6, 0) => "Vista".to_owned(),
        (5, 2) => "Server 2003".to_owned(),
        (5, 1) => "XP".to_owned(),
        (5, 0) => "2000".to_owned(),
        _ => format!("{major}.{minor}"),
    }
}

fn windows_architecture(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "x64",
        Architecture::Aarch64 => "ARM 64-bit (AArch64)",
        other => other.as_str(),
    }
}

/// `Product: WinNt, suite: SingleUserTS`; names of `wProductType` and of `VER_SUITE_*` bits.
fn product(system: &System) -> Option<String> {
    const SUITES: [(u16, &str); 8] = [
        (0x0001, "SmallBusiness"),
        (0x0002, "Enterprise"),
        (0x0010, "TerminalServer"),
        (0x0080, "DataCenter"),
        (0x0100, "SingleUserTS"),
        (0x0200, "Personal"),
        (0x0400, "Blade"),
        (0x8000, "WHServer"),
    ];
    let product = match system.product_type? {
        1 => "WinNt".to_owned(),
        2 => "LanManNt".to_owned(),
        3 => "Server".to_owned(),
        other => format!("{other}"),
    };
    let mask = system.suite_mask.unwrap_or(0);
    let suites: Vec<_> = SUITES.iter().filter(|(bit, _)| mask & bit != 0).map(|(_, name)| *name).collect();
    let suites = if suites.is_empty() { String::new() } else { format!(", suite: {}", suites.join(" ")) };
    Some(format!("Product: {product}{suites}"))
}

/// `(4711.4712): Segmentation fault - SIGSEGV / SEGV_MAPERR at app+0x1139, accessing 00000000`00000045`.
pub(super) fn fault(subject: &Subject, fault: &Fault) -> String {
    let process = subject.process();
    let pid = process.identity.pid.map(|pid| pid.0);
    let ids = match (process.system.platform, pid) {
        (Platform::Windows, pid) => format!("{:x}.{:x}", pid.unwrap_or(0), fault.thread.0),
        (_, Some(pid)) => format!("{pid}.{}", fault.thread),
        (_, None) => format!("{}", fault.thread),
    };
    let further = fault.detail().filter(|_| fault.kind.detail().is_none());
    let further = further.map(|name| format!(" / {name}")).unwrap_or_default();
    let mut text = format!("({ids}): {} - {}{further}", fault_words(fault.kind), fault.kind);
    let at = process.thread(fault.thread).and_then(|thread| subject.registers_of(thread));
    if let Some(at) = at.and_then(|registers| registers.general()?.instruction_pointer()) {
        text = format!("{text} at {}", place(subject, at));
    }
    if let Some(accessed) = fault.accessed().filter(|_| is_about_an_address(fault.kind)) {
        let how = match (fault.kind, fault.parameters.first()) {
            (FaultKind::Windows { .. }, Some(0)) => "reading",
            (FaultKind::Windows { .. }, Some(1)) => "writing",
            (FaultKind::Windows { .. }, Some(8)) => "executing",
            _ => "accessing",
        };
        text = format!("{text}, {how} {}", words::address(process, accessed));
    }
    text
}

/// Whether something could not be accessed: other signals say nothing of that, though a dump may have an address. What
/// kind of a signal it was is not asked, as Breakpad's older dumps do not tell.
fn is_about_an_address(kind: FaultKind) -> bool {
    match kind {
        FaultKind::Signal { number, .. } => matches!(number, 7 | 11),
        _ => true,
    }
}

fn place(subject: &Subject, address: Address) -> String {
    subject.place(address).unwrap_or_else(|| words::address(subject.process(), address))
}

/// What happened, in words: those of strsignal(3), and those that WinDbg has for exceptions.
fn fault_words(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Signal { number, .. } => match number {
            3 => "Quit",
            4 => "Illegal instruction",
            5 => "Trace or breakpoint trap",
            6 => "Aborted",
            7 => "Bus error",
            8 => "Arithmetic exception",
            9 => "Killed",
            11 => "Segmentation fault",
            15 => "Terminated",
            31 => "Bad system call",
            _ => "Signal",
        },
        FaultKind::Windows { code, .. } => match code {
            0x4000_0015 => "Fatal application exit",
            0x8000_0003 => "Break instruction exception",
            0x8000_0004 => "Single step exception",
            0xc000_0005 => "Access violation",
            0xc000_0006 => "In-page I/O error",
            0xc000_001d => "Illegal instruction",
            0xc000_0094 => "Integer divide-by-zero",
            0xc000_00fd => "Stack overflow",
            0xc000_0374 => "Heap corruption",
            0xc000_0409 => "Security check failure or stack buffer overrun",
            0xe043_4352 => "CLR exception",
            0xe06d_7363 => "C++ exception",
            _ => "Unknown exception",
        },
        FaultKind::Mach { exception, .. } => match exception {
            1 => "Could not access memory",
            2 => "Illegal instruction",
            3 => "Arithmetic exception",
            6 => "Trace or breakpoint trap",
            10 => "Abnormal exit",
            11 => "Resource limit",
            12 => "Violation of a guarded resource",
            _ => "Exception",
        },
        _ => "Exception",
    }
}
