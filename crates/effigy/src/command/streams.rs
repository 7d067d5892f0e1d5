//! `effigy streams`: the parts of a dump's file, decoded: WinDbg's `.dumpdebug`.

mod lists;

use std::collections::HashSet;

use effigy_formats::{DumpKind, Field, FieldValue, OpenedDump, Part};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::PlainArgs;
use crate::exit::Exit;
use crate::print::{self, Page};
use crate::subject::{Look, Refused, Subject};
use crate::words;

/// Letters of a text that are printed to people; JSON has all.
const LONGEST_TEXT: usize = 200;

/// Runs the command.
pub(crate) fn run(args: &PlainArgs) -> Exit {
    super::tell(answer(args))
}

fn answer(args: &PlainArgs) -> Result<Exit, Refused> {
    let subject = Subject::open(&args.target.target, Look::Passing)?;
    let Some(dump) = subject.dump() else {
        let text = format!("{} is a running process, and streams and notes are parts of a dump's file", subject.name());
        return Err((Exit::Usage, text));
    };
    let mut page = Page::begin();
    if args.target.json {
        page.json(&subject.document(Answer::of(dump)));
    } else {
        text(&subject, dump, &mut page);
    }
    Ok(page.finish())
}

/// The answer as JSON; docs/json.md describes it.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    /// MINIDUMP_TYPE bits; null for cores.
    minidump_type: Option<String>,
    minidump_type_names: Vec<&'static str>,
    header: Map<String, Value>,
    parts: Vec<PartAnswer<'a>>,
}

/// A stream or note.
#[derive(Debug, Serialize)]
struct PartAnswer<'a> {
    number: u32,
    /// Of a note.
    owner: String,
    name: Option<&'a str>,
    offset: u64,
    size: u64,
    fields: Map<String, Value>,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl<'a> Answer<'a> {
    fn of(dump: &'a OpenedDump) -> Self {
        let part = |part: &'a Part| {
            let fields = dump.fields_of(part);
            PartAnswer {
                number: part.number,
                owner: part.owner.to_string(),
                name: part.name,
                offset: part.offset,
                size: part.size,
                error: fields.as_ref().err().map(ToString::to_string),
                fields: fields.map(|fields| json_fields(&fields)).unwrap_or_default(),
            }
        };
        let is_core = dump.kind == DumpKind::ElfCore;
        Self {
            minidump_type: (!is_core).then(|| format!("{:#x}", dump.minidump_type)),
            minidump_type_names: flag_names(dump.minidump_type).map(|(_, name)| name).collect(),
            header: json_fields(&dump.header),
            parts: dump.parts.iter().map(part).collect(),
        }
    }
}

fn json_fields(fields: &[Field]) -> Map<String, Value> {
    fields.iter().map(|field| (field.name.to_owned(), json_value(&field.value))).collect()
}

fn json_value(value: &FieldValue) -> Value {
    match value {
        FieldValue::Number(number) => Value::from(*number),
        FieldValue::Signed(number) => Value::from(*number),
        FieldValue::Text(text) => Value::from(text.as_str()),
        FieldValue::List(records) => records.iter().map(|record| Value::Object(json_fields(record))).collect(),
    }
}

fn text(subject: &Subject, dump: &OpenedDump, page: &mut Page) {
    let is_core = dump.kind == DumpKind::ElfCore;
    if is_core {
        page.line("----- User ELF Core Analysis");
        page.line("ELF header:");
        fields(&dump.header, 2, page);
        page.line(format!("NumberOfNotes   {}", dump.parts.len()));
        page.line("Notes:");
    } else {
        page.line("----- User Mini Dump Analysis");
        page.line("MINIDUMP_HEADER:");
        fields(&dump.header, 2, page);
        for (bit, name) in flag_names(dump.minidump_type) {
            page.line(format!("                                  {bit:04x} {name}"));
        }
        page.line("Streams:");
    }
    let mut seen = HashSet::new();
    for (index, part) in dump.parts.iter().enumerate() {
        if page.is_closed() {
            return;
        }
        let name = part.name.unwrap_or("unknown");
        let (number, size, offset) = (part.number, part.size, part.offset);
        if is_core {
            let owner = print::safe(&part.owner);
            page.line(format!(
                "Note {index}: owner \"{owner}\", type {name} ({number:#x}), size {size:08x}, offset {offset:08x}"
            ));
        } else {
            page.line(format!(
                "Stream {index}: type {name} ({}), size {size:08x}, RVA {offset:08x}",
                type_number(number)
            ));
        }
        match dump.fields_of(part) {
            Ok(known) => fields(&known, 2, page),
            Err(error) => page.line(format!("  WARNING: {error}")),
        }
        // A directory of nothing but repetitions must not make this slow.
        if !is_core && seen.insert(part.number) {
            lists::print(dump, part, page);
        }
    }
    for warning in subject.warnings() {
        page.line(format!("WARNING: {warning}"));
    }
    let unknown = dump.parts.iter().filter(|part| part.name.is_none()).count();
    if unknown > 0 {
        let kind = if is_core { "note" } else { "stream" };
        page.line(format!("WARNING: {unknown} {kind}s of unknown type"));
    }
}

