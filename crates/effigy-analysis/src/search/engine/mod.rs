//! The ways of searching: one for each kind of pattern, chosen for its speed.

mod expression;
mod needle;
mod pointer;

use std::ops::{ControlFlow, Range};

use effigy_process::Address;

use self::expression::Expression;
use self::needle::{Needle, Needles};
use self::pointer::Pointers;
use super::query::{
    LONGEST_FOLDED_TEXT, LONGEST_NEEDLE, MOST_NEEDLES, Pattern, PatternError, PointerPattern, TextPattern,
};
use super::{Encoding, Hit};
use crate::window::Stretch;

/// Up to so many byte strings, each is looked for on its own, which is faster than all at once.
const NEEDLES_APART: usize = 2;

/// Memory to search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Haystack<'a> {
    /// The memory, with what lies around the part in which hits may start.
    pub(super) stretch: Stretch<'a>,
    /// Where hits may start, as offsets into the stretch.
    pub(super) starts: (usize, usize),
    /// Whether memory goes on behind the stretch that is not in it.
    pub(super) goes_on: bool,
}

impl<'a> Haystack<'a> {
    fn bytes(&self) -> &'a [u8] {
        self.stretch.bytes
    }

    fn starts(&self) -> Range<usize> {
        self.starts.0..self.starts.1
    }

    fn address(&self, offset: usize) -> Address {
        self.stretch.range.start().saturating_add(offset as u64)
    }

    /// The bytes in which hits of `length` bytes lie that may start here.
    fn for_length(&self, length: usize) -> &'a [u8] {
        let end = self.starts.1.saturating_add(length).saturating_sub(1).min(self.bytes().len());
        &self.bytes()[..end]
    }
}

/// Takes hits by rising address until it has enough.
pub(super) type Emit<'a> = dyn FnMut(Hit) -> ControlFlow<()> + 'a;

/// Which pattern of the caller's a hit is of, and in which encoding.
#[derive(Clone, Copy, Debug)]
struct Label {
    pattern: usize,
    encoding: Option<Encoding>,
}

impl Label {
    fn hit(self, address: Address, length: usize) -> Hit {
        Hit {
            address,
            length: length as u64,
            pattern: self.pattern,
            encoding: self.encoding,
            pointer: None,
            cut: false,
        }
    }
}

/// A compiled pattern, or several.
#[derive(Clone, Debug)]
pub(super) enum Engine {
    Needle(Box<Needle>),
    Needles(Box<Needles>),
    Pointers(Pointers),
    Expression(Box<Expression>),
}

impl Engine {
    /// Bytes behind a hit's first that it may need to see.
    pub(super) fn look_ahead(&self) -> usize {
        match self {
            Self::Needle(needle) => needle.longest(),
            Self::Needles(needles) => needles.longest(),
            Self::Pointers(pointers) => pointers.width(),
            Self::Expression(expression) => expression.longest(),
        }
    }

    /// The pattern whose hits may not start within one another, where this looks for such a one.
    pub(super) fn exclusive_pattern(&self) -> Option<usize> {
        match self {
            Self::Expression(expression) => expression.exclusive_pattern(),
            _ => None,
        }
    }

    /// Where hits may start at the earliest, if the hits of each pattern so far reach up to `taken`.
    pub(super) fn taken(&self, taken: &[Address]) -> Address {
        self.exclusive_pattern().and_then(|pattern| taken.get(pattern).copied()).unwrap_or_default()
    }

    /// Gives the hits that start in the part asked for, by rising address, until `emit` has enough.
    pub(super) fn find(&self, haystack: Haystack<'_>, emit: &mut Emit<'_>) -> ControlFlow<()> {
        match self {
            Self::Needle(needle) => needle.find(haystack, emit),
            Self::Needles(needles) => needles.find(haystack, emit),
            Self::Pointers(pointers) => pointers.find(haystack, emit),
            Self::Expression(expression) => expression.find(haystack, emit),
        }
    }
}

/// Compiles what a caller asks for.
pub(super) fn compile(patterns: &[Pattern]) -> Result<Vec<Engine>, PatternError> {
    let mut engines = Vec::new();
    let mut needles = Vec::new();
    for (index, pattern) in patterns.iter().enumerate() {
        match pattern {
            Pattern::Bytes(bytes) => {
                check_length(index, bytes.len(), LONGEST_NEEDLE)?;
                needles.push((Label { pattern: index, encoding: None }, bytes.clone()));
            }
            Pattern::Text(text) => compile_text(index, text, &mut needles, &mut engines)?,
            Pattern::Pointers(pointers) => engines.push(compile_pointers(index, *pointers)?),
            Pattern::Expression(expression) => {
                let label = Label { pattern: index, encoding: None };
                engines.push(Engine::Expression(Box::new(Expression::new(label, expression)?)));
            }
        }
    }
    let count = needles.len() + engines.len();
    if count == 0 {
        return Err(PatternError::None);
    }
    if count > MOST_NEEDLES {
        return Err(PatternError::TooMany { count });
    }
    if needles.len() > NEEDLES_APART {
        engines.push(Engine::Needles(Box::new(Needles::new(needles)?)));
    } else {
        engines.extend(needles.into_iter().map(|(label, bytes)| Engine::Needle(Box::new(Needle::new(label, &bytes)))));
    }
    Ok(engines)
}

fn check_length(index: usize, bytes: usize, limit: usize) -> Result<(), PatternError> {
    match bytes {
        0 => Err(PatternError::Empty { index }),
        _ if bytes > limit => Err(PatternError::TooLong { index, bytes, limit }),
        _ => Ok(()),
    }
}

fn compile_text(
    index: usize,
    pattern: &TextPattern,
    needles: &mut Vec<(Label, Vec<u8>)>,
    engines: &mut Vec<Engine>,
) -> Result<(), PatternError> {
    let asked = [(Encoding::Utf8, pattern.utf8), (Encoding::Utf16, pattern.utf16)];
    if !pattern.utf8 && !pattern.utf16 {
        return Err(PatternError::NoEncoding { index });
    }
    for (encoding, _) in asked.into_iter().filter(|(_, asked)| *asked) {
        let label = Label { pattern: index, encoding: Some(encoding) };
        let bytes = encoding.encode(&pattern.text);
        if pattern.ignore_case {
            check_length(index, bytes.len(), LONGEST_FOLDED_TEXT)?;
            engines.push(Engine::Expression(Box::new(Expression::folded(label, &pattern.text, encoding)?)));
        } else {
            check_length(index, bytes.len(), LONGEST_NEEDLE)?;
            needles.push((label, bytes));
        }
    }
    Ok(())
}

fn compile_pointers(index: usize, pattern: PointerPattern) -> Result<Engine, PatternError> {
    let label = Label { pattern: index, encoding: None };
    Pointers::new(label, pattern)
        .map(Engine::Pointers)
        .ok_or(PatternError::NoPointer { into: pattern.into, width: pattern.width.bytes() })
}
