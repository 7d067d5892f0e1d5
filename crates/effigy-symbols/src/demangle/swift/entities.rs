//! Functions, variables, and what the compiler makes of them.

use std::rc::Rc;

use super::types::FunctionType;
use super::{Entity, Machine, Node, Place};

/// What is done with the values of a type, by two letters.
const VALUE_WITNESSES: &[(&[u8; 2], &str)] = &[
    (b"al", "allocateBuffer"),
    (b"ca", "assignWithCopy"),
    (b"ta", "assignWithTake"),
    (b"de", "deallocateBuffer"),
    (b"xx", "destroy"),
    (b"XX", "destroyBuffer"),
    (b"CP", "initializeBufferWithCopyOfBuffer"),
    (b"Cp", "initializeBufferWithCopy"),
    (b"cp", "initializeWithCopy"),
    (b"TK", "initializeBufferWithTakeOfBuffer"),
    (b"Tk", "initializeBufferWithTake"),
    (b"tk", "initializeWithTake"),
    (b"pr", "projectBuffer"),
    (b"ug", "getEnumTag"),
    (b"up", "destructiveProjectEnumData"),
    (b"ui", "destructiveInjectEnumTag"),
    (b"et", "getEnumTagSinglePayload"),
    (b"st", "storeEnumTagSinglePayload"),
];

