//! Marks that targets plant in their memory, made anew from their seeds and compared byte by byte.

use std::path::Path;

use super::{Dump, file_contains};

/// How a mark's bytes follow from its seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MarkerKind {
    /// xorshift64.
    Random,
    /// xorshift64, every fourth word zero.
    Mixed,
    /// Words counting up.
    Linear,
    /// As `Random`, and must not be in the dump.
    Absent,
}

/// A mark.
#[derive(Clone, Debug)]
pub(crate) struct Marker {
    pub(crate) kind: MarkerKind,
    pub(crate) name: String,
    pub(crate) address: u64,
    pub(crate) length: usize,
    pub(crate) seed: u64,
}

impl Marker {
    /// Reads `KIND NAME ADDRESS LENGTH SEED`.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let kind = match words.next()? {
            "marker" => MarkerKind::Random,
            "mixed" => MarkerKind::Mixed,
            "linear" => MarkerKind::Linear,
            "absent" => MarkerKind::Absent,
            _ => return None,
        };
        let name = words.next()?.to_owned();
        let address = u64::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok()?;
        let length = words.next()?.parse().ok()?;
        let seed = words.next()?.parse().ok()?;
        Some(Self { kind, name, address, length, seed })
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.length + 8);
        let mut state = self.seed;
        let mut index = 0;
        while bytes.len() < self.length {
            let word = match self.kind {
                MarkerKind::Linear => self.seed.wrapping_add(index),
                MarkerKind::Mixed if index % 4 == 3 => 0,
                _ => xorshift(&mut state),
            };
            bytes.extend_from_slice(&word.to_le_bytes());
            index += 1;
        }
        bytes.truncate(self.length);
        bytes
    }
}

fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Panics unless every mark that must be in the dump is there, byte for byte.
pub(crate) fn verify<'a>(dump: &Dump, markers: impl IntoIterator<Item = &'a Marker>) {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for marker in markers.into_iter().filter(|marker| marker.kind != MarkerKind::Absent) {
        seen += 1;
        let wanted = marker.bytes();
        match dump.memory(marker.address, marker.length) {
            None => {
                wrong.push(format!("{} at {:#x}+{:#x} is not in the dump", marker.name, marker.address, marker.length))
            }
            Some(found) if found != wanted => {
                let at = found.iter().zip(&wanted).position(|(a, b)| a != b).unwrap_or(0);
                let many = found.iter().zip(&wanted).filter(|(a, b)| a != b).count();
                wrong.push(format!(
                    "{} at {:#x} differs from byte {at:#x} on, in {many} bytes",
                    marker.name, marker.address
                ));
            }
            Some(_) => {}
        }
    }
    assert!(seen > 0, "the target planted no marks");
    assert!(wrong.is_empty(), "{} of {seen} marks are wrong:\n{}", wrong.len(), first_lines(&wrong));
}

/// Panics if the first bytes of any mark that must stay out are anywhere in the file.
pub(crate) fn verify_absent<'a>(file: &Path, markers: impl IntoIterator<Item = &'a Marker>) {
    let mut found = Vec::new();
    let mut seen = 0;
    for marker in markers.into_iter().filter(|marker| marker.kind == MarkerKind::Absent) {
        seen += 1;
        if file_contains(file, &marker.bytes()[..marker.length.min(32)]) {
            found.push(marker.name.clone());
        }
    }
    assert!(seen > 0, "the target planted no marks that must stay out");
    assert!(
        found.is_empty(),
        "{} of {seen} marks that must stay out are in the file:\n{}",
        found.len(),
        first_lines(&found)
    );
}

fn first_lines(lines: &[String]) -> String {
    lines.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
}
