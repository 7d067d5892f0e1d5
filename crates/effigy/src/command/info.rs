//! `effigy info`: what a dump is, and what its process was doing.
//!
//! ```text
//! $ effigy info app.dmp
//! Loading Dump File [app.dmp]
//! User Mini Dump File with Full Memory: Only application data is available
//! ```

mod banner;
mod missing;

use std::time::{Duration, SystemTime};

use effigy_dump::sink::size;
use effigy_process::{
    Architecture, ByteOrder, Credentials, Fault, Journal, MemoryCounters, PageFaults, Process, System,
};
use serde::Serialize;

use crate::cli::InfoArgs;
use crate::exit::Exit;
use crate::print::{self, Page};
use crate::subject::{Look, Refused, Subject};
use crate::words;

/// Runs the command.
pub(crate) fn run(args: &InfoArgs) -> Exit {
    super::tell(answer(args))
}

fn answer(args: &InfoArgs) -> Result<Exit, Refused> {
    let mut subject = Subject::open(&args.target.target, Look::Passing)?;
    subject.look_for_images(&args.images)?;
    let mut page = Page::begin();
    if args.target.json {
        page.json(&subject.document(Answer::of(&subject)));
    } else {
        text(&subject, &mut page);
    }
    Ok(page.finish())
}

/// The answer as JSON; docs/json.md describes it.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    /// What kind of dump it is, in WinDbg's words.
    banner: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    minidump_type: Option<String>,
    architecture: Architecture,
    byte_order: ByteOrder,
    system: &'a System,
    process: ProcessAnswer<'a>,
    #[serde(serialize_with = "effigy_process::text::unix_seconds_option")]
    captured_unix: Option<SystemTime>,
    comment: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<&'a Journal>,
    fault: Option<&'a Fault>,
    further_faults: &'a [Fault],
    selected_thread: Option<u32>,
    counts: Counts,
    /// Memory of the process as the system counts it.
    memory: Option<&'a MemoryCounters>,
    page_faults: Option<&'a PageFaults>,
    credentials: Option<&'a Credentials>,
    missing: Vec<missing::Group>,
    /// What of the missing could be read from image files; null where that was not looked for.
    images: Option<missing::ImagesAnswer>,
    attachments: Vec<AttachmentAnswer>,
}

/// Who the process is.
#[derive(Debug, Serialize)]
struct ProcessAnswer<'a> {
    pid: Option<u32>,
    /// Its ids in nested PID namespaces, outermost first.
    namespace_pids: &'a [u32],
    parent: Option<u32>,
    group: Option<u32>,
    session: Option<u32>,
    name: String,
    executable: String,
    executable_deleted: bool,
    build_id: Option<String>,
    command_line: String,
    #[serde(serialize_with = "effigy_process::text::unix_seconds_option")]
    started_unix: Option<SystemTime>,
    uptime_seconds: Option<f64>,
    user_seconds: Option<f64>,
    kernel_seconds: Option<f64>,
}

impl<'a> ProcessAnswer<'a> {
    fn of(process: &'a Process) -> Self {
        let identity = &process.identity;
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        Self {
            pid: identity.pid.map(|pid| pid.0),
            namespace_pids: &identity.namespace_pids,
            parent: identity.parent.map(|parent| parent.0),
            group: identity.group,
            session: identity.session,
            name: String::from_utf8_lossy(&identity.name).into_owned(),
            executable: String::from_utf8_lossy(&identity.executable).into_owned(),
            executable_deleted: identity.executable_deleted,
            build_id: identity.build_id.as_ref().map(ToString::to_string),
            command_line: words::zero_ended(&process.files.command_line),
            started_unix: identity.started,
            uptime_seconds: seconds(process_uptime(process)),
            user_seconds: seconds(identity.user_time),
            kernel_seconds: seconds(identity.kernel_time),
        }
    }
}

/// How much of everything there is.
#[derive(Debug, Serialize)]
struct Counts {
    threads: usize,
    modules: usize,
    unloaded_modules: usize,
    regions: usize,
    handles: usize,
    /// Bytes of the address space that the regions take.
    mapped_bytes: u64,
    /// Memory that a dump holds; of a running process nothing is held.
    captured_bytes: Option<u64>,
    captured_ranges: Option<usize>,
}

/// A file that is embedded in the dump.
#[derive(Debug, Serialize)]
struct AttachmentAnswer {
    name: String,
    length: u64,
    offset: u64,
}