/// Prints fields, a line each; those of the records of a list below its name, further to the right.
fn fields(fields: &[Field], indent: usize, page: &mut Page) {
    let name_width = 32 - indent.min(30);
    for field in fields {
        let name = field.name;
        match &field.value {
            FieldValue::List(records) => {
                page.line(format!("{:indent$}{name}: {}", "", records.len()));
                for (index, record) in records.iter().enumerate() {
                    page.line(format!("{:indent$}  [{index}]", ""));
                    self::fields(record, indent + 4, page);
                }
            }
            value => page.line(format!("{:indent$}{name:<name_width$}{}", "", shown(value))),
        }
    }
}

/// Small numbers are those of Microsoft, and decimal; the others are letters in hexadecimal.
fn type_number(number: u32) -> String {
    if number < 0x8000 { number.to_string() } else { format!("{number:#x}") }
}

fn shown(value: &FieldValue) -> String {
    match value {
        FieldValue::Number(number) if *number > 9 => format!("{number:#x} ({number})"),
        FieldValue::Number(number) => number.to_string(),
        FieldValue::Signed(number) => number.to_string(),
        FieldValue::Text(text) => {
            let shown: String = text.chars().take(LONGEST_TEXT).collect();
            let more = text.chars().count().saturating_sub(LONGEST_TEXT);
            let more = if more > 0 { format!(" … and {more} letters more") } else { String::new() };
            format!("'{}'{more}", print::safe(shown.as_bytes()))
        }
        FieldValue::List(records) => words::count(records.len() as u64, "record"),
    }
}

/// The bits that are set, and their names in minidumpapiset.h (`MINIDUMP_TYPE`).
fn flag_names(flags: u64) -> impl Iterator<Item = (u64, &'static str)> {
    const NAMES: [&str; 25] = [
        "MiniDumpWithDataSegs",
        "MiniDumpWithFullMemory",
        "MiniDumpWithHandleData",
        "MiniDumpFilterMemory",
        "MiniDumpScanMemory",
        "MiniDumpWithUnloadedModules",
        "MiniDumpWithIndirectlyReferencedMemory",
        "MiniDumpFilterModulePaths",
        "MiniDumpWithProcessThreadData",
        "MiniDumpWithPrivateReadWriteMemory",
        "MiniDumpWithoutOptionalData",
        "MiniDumpWithFullMemoryInfo",
        "MiniDumpWithThreadInfo",
        "MiniDumpWithCodeSegs",
        "MiniDumpWithoutAuxiliaryState",
        "MiniDumpWithFullAuxiliaryState",
        "MiniDumpWithPrivateWriteCopyMemory",
        "MiniDumpIgnoreInaccessibleMemory",
        "MiniDumpWithTokenInformation",
        "MiniDumpWithModuleHeaders",
        "MiniDumpFilterTriage",
        "MiniDumpWithAvxXStateContext",
        "MiniDumpWithIptTrace",
        "MiniDumpScanInaccessiblePartialPages",
        "MiniDumpFilterWriteCombinedMemory",
    ];
    let bits = NAMES.into_iter().enumerate().map(|(bit, name)| (1u64 << bit, name));
    bits.filter(move |(bit, _)| flags & bit != 0)
}
