//! Lines of a text that comes in pieces.

/// Bytes of a line that are looked at.
const LONGEST: usize = 64 << 10;

/// Letters of a line that a cause quotes.
const QUOTED: usize = 200;

/// What a cause quotes of a line.
pub(crate) fn quote(line: &str) -> String {
    line.chars().take(QUOTED).collect()
}

/// Puts lines together.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
    /// What is left of a line that is too long.
    skipping: bool,
}

impl Lines {
    /// Takes a piece, and gives the lines that are whole with it.
    pub(crate) fn take(&mut self, piece: &[u8], each: &mut dyn FnMut(&str)) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            if !self.skipping {
                let room = LONGEST.saturating_sub(self.rest.len());
                self.rest.extend_from_slice(&text[..text.len().min(room)]);
            }
            if ends || (self.rest.len() >= LONGEST && !self.skipping) {
                let line = std::mem::take(&mut self.rest);
                if !self.skipping {
                    each(&String::from_utf8_lossy(&line));
                }
                self.skipping = !ends;
            }
        }
    }

    /// Forgets the beginning of a line: its end will not come.
    pub(crate) fn forget(&mut self) {
        self.rest.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut found = Vec::new();
        let mut lines = Lines::default();
        pieces.iter().for_each(|piece| lines.take(piece, &mut |line| found.push(line.to_owned())));
        found
    }

    #[test]
    fn lines_are_whole() {
        assert_eq!(lines(&[b"one\ntw", b"o", b"\n\nthree"]), ["one", "two", ""]);
        let long = [b'x'; 200_000];
        assert_eq!(lines(&[&long, b"\nshort\n"]).iter().map(String::len).collect::<Vec<_>>(), [LONGEST, 5]);
    }
}
