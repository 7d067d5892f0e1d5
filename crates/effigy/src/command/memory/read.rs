//! `effigy memory read`: memory as bytes, numbers, text or pointers.

use std::ops::ControlFlow;

use effigy_process::{Address, AddressRange, ByteOrder, Process};
use serde::Serialize;

use super::shape::{Byte, Shape};
use crate::cli::{ReadArgs, ShapeArg};
use crate::exit::Exit;
use crate::print::{self, Page};
use crate::stretches::{self, Missing};
use crate::subject::{FromImage, Look, Refused, Subject};
use crate::words;

/// Bytes that are read when nothing else is said, as WinDbg does.
const USUAL: u64 = 128;
/// Bytes within which a text is to end when nothing else is said.
const LONGEST_TEXT: u64 = 64 << 10;
/// Letters of a text on a line.
const LETTERS: usize = 32;
/// Most bytes of an answer in JSON: it is put together as a whole.
const MOST_JSON: u64 = 64 << 20;
/// Most missing ranges that are told to people.
const MOST_MISSING: usize = 20;

/// Gives the answer.
pub(super) fn answer(args: &ReadArgs) -> Result<Exit, Refused> {
    let mut subject = Subject::open(&args.target.target, look(&args.address))?;
    let range = range(&subject, args)?;
    subject.fill(&args.images, Some(range))?;
    let mut page = Page::begin();
    if args.target.json {
        if range.size() > MOST_JSON {
            let text = format!("{} bytes are too many for JSON; `effigy memory write-file` has no limit", range.size());
            return Err((Exit::Usage, text));
        }
        json(&subject, args.shape, range, &mut page);
        return Ok(page.finish());
    }
    subject.say_warnings();
    let missing = match args.shape {
        ShapeArg::Ascii | ShapeArg::Unicode => text(&subject, args.shape, range, &mut page),
        _ => numbers(&subject, args.shape, range, &mut page),
    };
    tell_images(&subject, range, &mut page);
    tell_missing(subject.process(), &missing, &mut page);
    Ok(page.finish())
}

/// A running process is stopped only where its registers are asked for.
pub(super) fn look(address: &str) -> Look {
    if address.contains('@') { Look::Registers } else { Look::Passing }
}

fn range(subject: &Subject, args: &ReadArgs) -> Result<AddressRange, Refused> {
    let start = subject.address(&args.address, args.thread)?;
    let is_text = matches!(args.shape, ShapeArg::Ascii | ShapeArg::Unicode);
    let range = match &args.end {
        Some(end) => AddressRange::new(start, subject.address(end, args.thread)?),
        None => AddressRange::sized(start, args.length.unwrap_or(if is_text { LONGEST_TEXT } else { USUAL })),
    };
    if range.is_empty() {
        return Err((Exit::Usage, format!("nothing lies between {start} and its end: --end is to be behind it")));
    }
    Ok(range)
}

