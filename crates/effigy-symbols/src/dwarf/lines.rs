//! The lines of a unit: its line program, run once.

use std::ops::Range;

use bstr::{BString, ByteSlice};
use gimli::{AttributeValue, ColumnType, DebugLine, DebugLineOffset, LineProgramHeader, LineRow};

use super::part::{DwarfFile, Part, Slice};
use super::scope::Scope;
use super::unit::Text;
use crate::intervals::{Interval, Intervals};
use crate::name::SourceLine;

/// Most rows of a unit that are kept: a hostile program writes one for every byte.
const MOST_ROWS: usize = 8 << 20;

/// From an address on, the line that the code is of.
#[derive(Clone, Copy, Debug)]
struct Row {
    address: u64,
    file: u32,
    line: u32,
    column: u32,
}

/// The name of a file in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    name: Text,
    folder: Option<Text>,
}

/// The lines of a unit.
#[derive(Debug)]
pub(super) struct Lines {
    /// Stretches of code without holes. The values are numbers in `extents`.
    sequences: Intervals,
    /// Which rows are of a stretch.
    extents: Vec<Range<usize>>,
    rows: Vec<Row>,
    files: Vec<Option<File>>,
    /// What file 0 is, before DWARF 5.
    first: Option<Text>,
    /// Number of the first of `files`.
    base: u64,
}

/// What is known of a line at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) file: u64,
    pub(super) line: u32,
    pub(super) column: u32,
    /// Around the address, within which it stays the same.
    pub(super) begin: u64,
    pub(super) end: u64,
}

impl Lines {
    /// Runs the line program of a unit, or of the skeleton that it was split off.
    pub(super) fn read(scope: &Scope) -> Option<Self> {
        let keeper = keeper(scope);
        let root = &keeper.unit.root;
        let bytes = program_bytes(&keeper.file, root.lines?)?;
        let section = DebugLine::from(Slice::new(&bytes, keeper.file.endian()));
        let address_size = keeper.unit.header.encoding.address_size;
        let program = section.program(DebugLineOffset(0), address_size, None, None).ok()?;
        let header = program.header().clone();
        let mut lines = Self {
            sequences: Intervals::default(),
            extents: Vec::new(),
            rows: Vec::new(),
            files: header.file_names().iter().map(|file| file_of(file, &header)).collect(),
            first: root.name.clone(),
            base: u64::from(header.version() < 5),
        };
        let mut rows = program.rows();
        let mut sequences = Vec::new();
        let mut start = 0;
        // What was read before the damage is good, but for a sequence without an end.
        while lines.rows.len() < MOST_ROWS
            && let Ok(Some((_, row))) = rows.next_row()
        {
            if row.end_sequence() {
                lines.end_sequence(&mut start, row.address(), &mut sequences);
            } else {
                lines.push(start, row);
            }
        }
        lines.rows.truncate(start);
        lines.sequences = Intervals::new(sequences);
        Some(lines)
    }

    /// Adds a row to the sequence whose first row is `start`. Of several at an address the last counts.
    fn push(&mut self, start: usize, row: &LineRow) {
        let column = match row.column() {
            ColumnType::LeftEdge => 0,
            ColumnType::Column(column) => u32::try_from(column.get()).unwrap_or(0),
        };
        let line = row.line().and_then(|line| u32::try_from(line.get()).ok()).unwrap_or(0);
        let file = u32::try_from(row.file_index()).unwrap_or(u32::MAX);
        let row = Row { address: row.address(), file, line, column };
        match self.rows.get_mut(start..).and_then(<[Row]>::last_mut) {
            Some(last) if last.address == row.address => *last = row,
            _ => self.rows.push(row),
        }
    }

    fn end_sequence(&mut self, start: &mut usize, end: u64, sequences: &mut Vec<Interval>) {
        let rows = self.rows.get_mut(*start..).unwrap_or_default();
        if !rows.is_sorted_by_key(|row| row.address) {
            rows.sort_by_key(|row| row.address);
        }
        match rows.first().map(|first| first.address).filter(|begin| *begin < end) {
            Some(begin) => {
                sequences.push(Interval { begin, end, value: self.extents.len() as u64 });
                self.extents.push(*start..self.rows.len());
                *start = self.rows.len();
            }
            None => self.rows.truncate(*start),
        }
    }

