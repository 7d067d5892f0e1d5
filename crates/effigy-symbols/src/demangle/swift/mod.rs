//! Swift's names, as people write them: functions, methods, properties, closures, types, and what the compiler makes of them.
//!
//! A mangled name is a list of operators for a stack: identifiers and types are put on it, and operators take what they
//! need and put what it means (docs/ABI/Mangling.rst of the Swift project). This knows the operators that the names of
//! code in a stack are made of, since Swift 4.2. Whoever meets another, or anything that does not fit, gives up: then the
//! name stays as it is. Generic signatures (`<A where A: P>`) are left out of what is printed.

mod entities;
mod generics;
mod identifiers;
mod nominal;
mod types;

use std::rc::Rc;

use self::identifiers::Words;
use self::nominal::Nominal;
use self::types::{Element, FunctionType};

/// Bytes of text that are made in all, whatever a name refers back to.
const BUDGET: usize = 1 << 20;

/// How often one operator may repeat what it stands for.
const MOST_REPEATED: usize = 256;

/// What the names begin with: with the underscore of Mach-O, and of embedded Swift and Swift 4.2.
const PREFIXES: [&str; 6] = ["$s", "_$s", "$S", "_$S", "$e", "_$e"];

/// Whether a name looks like one of Swift's.
pub(super) fn is_mangled(name: &[u8]) -> bool {
    PREFIXES.iter().any(|prefix| name.len() > prefix.len() && name.starts_with(prefix.as_bytes()))
}

/// A name as people write it; `None` where it is not understood.
pub(super) fn demangle(name: &str, parameters: bool) -> Option<String> {
    let text = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix))?;
    // What the compiler's back end adds comes behind a dot.
    let (text, suffix) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut machine = Machine::new(text);
    while !machine.rest.is_empty() {
        let node = machine.operator()?;
        machine.stack.push(node);
    }
    let node = machine.stack.pop().filter(|_| machine.stack.is_empty())?;
    let (full, short) = match &node {
        Node::Entity(entity) => (entity.full.clone(), entity.short.clone()),
        node => (node.type_text()?, node.type_text()?),
    };
    match (parameters, suffix.is_empty()) {
        (false, _) => Some(short.to_string()),
        (true, true) => Some(full.to_string()),
        (true, false) => Some(format!("{full} with unmangled suffix \"{suffix}\"")),
    }
}

/// What lies on the stack.
#[derive(Clone, Debug)]
enum Node {
    Identifier(Rc<str>),
    /// A name that is no plain identifier; `spaced` if a space comes between it and its parameters.
    Name {
        text: Rc<str>,
        spaced: bool,
    },
    /// Which of several files a private declaration without a name is in.
    Discriminator,
    Module(Rc<str>),
    Nominal(Rc<Nominal>),
    /// A type that was extended, as the place of what was added to it.
    Extension(Rc<Nominal>),
    Function(Rc<FunctionType>),
    Tuple(Rc<[Element]>),
    /// Any other type.
    Type(Rc<str>),
    Entity(Rc<Entity>),
    EmptyList,
    FirstElement,
    Variadic,
    Throws,
    Async,
    Sendable,
    Signature,
    Requirement,
}

/// A function, a variable, or what was made of one.
#[derive(Debug)]
struct Entity {
    full: Rc<str>,
    /// Without parameters and types.
    short: Rc<str>,
}

/// Where something is declared.
struct Place {
    full: Rc<str>,
    short: Rc<str>,
    /// Whether it is a function, or in one: what is in it is told before it, and not behind.
    is_local: bool,
    /// The type, where it is one.
    nominal: Option<Rc<Nominal>>,
}

/// The stack, and what is left to read.
struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Node>,
    substitutions: Vec<Node>,
    words: Words<'a>,
    /// Bytes of text that may still be made.
    budget: usize,
}

