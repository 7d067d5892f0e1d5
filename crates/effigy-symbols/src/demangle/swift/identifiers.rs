//! Identifiers: with the words of earlier ones in place of their letters, with letters of all alphabets, and those of
//! operators.

use std::rc::Rc;

use super::{Machine, Node};

/// Words that can be referred to: there are so many letters.
const MOST_WORDS: usize = 26;

/// The longest identifier, in bytes of UTF-8.
const LONGEST: usize = 4096;

/// The words of the identifiers so far.
#[derive(Default)]
pub(super) struct Words<'a>(Vec<&'a [u8]>);

impl<'a> Words<'a> {
    /// Adds the words of a text: one begins with a letter, and ends before `_` and where a capital follows what is none.
    fn add(&mut self, text: &'a [u8]) {
        let mut start = None;
        for at in 0..=text.len() {
            let byte = text.get(at).copied();
            if let Some(from) = start {
                let before = text.get(at.wrapping_sub(1)).copied().unwrap_or_default();
                let ends =
                    byte.is_none_or(|byte| byte == b'_' || byte.is_ascii_uppercase() && !before.is_ascii_uppercase());
                if ends {
                    if at - from >= 2 && self.0.len() < MOST_WORDS {
                        self.0.extend(text.get(from..at));
                    }
                    start = None;
                }
            }
            if start.is_none() && byte.is_some_and(|byte| byte != b'_' && !byte.is_ascii_digit()) {
                start = Some(at);
            }
        }
    }
}

impl Machine<'_> {
    /// An identifier: its length and its text, or pieces of both kinds behind a `0`.
    pub(super) fn identifier(&mut self) -> Option<Rc<str>> {
        let (mut has_words, mut is_encoded) = (false, false);
        if self.next_if(b'0') {
            if self.next_if(b'0') {
                is_encoded = true;
            } else {
                has_words = true;
            }
        }
        let mut text = Vec::new();
        loop {
            while let Some(letter) = self.peek().filter(|byte| has_words && byte.is_ascii_alphabetic()) {
                self.next();
                has_words = letter.is_ascii_lowercase();
                text.extend_from_slice(self.words.0.get(usize::from(letter.to_ascii_lowercase() - b'a'))?);
            }
            if self.next_if(b'0') {
                break;
            }
            let length = self.natural()?;
            if is_encoded {
                self.next_if(b'_');
            }
            let (piece, rest) = self.rest.split_at_checked(length)?;
            self.rest = rest;
            if is_encoded {
                text = decoded(piece)?.into_bytes();
            } else {
                text.extend_from_slice(piece);
                self.words.add(piece);
            }
            if !has_words || text.len() > LONGEST {
                break;
            }
        }
        let text = String::from_utf8(text).ok().filter(|text| !text.is_empty() && text.len() <= LONGEST)?;
        self.text(text)
    }

    /// `o`: the identifier is an operator, written in letters.
    pub(super) fn operator_name(&mut self) -> Option<Node> {
        let letters = self.pop_identifier()?;
        let symbol = |letter: char| {
            Some(match letter {
                'a' => '&',
                'c' => '@',
                'd' => '/',
                'e' => '=',
                'g' => '>',
                'l' => '<',
                'm' => '*',
                'n' => '!',
                'o' => '|',
                'p' => '+',
                'q' => '?',
                'r' => '%',
                's' => '-',
                't' => '~',
                'x' => '^',
                'z' => '.',
                letter if letter.is_ascii() => return None,
                letter => letter,
            })
        };
        let symbols: String = letters.chars().map(symbol).collect::<Option<_>>()?;
        let place = match self.next()? {
            b'i' => "infix",
            b'p' => "prefix",
            b'P' => "postfix",
            _ => return None,
        };
        let text = self.text(format!("{symbols} {place}"))?;
        Some(Node::Name { text, spaced: false })
    }

    /// `L`: what tells one declaration from others of its name.
    pub(super) fn local_name(&mut self) -> Option<Node> {
        if self.next_if(b'L') {
            let file = self.pop_identifier()?;
            let (name, spaced) = self.pop_name()?;
            let text = self.text(format!("({name} in {file})"))?;
            return Some(Node::Name { text, spaced });
        }
        if self.next_if(b'l') {
            self.pop_identifier()?;
            return Some(Node::Discriminator);
        }
        let number = self.index()?.checked_add(1)?;
        let (name, _) = self.pop_name()?;
        let text = self.text(format!("{name} #{number}"))?;
        Some(Node::Name { text, spaced: true })
    }
}

/// Punycode (RFC 3492), with `_` for its hyphen and `A` to `J` for its digits.
fn decoded(text: &[u8]) -> Option<String> {
    const BASE: usize = 36;
    const LEAST: usize = 1;
    const MOST: usize = 26;
    let (plain, mut digits) = match memchr::memrchr(b'_', text) {
        Some(at) => (&text[..at], text[at + 1..].iter()),
        None => (&text[..0], text.iter()),
    };
    let mut found: Vec<char> = plain.iter().map(|byte| char::from(*byte)).collect();
    let (mut code, mut at, mut bias) = (0x80_usize, 0_usize, 72_usize);
    while !digits.as_slice().is_empty() {
        let (before, mut weight, mut step) = (at, 1_usize, BASE);
        loop {
            let digit = match digits.next()? {
                letter @ b'a'..=b'z' => usize::from(letter - b'a'),
                letter @ b'A'..=b'J' => usize::from(letter - b'A') + 26,
                _ => return None,
            };
            at = at.checked_add(digit.checked_mul(weight)?)?;
            let threshold = step.saturating_sub(bias).clamp(LEAST, MOST);
            if digit < threshold {
                break;
            }
            weight = weight.checked_mul(BASE - threshold)?;
            step += BASE;
        }
        let count = found.len() + 1;
        // How far apart letters are says how long the next distance will be.
        let mut delta = if before == 0 { (at - before) / 700 } else { (at - before) / 2 };
        delta += delta / count;
        let mut steps = 0;
        while delta > (BASE - LEAST) * MOST / 2 {
            delta /= BASE - LEAST;
            steps += BASE;
        }
        bias = steps + (BASE - LEAST + 1) * delta / (delta + 38);
        code = code.checked_add(at / count)?;
        at %= count;
        let letter = u32::try_from(code).ok().and_then(char::from_u32)?;
        if found.len() > LONGEST {
            return None;
        }
        found.insert(at, letter);
        at += 1;
    }
    Some(found.into_iter().collect())
}
