//! Which line an instruction is on: the three ways in which CPython wrote that down from 3.9 to 3.13.
//!
//! Tables are read from their beginning to the entry that holds the instruction, and no further.

use super::layout::Table;
use super::read::Missing;

/// Where a function is that has not begun: one unit before its first instruction. 3.9 counts in bytes, and says -1.
const BEFORE: std::ops::Range<i64> = -2..0;

/// The line, from 1, of the instruction `position` bytes behind the first one; a function that has not begun is on its
/// first line. `None` where the table says that there is no line.
pub(super) fn line_at(
    table: Table,
    bytes: impl Iterator<Item = Result<u8, Missing>>,
    first_line: i32,
    position: i64,
) -> Result<Option<u32>, Missing> {
    let line = i64::from(first_line);
    let found = match table {
        _ if BEFORE.contains(&position) => Some(line),
        _ if position < 0 => None,
        Table::Steps => steps(bytes, line, position)?,
        Table::Ranges => ranges(bytes, line, position)?,
        Table::Locations => locations(bytes, line, position)?,
    };
    Ok(found.and_then(|line| u32::try_from(line).ok()).filter(|line| *line > 0))
}

/// `co_lnotab`: each pair says how many bytes and then how many lines further the next line begins. The last one has no
/// end.
fn steps(
    mut bytes: impl Iterator<Item = Result<u8, Missing>>,
    mut line: i64,
    position: i64,
) -> Result<Option<i64>, Missing> {
    let mut at = 0;
    while let (Some(length), Some(step)) = (bytes.next().transpose()?, bytes.next().transpose()?) {
        at += i64::from(length);
        if at > position {
            break;
        }
        line += i64::from(step.cast_signed());
    }
    Ok(Some(line))
}

/// `co_linetable` of 3.10: each pair says how many bytes long a range is, and by how many lines it differs from the last
/// one that had a line; -128 stands for none.
fn ranges(
    mut bytes: impl Iterator<Item = Result<u8, Missing>>,
    mut line: i64,
    position: i64,
) -> Result<Option<i64>, Missing> {
    let mut end = 0;
    while let (Some(length), Some(step)) = (bytes.next().transpose()?, bytes.next().transpose()?) {
        end += i64::from(length);
        let step = step.cast_signed();
        let has_line = step != i8::MIN;
        if has_line {
            line += i64::from(step);
        }
        if end > position {
            return Ok(has_line.then_some(line));
        }
    }
    Ok(None)
}

/// `co_linetable` from 3.11 on. An entry begins with a byte whose highest bit is set, the only such one in it: four bits
/// say its form, three how many units of two bytes it covers. What follows are columns, but for the step in lines that the
/// forms 13 and 14 begin with.
fn locations(
    mut bytes: impl Iterator<Item = Result<u8, Missing>>,
    mut line: i64,
    position: i64,
) -> Result<Option<i64>, Missing> {
    const NO_LINE: u8 = 15;
    let mut end = 0;
    while let Some(head) = bytes.next().transpose()? {
        if head & 0x80 == 0 {
            continue;
        }
        let form = head >> 3 & 15;
        end += i64::from((head & 7) + 1) * 2;
        line += match form {
            10..=12 => i64::from(form - 10),
            13 | 14 => signed(&mut bytes)?,
            _ => 0,
        };
        if end > position {
            return Ok((form != NO_LINE).then_some(line));
        }
    }
    Ok(None)
}

