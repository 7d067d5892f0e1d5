//! Streams that list records which have no place in the process: handle traces, tokens, tables of code that was made at
//! run time, annotations of Crashpad, and what macOS said of a crash.

use zerocopy::little_endian::U32;

use super::fields::{HALF, Row, WORD, read_rows};
use super::source::{Block, Budget};
use super::{Dump, ReadError};
use crate::minidump::layout::{Location, stream};
use crate::opened::{Field, MOST_RECORDS};

/// Bytes of a location descriptor.
const LOCATION: u64 = 8;
/// What a text of Crashpad's costs besides its bytes: millions of lists may lead to the same empty one.
const ANNOTATION: u64 = 64;

type Record = Vec<Field>;

/// `MINIDUMP_THREAD_EX`.
const THREAD_EX: &[Row] = &[
    ("ThreadId", 0, HALF),
    ("SuspendCount", 4, HALF),
    ("PriorityClass", 8, HALF),
    ("Priority", 12, HALF),
    ("Teb", 16, WORD),
    ("StackStart", 24, WORD),
    ("StackSize", 32, HALF),
    ("ContextSize", 40, HALF),
    ("BackingStoreStart", 48, WORD),
    ("BackingStoreSize", 56, HALF),
];
const THREAD_EX_SIZE: u64 = 64;
/// `MINIDUMP_THREAD_INFO`.
const THREAD_INFO: &[Row] = &[
    ("ThreadId", 0, HALF),
    ("DumpFlags", 4, HALF),
    ("DumpError", 8, HALF),
    ("ExitStatus", 12, HALF),
    ("CreateTime", 16, WORD),
    ("ExitTime", 24, WORD),
    ("KernelTime", 32, WORD),
    ("UserTime", 40, WORD),
    ("StartAddress", 48, WORD),
    ("Affinity", 56, WORD),
];
/// `MINIDUMP_FUNCTION_TABLE_DESCRIPTOR`.
const FUNCTION_TABLE: &[Row] = &[
    ("MinimumAddress", 0, WORD),
    ("MaximumAddress", 8, WORD),
    ("BaseAddress", 16, WORD),
    ("EntryCount", 24, HALF),
    ("SizeOfAlignPad", 28, HALF),
];
/// `AVRF_HANDLE_OPERATION` of minidumpapiset.h, up to the addresses of its stack.
const HANDLE_OPERATION: &[Row] = &[
    ("Handle", 0, WORD),
    ("ProcessId", 8, HALF),
    ("ThreadId", 12, HALF),
    ("OperationType", 16, HALF),
    ("Depth", 24, HALF),
    ("Index", 28, HALF),
];
const RETURN_ADDRESSES: u64 = 32;
/// Most addresses of a handle operation's stack.
const MOST_ADDRESSES: u64 = 32;
/// `MINIDUMP_TOKEN_INFO_HEADER`.
const TOKEN: &[Row] = &[("TokenSize", 0, HALF), ("TokenId", 4, HALF), ("TokenHandle", 8, WORD)];
/// `MINIDUMP_MAC_CRASH_INFO_RECORD`, as Breakpad of Mozilla writes it: from version 4 and 5 on there is more of it.
const MAC_CRASH: &[Row] = &[("Version", 8, WORD), ("Thread", 16, WORD), ("DialogMode", 24, WORD)];
const MAC_ABORT_CAUSE: Row = ("AbortCause", 32, WORD);
/// The texts behind it, in their order; the last one from version 5 on.
const MAC_TEXTS: [&str; 5] = ["ModulePath", "Message", "SignatureString", "Backtrace", "Message2"];
/// Most records of `MINIDUMP_MAC_CRASH_INFO`: it has room for no more.
const MOST_MAC_RECORDS: u64 = 20;

impl Dump {
    /// The records that a stream of type `kind` lists.
    pub(super) fn records_of(&self, kind: u32, block: &Block) -> Result<Option<Field>, ReadError> {
        let mut budget = self.file.budget();
        let list = match kind {
            stream::THREAD_EX_LIST => ("Threads", threads_ex(block)?),
            stream::THREAD_INFO_LIST => ("Threads", thread_infos(block)?),
            stream::EXCEPTION => ("ExceptionInformation", exception_parameters(block)?),
            stream::FUNCTION_TABLE => ("Descriptors", function_tables(block)?),
            stream::HANDLE_OPERATION_LIST => ("Operations", handle_operations(block)?),
            stream::TOKEN => ("Tokens", tokens(block)?),
            stream::CRASHPAD_INFO => return self.annotations(block, &mut budget),
            stream::MOZ_MACOS_CRASH_INFO => ("Records", self.mac_crashes(block, &mut budget)?),
            _ => return Ok(None),
        };
        Ok(Some(Field::list(list.0, list.1)))
    }

