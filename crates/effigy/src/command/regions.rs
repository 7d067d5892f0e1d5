//! `effigy regions`: the address space, and what it is used for: WinDbg's `!address`.

mod filter;
mod held;
mod summary;

use effigy_analysis::address_space::{AddressSpace, Kind, SpaceOptions, SpaceRegion, State, Usage};
use effigy_process::{Address, AddressRange, Memory, Region, RegionFlags};
use serde::Serialize;

use self::filter::Filter;
pub(super) use self::filter::usage_of;
use self::held::{Counted, Held};
use crate::cli::RegionsArgs;
use crate::exit::Exit;
use crate::print::{self, Page};
use crate::subject::{Look, Refused, Subject};
use crate::table::{Align, Table};
use crate::words;

/// Runs the command.
pub(crate) fn run(args: &RegionsArgs) -> Exit {
    super::tell(answer(args))
}

fn answer(args: &RegionsArgs) -> Result<Exit, Refused> {
    let wants_register = args.at.as_deref().is_some_and(|at| at.starts_with('@'));
    let look = if wants_register { Look::Registers } else { Look::Threads };
    let mut subject = Subject::open(&args.target.target, look)?;
    subject.look_for_images(&args.images)?;
    let at = args.at.as_deref().map(|at| subject.address(at, None)).transpose()?;
    let filter = Filter::new(args, at);
    let space = space(&subject);
    let regions: Vec<&SpaceRegion> = space.regions.iter().filter(|region| filter.fits(region)).collect();
    let mut page = Page::begin();
    if args.target.json {
        let summary = args.summary.then(|| summary::Summary::of(&subject, &space));
        let regions = (!args.summary).then(|| regions.iter().map(|region| Row::of(&subject, region)).collect());
        let counted = Counted::of(&subject);
        page.json(&subject.document(Answer { listed: space.listed, counted, regions, summary }));
        return Ok(page.finish());
    }
    subject.say_warnings();
    match at {
        Some(at) => one(&subject, at, &regions, &mut page),
        None if args.summary => summary::print(&subject, &space, &mut page),
        None => {
            if !space.listed {
                page.line("The dump lists no regions: these are its modules and stacks.");
            }
            if let Some(text) = held::when_counted(&subject) {
                page.line(format!("Resident, swapped and shared memory was counted {text}."));
            }
            table(&subject, &regions, filter.wants_free()).print(&mut page);
        }
    }
    Ok(page.finish())
}

/// The address space of a subject, with what its memory tells of it.
pub(super) fn space(subject: &Subject) -> AddressSpace {
    let memory: &dyn Memory = subject.memory();
    AddressSpace::of(subject.process(), SpaceOptions { memory: Some(memory), lists_all: subject.lists_all() })
}

/// The answer as JSON; docs/json.md describes it.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    /// Whether the source lists regions.
    listed: bool,
    /// When regions' memory was counted.
    counted: Option<Counted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    regions: Option<Vec<Row<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<summary::Summary<'a>>,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    region: &'a SpaceRegion,
    module_name: Option<String>,
    /// Whether it is locked in memory.
    locked: bool,
    /// Bytes of a file of which the process has copies of its own.
    copied_on_write: Option<u64>,
    #[serde(flatten)]
    held: Held,
}

impl<'a> Row<'a> {
    fn of(subject: &Subject, region: &'a SpaceRegion) -> Self {
        let source = subject.process().region_at(region.range.start());
        let locked = source.is_some_and(|source| source.flags.contains(RegionFlags::LOCKED));
        let copied_on_write = source.and_then(Region::copied_on_write);
        let held = Held::of(subject, region.range);
        Self { region, module_name: module_name(subject, region), locked, copied_on_write, held }
    }
}

fn module_name(subject: &Subject, region: &SpaceRegion) -> Option<String> {
    let module = region.module.and_then(|index| subject.process().modules.get(index))?;
    Some(print::safe(module.name()))
}

/// What a region is used for, in WinDbg's words where it has some.
pub(super) fn usage_name(usage: Usage) -> &'static str {
    match usage {
        Usage::Free => "Free",
        Usage::NotListed => "<not listed>",
        Usage::Image => "Image",
        Usage::Heap => "Heap",
        Usage::Stack => "Stack",
        Usage::Teb => "TEB",
        Usage::Peb => "PEB",
        Usage::MappedFile => "MappedFile",
        Usage::Shared => "Shared",
        Usage::Kernel => "Kernel",
        _ => "<unknown>",
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Image => "MEM_IMAGE",
        Kind::Mapped => "MEM_MAPPED",
        Kind::Private => "MEM_PRIVATE",
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Commit => "MEM_COMMIT",
        State::Reserve => "MEM_RESERVE",
        State::Free => "MEM_FREE",
        State::NotListed => "not listed",
    }
}