impl Machine<'_> {
    pub(super) fn entity(&mut self, operator: u8) -> Option<Node> {
        match operator {
            b'F' => self.function(),
            b'v' => self.variable(),
            b'i' => self.subscript(),
            b'f' => self.special_function(),
            b'Z' => self.prefixed("static "),
            b'T' => self.thunk(),
            b'W' => self.witness(),
            b'N' => self.about_type("type metadata for"),
            b'M' => {
                let what = match self.next()? {
                    b'a' => "type metadata accessor for",
                    b'f' => "full type metadata for",
                    b'i' => "type metadata instantiation function for",
                    b'm' => "metaclass for",
                    b'n' => "nominal type descriptor for",
                    b'p' => "protocol descriptor for",
                    b'r' => "type metadata completion function for",
                    _ => return None,
                };
                self.about_type(what)
            }
            // `w`
            _ => {
                let letters = [self.next()?, self.next()?];
                let name = VALUE_WITNESSES.iter().find(|(known, _)| **known == letters)?.1;
                self.about_type(&format!("{name} value witness for"))
            }
        }
    }

    fn made(&mut self, full: String, short: String) -> Option<Node> {
        let (full, short) = (self.text(full)?, self.text(short)?);
        Some(Node::Entity(Rc::new(Entity { full, short })))
    }

    fn about_type(&mut self, what: &str) -> Option<Node> {
        let text = self.pop_type_text()?;
        self.made(format!("{what} {text}"), format!("{what} {text}"))
    }

    fn prefixed(&mut self, prefix: &str) -> Option<Node> {
        let entity = self.pop_entity()?;
        self.made(format!("{prefix}{}", entity.full), format!("{prefix}{}", entity.short))
    }

    /// Something of a name at a place. `tail` are its parameters or its type.
    fn declared_entity(&mut self, place: &Place, name: &str, spaced: bool, tail: &str) -> Option<Node> {
        let space = if spaced && !tail.is_empty() { " " } else { "" };
        if spaced || place.is_local {
            self.made(format!("{name}{space}{tail} in {}", place.full), format!("{name} in {}", place.short))
        } else {
            self.made(format!("{}.{name}{tail}", place.full), format!("{}.{name}", place.short))
        }
    }

    /// The labels of parameters, where they have some.
    fn labels(&mut self, function: &FunctionType) -> Option<Vec<Option<Rc<str>>>> {
        if self.pop_empty_list() {
            return Some(Vec::new());
        }
        let mut labels = Vec::new();
        for _ in &function.parameters {
            let label = self.pop(|node| match node {
                Node::Identifier(text) => Some(Some(text.clone())),
                Node::FirstElement => Some(None),
                _ => None,
            });
            labels.push(label?);
        }
        labels.reverse();
        Some(labels)
    }

    fn function(&mut self) -> Option<Node> {
        self.pop_if(|node| matches!(node, Node::Signature));
        let function = self.pop_function("")?;
        let labels = self.labels(&function)?;
        let (name, spaced) = self.pop_name()?;
        let place = self.pop_place()?;
        self.declared_entity(&place, &name, spaced, &function.text(&labels))
    }

    /// How a variable or a subscript is used; nothing for itself.
    fn accessor(&mut self) -> Option<&'static str> {
        Some(match self.next()? {
            b'g' | b'G' => ".getter",
            b's' => ".setter",
            b'm' => ".materializeForSet",
            b'w' => ".willset",
            b'W' => ".didset",
            b'r' => ".read",
            b'M' => ".modify",
            b'p' => "",
            b'a' if self.next_if(b'u') => ".unsafeMutableAddressor",
            b'l' if self.next_if(b'u') => ".unsafeAddressor",
            _ => return None,
        })
    }

    fn variable(&mut self) -> Option<Node> {
        let accessor = self.accessor()?;
        let kind = self.pop_type()?;
        // Labels of a variable that holds a function are not told.
        if let Node::Function(function) = &kind {
            self.labels(function)?;
        }
        let (name, spaced) = self.pop_name()?;
        let place = self.pop_place()?;
        let tail = format!(" : {}", kind.type_text()?);
        let name = format!("{name}{accessor}");
        // A variable's type comes behind a colon, which needs no space more.
        if spaced || place.is_local {
            return self.made(format!("{name}{tail} in {}", place.full), format!("{name} in {}", place.short));
        }
        self.declared_entity(&place, &name, false, &tail)
    }

    fn subscript(&mut self) -> Option<Node> {
        let accessor = self.accessor()?;
        self.pop_if(|node| matches!(node, Node::Discriminator));
        let Node::Function(function) = self.pop_type()? else { return None };
        let labels = self.labels(&function)?;
        let place = self.pop_place()?;
        let tail = format!(" : {}", function.text(&labels));
        self.declared_entity(&place, &format!("subscript{accessor}"), false, &tail)
    }

    fn special_function(&mut self) -> Option<Node> {
        match self.next()? {
            b'D' => self.without_type("__deallocating_deinit"),
            b'd' => self.without_type("deinit"),
            b'Z' => self.without_type("__isolated_deallocating_deinit"),
            b'E' => self.without_type("__ivar_destroyer"),
            b'e' => self.without_type("__ivar_initializer"),
            b'i' => self.prefixed("variable initialization expression of "),
            kind @ (b'C' | b'c') => {
                self.pop_if(|node| matches!(node, Node::Discriminator));
                let Node::Function(function) = self.pop_type()? else { return None };
                let labels = self.labels(&function)?;
                let place = self.pop_place()?;
                let is_class = place.nominal.as_ref().is_some_and(|nominal| nominal.is_class);
                let name = if kind == b'C' && is_class { "__allocating_init" } else { "init" };
                self.declared_entity(&place, name, false, &function.text(&labels))
            }
            kind @ (b'U' | b'u') => {
                let number = self.index()?.checked_add(1)?;
                let Node::Function(function) = self.pop_type()? else { return None };
                let place = self.pop_place()?;
                let implicit = if kind == b'u' { "implicit " } else { "" };
                self.declared_entity(&place, &format!("{implicit}closure #{number}"), true, &function.text(&[]))
            }
            b'A' => {
                let number = self.index()?;
                self.prefixed(&format!("default argument {number} of "))
            }
            _ => None,
        }
    }

    fn without_type(&mut self, name: &str) -> Option<Node> {
        let place = self.pop_place()?;
        self.declared_entity(&place, name, false, "")
    }

    fn thunk(&mut self) -> Option<Node> {
        let prefix = match self.next()? {
            b'A' => "partial apply forwarder for ",
            b'a' => "partial apply ObjC forwarder for ",
            b'c' => "curry thunk of ",
            b'D' => "dynamic ",
            b'j' => "dispatch thunk of ",
            b'm' => "merged ",
            b'O' => "@nonobjc ",
            b'o' => "@objc ",
            b'q' => "method descriptor for ",
            b'u' => "async function pointer to ",
            b'Q' => {
                let number = self.index()?;
                return self.prefixed(&format!("({number}) await resume partial function for "));
            }
            b'Y' => {
                let number = self.index()?;
                return self.prefixed(&format!("({number}) suspend resume partial function for "));
            }
            b'W' => {
                let entity = self.pop_entity()?;
                let conformance = self.conformance()?;
                let text = |entity: &str| format!("protocol witness for {entity} in conformance {conformance}");
                return self.made(text(&entity.full), text(&entity.short));
            }
            b'g' | b'B' => return self.specialization("generic specialization"),
            b'G' => return self.specialization("generic not re-abstracted specialization"),
            b'f' => return self.changed_signature(),
            _ => return None,
        };
        self.prefixed(prefix)
    }

    /// `TYPE : PROTOCOL in MODULE`.
    fn conformance(&mut self) -> Option<String> {
        self.pop_if(|node| matches!(node, Node::Signature));
        let module = self.pop_module()?;
        let protocol = self.pop_protocol()?;
        let kind = self.pop_type_text()?;
        Some(format!("{kind} : {protocol} in {module}"))
    }

    /// Which pass of the compiler made it, and whether others may use it.
    fn pass(&mut self) -> Option<()> {
        self.next_if(b'q');
        self.next()?.is_ascii_digit().then_some(())
    }

    fn specialization(&mut self, what: &str) -> Option<Node> {
        self.pass()?;
        let mut types = Vec::new();
        loop {
            let is_first = self.pop_first_element();
            let argument = self.pop_type_text()?;
            self.spend(&argument)?;
            types.push(argument);
            if is_first {
                break;
            }
        }
        types.reverse();
        let entity = self.pop_entity()?;
        let full = format!("{what} <{}> of {}", types.join(", "), entity.full);
        self.made(full, format!("{what} of {}", entity.short))
    }

    /// A function whose parameters were changed. In which way is read and not told; ways that name something are not known.
    fn changed_signature(&mut self) -> Option<Node> {
        self.pass()?;
        let is_way = |byte: u8| {
            matches!(byte, b'n' | b'd' | b'g' | b'G' | b'X' | b'x' | b'i' | b's' | b'e' | b'D' | b'o' | b'O')
        };
        while self.peek().is_some_and(is_way) {
            self.next();
        }
        self.next_if(b'_').then_some(())?;
        is_way(self.next()?).then_some(())?;
        while self.peek().is_some_and(|byte| matches!(byte, b'G' | b'X' | b'O' | b'D')) {
            self.next();
        }
        self.prefixed("function signature specialization of ")
    }

    fn witness(&mut self) -> Option<Node> {
        match self.next()? {
            b'V' => self.about_type("value witness table for"),
            b'P' => {
                let conformance = self.conformance()?;
                let text = format!("protocol witness table for {conformance}");
                self.made(text.clone(), text)
            }
            b'O' => {
                let what = match self.next()? {
                    b'y' => "outlined copy of",
                    b'e' => "outlined consume of",
                    b'r' => "outlined retain of",
                    b's' => "outlined release of",
                    b'b' | b'B' => "outlined init with take of",
                    b'c' | b'C' => "outlined init with copy of",
                    b'd' | b'D' => "outlined assign with take of",
                    b'f' | b'F' => "outlined assign with copy of",
                    b'h' | b'H' => "outlined destroy of",
                    _ => return None,
                };
                self.pop_if(|node| matches!(node, Node::Signature));
                self.about_type(what)
            }
            _ => None,
        }
    }
}