    /// Crashpad's annotations: of the process, and of each module that has some.
    fn annotations(&self, block: &Block, budget: &mut Budget) -> Result<Option<Field>, ReadError> {
        // MinidumpCrashpadInfo: version, two GUIDs, then two locations.
        if block.len() < 36 + 2 * LOCATION {
            return Ok(None);
        }
        let simple: Location = block.record(36, "Crashpad's annotations")?;
        let list: Location = block.record(36 + LOCATION, "Crashpad's modules")?;
        let mut records = self.dictionary(simple, budget)?;
        if let Some(modules) = self.file.at(list, "Crashpad's modules")? {
            for at in entries(&modules, 4, 4 + LOCATION)? {
                let index = modules.record::<U32>(at, "a module's number")?.get();
                let location: Location = modules.record(at + 4, "a module's annotations")?;
                for mut annotation in self.module_annotations(location, budget)? {
                    annotation.insert(0, Field::number("Module", index));
                    records.push(annotation);
                }
            }
        }
        Ok((!records.is_empty()).then(|| Field::list("Annotations", records)))
    }

    /// `MinidumpModuleCrashpadInfo`: version, then the locations of a list, a dictionary, and of objects.
    fn module_annotations(&self, location: Location, budget: &mut Budget) -> Result<Vec<Record>, ReadError> {
        let Some(block) = self.file.at(location, "a module's annotations")? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        if let Some(list) = self.file.at(block.record(4, "a list of annotations")?, "a list of annotations")? {
            for at in entries(&list, 4, 4)? {
                let text = self.utf8(list.record::<U32>(at, "an annotation")?.get(), budget)?;
                found.push(vec![Field::text("Value", text)]);
            }
        }
        found.extend(self.dictionary(block.record(4 + LOCATION, "a dictionary of annotations")?, budget)?);
        // Older versions end before the objects.
        if block.len() >= 4 + 3 * LOCATION
            && let Some(objects) = self.file.at(block.record(4 + 2 * LOCATION, "annotations")?, "annotations")?
        {
            for at in entries(&objects, 4, 12)? {
                let name = self.utf8(objects.record::<U32>(at, "an annotation's name")?.get(), budget)?;
                let kind = objects.record::<U32>(at + 4, "an annotation's type")?.get() & 0xffff;
                let value = self.utf8(objects.record::<U32>(at + 8, "an annotation's value")?.get(), budget)?;
                found.push(vec![Field::text("Key", name), Field::number("Type", kind), Field::text("Value", value)]);
            }
        }
        Ok(found)
    }

    /// `MinidumpSimpleStringDictionary`.
    fn dictionary(&self, location: Location, budget: &mut Budget) -> Result<Vec<Record>, ReadError> {
        let Some(block) = self.file.at(location, "a dictionary of annotations")? else { return Ok(Vec::new()) };
        entries(&block, 4, 8)?
            .map(|at| {
                let key = self.utf8(block.record::<U32>(at, "an annotation's key")?.get(), budget)?;
                let value = self.utf8(block.record::<U32>(at + 4, "an annotation's value")?.get(), budget)?;
                Ok(vec![Field::text("Key", key), Field::text("Value", value)])
            })
            .collect()
    }

    /// `MinidumpUTF8String`, which has the layout of `MinidumpByteArray` too.
    fn utf8(&self, rva: u32, budget: &mut Budget) -> Result<String, ReadError> {
        let at = u64::from(rva);
        let size = u64::from(self.file.record::<U32>(at, "an annotation's length")?.get());
        budget.spend("an annotation", at, size.saturating_add(ANNOTATION))?;
        let bytes = self.file.part(at + 4, size, "an annotation")?.bytes("an annotation")?;
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned())
    }

    /// `MINIDUMP_MAC_CRASH_INFO`: what dyld and others left for the crash reporter.
    fn mac_crashes(&self, block: &Block, budget: &mut Budget) -> Result<Vec<Record>, ReadError> {
        let count = block.record::<U32>(4, "the number of records")?.get();
        let fixed = u64::from(block.record::<U32>(8, "the size of a record")?.get());
        let mut found = Vec::new();
        for index in 0..u64::from(count).min(MOST_MAC_RECORDS) {
            let location: Location = block.record(12 + index * LOCATION, "a record of macOS")?;
            let Some(block) = self.file.at(location, "a record of macOS")? else { continue };
            budget.spend("a record of macOS", block.offset(), block.len())?;
            let mut record = read_rows(MAC_CRASH, &block)?;
            let version = block.record::<U32>(8, "a record's version")?.get();
            let texts = if version >= 5 { MAC_TEXTS.len() } else { MAC_TEXTS.len() - 1 };
            if version >= 5 {
                record.extend(read_rows(&[MAC_ABORT_CAUSE], &block)?);
            }
            let behind =
                block.part(fixed, block.len().saturating_sub(fixed), "texts of macOS")?.bytes("texts of macOS")?;
            let parts = behind.split(|byte| *byte == 0).take(texts).zip(MAC_TEXTS);
            record.extend(parts.map(|(text, name)| Field::text(name, String::from_utf8_lossy(text).into_owned())));
            found.push(record);
        }
        Ok(found)
    }
}