impl<'a> Answer<'a> {
    fn of(subject: &'a Subject) -> Self {
        let process = subject.process();
        let dump = subject.dump();
        let attachments = dump.map_or(&[][..], |dump| &dump.attachments).iter();
        Self {
            banner: banner::kind(subject),
            minidump_type: dump.filter(|dump| dump.minidump_type != 0).map(|dump| format!("{:#x}", dump.minidump_type)),
            architecture: process.architecture,
            byte_order: process.byte_order,
            system: &process.system,
            process: ProcessAnswer::of(process),
            captured_unix: process.captured,
            comment: &process.comment,
            journal: process.journal.as_ref(),
            fault: process.fault.as_ref(),
            further_faults: &process.further_faults,
            selected_thread: process.selected.map(|id| id.0),
            counts: Counts::of(subject),
            memory: process.counters.as_ref(),
            page_faults: process.page_faults.as_ref(),
            credentials: process.credentials.as_ref(),
            missing: missing::groups(subject),
            images: missing::images(subject),
            attachments: attachments
                .map(|(file, offset)| AttachmentAnswer {
                    name: file.name.to_string(),
                    length: file.length,
                    offset: *offset,
                })
                .collect(),
        }
    }
}

impl Counts {
    fn of(subject: &Subject) -> Self {
        let process = subject.process();
        let dump = subject.dump().map(|_| subject.memory());
        Self {
            threads: process.threads.len(),
            modules: process.modules.len(),
            unloaded_modules: process.unloaded_modules.len(),
            regions: process.regions.len(),
            handles: process.handles.len(),
            mapped_bytes: process.regions.iter().map(|region| region.range.size()).fold(0, u64::saturating_add),
            captured_bytes: dump.map(|memory| memory.captured_bytes()),
            captured_ranges: dump.map(|memory| memory.captured().len()),
        }
    }
}

/// How long the process had run.
fn process_uptime(process: &Process) -> Option<Duration> {
    let by_clock = process.identity.started.zip(process.captured);
    let by_clock = by_clock.and_then(|(started, captured)| captured.duration_since(started).ok());
    let by_boot = process.system.uptime.and_then(|uptime| Duration::try_from_secs_f64(uptime).ok());
    let by_boot = by_boot.zip(process.identity.started_since_boot).map(|(now, then)| now.saturating_sub(then));
    by_clock.or(by_boot)
}

fn text(subject: &Subject, page: &mut Page) {
    banner::print(subject, page);
    page.line("");
    for (name, value) in facts(subject) {
        page.line(format!("{name:<14}{value}"));
    }
    let process = subject.process();
    if process.fault.is_some() {
        page.line("");
        page.line("This dump file has an exception of interest stored in it.");
        for fault in process.fault.iter().chain(&process.further_faults).take(20) {
            page.line(banner::fault(subject, fault));
        }
    }
    let missing = missing::lines(subject);
    if !missing.is_empty() {
        page.line("");
        missing.iter().for_each(|line| page.line(line));
    }
    for warning in subject.warnings() {
        page.line(format!("warning: {warning}"));
    }
}

/// What there is to say of the process, by name.
fn facts(subject: &Subject) -> Vec<(&'static str, String)> {
    let process = subject.process();
    let identity = &process.identity;
    let mut facts = Vec::new();
    let mut say = |name, value: String| {
        if !value.is_empty() {
            facts.push((name, value));
        }
    };
    let pid = identity.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    say("Process", format!("{}{pid}", print::safe(&identity.name)).trim().to_owned());
    let deleted = if identity.executable_deleted { " (deleted)" } else { "" };
    say("Executable", format!("{}{deleted}", print::safe(&identity.executable)));
    say("Build id", identity.build_id.as_ref().map(ToString::to_string).unwrap_or_default());
    say("Command line", words::zero_ended(&process.files.command_line));
    say("Parent", identity.parent.map(|parent| parent.to_string()).unwrap_or_default());
    if let Some(credentials) = &process.credentials {
        say("User", format!("{} (group {})", credentials.uid[1], credentials.gid[1]));
    }
    let counts = Counts::of(subject);
    let count = |number: usize, noun| words::count(number as u64, noun);
    let unloaded = match counts.unloaded_modules {
        0 => String::new(),
        number => format!(" and {number} unloaded"),
    };
    let mut parts = vec![count(counts.threads, "thread"), format!("{}{unloaded}", count(counts.modules, "module"))];
    parts.push(format!("{} ({})", count(counts.regions, "region"), size(counts.mapped_bytes)));
    parts.push(count(counts.handles, "handle"));
    say("Contents", parts.join(", "));
    if let (Some(bytes), Some(ranges)) = (counts.captured_bytes, counts.captured_ranges) {
        say("Memory", format!("{} in {}", size(bytes), count(ranges, "range")));
    }
    if let Some(counters) = &process.counters {
        let (resident, swapped) = (size(counters.resident), size(counters.swapped));
        say("Working set", format!("{resident} resident, {swapped} swapped out, {} locked", size(counters.locked)));
    }
    if let Some(faults) = &process.page_faults {
        say("Page faults", format!("{} soft, {} hard", faults.minor, faults.major));
    }
    for (file, _) in subject.dump().map_or(&[][..], |dump| &dump.attachments).iter().take(20) {
        say("Embedded", format!("{} ({})", print::safe(&file.name), size(file.length)));
    }
    facts
}
