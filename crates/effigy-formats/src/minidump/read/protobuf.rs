//! Protobuf messages, field by field, without a compiler's help.
//!
//! What is on the wire tells numbers from bytes, and not a message from a text: where the message's description is not
//! known, bytes that are a text are shown as one, and others as a message if they are one from their beginning to their
//! end. The bytes may be anybody's: depth and count are bounded, and each byte is looked at once for each level.
//!
//! Source: the encoding's description at protobuf.dev.

use crate::opened::{Field, MOST_RECORDS, hexadecimal};

/// Most messages within one another.
const DEEPEST: usize = 16;
/// Most bytes of a field that is neither text nor message.
const MOST_BYTES: usize = 64;

/// A field that a message's description has.
pub(super) struct Known {
    pub(super) number: u64,
    pub(super) name: &'static str,
    /// The fields of the message that it is; `None` for a number or a text.
    pub(super) message: Option<&'static [Self]>,
}

/// The fields of a message.
pub(super) struct Walked {
    pub(super) records: Vec<Vec<Field>>,
    /// Where the bytes stop making sense, counted from the message's beginning; `None` when all of them do.
    pub(super) damaged: Option<usize>,
    /// Whether there are more fields than are taken.
    pub(super) more: bool,
}

/// Takes a message apart. `known` describes its fields; those that it lacks are shown by number.
pub(super) fn walk(bytes: &[u8], known: &'static [Known]) -> Walked {
    let mut left = MOST_RECORDS;
    walk_level(bytes, known, DEEPEST, &mut left)
}

fn walk_level(bytes: &[u8], known: &'static [Known], depth: usize, left: &mut usize) -> Walked {
    let mut walked = Walked { records: Vec::new(), damaged: None, more: false };
    let mut rest = bytes;
    while !rest.is_empty() {
        if *left == 0 {
            walked.more = true;
            break;
        }
        let Some((number, value, behind)) = field(rest) else {
            walked.damaged = Some(bytes.len() - rest.len());
            break;
        };
        *left -= 1;
        let description = known.iter().find(|known| known.number == number);
        let mut record = vec![Field::number("Number", number)];
        record.extend(description.map(|known| Field::text("Name", known.name)));
        match value {
            Value::Number(kind, number) => record.extend([Field::text("Type", kind), Field::number("Value", number)]),
            Value::Bytes(bytes) => {
                let message = description.and_then(|known| known.message);
                record.extend(bytes_fields(bytes, message, depth, left));
            }
        }
        walked.records.push(record);
        rest = behind;
    }
    walked
}

/// What is known of a field of bytes: the message that it is described as, a text, a message by its looks, or its bytes.
fn bytes_fields(bytes: &[u8], message: Option<&'static [Known]>, depth: usize, left: &mut usize) -> Vec<Field> {
    let is_text = |text: &&str| !text.chars().any(|letter| letter.is_control() && !letter.is_whitespace());
    if let Some(text) = str::from_utf8(bytes).ok().filter(is_text).filter(|_| message.is_none()) {
        return vec![Field::text("Type", "text"), Field::text("Value", text)];
    }
    if depth > 1 {
        let inner = walk_level(bytes, message.unwrap_or(&[]), depth - 1, left);
        if message.is_some() || inner.damaged.is_none() {
            let mut fields = vec![Field::text("Type", "message"), Field::list("Fields", inner.records)];
            fields.extend(inner.damaged.map(|at| Field::number("DamagedAt", at as u64)));
            return fields;
        }
    }
    let shown = &bytes[..bytes.len().min(MOST_BYTES)];
    vec![
        Field::text("Type", "bytes"),
        Field::number("Length", bytes.len() as u64),
        Field::text("Value", hexadecimal(shown)),
    ]
}

