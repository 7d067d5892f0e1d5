#![no_main]
//! A compressed file: damaged as it is, and, as a fuzzer finds no checksum, a sound container with a table that is not.

use std::sync::Arc;

use effigy_formats::container::{SeekableReader, SeekableWriter};
use effigy_fuzz::{Beside, look};
use libfuzzer_sys::fuzz_target;
use std::io::Write;
use std::num::NonZero;

fuzz_target!(|bytes: &[u8]| {
    let Some((&way, rest)) = bytes.split_first() else { return };
    match way % 4 {
        0 => look([&b"\x28\xb5\x2f\xfd"[..], rest].concat(), &mut Beside::default()),
        1 => look([&b"\x1f\x8b\x08"[..], rest].concat(), &mut Beside::default()),
        2 => look([&b"\xfd7zXZ\0"[..], rest].concat(), &mut Beside::default()),
        _ => container(rest),
    }
});

/// The first bytes say which bytes of the table are changed into what.
fn container(bytes: &[u8]) {
    let (changes, contents) = bytes.split_at(bytes.len().min(12));
    let mut file = Vec::new();
    let written = SeekableWriter::new(&mut file, NonZero::<usize>::MIN)
        .and_then(|mut writer| writer.write_all(contents).and_then(|()| writer.finish().map(drop)));
    if written.is_err() {
        return;
    }
    let length = file.len();
    for change in changes.chunks_exact(3) {
        let at = length.saturating_sub(1 + usize::from(change[0]));
        if change[2] != 0 {
            file[at] = change[1];
        }
    }
    if let Ok(reader) = SeekableReader::new(Arc::new(file)) {
        let mut buffer = vec![0; 4096];
        for offset in [0, reader.len() / 2, reader.len().saturating_sub(1), reader.len()] {
            drop(reader.read_at(offset, &mut buffer));
        }
    }
}
