//! Types that are declared: classes, structures, enumerations, protocols, aliases.

use std::rc::Rc;

use super::{Machine, Node, Place};

/// A declared type, with the types that it is in.
#[derive(Clone, Debug)]
pub(super) struct Nominal {
    outer: Option<Rc<Nominal>>,
    /// What stands before its name, where that is no type: a module.
    before: Rc<str>,
    name: Rc<str>,
    text: Rc<str>,
    pub(super) is_class: bool,
    /// Whether it is declared in a function.
    pub(super) is_local: bool,
}

impl Nominal {
    /// One of the standard library's.
    pub(super) fn standard(name: &str) -> Self {
        Self {
            outer: None,
            before: "Swift.".into(),
            name: name.into(),
            text: format!("Swift.{name}").into(),
            is_class: false,
            is_local: false,
        }
    }

    /// As people write it.
    pub(super) fn text(&self) -> &Rc<str> {
        &self.text
    }

    /// The same with its text, which has these arguments.
    fn told(self, machine: &mut Machine<'_>, arguments: &str) -> Option<Rc<Self>> {
        let outer = self.outer.as_ref().map(|outer| format!("{}.", outer.text)).unwrap_or_default();
        let text = machine.text(format!("{outer}{}{}{arguments}", self.before, self.name))?;
        Some(Rc::new(Self { text, ..self }))
    }
}

impl Machine<'_> {
    /// A type that is declared somewhere.
    pub(super) fn nominal(&mut self, operator: u8) -> Option<Node> {
        let (name, _) = self.pop_name()?;
        let place = self.pop_place()?;
        let nominal = self.declared(place, name, operator == b'C')?;
        Some(self.remember(Node::Nominal(nominal)))
    }

    fn declared(&mut self, place: Place, name: Rc<str>, is_class: bool) -> Option<Rc<Nominal>> {
        let is_local = place.is_local;
        let (outer, before, name) = match place.nominal {
            _ if is_local => (None, "".into(), self.text(format!("{name} in {}", place.full))?),
            Some(nominal) => (Some(nominal), "".into(), name),
            None => (None, self.text(format!("{}.", place.full))?, name),
        };
        let text = name.clone();
        Nominal { outer, before, name, text, is_class, is_local }.told(self, "")
    }

    /// A protocol, whose name may stand there without its operator.
    pub(super) fn pop_protocol(&mut self) -> Option<Rc<str>> {
        if let Some(nominal) = self.pop_nominal() {
            return Some(nominal.text.clone());
        }
        let (name, _) = self.pop_name()?;
        let place = self.pop_place()?;
        self.declared(place, name, false).map(|nominal| nominal.text.clone())
    }

    /// `E`: a type that a module adds to.
    pub(super) fn extension(&mut self) -> Option<Node> {
        self.pop_if(|node| matches!(node, Node::Signature));
        let module = self.pop_module()?;
        let nominal = self.pop_nominal()?;
        let before = nominal.text.strip_suffix(&*nominal.name)?;
        let before = self.text(format!("(extension in {module}):{before}"))?;
        let extended = Nominal { outer: None, before, ..(*nominal).clone() };
        extended.told(self, "").map(Node::Extension)
    }

    /// `G`: a type with the arguments of its generic parameters, and of those of the types that it is in.
    pub(super) fn bound_generic(&mut self) -> Option<Node> {
        let mut lists = Vec::new();
        loop {
            let mut list = Vec::new();
            while let Some(argument) = self.pop_type() {
                let argument = argument.type_text()?;
                self.spend(&argument)?;
                list.push(argument);
            }
            list.reverse();
            lists.push(list);
            if self.pop_empty_list() {
                break;
            }
            if !self.pop_first_element() {
                return None;
            }
        }
        let nominal = self.pop_nominal()?;
        let node = match (&*nominal.text, &lists[..]) {
            ("Swift.Array", [list]) if list.len() == 1 => Node::Type(self.text(format!("[{}]", list[0]))?),
            ("Swift.Dictionary", [list]) if list.len() == 2 => {
                Node::Type(self.text(format!("[{} : {}]", list[0], list[1]))?)
            }
            ("Swift.Optional", [list]) if list.len() == 1 => Node::Type(self.text(optional(&list[0]))?),
            _ => Node::Nominal(self.bound(&nominal, &lists)?),
        };
        Some(self.remember(node))
    }

    /// The arguments of the innermost type come first.
    fn bound(&mut self, nominal: &Rc<Nominal>, lists: &[Vec<Rc<str>>]) -> Option<Rc<Nominal>> {
        let mut chain = vec![nominal.clone()];
        while let Some(outer) = chain.last().and_then(|nominal| nominal.outer.clone()) {
            chain.push(outer);
        }
        if lists.iter().skip(chain.len()).any(|list| !list.is_empty()) {
            return None;
        }
        let mut outer: Option<Rc<Nominal>> = None;
        for (number, nominal) in chain.iter().enumerate().rev() {
            let list = lists.get(number).filter(|list| !list.is_empty());
            let arguments = list.map(|list| format!("<{}>", list.join(", "))).unwrap_or_default();
            // It has no arguments yet.
            nominal.text.ends_with(&*nominal.name).then_some(())?;
            let bound = Nominal { outer: outer.take(), ..(**nominal).clone() };
            outer = Some(bound.told(self, &arguments)?);
        }
        outer
    }
}

/// A type that may be missing.
pub(super) fn optional(text: &str) -> String {
    if text.contains(" -> ") || text.contains(" & ") { format!("({text})?") } else { format!("{text}?") }
}