/// Where the entries of a list begin: behind a count at its start, as many as it says and the block holds.
fn entries(block: &Block, first: u64, size: u64) -> Result<impl Iterator<Item = u64> + use<>, ReadError> {
    let count = u64::from(block.record::<U32>(0, "the number of entries")?.get());
    let held = block.len().saturating_sub(first) / size;
    Ok((0..count.min(held).min(MOST_RECORDS as u64)).map(move |index| first + index * size))
}

fn threads_ex(block: &Block) -> Result<Vec<Record>, ReadError> {
    entries(block, 4, THREAD_EX_SIZE)?
        .map(|at| read_rows(THREAD_EX, &block.part(at, THREAD_EX_SIZE, "a thread")?))
        .collect()
}

fn thread_infos(block: &Block) -> Result<Vec<Record>, ReadError> {
    let half = |at| Ok(u64::from(block.record::<U32>(at, "a header of threads")?.get()));
    let (header, size, count) = (half(0)?, half(4)?, half(8)?);
    (0..count.min(MOST_RECORDS as u64))
        .map(|index| read_rows(THREAD_INFO, &block.part(header.saturating_add(index * size), size, "a thread")?))
        .collect()
}

/// What else is said of an exception, up to 15 numbers.
fn exception_parameters(block: &Block) -> Result<Vec<Record>, ReadError> {
    const FIRST: u64 = 40;
    let count = u64::from(block.record::<U32>(32, "the number of parameters")?.get()).min(15);
    let parameter = |index| {
        let bytes: [u8; 8] = block.record(FIRST + index * 8, "a parameter")?;
        Ok(vec![Field::number("Value", u64::from_le_bytes(bytes))])
    };
    (0..count).map(parameter).collect()
}

/// Each descriptor is followed by what the system has of it, its entries, and something to align the next.
fn function_tables(block: &Block) -> Result<Vec<Record>, ReadError> {
    let half = |at| Ok(u64::from(block.record::<U32>(at, "a header of function tables")?.get()));
    let (header, descriptor, native, entry, count, pad) =
        (half(0)?, half(4)?, half(8)?, half(12)?, half(16)?, half(20)?);
    let mut at = header + pad;
    let mut found = Vec::new();
    for _ in 0..count.min(MOST_RECORDS as u64) {
        let block = block.part(at, descriptor, "a function table")?;
        let entries = block.record::<U32>(24, "the number of functions")?.get();
        let pad = block.record::<U32>(28, "a function table's end")?.get();
        found.push(read_rows(FUNCTION_TABLE, &block)?);
        let size = [native, u64::from(entries).saturating_mul(entry), u64::from(pad)];
        at = size.into_iter().fold(at.saturating_add(descriptor), u64::saturating_add);
    }
    Ok(found)
}

fn handle_operations(block: &Block) -> Result<Vec<Record>, ReadError> {
    let half = |at| Ok(u64::from(block.record::<U32>(at, "a header of handle operations")?.get()));
    let (header, size, count) = (half(0)?, half(4)?, half(8)?);
    let mut found = Vec::new();
    for index in 0..count.min(MOST_RECORDS as u64) {
        let at = header.saturating_add(index.saturating_mul(size));
        let block = block.part(at, size, "a handle operation")?;
        let mut record = read_rows(HANDLE_OPERATION, &block)?;
        let depth = u64::from(block.record::<U32>(24, "a stack's depth")?.get()).min(MOST_ADDRESSES);
        let held = block.len().saturating_sub(RETURN_ADDRESSES) / 8;
        let addresses = (0..depth.min(held)).map(|index| {
            let bytes: [u8; 8] = block.record(RETURN_ADDRESSES + index * 8, "a return address")?;
            Ok(vec![Field::number("Address", u64::from_le_bytes(bytes))])
        });
        record.push(Field::list("ReturnAddresses", addresses.collect::<Result<_, ReadError>>()?));
        found.push(record);
    }
    Ok(found)
}

