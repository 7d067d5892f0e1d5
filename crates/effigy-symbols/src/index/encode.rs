//! How answers are written: a header with a checksum, then numbers of variable length. Nothing that is read is trusted:
//! every number is looked at before it is used, and nothing is allocated because a number says so.

use std::collections::HashMap;

use bstr::BString;
use flate2::Crc;

use super::{Key, Known, Stretch, Stretches, Units};
use crate::dwarf::Span;
use crate::intervals::Interval;
use crate::name::{Name, SourceLine};

/// What a file begins with. The last byte is the version of all that follows, and of what an answer means: it changes
/// whenever names are found in another way.
const MAGIC: [u8; 8] = *b"EFGYNAM\x01";

/// Magic and checksum.
const HEADER: usize = 12;

/// Bits of a name.
const INLINED: u64 = 1;
const HAS_LINE: u64 = 2;

/// The bytes of a file, or `None` where something is larger than they can say.
pub(super) fn encode(key: &Key, stretches: &Stretches, units: Option<&Units>) -> Option<Vec<u8>> {
    let mut texts = Texts::default();
    let mut body = Writer::default();
    let whole: Vec<&Stretch> = stretches.whole().collect();
    body.number(whole.len() as u64);
    let mut before = 0;
    for stretch in whole {
        body.number(stretch.begin.checked_sub(before)?);
        body.number(stretch.end.checked_sub(stretch.begin)?);
        before = stretch.begin;
        body.number(stretch.names.len() as u64);
        stretch.names.iter().for_each(|name| write_name(&mut body, &mut texts, name));
    }
    write_units(&mut body, units)?;
    let mut payload = Writer::default();
    payload.text(&key.build_id.0);
    payload.number(key.size);
    payload.number(texts.list.len() as u64);
    texts.list.iter().for_each(|text| payload.text(text));
    payload.0.extend_from_slice(&body.0);
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&checksum(&payload.0).to_le_bytes());
    file.extend_from_slice(&payload.0);
    Some(file)
}

/// What a file says, if it is whole and for that key.
pub(super) fn decode(bytes: &[u8], key: &Key) -> Option<Known> {
    let (header, payload) = bytes.split_at_checked(HEADER)?;
    if header.get(..8)? != MAGIC || header.get(8..)? != checksum(payload).to_le_bytes() {
        return None;
    }
    let mut reader = Reader(payload);
    if reader.text()? != key.build_id.0 || reader.number()? != key.size {
        return None;
    }
    let texts = reader.list(|reader| reader.text().map(BString::from))?;
    let stretches = read_stretches(&mut reader, &texts)?;
    let units = read_units(&mut reader)?;
    reader.0.is_empty().then_some(Known { stretches, units })
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn write_name<'a>(body: &mut Writer, texts: &mut Texts<'a>, name: &'a Name) {
    let line = name.line.as_ref();
    body.number(u64::from(name.inlined) * INLINED + u64::from(line.is_some()) * HAS_LINE);
    body.number(texts.number_of(&name.function));
    body.number(name.start);
    // 0 is for a length that is not known; no piece is as long as all addresses.
    body.number(name.size.map_or(0, |size| size.saturating_add(1)));
    if let Some(line) = line {
        body.number(texts.number_of(&line.file));
        body.number(u64::from(line.line));
        body.number(u64::from(line.column));
    }
}

fn read_name(reader: &mut Reader<'_>, texts: &[BString]) -> Option<Name> {
    let text = |reader: &mut Reader<'_>| texts.get(usize::try_from(reader.number()?).ok()?).cloned();
    let bits = reader.number()?;
    let function = text(reader)?;
    let start = reader.number()?;
    let size = reader.number()?.checked_sub(1);
    let line = if bits & HAS_LINE == 0 {
        None
    } else {
        let file = text(reader)?;
        let line = u32::try_from(reader.number()?).ok()?;
        Some(SourceLine { file, line, column: u32::try_from(reader.number()?).ok()? })
    };
    Some(Name { function, start, size, line, inlined: bits & INLINED != 0 })
}

fn read_stretches(reader: &mut Reader<'_>, texts: &[BString]) -> Option<Stretches> {
    let mut stretches = Stretches::default();
    let mut before = 0u64;
    for _ in 0..reader.number()? {
        let begin = before.checked_add(reader.number()?)?;
        let end = begin.checked_add(reader.number()?)?;
        before = begin;
        let names = reader.list(|reader| read_name(reader, texts))?;
        stretches.insert(Stretch { begin, end, names }, true);
    }
    Some(stretches)
}

/// Ranges come by rising beginnings, as [`Intervals`](crate::intervals::Intervals) has them.
fn write_units(body: &mut Writer, units: Option<&Units>) -> Option<()> {
    body.number(u64::from(units.is_some()));
    let Some(units) = units else { return Some(()) };
    body.number(units.spans.len() as u64);
    let mut before = 0;
    let mut numbers = HashMap::new();
    for (number, span) in units.spans.iter().enumerate() {
        body.number(span.offset.checked_sub(before)?);
        body.number(span.size);
        before = span.offset;
        numbers.insert(span.offset, number as u64);
    }
    body.number(units.ranges.len() as u64);
    let mut before = 0;
    for range in &units.ranges {
        body.number(range.begin.checked_sub(before)?);
        body.number(range.end.checked_sub(range.begin)?);
        body.number(*numbers.get(&range.value)?);
        before = range.begin;
    }
    Some(())
}

/// `None` for damage, and none inside where there were none.
fn read_units(reader: &mut Reader<'_>) -> Option<Option<Units>> {
    if reader.number()? == 0 {
        return Some(None);
    }
    let mut before = 0u64;
    let spans = reader.list(|reader| {
        let offset = before.checked_add(reader.number()?)?;
        before = offset;
        Some(Span { offset, size: reader.number()? })
    })?;
    let mut before = 0u64;
    let ranges = reader.list(|reader| {
        let begin = before.checked_add(reader.number()?)?;
        before = begin;
        let end = begin.checked_add(reader.number()?)?;
        let span = spans.get(usize::try_from(reader.number()?).ok()?)?;
        Some(Interval { begin, end, value: span.offset })
    })?;
    Some(Some(Units { spans, ranges }))
}

/// Texts, each once.
#[derive(Default)]
struct Texts<'a> {
    numbers: HashMap<&'a [u8], u64>,
    list: Vec<&'a [u8]>,
}

impl<'a> Texts<'a> {
    fn number_of(&mut self, text: &'a BString) -> u64 {
        *self.numbers.entry(text).or_insert_with(|| {
            self.list.push(text);
            self.list.len() as u64 - 1
        })
    }
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    /// Seven bits a byte, the lowest first; the highest bit says that more follow.
    fn number(&mut self, mut number: u64) {
        loop {
            let low = u8::try_from(number & 0x7f).unwrap_or(0);
            number >>= 7;
            if number == 0 {
                self.0.push(low);
                return;
            }
            self.0.push(low | 0x80);
        }
    }

    fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text)
    }

    /// A count, then as many of something; each takes a byte at least.
    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.number()?;
        (0..count).map(|_| read(self)).collect()
    }
}
