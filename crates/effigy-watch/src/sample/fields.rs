//! Takes the kernel's text files apart where they lie: nothing is allocated.

/// Field `number` (from 1, as proc_pid_stat(5) counts) of a `stat` file. The name, field 2, may hold spaces and
/// parentheses; only fields behind it can be asked for.
pub(crate) fn stat_field(line: &[u8], number: usize) -> Option<&[u8]> {
    let close = line.iter().rposition(|byte| *byte == b')')?;
    words(line.get(close + 1..)?).nth(number.checked_sub(3)?)
}

/// The number in such a field.
pub(crate) fn stat_number(line: &[u8], number: usize) -> Option<u64> {
    decimal(stat_field(line, number)?)
}

/// The first number behind `NAME:` at the beginning of a line.
pub(crate) fn named_number(text: &[u8], name: &str) -> Option<u64> {
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let rest = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
        decimal(words(rest).next()?)
    })
}

/// A line `full avg10=1.50 …` of a pressure file: the average over ten seconds, in percent.
pub(crate) fn pressure(text: &[u8], kind: &str) -> Option<f64> {
    text.split(|byte| *byte == b'\n')
        .find_map(|line| {
            let mut words = words(line);
            (words.next()? == kind.as_bytes()).then(|| words.find_map(|word| word.strip_prefix(b"avg10=")))?
        })
        .and_then(float)
}

/// Words between blanks.
pub(crate) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty())
}

/// A decimal number and nothing else.
pub(crate) fn decimal(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// A number with or without a fraction, also one with a unit behind it such as `12kB`; never infinite.
pub(crate) fn float(word: &[u8]) -> Option<f64> {
    let number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E');
    let end = word.iter().position(|byte| !number(byte)).unwrap_or(word.len());
    let parse = |part: &[u8]| std::str::from_utf8(part).ok()?.parse::<f64>().ok();
    parse(word).or_else(|| parse(&word[..end])).filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_stat() {
        let line = b"42 (a) R (b) S 1 42 42 0 -1 4194304 100 0 3 0 250 50 0 0 20 0 7 0 1234 9";
        assert_eq!(stat_field(line, 3), Some(&b"S"[..]));
        assert_eq!((stat_number(line, 14), stat_number(line, 15)), (Some(250), Some(50)));
        assert_eq!((stat_number(line, 20), stat_number(line, 22)), (Some(7), Some(1234)));
        assert_eq!((stat_number(line, 2), stat_number(line, 99), stat_number(b"", 14)), (None, None, None));
    }

    #[test]
    fn named_lines() {
        let text = b"Name:\tx\nVmSwap:\t  12 kB\nRssAnon:\t40 kB\n";
        assert_eq!((named_number(text, "RssAnon"), named_number(text, "VmSwap")), (Some(40), Some(12)));
        assert_eq!((named_number(text, "Rss"), named_number(text, "Name")), (None, None));
    }

    #[test]
    fn pressures() {
        let text = b"some avg10=5.11 avg60=4.33 avg300=3.34 total=13\nfull avg10=0.25 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(
            (pressure(text, "some"), pressure(text, "full"), pressure(text, "x")),
            (Some(5.11), Some(0.25), None)
        );
    }

    #[test]
    fn numbers() {
        assert_eq!(
            (float(b"12kB"), float(b"-1.5"), float(b"1e3"), float(b"x")),
            (Some(12.0), Some(-1.5), Some(1000.0), None)
        );
        assert_eq!((float(b"1e999"), float(b"inf"), float(b"NaN")), (None, None, None));
    }
}