/// Each header is followed by the token itself; its size counts both.
fn tokens(block: &Block) -> Result<Vec<Record>, ReadError> {
    let half = |at| Ok(u64::from(block.record::<U32>(at, "a header of tokens")?.get()));
    let (count, header, element) = (half(4)?, half(8)?, half(12)?);
    let mut at = header;
    let mut found = Vec::new();
    for _ in 0..count.min(MOST_RECORDS as u64) {
        let block = block.part(at, element, "a token")?;
        let size = u64::from(block.record::<U32>(0, "a token's size")?.get());
        found.push(read_rows(TOKEN, &block)?);
        // A token of no size would be the same one again.
        at = at.saturating_add(size.max(element.max(1)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::opened::FieldValue;

    fn block(halves: &[u32], rest: &[u8]) -> Block {
        let mut bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        bytes.extend_from_slice(rest);
        Block::file(Arc::new(bytes))
    }

    fn numbers(record: &[Field]) -> Vec<(&str, u64)> {
        let number = |field: &Field| match field.value {
            FieldValue::Number(number) => Some(number),
            _ => None,
        };
        record.iter().filter_map(|field| Some((field.name, number(field)?))).collect()
    }

    #[test]
    fn function_tables_follow_one_another_with_what_belongs_to_them() {
        // Header of 24 bytes; descriptors of 32, then 8 of the system's, two functions of 12, and 4 to align.
        let descriptor = [0x1000, 0, 0x2000, 0, 0x1000, 0, 2, 4];
        let mut halves = vec![24, 32, 8, 12, 2, 0];
        halves.extend(descriptor);
        halves.extend([0; 2 + 6 + 1]);
        halves.extend(descriptor);
        halves.extend([0; 2 + 6 + 1]);
        let tables = function_tables(&block(&halves, &[])).unwrap();
        assert_eq!(tables.len(), 2);
        for table in &tables {
            assert_eq!(numbers(table)[..2], [("MinimumAddress", 0x1000), ("MaximumAddress", 0x2000)]);
            assert_eq!(numbers(table)[3], ("EntryCount", 2));
        }
        halves.truncate(20);
        assert!(function_tables(&block(&halves, &[])).is_err());
    }

    #[test]
    fn handle_operations_have_their_stacks() {
        let mut halves = vec![16, 48, 1, 0];
        halves.extend([0x44, 0, 7, 8, 2, 0, 2, 1]);
        halves.extend([0x1111, 0, 0x2222, 0]);
        let operations = handle_operations(&block(&halves, &[])).unwrap();
        assert_eq!(
            numbers(&operations[0])[..4],
            [("Handle", 0x44), ("ProcessId", 7), ("ThreadId", 8), ("OperationType", 2)]
        );
        let Some(Field { value: FieldValue::List(stack), .. }) = operations[0].last() else { panic!("no stack") };
        assert_eq!(stack.iter().map(|frame| numbers(frame)[0].1).collect::<Vec<_>>(), [0x1111, 0x2222]);
        // A depth beyond what the record holds.
        halves[4 + 6] = 1000;
        let operations = handle_operations(&block(&halves, &[])).unwrap();
        let Some(Field { value: FieldValue::List(stack), .. }) = operations[0].last() else { panic!("no stack") };
        assert_eq!(stack.len(), 2);
    }

    #[test]
    fn tokens_are_as_long_as_they_say() {
        let halves = [0, 2, 16, 16, 24, 1, 0x10, 0, 0, 0, 16, 2, 0x20, 0];
        let tokens = tokens(&block(&halves, &[])).unwrap();
        let handles: Vec<_> = tokens.iter().map(|token| numbers(token)[2]).collect();
        assert_eq!(handles, [("TokenHandle", 0x10), ("TokenHandle", 0x20)]);
        // One of no length, a thousand times: it ends with the block.
        let halves = [0, 1000, 16, 16, 0, 1, 0x10, 0];
        assert!(super::tokens(&block(&halves, &[])).is_err());
    }

    #[test]
    fn threads_with_a_second_stack() {
        let mut halves = vec![1, 77, 0, 0, 9];
        halves.extend([0x5000, 0, 0x7000, 0, 0x100, 0, 0, 0, 0x9000, 0, 0x40, 0]);
        let threads = threads_ex(&block(&halves, &[])).unwrap();
        assert_eq!(numbers(&threads[0])[0], ("ThreadId", 77));
        assert_eq!(numbers(&threads[0])[8], ("BackingStoreStart", 0x9000));
        // More are claimed than are there.
        halves[0] = u32::MAX;
        assert_eq!(threads_ex(&block(&halves, &[])).unwrap().len(), 1);
    }
}
