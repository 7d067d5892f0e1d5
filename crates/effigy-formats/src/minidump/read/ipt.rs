//! `IptTraceStream`: what Intel Processor Trace recorded of each thread.
//!
//! Microsoft names the stream and publishes no layout. What its driver gives to those who ask for a process's traces is
//! known from the WinIPT project: `IPT_TRACE_DATA`, in which an `IPT_TRACE_HEADER` stands before the trace of each thread.
//! A stream that is laid out so from its beginning to its end is taken for that; of any other the beginning is shown. The
//! packets themselves are not decoded: that takes the code that ran.

use zerocopy::little_endian::{U16, U32};

use super::ReadError;
use super::fields::{HALF, Row, Shape, WORD, beginning, read_rows};
use super::source::Block;
use crate::opened::{Field, MOST_CONTENT, MOST_RECORDS};

/// `IPT_TRACE_DATA`.
const DATA: &[Row] =
    &[("TraceVersion", 0, Shape::Number(2)), ("ValidTrace", 2, Shape::Number(2)), ("TraceSize", 4, HALF)];
/// Where its traces begin.
const DATA_SIZE: u64 = 8;
/// The version that all systems write that are known.
const VERSION: u16 = 1;
/// `IPT_TRACE_HEADER`.
const HEADER: &[Row] = &[
    ("ThreadId", 0, WORD),
    ("TimingSettings", 8, HALF),
    ("MtcFrequency", 12, HALF),
    ("FrequencyToTscRatio", 16, HALF),
    ("RingBufferOffset", 20, HALF),
    ("TraceSize", 24, HALF),
];
/// Where its trace begins.
const HEADER_SIZE: u64 = 28;

/// The traces that are shown, and how many there are.
type Traces = (Vec<Vec<Field>>, u64);

/// Header and traces, or the beginning of a stream that is laid out in another way.
pub(super) fn fields(block: &Block) -> Result<Vec<Field>, ReadError> {
    let Some((traces, count)) = traces(block)? else {
        let why =
            "Microsoft publishes no layout of this stream, and it is not what its driver gives as WinIPT describes it";
        return Ok(Field::undecoded(why, &beginning(block, MOST_CONTENT)?));
    };
    let mut fields = vec![Field::text("Layout", "IPT_TRACE_DATA, as WinIPT describes it; the packets are not decoded")];
    fields.extend(read_rows(DATA, block)?);
    fields.push(Field::number("NumberOfTraces", count));
    fields.push(Field::list("Traces", traces));
    Ok(fields)
}

/// The headers of the traces and how many there are; `None` when the stream is laid out in another way.
fn traces(block: &Block) -> Result<Option<Traces>, ReadError> {
    if block.len() < DATA_SIZE + HEADER_SIZE || block.record::<U16>(0, "a version of traces")?.get() != VERSION {
        return Ok(None);
    }
    let end = DATA_SIZE + u64::from(block.record::<U32>(4, "a size of traces")?.get());
    let valid = block.record::<U16>(2, "whether traces are valid")?.get();
    if valid > 1 || end > block.len() {
        return Ok(None);
    }
    let (mut at, mut found, mut count) = (DATA_SIZE, Vec::new(), 0);
    while end - at >= HEADER_SIZE {
        let header = block.part(at, HEADER_SIZE, "a trace")?;
        let size = u64::from(header.record::<U32>(24, "a trace's size")?.get());
        let ring = u64::from(header.record::<U32>(20, "a trace's end")?.get());
        let next = at + HEADER_SIZE + size;
        if next > end || ring > size {
            return Ok(None);
        }
        if found.len() < MOST_RECORDS {
            let mut trace = read_rows(HEADER, &header)?;
            let kept = block.part(at + HEADER_SIZE, size.min(16), "a trace")?.bytes("a trace")?;
            trace.push(Field::text("TraceBegin", crate::opened::hexadecimal(&kept)));
            found.push(trace);
        }
        (at, count) = (next, count + 1);
    }
    Ok((count > 0).then_some((found, count)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::opened::FieldValue;

    fn trace(thread: u64, ring: u32, bytes: &[u8]) -> Vec<u8> {
        let mut trace = thread.to_le_bytes().to_vec();
        for half in [2, 3, 4, ring, u32::try_from(bytes.len()).unwrap()] {
            trace.extend(half.to_le_bytes());
        }
        trace.extend(bytes);
        trace
    }

    fn stream(version: u16, traces: &[u8]) -> Block {
        let mut bytes = version.to_le_bytes().to_vec();
        bytes.extend(1u16.to_le_bytes());
        bytes.extend(u32::try_from(traces.len()).unwrap().to_le_bytes());
        bytes.extend(traces);
        Block::file(Arc::new(bytes))
    }

    fn value<'a>(fields: &'a [Field], name: &str) -> &'a FieldValue {
        &fields.iter().find(|field| field.name == name).unwrap_or_else(|| panic!("no {name}: {fields:?}")).value
    }

    #[test]
    fn traces_follow_one_another() {
        let both = [trace(77, 2, &[2, 0x82, 2]), trace(78, 0, &[])].concat();
        let fields = fields(&stream(1, &both)).unwrap();
        let FieldValue::List(traces) = value(&fields, "Traces") else { panic!("no list") };
        assert_eq!(traces.len(), 2);
        assert_eq!(*value(&traces[0], "ThreadId"), FieldValue::Number(77));
        assert_eq!(*value(&traces[0], "TraceBegin"), FieldValue::Text("028202".into()));
        assert_eq!(*value(&traces[1], "TraceSize"), FieldValue::Number(0));
    }

    #[test]
    fn what_is_laid_out_otherwise_is_shown_with_the_reason() {
        let one = trace(77, 2, &[2, 0x82, 2]);
        // Another version; a trace that is longer than its stream; an end of the ring behind the trace.
        let long = [&one[..24], &[200, 0, 0, 0, 1]].concat();
        for bytes in [stream(7, &one), stream(1, &long), stream(1, &trace(77, 9, &[2])), stream(1, &[])] {
            let fields = fields(&bytes).unwrap();
            assert!(matches!(value(&fields, "NotDecoded"), FieldValue::Text(_)));
            assert!(matches!(value(&fields, "Content"), FieldValue::Text(_)));
        }
    }
}
