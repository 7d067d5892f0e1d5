//! Any number in a file of /proc, /sys, a control group, or elsewhere.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Instant;

use rustix::fs::OFlags;

use super::kept::KeptFile;
use super::{Gauge, Number, Pick, Reading, fields, missing};
use crate::Target;

/// Reads it. A file of the kernel's stays open; another one is opened each time, as programs replace theirs.
pub(super) struct NumberGauge {
    number: Number,
    kept: Option<KeptFile>,
}

impl NumberGauge {
    pub(super) fn new(number: &Number, target: &Target) -> Result<Self, String> {
        let path = number.path.as_str();
        let about = |error: io::Error| format!("{path}: {error}");
        let kept = if path.starts_with('/') {
            let file = open(path).map_err(about)?;
            ["/proc/", "/sys/"].iter().any(|folder| path.starts_with(folder)).then_some(file)
        } else {
            Some(target.dir().open_file(path).map_err(about)?)
        };
        Ok(Self { number: number.clone(), kept: kept.map(KeptFile::new) })
    }
}

/// Never waits for a pipe or a terminal that the name may stand for.
fn open(path: &str) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    File::options().read(true).custom_flags(flags).open(path)
}

impl Gauge for NumberGauge {
    fn read(&mut self, _now: Instant) -> Reading {
        let mut opened;
        let file = match &mut self.kept {
            Some(kept) => kept,
            None => match open(&self.number.path) {
                Ok(file) => {
                    opened = KeptFile::new(file);
                    &mut opened
                }
                Err(error) => return missing(&self.number.path, &error),
            },
        };
        match file.read() {
            Ok(text) => pick(&self.number.pick, text).map_or_else(
                || Reading::Missing(format!("{}: there is no such number", self.number.path)),
                Reading::Value,
            ),
            Err(error) => missing(&self.number.path, &error),
        }
    }
}

fn pick(pick: &Pick, text: &[u8]) -> Option<f64> {
    match pick {
        Pick::Word(number) => fields::float(fields::words(text).nth(number - 1)?),
        Pick::Pattern(pattern) => {
            let found = pattern.captures(text)?;
            let group = found.iter().skip(1).flatten().next().or_else(|| found.get(0))?;
            fields::float(group.as_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use regex::bytes::Regex;

    use super::*;

    #[test]
    fn words_and_patterns() {
        let text = b"some 12 avg=3.5\nerrors: 7\n";
        assert_eq!(pick(&Pick::Word(2), text), Some(12.0));
        assert_eq!(pick(&Pick::Word(1), text), None);
        assert_eq!(pick(&Pick::Word(9), text), None);
        assert_eq!(pick(&Pick::Pattern(Regex::new("errors: (\\d+)").unwrap()), text), Some(7.0));
        assert_eq!(pick(&Pick::Pattern(Regex::new("\\d+\\.\\d").unwrap()), text), Some(3.5));
    }
}