/// A number in groups of six bits, the lowest first; bit 6 says that another group follows. The lowest bit of the number
/// is its sign.
fn signed(bytes: &mut impl Iterator<Item = Result<u8, Missing>>) -> Result<i64, Missing> {
    let mut number = 0;
    // A step in lines has 32 bits.
    for shift in (0..36).step_by(6) {
        let byte = bytes.next().unwrap_or(Err(Missing::Unlike))?;
        number |= i64::from(byte & 0x3f) << shift;
        if byte & 0x40 == 0 {
            return Ok(if number & 1 == 0 { number >> 1 } else { -(number >> 1) });
        }
    }
    Err(Missing::Unlike)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(table: Table, bytes: &[u8], first: i32, position: i64) -> Option<u32> {
        line_at(table, bytes.iter().map(|byte| Ok(*byte)), first, position).unwrap()
    }

    /// A table, and where in the code which line begins.
    type Compiled = (Table, &'static [u8], &'static [(i64, u32)]);

    /// As Python compiles, in the version that is named: the table of
    /// ```python
    /// def f(a):
    ///     for x in a:
    ///         if x:
    ///             print(x)
    ///     return [
    ///         a,
    ///         len(a),
    ///     ]
    /// ```
    /// on line 10 of its file, and where a line begins by `co_lines` (3.9: `dis.findlinestarts`), 0 being none.
    const COMPILED: &[Compiled] = &[
        // 3.9.18
        (
            Table::Steps,
            &[0, 1, 8, 1, 4, 1, 10, 2, 2, 1, 6, 254],
            &[(0, 11), (8, 12), (12, 13), (22, 15), (24, 16), (30, 14)],
        ),
        // 3.10.13
        (
            Table::Ranges,
            &[8, 1, 4, 1, 8, 1, 2, 128, 2, 2, 6, 1, 4, 254],
            &[(0, 11), (8, 12), (12, 13), (20, 0), (22, 15), (24, 16), (30, 14)],
        ),
        // 3.11.7
        (
            Table::Locations,
            &[
                128, 0, 216, 13, 14, 240, 0, 2, 5, 21, 240, 0, 2, 5, 21, 136, 1, 216, 11, 12, 240, 0, 1, 9, 21, 221,
                12, 17, 144, 33, 137, 72, 140, 72, 136, 72, 248, 224, 8, 9, 221, 8, 11, 136, 65, 137, 6, 140, 6, 240,
                5, 3, 12, 6, 240, 0, 3, 5, 6,
            ],
            &[(0, 10), (2, 11), (10, 12), (14, 13), (44, 0), (46, 15), (48, 16), (76, 14)],
        ),
        // 3.12.1
        (
            Table::Locations,
            &[
                128, 0, 216, 13, 14, 242, 0, 2, 5, 21, 136, 1, 218, 11, 12, 220, 12, 17, 144, 33, 141, 72, 240, 5, 2,
                5, 21, 240, 8, 0, 9, 10, 220, 8, 11, 136, 65, 139, 6, 240, 5, 3, 12, 6, 240, 0, 3, 5, 6,
            ],
            &[(0, 10), (2, 11), (12, 12), (18, 13), (42, 11), (44, 15), (46, 16), (66, 14)],
        ),
        // 3.13.0
        (
            Table::Locations,
            &[
                128, 0, 219, 13, 14, 136, 1, 223, 11, 12, 136, 49, 220, 12, 17, 144, 33, 142, 72, 241, 5, 0, 14, 15,
                240, 8, 0, 9, 10, 220, 8, 11, 136, 65, 139, 6, 240, 5, 3, 12, 6, 240, 0, 3, 5, 6,
            ],
            &[(0, 10), (2, 11), (12, 12), (30, 13), (56, 11), (60, 15), (62, 16), (82, 14)],
        ),
    ];

    #[test]
    fn lines_are_those_that_python_gives() {
        for (table, bytes, starts) in COMPILED {
            for (index, (start, expected)) in starts.iter().enumerate() {
                let end = starts.get(index + 1).map_or(start + 2, |next| next.0);
                for position in *start..end {
                    let found = line(*table, bytes, 10, position);
                    assert_eq!(found.unwrap_or(0), *expected, "{table:?} {position}");
                }
            }
        }
    }

    #[test]
    fn a_function_that_has_not_begun_is_on_its_first_line() {
        for table in [Table::Steps, Table::Ranges, Table::Locations] {
            assert_eq!([-1, -2, -3].map(|at| line(table, &[], 7, at)), [Some(7), Some(7), None], "{table:?}");
        }
    }

    #[test]
    fn code_without_a_line_has_none() {
        let ranges = [4, 1, 2, 0x80, 2, 1];
        assert_eq!([3, 4, 6, 8].map(|at| line(Table::Ranges, &ranges, 1, at)), [Some(2), None, Some(3), None]);
        // One unit a column form later, one without a line, and one two lines on.
        let locations = [0x80, 0x11, 0xf8, 0x80 | 12 << 3, 4, 9];
        assert_eq!([0, 2, 4, 6].map(|at| line(Table::Locations, &locations, 1, at)), [Some(1), None, Some(3), None]);
    }

    #[test]
    fn lines_go_back() {
        assert_eq!(line(Table::Steps, &[2, 0xfe], 10, 2), Some(8));
        assert_eq!(line(Table::Ranges, &[2, 0, 2, 0xfe], 10, 2), Some(8));
        // The number 0b1010001, minus 40 lines, in two groups.
        assert_eq!(line(Table::Locations, &[0xe8, 0x51, 0x01, 0xe8, 0x02], 100, 0), Some(60));
        assert_eq!(line(Table::Locations, &[0xe8, 0x51, 0x01, 0xe8, 0x02], 100, 2), Some(61));
        assert_eq!(line(Table::Steps, &[0, 0x80], 10, 2), None, "no line is negative");
    }

    #[test]
    fn a_table_that_breaks_off_gives_no_line() {
        let broken = || [Ok(2), Err(Missing::TooMuch)].into_iter();
        for table in [Table::Steps, Table::Ranges] {
            assert_eq!(line_at(table, broken(), 1, 0), Err(Missing::TooMuch));
        }
        let number = [Ok(0xe8)].into_iter().chain(std::iter::repeat_n(Ok(0x7f), 9));
        assert_eq!(line_at(Table::Locations, number, 1, 0), Err(Missing::Unlike));
        assert_eq!(line_at(Table::Locations, [Ok(0xe8)].into_iter(), 1, 0), Err(Missing::Unlike));
    }
}
