//! Memory as lines: WinDbg's `db`, `dw`, `dd`, `dq`, `dps`.

use effigy_process::{Address, ByteOrder, Process};

use crate::cli::ShapeArg;
use crate::subject::Subject;
use crate::words;

/// A byte; `None` for one that is not there.
pub(super) type Byte = Option<u8>;

/// How memory is printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Bytes of a number.
    pub(super) unit: usize,
    /// Bytes on a line.
    pub(super) line: usize,
}

impl Shape {
    /// Of numbers; text has no such shape.
    pub(super) fn of(shape: ShapeArg, process: &Process) -> Self {
        let pointer = process.architecture.pointer_size();
        let (unit, line) = match shape {
            ShapeArg::Bytes | ShapeArg::Ascii | ShapeArg::Unicode => (1, 16),
            ShapeArg::Words => (2, 16),
            ShapeArg::Dwords => (4, 16),
            ShapeArg::Qwords => (8, 16),
            ShapeArg::Pointers => (pointer, pointer),
        };
        Self { unit, line }
    }

    /// The numbers of a line; `None` for those of which a byte is missing.
    pub(super) fn values(self, order: ByteOrder, bytes: &[Byte]) -> impl Iterator<Item = Option<u64>> {
        bytes.chunks(self.unit).map(move |unit| {
            let whole: Option<Vec<u8>> = unit.iter().copied().collect();
            whole.filter(|whole| whole.len() == self.unit).map(|whole| order.number(&whole))
        })
    }

    /// A line of numbers at an address.
    pub(super) fn text(self, process: &Process, at: Address, bytes: &[Byte]) -> String {
        if self.unit == 1 {
            return format!("{}  {}", words::address(process, at), bytes_and_letters(bytes));
        }
        let unknown = if self.unit == 8 { "????????`????????".to_owned() } else { "?".repeat(self.unit * 2) };
        let numbers: Vec<_> = self
            .values(process.byte_order, bytes)
            .map(|value| value.map_or_else(|| unknown.clone(), |value| words::number(value, self.unit)))
            .collect();
        format!("{}  {}", words::address(process, at), numbers.join(" "))
    }

    /// A line with a pointer and where it points.
    pub(super) fn pointer_text(self, subject: &Subject, at: Address, bytes: &[Byte]) -> String {
        let process = subject.process();
        let place = self.values(process.byte_order, bytes).flatten().next();
        let place = place.and_then(|value| subject.place(Address(value))).unwrap_or_default();
        format!("{} {place}", self.text(process, at, bytes)).trim_end().to_owned()
    }
}

/// `42 37 ff 7f 00 00 90 38-4e c2 6c 01 00 00 7d 26  B7.....8N.l...}&`.
pub(super) fn bytes_and_letters(bytes: &[Byte]) -> String {
    let mut text = String::with_capacity(68);
    for index in 0..16 {
        let separator = match index {
            0 => "",
            8 if bytes.len() > 8 => "-",
            _ => " ",
        };
        text.push_str(separator);
        match bytes.get(index) {
            Some(Some(byte)) => text.push_str(&format!("{byte:02x}")),
            Some(None) => text.push_str("??"),
            None => text.push_str("  "),
        }
    }
    text.push_str("  ");
    text.extend(bytes.iter().map(|byte| match byte {
        Some(byte) if byte.is_ascii_graphic() || *byte == b' ' => char::from(*byte),
        Some(_) => '.',
        None => '?',
    }));
    text
}

#[cfg(test)]
mod tests {
    use effigy_process::Architecture;

    use super::*;

    fn process() -> Process {
        Process { architecture: Architecture::X86_64, ..Process::default() }
    }

    fn text(shape: ShapeArg, bytes: &[Byte]) -> String {
        Shape::of(shape, &process()).text(&process(), Address(0x3f_ff07_ef0a), bytes)
    }

    #[test]
    fn lines_as_windbg_prints_them() {
        let mut bytes: Vec<Byte> = b"B7\xff\x7f\0\0\x908N\xc2l\x01\0\0}&".iter().copied().map(Some).collect();
        let whole = "0000003f`ff07ef0a  42 37 ff 7f 00 00 90 38-4e c2 6c 01 00 00 7d 26  B7.....8N.l...}&";
        assert_eq!(text(ShapeArg::Bytes, &bytes), whole);
        assert_eq!(text(ShapeArg::Dwords, &bytes), "0000003f`ff07ef0a  7fff3742 38900000 016cc24e 267d0000");
        bytes[3] = None;
        assert_eq!(text(ShapeArg::Words, &bytes[..6]), "0000003f`ff07ef0a  3742 ???? 0000");
        assert_eq!(text(ShapeArg::Qwords, &bytes), "0000003f`ff07ef0a  ????????`???????? 267d0000`016cc24e");
        let few = "0000003f`ff07ef0a  42 37 ff ??                                      B7.?";
        assert_eq!(text(ShapeArg::Bytes, &bytes[..4]), few);
    }

    #[test]
    fn numbers_of_big_endian_processes() {
        let process = Process { byte_order: ByteOrder::Big, ..process() };
        let bytes = [1, 2, 3, 4].map(Some);
        let text = Shape::of(ShapeArg::Dwords, &process).text(&process, Address(0), &bytes);
        assert_eq!(text, "00000000`00000000  01020304");
    }
}
