//! Generic parameters, the types that belong to them, and what is required of them, which is read and not told.

use std::rc::Rc;

use super::{Machine, Node};

impl Machine<'_> {
    pub(super) fn generic(&mut self, operator: u8) -> Option<Node> {
        match operator {
            b'x' => Some(Node::Type("A".into())),
            b'q' => self.parameter().map(Node::Type),
            b'Q' => self.associated(),
            b'R' => self.requirement(),
            b'l' => Some(self.signature()),
            b'r' => {
                while !self.next_if(b'l') {
                    // How many parameters there are on each level.
                    if !self.next_if(b'z') {
                        self.index()?;
                    }
                }
                Some(self.signature())
            }
            // `u`: a type with its signature.
            _ => {
                self.pop_if(|node| matches!(node, Node::Signature)).then_some(())?;
                self.pop_type()
            }
        }
    }

    fn signature(&mut self) -> Node {
        while self.pop_if(|node| matches!(node, Node::Requirement)) {}
        Node::Signature
    }

    /// The name of a parameter by its place: `A`, `B`, and on the next level `A1`.
    fn parameter(&mut self) -> Option<Rc<str>> {
        let (depth, mut place) = match self.peek()? {
            b'z' => {
                self.next();
                (0, 0)
            }
            b's' => {
                self.next();
                return Some("Self".into());
            }
            b'd' => {
                self.next();
                (self.index()?.checked_add(1)?, self.index()?)
            }
            _ => (0, self.index()?.checked_add(1)?),
        };
        let mut name = String::new();
        loop {
            name.push(char::from(b'A' + u8::try_from(place % 26).ok()?));
            place /= 26;
            if place == 0 {
                break;
            }
        }
        if depth > 0 {
            name.push_str(&depth.to_string());
        }
        self.text(name)
    }

    /// The name of an associated type, with its protocol where that is told.
    fn associated_name(&mut self) -> Option<String> {
        let protocol = self.pop_nominal();
        let name = self.pop_identifier()?;
        Some(protocol.map_or_else(|| name.to_string(), |protocol| format!("{}.{name}", protocol.text())))
    }

    /// The names of types of which each belongs to the one before.
    fn associated_names(&mut self) -> Option<String> {
        let mut names = Vec::new();
        loop {
            let is_first = self.pop_first_element();
            let name = self.associated_name()?;
            self.spend(&name)?;
            names.push(name);
            if is_first {
                break;
            }
        }
        names.reverse();
        Some(names.join("."))
    }

    fn associated(&mut self) -> Option<Node> {
        let (base, names) = match self.next()? {
            b'z' => (Rc::from("A"), self.associated_name()?),
            b'y' => (self.parameter()?, self.associated_name()?),
            b'Z' => (Rc::from("A"), self.associated_names()?),
            b'Y' => (self.parameter()?, self.associated_names()?),
            b'r' => return Some(Node::Type("some".into())),
            _ => return None,
        };
        let text = self.text(format!("{base}.{names}"))?;
        Some(self.remember(Node::Type(text)))
    }

    fn requirement(&mut self) -> Option<Node> {
        /// What is required.
        #[derive(PartialEq)]
        enum Kind {
            Protocol,
            Type,
            Layout,
        }
        let letter = self.peek()?;
        let kind = match letter {
            b'b' | b'c' | b'C' | b'B' | b's' | b't' | b'T' | b'S' => Kind::Type,
            b'l' | b'm' | b'M' => Kind::Layout,
            b'h' | b'v' | b'V' | b'i' | b'I' | b'j' | b'J' | b'L' => return None,
            _ => Kind::Protocol,
        };
        if matches!(letter, b'p' | b'P' | b'Q') || kind != Kind::Protocol {
            self.next();
        }
        // Of what: of a parameter, of a type that belongs to it, or of one that was named before.
        match letter {
            b'p' | b'c' | b't' | b'm' => {
                let name = self.associated_name()?;
                self.constrained(&name)?;
            }
            b'P' | b'C' | b'T' | b'M' => {
                let names = self.associated_names()?;
                self.constrained(&names)?;
            }
            b'Q' | b'B' | b'S' => drop(self.pop_type()?),
            _ => drop(self.parameter()?),
        }
        match kind {
            Kind::Protocol => drop(self.pop_protocol()?),
            Kind::Type => drop(self.pop_type()?),
            Kind::Layout => match self.next()? {
                b'U' | b'R' | b'N' | b'C' | b'D' | b'T' | b'B' | b'S' => {}
                _ => return None,
            },
        }
        Some(Node::Requirement)
    }

    /// A type that belongs to a parameter, which later operators may refer back to.
    fn constrained(&mut self, names: &str) -> Option<()> {
        let base = self.parameter()?;
        let text = self.text(format!("{base}.{names}"))?;
        self.remember(Node::Type(text));
        Some(())
    }
}