fn table(subject: &Subject, regions: &[&SpaceRegion], free: bool) -> Table {
    let process = subject.process();
    let mut table = Table::new(&[
        ("BaseAddress", Align::Left),
        ("EndAddress+1", Align::Left),
        ("RegionSize", Align::Right),
        ("Type", Align::Left),
        ("State", Align::Left),
        ("Protect", Align::Left),
        ("Resident", Align::Right),
        ("Swapped", Align::Right),
        ("Shared", Align::Right),
        ("FromImages", Align::Right),
        ("Usage", Align::Left),
        ("", Align::Left),
    ]);
    let bytes = |bytes: Option<u64>| bytes.map(words::short_number).unwrap_or_default();
    for region in regions.iter().filter(|region| free || region.is_busy()) {
        table.row([
            words::address(process, region.range.start()),
            words::address(process, region.range.end()),
            words::short_number(region.range.size()),
            region.kind.map(kind_name).unwrap_or_default().to_owned(),
            state_name(region.state).to_owned(),
            region.protection.map(|rights| rights.to_string()).unwrap_or_default(),
            bytes(region.resident),
            bytes(region.swapped.filter(|swapped| *swapped > 0)),
            bytes(region.shared.filter(|shared| *shared > 0)),
            bytes(Held::of(subject, region.range).from_images.filter(|bytes| *bytes > 0)),
            usage_name(region.usage).to_owned(),
            note(subject, region),
        ]);
    }
    table
}

/// The file or the name, and whose stack it is.
pub(super) fn note(subject: &Subject, region: &SpaceRegion) -> String {
    let name = match module_name(subject, region) {
        Some(module) if region.name.is_empty() => module,
        _ => print::safe(&region.name),
    };
    let threads: Vec<_> = region.threads.iter().take(8).map(ToString::to_string).collect();
    let more = if region.threads.len() > threads.len() { " …" } else { "" };
    match threads.as_slice() {
        [] => name,
        threads => format!("{name} [thread {}{more}]", threads.join(" ")).trim_start().to_owned(),
    }
}

/// All that is known of the region of an address.
fn one(subject: &Subject, at: Address, regions: &[&SpaceRegion], page: &mut Page) {
    let process = subject.process();
    let Some(region) = regions.first() else {
        page.line(format!("{} is outside of the addresses that a process can use", words::address(process, at)));
        return;
    };
    let mut say = |name: &str, value: String| {
        if !value.is_empty() {
            page.line(format!("{name:<24}{value}"));
        }
    };
    let known = |bytes: Option<u64>| bytes.map(summary::long_size).unwrap_or_default();
    say("Usage:", usage_name(region.usage).to_owned());
    say("Base Address:", words::address(process, region.range.start()));
    say("End Address:", words::address(process, region.range.end()));
    say("Region Size:", summary::long_size(region.range.size()));
    say("State:", state_name(region.state).to_owned());
    say("Protect:", region.protection.map(|rights| rights.to_string()).unwrap_or_default());
    say("Type:", region.kind.map(kind_name).unwrap_or_default().to_owned());
    if let Some(source) = process.region_at(at) {
        let windows = source.windows;
        say("Allocation Base:", windows.map(|w| words::address(process, w.allocation_base)).unwrap_or_default());
        say("Allocation Protect:", windows.map(|w| format!("{:#x}", w.allocation_protection)).unwrap_or_default());
        say("File offset:", if source.inode != 0 { format!("{:#x}", source.offset) } else { String::new() });
        let flags: Vec<_> = source.flags.iter_names().map(|(name, _)| name).collect();
        say("Flags:", flags.join(" "));
        say("Copied on write:", known(source.copied_on_write()));
        say("Locked:", if source.flags.contains(RegionFlags::LOCKED) { "yes".to_owned() } else { String::new() });
    }
    say("Name:", print::safe(&region.name));
    say("Module:", subject.place(at).unwrap_or_default());
    say("Threads:", region.threads.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    say("Resident:", known(region.resident));
    say("Swapped:", known(region.swapped));
    say("Shared:", known(region.shared));
    if region.resident.is_some() {
        say("Counted:", held::when_counted(subject).unwrap_or_default());
    }
    let held = Held::of(subject, region.range);
    let part = |bytes| part_of(region.range, bytes);
    say("In this dump:", held.in_dump.map(part).unwrap_or_default());
    say("From images:", held.from_images.filter(|bytes| *bytes > 0).map(part).unwrap_or_default());
    for file in subject.image_parts(region.range) {
        page.line(format!("{:<24}{}", "Image file:", print::safe(file.path.as_bytes())));
    }
}

/// How much of a range so many bytes are.
fn part_of(range: AddressRange, bytes: u64) -> String {
    match bytes {
        0 => "nothing of it".to_owned(),
        all if all == range.size() => "all of it".to_owned(),
        some => format!("{} of it", summary::long_size(some)),
    }
}