impl<'a> Machine<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text.as_bytes(),
            stack: Vec::new(),
            substitutions: Vec::new(),
            words: Words::default(),
            budget: BUDGET,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn next_if(&mut self, wanted: u8) -> bool {
        let is_next = self.peek() == Some(wanted);
        if is_next {
            self.next();
        }
        is_next
    }

    /// A decimal number, where there is one.
    fn natural(&mut self) -> Option<usize> {
        let digits = self.rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at_checked(digits).filter(|(number, _)| !number.is_empty())?;
        self.rest = rest;
        std::str::from_utf8(number).ok()?.parse().ok()
    }

    /// `_` for 0, `0_` for 1, and so on.
    fn index(&mut self) -> Option<usize> {
        if self.next_if(b'_') {
            return Some(0);
        }
        let number = self.natural()?.checked_add(1)?;
        self.next_if(b'_').then_some(number)
    }

    /// A text that was made, if it was not too much.
    fn text(&mut self, text: String) -> Option<Rc<str>> {
        self.budget = self.budget.checked_sub(text.len())?;
        Some(text.into())
    }

    /// Counts text that is about to become part of another.
    fn spend(&mut self, text: &str) -> Option<()> {
        self.budget = self.budget.checked_sub(text.len())?;
        Some(())
    }

    /// Takes the topmost node, if it is such.
    fn pop<T>(&mut self, wanted: impl FnOnce(&Node) -> Option<T>) -> Option<T> {
        let found = wanted(self.stack.last()?)?;
        self.stack.pop();
        Some(found)
    }

    fn pop_if(&mut self, wanted: fn(&Node) -> bool) -> bool {
        self.pop(|node| wanted(node).then_some(())).is_some()
    }

    fn pop_empty_list(&mut self) -> bool {
        self.pop_if(|node| matches!(node, Node::EmptyList))
    }

    fn pop_first_element(&mut self) -> bool {
        self.pop_if(|node| matches!(node, Node::FirstElement))
    }

    fn pop_identifier(&mut self) -> Option<Rc<str>> {
        self.pop(|node| match node {
            Node::Identifier(text) => Some(text.clone()),
            _ => None,
        })
    }

    /// The name of a declaration, and whether a space follows it.
    fn pop_name(&mut self) -> Option<(Rc<str>, bool)> {
        self.pop(|node| match node {
            Node::Identifier(text) => Some((text.clone(), false)),
            Node::Name { text, spaced } => Some((text.clone(), *spaced)),
            _ => None,
        })
    }

    fn pop_module(&mut self) -> Option<Rc<str>> {
        self.pop(|node| match node {
            Node::Identifier(text) | Node::Module(text) => Some(text.clone()),
            _ => None,
        })
    }

    fn pop_type(&mut self) -> Option<Node> {
        self.pop(|node| node.is_type().then(|| node.clone()))
    }

    fn pop_type_text(&mut self) -> Option<Rc<str>> {
        self.pop_type()?.type_text()
    }

    fn pop_nominal(&mut self) -> Option<Rc<Nominal>> {
        self.pop(|node| match node {
            Node::Nominal(nominal) => Some(nominal.clone()),
            _ => None,
        })
    }

    fn pop_entity(&mut self) -> Option<Rc<Entity>> {
        self.pop(|node| match node {
            Node::Entity(entity) => Some(entity.clone()),
            _ => None,
        })
    }

    /// What something is declared in.
    fn pop_place(&mut self) -> Option<Place> {
        self.pop(|node| {
            Some(match node {
                Node::Identifier(text) | Node::Module(text) => {
                    Place { full: text.clone(), short: text.clone(), is_local: false, nominal: None }
                }
                Node::Nominal(nominal) | Node::Extension(nominal) => Place {
                    full: nominal.text().clone(),
                    short: nominal.text().clone(),
                    is_local: nominal.is_local,
                    nominal: Some(nominal.clone()),
                },
                Node::Entity(entity) => {
                    let (full, short) = (entity.full.clone(), entity.short.clone());
                    Place { full, short, is_local: true, nominal: None }
                }
                _ => return None,
            })
        })
    }

    /// Keeps what later operators may refer back to.
    fn remember(&mut self, node: Node) -> Node {
        self.substitutions.push(node.clone());
        node
    }

    /// What the next operator makes of the stack.
    fn operator(&mut self) -> Option<Node> {
        Some(match self.peek()? {
            b'0'..=b'9' => {
                let text = self.identifier()?;
                self.remember(Node::Identifier(text))
            }
            operator => {
                self.next();
                match operator {
                    b'A' => return self.back_reference(),
                    b's' => Node::Module("Swift".into()),
                    b'y' => Node::EmptyList,
                    b'_' => Node::FirstElement,
                    b'd' => Node::Variadic,
                    b'K' => Node::Throws,
                    b'Y' => match self.next()? {
                        b'a' => Node::Async,
                        b'b' => Node::Sendable,
                        _ => return None,
                    },
                    b'L' => return self.local_name(),
                    b'o' => return self.operator_name(),
                    b'C' | b'O' | b'P' | b'V' | b'a' => return self.nominal(operator),
                    b'E' => return self.extension(),
                    b'F' | b'v' | b'i' | b'f' | b'Z' | b'T' | b'W' | b'M' | b'N' | b'w' => {
                        return self.entity(operator);
                    }
                    b'D' => return self.pop_type(),
                    b'Q' | b'R' | b'l' | b'r' | b'q' | b'x' | b'u' => return self.generic(operator),
                    _ => return self.a_type(operator),
                }
            }
        })
    }

    /// `A`: one or more of what was remembered, of which all but the last are put on the stack.
    fn back_reference(&mut self) -> Option<Node> {
        let mut count = None;
        loop {
            let next = self.peek()?;
            if next.is_ascii_digit() {
                count = Some(self.natural()?);
                continue;
            }
            self.next();
            let index = match next {
                b'_' => count.take().map_or(Some(26), |number: usize| number.checked_add(27))?,
                b'a'..=b'z' => usize::from(next - b'a'),
                b'A'..=b'Z' => usize::from(next - b'A'),
                _ => return None,
            };
            let node = self.substitutions.get(index)?.clone();
            let count = count.take().unwrap_or(1);
            if count > MOST_REPEATED {
                return None;
            }
            let before = if next.is_ascii_lowercase() { count.max(1) } else { count.saturating_sub(1) };
            self.stack.extend(std::iter::repeat_n(node.clone(), before));
            if !next.is_ascii_lowercase() {
                return Some(node);
            }
        }
    }
}

#[cfg(test)]
mod tests;