/// A field's value as it is on the wire.
enum Value<'a> {
    /// What kind of number, and the number.
    Number(&'static str, u64),
    Bytes(&'a [u8]),
}

/// The first field of a message: its number, its value, and the bytes behind it. `None` when there is none: it is cut off,
/// or of the group types, which went out of use before any description that is known was written.
fn field(bytes: &[u8]) -> Option<(u64, Value<'_>, &[u8])> {
    let (tag, rest) = varint(bytes)?;
    let number = tag >> 3;
    // Numbers have 29 bits, and none is 0.
    if !(1..1 << 29).contains(&number) {
        return None;
    }
    let (value, rest) = match tag & 7 {
        0 => varint(rest).map(|(value, rest)| (Value::Number("varint", value), rest))?,
        1 => {
            rest.split_first_chunk().map(|(value, rest)| (Value::Number("64-bit", u64::from_le_bytes(*value)), rest))?
        }
        2 => {
            let (size, rest) = varint(rest)?;
            let (value, rest) = rest.split_at_checked(usize::try_from(size).ok()?)?;
            (Value::Bytes(value), rest)
        }
        5 => rest
            .split_first_chunk()
            .map(|(value, rest)| (Value::Number("32-bit", u32::from_le_bytes(*value).into()), rest))?,
        _ => return None,
    };
    Some((number, value, rest))
}

/// A number of seven bits a byte, lowest first, up to ten bytes.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        // Bits beyond the 64th fall off, as they do elsewhere.
        value |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(index).ok()?).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::opened::FieldValue;

    const INNER: &[Known] = &[Known { number: 3, name: "process_id", message: None }];
    const OUTER: &[Known] = &[Known { number: 2, name: "process", message: Some(INNER) }];

    fn value<'a>(record: &'a [Field], name: &str) -> &'a FieldValue {
        &record.iter().find(|field| field.name == name).unwrap_or_else(|| panic!("no {name}: {record:?}")).value
    }

    fn text(record: &[Field], name: &str) -> String {
        match value(record, name) {
            FieldValue::Text(text) => text.clone(),
            other => panic!("{name} is {other:?}"),
        }
    }

    /// `2 { 3: 300 }`, `9: "hi"`, `10: fixed32 7`, `11: fixed64 8`.
    const MESSAGE: &[u8] =
        &[0x12, 3, 0x18, 0xac, 2, 0x4a, 2, b'h', b'i', 0x55, 7, 0, 0, 0, 0x59, 8, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn fields_have_their_names_or_numbers() {
        let walked = walk(MESSAGE, OUTER);
        assert_eq!((walked.records.len(), walked.damaged, walked.more), (4, None, false));
        assert_eq!(text(&walked.records[0], "Name"), "process");
        let FieldValue::List(inner) = value(&walked.records[0], "Fields") else { panic!("no message") };
        assert_eq!(text(&inner[0], "Name"), "process_id");
        assert_eq!(*value(&inner[0], "Value"), FieldValue::Number(300));
        assert_eq!(text(&walked.records[1], "Value"), "hi");
        assert_eq!(*value(&walked.records[2], "Value"), FieldValue::Number(7));
        assert_eq!(*value(&walked.records[3], "Value"), FieldValue::Number(8));
        // Without a description a message is known by its looks.
        let walked = walk(MESSAGE, &[]);
        assert_eq!(text(&walked.records[0], "Type"), "message");
    }

    #[test]
    fn what_is_cut_off_is_told_with_its_place() {
        let walked = walk(&MESSAGE[..7], OUTER);
        assert_eq!((walked.records.len(), walked.damaged), (1, Some(5)));
        // Groups, and fields of number 0.
        for bytes in [&[0x0b, 0x0c][..], &[0x00, 0x00]] {
            assert_eq!(walk(bytes, OUTER).damaged, Some(0));
        }
    }

    #[test]
    fn messages_within_messages_have_an_end() {
        let mut bytes = vec![0x08, 1];
        while bytes.len() < 4000 {
            let mut outer = vec![0x0a];
            let mut size = bytes.len();
            while size >= 0x80 {
                outer.push(u8::try_from(size & 0x7f).unwrap() | 0x80);
                size >>= 7;
            }
            outer.push(u8::try_from(size).unwrap());
            outer.extend(bytes);
            bytes = outer;
        }
        assert_eq!(walk(&bytes, &[]).damaged, None);
        // More fields than are taken.
        assert!(walk(&[0x08, 1].repeat(10_000), &[]).more);
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let walked = walk(&bytes, OUTER);
            prop_assert!(walked.records.len() <= MOST_RECORDS);
        }
    }
}
