//! The lines of a symbol file.

/// A line, taken apart. Numbers are hexadecimal but where it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// `MODULE os architecture id name`
    Module { id: &'a [u8] },
    /// `FILE number name`, the number decimal.
    File { number: u64 },
    /// `INLINE_ORIGIN number name`, the number decimal.
    Origin { number: u64 },
    /// `FUNC [m] address size parameter-size name`
    Function { start: u64, size: u64 },
    /// `PUBLIC [m] address parameter-size name`
    Public { start: u64 },
    /// A line of code, or an inlined call: they belong to the function before them.
    OfFunction,
    /// Nothing that is known.
    Other,
}

impl<'a> Record<'a> {
    pub(super) fn parse(line: &'a [u8]) -> Self {
        Self::known(line).unwrap_or(Self::Other)
    }

    fn known(line: &'a [u8]) -> Option<Self> {
        let (word, rest) = split(line);
        let mut words = Words(rest);
        Some(match word {
            b"MODULE" => Self::Module { id: words.nth(2)? },
            b"FILE" => Self::File { number: words.decimal()? },
            b"INLINE_ORIGIN" => Self::Origin { number: words.decimal()? },
            b"FUNC" => Self::Function { start: words.after_mark()?, size: words.hexadecimal()? },
            b"PUBLIC" => Self::Public { start: words.after_mark()? },
            b"INLINE" => Self::OfFunction,
            word => hexadecimal(word).map(|_| Self::OfFunction)?,
        })
    }
}

/// The words of a line; what is left is the rest of it, spaces and all.
#[derive(Clone, Copy)]
pub(super) struct Words<'a>(pub(super) &'a [u8]);

impl<'a> Words<'a> {
    /// A number in hexadecimal digits.
    pub(super) fn hexadecimal(&mut self) -> Option<u64> {
        hexadecimal(self.next()?)
    }

    /// A number in decimal digits.
    pub(super) fn decimal(&mut self) -> Option<u64> {
        std::str::from_utf8(self.next()?).ok()?.parse().ok()
    }

    /// A hexadecimal number before which an `m` may stand: several functions were made one.
    pub(super) fn after_mark(&mut self) -> Option<u64> {
        match self.next()? {
            b"m" => self.hexadecimal(),
            word => hexadecimal(word),
        }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (word, rest) = split(self.0);
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }
}

/// The first word, and what follows the space after it.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b' ', line) {
        Some(space) => (&line[..space], &line[space + 1..]),
        None => (line, &[]),
    }
}

fn hexadecimal(word: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(word).ok()?;
    // A sign is no digit.
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line() {
        for (line, record) in [
            ("MODULE Linux x86_64 ABCD0 name", Record::Module { id: b"ABCD0" }),
            ("FILE 12 /a/b c.c", Record::File { number: 12 }),
            ("INLINE_ORIGIN 3 f(int, int)", Record::Origin { number: 3 }),
            ("FUNC 1000 10 0 main", Record::Function { start: 0x1000, size: 0x10 }),
            ("FUNC m 1000 10 0 main", Record::Function { start: 0x1000, size: 0x10 }),
            ("PUBLIC m abc 0 name", Record::Public { start: 0xabc }),
            ("PUBLIC abc 0 name", Record::Public { start: 0xabc }),
            ("STACK CFI INIT 10 20 .cfa: $rsp 8 +", Record::Other),
            ("STACK WIN 4 2000 1c 3 0 8 4 8 0 1 $T0", Record::Other),
            ("INLINE 0 3 1 2 1000 4", Record::OfFunction),
            ("1000 4 12 1", Record::OfFunction),
            ("", Record::Other),
            ("FUNC", Record::Other),
            ("FUNC +1 2 3 x", Record::Other),
            ("INFO CODE_ID 1234", Record::Other),
        ] {
            assert_eq!(Record::parse(line.as_bytes()), record, "{line}");
        }
    }
}