/// Prints numbers, and gives what is missing.
fn numbers(subject: &Subject, shape: ShapeArg, range: AddressRange, page: &mut Page) -> Vec<Missing> {
    let process = subject.process();
    let form = Shape::of(shape, process);
    let mut line: Vec<Byte> = Vec::with_capacity(form.line);
    let mut at = range.start();
    let mut print = |line: &mut Vec<Byte>, page: &mut Page| {
        let text = match shape {
            ShapeArg::Pointers => form.pointer_text(subject, at, line),
            _ => form.text(process, at, line),
        };
        page.line(text.trim_end());
        at = at.saturating_add(line.len() as u64);
        line.clear();
    };
    let missing = each_byte(subject, range, |byte| {
        line.push(byte);
        if line.len() == form.line {
            print(&mut line, page);
        }
        if page.is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if !line.is_empty() {
        print(&mut line, page);
    }
    missing
}

/// Calls `take` with each byte, there or not, until it breaks; gives what is missing.
fn each_byte(subject: &Subject, range: AddressRange, mut take: impl FnMut(Byte) -> ControlFlow<()>) -> Vec<Missing> {
    stretches::visit(subject, range, |part, bytes| match bytes {
        Ok(bytes) => bytes.iter().try_for_each(|byte| take(Some(*byte))),
        Err(_) => (0..part.size()).try_for_each(|_| take(None)),
    })
}

/// Letters of a text up to its end.
struct Letters {
    unit: usize,
    order: ByteOrder,
    pending: Vec<u8>,
    text: Vec<u16>,
}

impl Letters {
    fn new(shape: ShapeArg, order: ByteOrder) -> Self {
        let unit = if shape == ShapeArg::Unicode { 2 } else { 1 };
        Self { unit, order, pending: Vec::new(), text: Vec::new() }
    }

    /// Takes a byte, and breaks at the text's end, or where it is not there.
    fn take(&mut self, byte: Byte) -> ControlFlow<()> {
        let Some(byte) = byte else { return ControlFlow::Break(()) };
        self.pending.push(byte);
        if self.pending.len() < self.unit {
            return ControlFlow::Continue(());
        }
        let letter = u16::try_from(self.order.number(&self.pending)).unwrap_or(0);
        self.pending.clear();
        if letter == 0 {
            return ControlFlow::Break(());
        }
        self.text.push(letter);
        ControlFlow::Continue(())
    }

    /// The letters of a line. None that takes several numbers is cut by its end.
    fn line(&self, start: usize) -> &[u16] {
        let rest = &self.text[start..];
        let mut end = rest.len().min(LETTERS);
        let continues =
            |letter: &u16| if self.unit == 2 { matches!(letter, 0xdc00..0xe000) } else { letter & 0xc0 == 0x80 };
        while end + 4 > LETTERS && end > 1 && rest.get(end).is_some_and(continues) {
            end -= 1;
        }
        &rest[..end]
    }

    /// Text for people: what is no letter is shown as an escape.
    fn shown(letters: &[u16], unit: usize) -> String {
        if unit == 2 {
            return print::safe(String::from_utf16_lossy(letters).as_bytes());
        }
        let bytes: Vec<u8> = letters.iter().filter_map(|letter| u8::try_from(*letter).ok()).collect();
        let mut text = String::new();
        for chunk in bytes.utf8_chunks() {
            text.push_str(&print::safe(chunk.valid().as_bytes()));
            text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
        }
        text
    }

    fn string(letters: &[u16], unit: usize) -> String {
        if unit == 2 {
            return String::from_utf16_lossy(letters);
        }
        let bytes: Vec<u8> = letters.iter().filter_map(|letter| u8::try_from(*letter).ok()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Prints a text up to its end, and gives what is missing of it.
fn text(subject: &Subject, shape: ShapeArg, range: AddressRange, page: &mut Page) -> Vec<Missing> {
    let process = subject.process();
    let mut letters = Letters::new(shape, process.byte_order);
    let missing = each_byte(subject, range, |byte| letters.take(byte));
    let mut done = 0;
    while done < letters.text.len() {
        let line = letters.line(done);
        let at = range.start().saturating_add((done * letters.unit) as u64);
        page.line(format!("{}  \"{}\"", words::address(process, at), Letters::shown(line, letters.unit)));
        done += line.len();
    }
    if let Some(first) = missing.first() {
        page.line(format!("{}  ????????", words::address(process, first.range.start())));
    } else if letters.text.is_empty() {
        page.line(format!("{}  \"\"", words::address(process, range.start())));
    }
    missing
}

/// Says below the lines what of them comes from image files.
pub(super) fn tell_images(subject: &Subject, range: AddressRange, page: &mut Page) {
    let parts = subject.image_parts(range);
    for part in parts.iter().take(MOST_MISSING) {
        let path = print::safe(part.path.as_bytes());
        page.line(format!("== {}: from image {path}", words::range(subject.process(), part.range)));
    }
    if parts.len() > MOST_MISSING {
        page.line(format!("== and {} ranges more", parts.len() - MOST_MISSING));
    }
}

/// Says below the lines what is missing in them, and why.
pub(super) fn tell_missing(process: &Process, missing: &[Missing], page: &mut Page) {
    for part in missing.iter().take(MOST_MISSING) {
        page.line(format!("?? {}: {}", words::range(process, part.range), part.reason));
    }
    if missing.len() > MOST_MISSING {
        page.line(format!("?? and {} ranges more", missing.len() - MOST_MISSING));
    }
}

/// The answer as JSON; docs/json.md describes it.
#[derive(Debug, Serialize)]
struct Answer {
    #[serde(flatten)]
    range: AddressRange,
    /// The bytes as pairs of hexadecimal digits, `??` for those that are not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
    /// The numbers; null for those that are not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<Option<Address>>>,
    /// For pointers: where each points, as module and offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    locations: Option<Vec<Option<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    missing: Vec<Missing>,
    /// What comes from image files.
    from_images: Vec<FromImage>,
}

fn json(subject: &Subject, shape: ShapeArg, range: AddressRange, page: &mut Page) {
    let process = subject.process();
    let from_images = subject.image_parts(range);
    let mut answer =
        Answer { range, bytes: None, values: None, locations: None, text: None, missing: Vec::new(), from_images };
    if matches!(shape, ShapeArg::Ascii | ShapeArg::Unicode) {
        let mut letters = Letters::new(shape, process.byte_order);
        answer.missing = each_byte(subject, range, |byte| letters.take(byte));
        answer.text = Some(Letters::string(&letters.text, letters.unit));
        page.json(&subject.document(answer));
        return;
    }
    let mut bytes: Vec<Byte> = Vec::new();
    answer.missing = each_byte(subject, range, |byte| {
        bytes.push(byte);
        ControlFlow::Continue(())
    });
    if shape == ShapeArg::Bytes {
        let digits = bytes.iter().map(|byte| byte.map_or_else(|| "??".to_owned(), |byte| format!("{byte:02x}")));
        answer.bytes = Some(digits.collect());
    } else {
        let form = Shape::of(shape, process);
        let values: Vec<_> = form.values(process.byte_order, &bytes).map(|value| value.map(Address)).collect();
        if shape == ShapeArg::Pointers {
            let place = |value: &Option<Address>| value.and_then(|value| subject.place(value));
            answer.locations = Some(values.iter().map(place).collect());
        }
        answer.values = Some(values);
    }
    page.json(&subject.document(answer));
}
