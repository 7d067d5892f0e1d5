//! `effigy memory search`: where memory holds something.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::ControlFlow;

use clap::ValueEnum;
use effigy_analysis::Unread;
use effigy_analysis::address_space::{AddressSpace, SpaceRegion, Usage};
use effigy_analysis::search::{
    Encoding, ExpressionPattern, Finding, Hit, Outcome, Pattern, PointerPattern, PointerWidth, Search, SearchOptions,
    SearchReport, TextPattern,
};
use effigy_dump::sink::size;
use effigy_process::{Address, AddressRange};
use serde::Serialize;

use super::shape::{Byte, bytes_and_letters};
use crate::cli::{SearchArgs, UsageArg};
use crate::command::regions::{note, space, usage_name, usage_of};
use crate::exit::Exit;
use crate::print::Page;
use crate::stretches;
use crate::subject::{Look, Refused, Subject};
use crate::words;

/// Bytes of a hit's surroundings that are shown.
const SHOWN: usize = 16;

/// Gives the answer.
pub(super) fn answer(args: &SearchArgs) -> Result<Exit, Refused> {
    let look = if args.pointer_to.iter().any(|text| text.contains('@')) { Look::Registers } else { Look::Threads };
    let mut subject = Subject::open(&args.target.target, look)?;
    subject.fill(&args.images, None)?;
    let space = space(&subject);
    let patterns = patterns(&subject, args)?;
    let search = Search::new(&patterns).map_err(|error| (Exit::Usage, error.to_string()))?;
    let scope = scope(&subject, &space, &args.within)?;
    let captured = subject.memory().captured().iter().map(|captured| captured.range);
    let ranges: Vec<AddressRange> = match &scope {
        None => captured.collect(),
        Some(scope) => scope.iter().flat_map(|range| stretches::captured(&subject, *range)).collect(),
    };
    let options = SearchOptions { limit: NonZeroU64::new(args.limit), ..SearchOptions::default() };
    let mut page = Page::begin();
    if args.target.json {
        let mut answer = Answer::default();
        let report = search.run(subject.memory(), ranges, options, |finding| {
            answer.take(&subject, &space, finding);
            ControlFlow::Continue(())
        });
        answer.not_in_dump_bytes = not_in_dump(&subject, scope.as_deref());
        answer.from_images_bytes = from_images(&subject, scope.as_deref());
        page.json(&subject.document(Complete { answer, report }));
        return Ok(page.finish());
    }
    subject.say_warnings();
    let report = search.run(subject.memory(), ranges, options, |finding| {
        if let Finding::Hit(hit) = finding {
            page.line(hit_line(&subject, &space, &hit));
        }
        if page.is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    tell(&report, not_in_dump(&subject, scope.as_deref()), &mut page);
    let from_images = from_images(&subject, scope.as_deref());
    if from_images > 0 {
        page.line(format!("searched as well: {} from image files, as they are not in this dump", size(from_images)));
    }
    Ok(page.finish())
}

/// What is searched for.
fn patterns(subject: &Subject, args: &SearchArgs) -> Result<Vec<Pattern>, Refused> {
    let process = subject.process();
    let mut patterns: Vec<Pattern> = args.bytes.iter().map(|bytes| Pattern::Bytes(bytes.0.clone())).collect();
    patterns.extend(args.text.iter().map(|text| {
        let (utf8, utf16) = (!args.unicode, !args.ascii);
        Pattern::Text(TextPattern { text: text.clone(), utf8, utf16, ignore_case: args.ignore_case })
    }));
    for text in &args.pointer_to {
        let into = match subject.range(text) {
            Some(range) => range,
            None => AddressRange::sized(subject.address(text, None)?, 1),
        };
        patterns.push(Pattern::Pointers(PointerPattern {
            into,
            width: PointerWidth::of(process.architecture),
            byte_order: process.byte_order,
            unaligned: args.unaligned,
        }));
    }
    patterns.extend(args.regex.iter().map(|expression| {
        Pattern::Expression(ExpressionPattern { expression: expression.clone(), ignore_case: args.ignore_case })
    }));
    Ok(patterns)
}

/// Where to search: ranges by rising address that do not overlap, or everywhere.
fn scope(subject: &Subject, space: &AddressSpace, within: &[String]) -> Result<Option<Vec<AddressRange>>, Refused> {
    if within.is_empty() {
        return Ok(None);
    }
    let mut scope = Vec::new();
    for text in within {
        if let Ok(usage) = UsageArg::from_str(text, true) {
            let usage = usage_of(usage);
            scope.extend(space.regions.iter().filter(|region| region.usage == usage).map(|region| region.range));
        } else if let Some(range) = subject.range(text) {
            scope.push(range);
        } else {
            let usages: Vec<_> = UsageArg::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect();
            let usages: Vec<_> = usages.iter().map(clap::builder::PossibleValue::get_name).collect();
            let text = format!("--in {text}: neither START-END, nor a module, nor a usage ({})", usages.join(", "));
            return Err((Exit::Usage, text));
        }
    }
    scope.sort_unstable();
    let mut joined: Vec<AddressRange> = Vec::with_capacity(scope.len());
    for range in scope {
        match joined.last_mut().filter(|last| range.start() <= last.end()) {
            Some(last) => *last = AddressRange::new(last.start(), last.end().max(range.end())),
            None => joined.push(range),
        }
    }
    Ok(Some(joined))
}

/// Bytes in scope that come from image files.
fn from_images(subject: &Subject, scope: Option<&[AddressRange]>) -> u64 {
    let all = [AddressRange::new(Address(0), Address(u64::MAX))];
    let parts = scope.unwrap_or(&all).iter().flat_map(|range| subject.image_parts(*range));
    parts.map(|part| part.range.size()).fold(0, u64::saturating_add)
}

/// Bytes that are mapped and in scope and that neither the dump nor image files hold.
fn not_in_dump(subject: &Subject, scope: Option<&[AddressRange]>) -> u64 {
    if subject.dump().is_none() {
        return 0;
    }
    let all = [AddressRange::new(Address(0), Address(u64::MAX))];
    let scope = scope.unwrap_or(&all);
    let regions = &subject.process().regions;
    let mapped = scope.iter().flat_map(|range| {
        let first = regions.partition_point(|region| region.range.end() <= range.start());
        regions[first..].iter().map_while(move |region| region.range.intersection(range))
    });
    let missing = mapped.map(|range| range.size().saturating_sub(stretches::captured_bytes(subject, range)));
    missing.fold(0, u64::saturating_add)
}

/// The answer as JSON; docs/json.md describes it.
#[derive(Debug, Default, Serialize)]
struct Answer {
    hits: Vec<HitAnswer>,
    unread: Vec<Unread>,
    /// Bytes that are mapped where was searched and that neither the dump nor image files hold.
    not_in_dump_bytes: u64,
    /// Bytes that were taken from image files.
    from_images_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Complete {
    #[serde(flatten)]
    answer: Answer,
    report: SearchReport,
}

#[derive(Debug, Serialize)]
struct HitAnswer {
    #[serde(flatten)]
    hit: Hit,
    /// The first bytes, `??` for what is not there.
    bytes: String,
    location: Option<String>,
    usage: Option<Usage>,
    region: String,
}

impl Answer {
    fn take(&mut self, subject: &Subject, space: &AddressSpace, finding: Finding) {
        match finding {
            Finding::Unread(unread) => self.unread.push(unread),
            Finding::Hit(hit) => {
                let region = region_of(space, hit.address);
                let bytes = around(subject, hit.address).into_iter();
                self.hits.push(HitAnswer {
                    hit,
                    bytes: bytes.map(|byte| byte.map_or_else(|| "??".into(), |byte| format!("{byte:02x}"))).collect(),
                    location: subject.place(hit.address),
                    usage: region.map(|region| region.usage),
                    region: region.map(|region| note(subject, region)).unwrap_or_default(),
                });
            }
        }
    }
}

fn region_of(space: &AddressSpace, at: Address) -> Option<&SpaceRegion> {
    let next = space.regions.partition_point(|region| region.range.end() <= at);
    space.regions.get(next).filter(|region| region.range.contains(at))
}

/// The bytes from a hit on.
fn around(subject: &Subject, at: Address) -> Vec<Byte> {
    let mut bytes = Vec::new();
    while let Some(next) = at.checked_add(bytes.len() as u64).filter(|_| bytes.len() < SHOWN) {
        let mut buffer = [0; SHOWN];
        let room = buffer.len() - bytes.len();
        match subject.memory().read(next, &mut buffer[..room]) {
            Ok(count) if count > 0 => bytes.extend(buffer[..count.min(room)].iter().copied().map(Some)),
            _ => bytes.push(None),
        }
    }
    bytes
}

/// `0000003f`ff07ef0a  42 37 …  B7.....8N.l...}&  Stack [stack]`.
fn hit_line(subject: &Subject, space: &AddressSpace, hit: &Hit) -> String {
    let process = subject.process();
    let mut text =
        format!("{}  {:<65}", words::address(process, hit.address), bytes_and_letters(&around(subject, hit.address)));
    if let Some(pointer) = hit.pointer {
        let place = subject.place(pointer).unwrap_or_else(|| words::address(process, pointer));
        text = format!("{text}  -> {place}");
    }
    if hit.encoding == Some(Encoding::Utf16) {
        text.push_str("  UTF-16");
    }
    if let Some(place) = subject.place(hit.address) {
        text = format!("{text}  {place}");
    } else if let Some(region) = region_of(space, hit.address) {
        text = format!("{text}  {} {}", usage_name(region.usage), note(subject, region));
    }
    text.trim_end().to_owned()
}

/// How much was searched, and what could not be.
fn tell(report: &SearchReport, not_in_dump: u64, page: &mut Page) {
    let found = match (report.hits, report.outcome) {
        (0, _) => "no hit".to_owned(),
        (hits, Outcome::Limit) => format!("the first {}, and perhaps more (--limit)", words::count(hits, "hit")),
        (hits, _) => words::count(hits, "hit"),
    };
    page.line(format!("{found} in {} of memory", size(report.searched_bytes)));
    let unread: &BTreeMap<&str, u64> = &report.unread_bytes;
    for (reason, bytes) in unread {
        page.line(format!("not searched: {} that could not be read ({})", size(*bytes), reason.replace('_', " ")));
    }
    if not_in_dump > 0 {
        page.line(format!("not searched: {} that are mapped and not in this dump", size(not_in_dump)));
    }
}