    /// What is known at an address. Line 0 is code that the compiler made up.
    pub(super) fn at(&self, address: u64) -> Option<Found> {
        let sequence = self.sequences.at(address).next()?;
        let extent = self.extents.get(usize::try_from(sequence.value).ok()?)?;
        let rows = self.rows.get(extent.clone())?;
        let after = rows.partition_point(|row| row.address <= address);
        let row = rows.get(after.checked_sub(1)?)?;
        let end = rows.get(after).map_or(sequence.end, |next| next.address.min(sequence.end));
        Some(Found { file: u64::from(row.file), line: row.line, column: row.column, begin: row.address, end })
    }

    /// A line with the path of its file.
    pub(super) fn source(&self, scope: &Scope, file: u64, line: u32, column: u32) -> Option<SourceLine> {
        if line == 0 {
            return None;
        }
        Some(SourceLine { file: self.path(scope, file)?, line, column })
    }

    fn path(&self, scope: &Scope, number: u64) -> Option<BString> {
        let keeper = keeper(scope);
        let Some(index) = number.checked_sub(self.base) else {
            return Some(joined(keeper.directory(), keeper.text(self.first.as_ref()?)?));
        };
        let file = self.files.get(usize::try_from(index).ok()?)?.as_ref()?;
        let name = keeper.text(&file.name)?;
        if is_absolute(&name) {
            return Some(name);
        }
        let folder = file.folder.as_ref().and_then(|folder| keeper.text(folder));
        let name = joined(folder, name);
        Some(if is_absolute(&name) { name } else { joined(keeper.directory(), name) })
    }

    /// Bytes that it takes in memory.
    pub(super) fn cost(&self) -> usize {
        size_of::<Row>() * self.rows.len() + size_of::<Option<File>>() * self.files.len()
    }
}

/// The unit that has the line program: one that was split off leaves it with its skeleton.
fn keeper(scope: &Scope) -> Scope {
    match (scope.unit.root.lines, scope.skeleton_scope()) {
        (None, Some(skeleton)) => skeleton,
        _ => scope.clone(),
    }
}

/// The bytes of one line program, without those of others.
fn program_bytes(file: &DwarfFile, offset: u64) -> Option<Vec<u8>> {
    let order = file.image.byte_order();
    let length = order.number(&file.bytes(Part::Lines, offset, 4)?);
    let size = match length {
        0xffff_ffff => order.number(&file.bytes(Part::Lines, offset.checked_add(4)?, 8)?).checked_add(12)?,
        length => length + 4,
    };
    Some(file.bytes(Part::Lines, offset, size)?.into_owned())
}

fn file_of(file: &gimli::FileEntry<Slice<'_>>, header: &LineProgramHeader<Slice<'_>>) -> Option<File> {
    let own = |value: AttributeValue<Slice<'_>>| Text::of(&value);
    let folder = match (header.version(), file.directory_index()) {
        // The folder of the compilation.
        (..=4, 0) => None,
        _ => file.directory(header).and_then(own),
    };
    Some(File { name: own(file.path_name())?, folder })
}

/// Whether a path says all, on whatever system it was compiled.
fn is_absolute(path: &[u8]) -> bool {
    match path {
        [b'/' | b'\\', ..] => true,
        [letter, b':', ..] => letter.is_ascii_alphabetic(),
        _ => false,
    }
}

fn joined(folder: Option<BString>, name: BString) -> BString {
    let Some(mut path) = folder.filter(|folder| !folder.is_empty() && !is_absolute(&name)) else { return name };
    let windows = path.contains(&b'\\') && !path.contains(&b'/');
    if !path.ends_with_str("/") && !path.ends_with_str("\\") {
        path.push(if windows { b'\\' } else { b'/' });
    }
    path.extend_from_slice(&name);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_as_on_the_system_that_they_are_of() {
        let join = |folder: &str, name: &str| joined(Some(folder.into()), name.into()).to_string();
        assert_eq!(join("/a/b", "c.c"), "/a/b/c.c");
        assert_eq!(join("/a/b/", "c.c"), "/a/b/c.c");
        assert_eq!(join("/a", "/b/c.c"), "/b/c.c");
        assert_eq!(join("C:\\a", "c.c"), "C:\\a\\c.c");
        assert_eq!(join("C:\\a", "D:\\c.c"), "D:\\c.c");
        assert_eq!(joined(None, "c.c".into()), "c.c");
    }
}
