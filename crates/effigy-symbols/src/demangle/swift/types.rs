//! Types that are not declared: functions, tuples, protocols together, and what the language has built in.

use std::rc::Rc;

use super::nominal::{Nominal, optional};
use super::{MOST_REPEATED, Machine, Node};

/// Types of the standard library by the letter that stands for them behind `S`.
const STANDARD: &[(u8, &str)] = &[
    (b'A', "AutoreleasingUnsafeMutablePointer"),
    (b'a', "Array"),
    (b'B', "BinaryFloatingPoint"),
    (b'b', "Bool"),
    (b'D', "Dictionary"),
    (b'd', "Double"),
    (b'E', "Encodable"),
    (b'e', "Decodable"),
    (b'F', "FloatingPoint"),
    (b'f', "Float"),
    (b'G', "RandomNumberGenerator"),
    (b'H', "Hashable"),
    (b'h', "Set"),
    (b'I', "DefaultIndices"),
    (b'i', "Int"),
    (b'J', "Character"),
    (b'j', "Numeric"),
    (b'K', "BidirectionalCollection"),
    (b'k', "RandomAccessCollection"),
    (b'L', "Comparable"),
    (b'l', "Collection"),
    (b'M', "MutableCollection"),
    (b'm', "RangeReplaceableCollection"),
    (b'N', "ClosedRange"),
    (b'n', "Range"),
    (b'O', "ObjectIdentifier"),
    (b'P', "UnsafePointer"),
    (b'p', "UnsafeMutablePointer"),
    (b'Q', "Equatable"),
    (b'q', "Optional"),
    (b'R', "UnsafeBufferPointer"),
    (b'r', "UnsafeMutableBufferPointer"),
    (b'S', "String"),
    (b's', "Substring"),
    (b'T', "Sequence"),
    (b't', "IteratorProtocol"),
    (b'U', "UnsignedInteger"),
    (b'u', "UInt"),
    (b'V', "UnsafeRawPointer"),
    (b'v', "UnsafeMutableRawPointer"),
    (b'W', "UnsafeRawBufferPointer"),
    (b'w', "UnsafeMutableRawBufferPointer"),
    (b'X', "RangeExpression"),
    (b'x', "Strideable"),
    (b'Y', "RawRepresentable"),
    (b'y', "StringProtocol"),
    (b'Z', "SignedInteger"),
    (b'z', "BinaryInteger"),
];

/// Those behind `Sc`.
const CONCURRENT: &[(u8, &str)] = &[
    (b'A', "Actor"),
    (b'C', "CheckedContinuation"),
    (b'c', "UnsafeContinuation"),
    (b'E', "CancellationError"),
    (b'e', "UnownedSerialExecutor"),
    (b'F', "Executor"),
    (b'f', "SerialExecutor"),
    (b'G', "TaskGroup"),
    (b'g', "ThrowingTaskGroup"),
    (b'I', "AsyncIteratorProtocol"),
    (b'i', "AsyncSequence"),
    (b'J', "UnownedJob"),
    (b'M', "MainActor"),
    (b'P', "TaskPriority"),
    (b'S', "AsyncStream"),
    (b's', "AsyncThrowingStream"),
    (b'T', "Task"),
    (b't', "UnsafeCurrentTask"),
];

/// A parameter, or an element of a tuple.
#[derive(Clone, Debug)]
pub(super) struct Element {
    label: Option<Rc<str>>,
    text: Rc<str>,
    is_variadic: bool,
}

/// The type of a function.
#[derive(Debug)]
pub(super) struct FunctionType {
    /// What stands before its parameters.
    prefix: &'static str,
    pub(super) parameters: Vec<Element>,
    effects: String,
    result: Rc<str>,
}

impl FunctionType {
    /// With the labels of the parameters where they have some.
    pub(super) fn text(&self, labels: &[Option<Rc<str>>]) -> String {
        let parameters = self.parameters.iter().enumerate().map(|(number, parameter)| {
            let label = labels.get(number).cloned().flatten();
            Element { label: label.or_else(|| parameter.label.clone()), ..parameter.clone() }
        });
        let parameters = list(&parameters.collect::<Vec<_>>());
        format!("{}{parameters}{} -> {}", self.prefix, self.effects, self.result)
    }
}

fn list(elements: &[Element]) -> String {
    let text = |element: &Element| {
        let label = element.label.as_ref().map(|label| format!("{label}: ")).unwrap_or_default();
        format!("{label}{}{}", element.text, if element.is_variadic { "..." } else { "" })
    };
    format!("({})", elements.iter().map(text).collect::<Vec<_>>().join(", "))
}

impl Node {
    pub(super) fn is_type(&self) -> bool {
        matches!(self, Self::Nominal(_) | Self::Function(_) | Self::Tuple(_) | Self::Type(_))
    }

    /// A type as people write it.
    pub(super) fn type_text(&self) -> Option<Rc<str>> {
        Some(match self {
            Self::Nominal(nominal) => nominal.text().clone(),
            Self::Function(function) => function.text(&[]).into(),
            Self::Tuple(elements) => list(elements).into(),
            Self::Type(text) => text.clone(),
            _ => return None,
        })
    }
}

impl Machine<'_> {
    pub(super) fn a_type(&mut self, operator: u8) -> Option<Node> {
        match operator {
            b'S' => self.standard(),
            b'B' => self.built_in(),
            b'G' => self.bound_generic(),
            b'c' => self.function_type(""),
            b'm' => self.around("", ".Type"),
            b'z' => self.around("inout ", ""),
            b'h' => self.around("__shared ", ""),
            b'n' => self.around("__owned ", ""),
            b't' => self.tuple(),
            b'p' => {
                let protocols = self.protocols()?;
                self.composed(&protocols)
            }
            b'X' => self.special(),
            _ => None,
        }
    }

    /// The topmost type with something around it.
    fn around(&mut self, before: &str, behind: &str) -> Option<Node> {
        let text = self.pop_type_text()?;
        self.text(format!("{before}{text}{behind}")).map(Node::Type)
    }

    fn standard(&mut self) -> Option<Node> {
        let count = if self.peek()?.is_ascii_digit() { self.natural()? } else { 1 };
        let node = match self.next()? {
            b'o' if count == 1 => Node::Module("__C".into()),
            b'C' if count == 1 => Node::Module("__C_Synthesized".into()),
            b'g' if count == 1 => {
                let text = self.pop_type_text()?;
                let text = self.text(optional(&text))?;
                return Some(self.remember(Node::Type(text)));
            }
            b'c' => {
                let letter = self.next()?;
                Node::Nominal(Rc::new(Nominal::standard(named(CONCURRENT, letter)?)))
            }
            letter => Node::Nominal(Rc::new(Nominal::standard(named(STANDARD, letter)?))),
        };
        if !(1..=MOST_REPEATED).contains(&count) {
            return None;
        }
        self.stack.extend(std::iter::repeat_n(node.clone(), count - 1));
        Some(node)
    }

    fn built_in(&mut self) -> Option<Node> {
        let text = match self.next()? {
            b'b' => "BridgeObject".to_owned(),
            b'B' => "UnsafeValueBuffer".to_owned(),
            b'c' => "RawUnsafeContinuation".to_owned(),
            b'D' => "DefaultActorStorage".to_owned(),
            b'e' => "Executor".to_owned(),
            b'I' => "IntLiteral".to_owned(),
            b'j' => "Job".to_owned(),
            b'O' => "UnknownObject".to_owned(),
            b'o' => "NativeObject".to_owned(),
            b'p' => "RawPointer".to_owned(),
            b't' => "SILToken".to_owned(),
            b'w' => "Word".to_owned(),
            kind @ (b'i' | b'f') => {
                let bits = self.natural()?;
                let name = if kind == b'i' { "Int" } else { "FPIEEE" };
                self.next_if(b'_').then(|| format!("{name}{bits}"))?
            }
            _ => return None,
        };
        self.text(format!("Builtin.{text}")).map(Node::Type)
    }

    pub(super) fn function_type(&mut self, prefix: &'static str) -> Option<Node> {
        let function = self.pop_function(prefix)?;
        // What it will say must not be more than it may.
        let length = function.text(&[]).len();
        self.budget = self.budget.checked_sub(length)?;
        Some(Node::Function(Rc::new(function)))
    }

    /// The result, the parameters, and what else is told of a function.
    pub(super) fn pop_function(&mut self, prefix: &'static str) -> Option<FunctionType> {
        let throws = self.pop_if(|node| matches!(node, Node::Throws));
        let is_sendable = self.pop_if(|node| matches!(node, Node::Sendable));
        let is_async = self.pop_if(|node| matches!(node, Node::Async));
        let parameters = match self.pop_empty_list() {
            true => Vec::new(),
            false => match self.pop_type()? {
                Node::Tuple(elements) => elements.to_vec(),
                other => vec![Element { label: None, text: other.type_text()?, is_variadic: false }],
            },
        };
        let result = if self.pop_empty_list() { "()".into() } else { self.pop_type_text()? };
        let effects = [(is_async, " async"), (throws, " throws")];
        let effects = effects.iter().filter(|(is_there, _)| *is_there).map(|(_, effect)| *effect).collect();
        let prefix = if is_sendable && prefix.is_empty() { "@Sendable " } else { prefix };
        Some(FunctionType { prefix, parameters, effects, result })
    }

    fn tuple(&mut self) -> Option<Node> {
        let mut elements = Vec::new();
        if !self.pop_empty_list() {
            loop {
                let is_first = self.pop_first_element();
                let is_variadic = self.pop_if(|node| matches!(node, Node::Variadic));
                let label = self.pop_identifier();
                let text = self.pop_type_text()?;
                self.spend(&text)?;
                elements.push(Element { label, text, is_variadic });
                if is_first {
                    break;
                }
            }
            elements.reverse();
        }
        let length = list(&elements).len();
        self.budget = self.budget.checked_sub(length)?;
        Some(Node::Tuple(elements.into()))
    }

    fn protocols(&mut self) -> Option<Vec<Rc<str>>> {
        let mut protocols = Vec::new();
        if !self.pop_empty_list() {
            loop {
                let is_first = self.pop_first_element();
                let protocol = self.pop_protocol()?;
                self.spend(&protocol)?;
                protocols.push(protocol);
                if is_first {
                    break;
                }
            }
            protocols.reverse();
        }
        Some(protocols)
    }

    fn composed(&mut self, protocols: &[Rc<str>]) -> Option<Node> {
        let text = if protocols.is_empty() { "Any".to_owned() } else { protocols.join(" & ") };
        self.text(text).map(Node::Type)
    }

    fn special(&mut self) -> Option<Node> {
        match self.next()? {
            b'E' => self.function_type(""),
            b'A' | b'K' => self.function_type("@autoclosure "),
            b'B' => self.function_type("@convention(block) "),
            b'C' => self.function_type("@convention(c) "),
            b'f' => self.function_type("@convention(thin) "),
            b'D' => {
                self.pop_type()?;
                Some(Node::Type("Self".into()))
            }
            b'o' => self.around("unowned ", ""),
            b'u' => self.around("unowned(unsafe) ", ""),
            b'w' => self.around("weak ", ""),
            b'p' => self.around("", ".Type"),
            b'l' => {
                let mut protocols = self.protocols()?;
                protocols.push("Swift.AnyObject".into());
                self.composed(&protocols)
            }
            b'c' => {
                let class = self.pop_type_text()?;
                let mut protocols = self.protocols()?;
                protocols.insert(0, class);
                self.composed(&protocols)
            }
            _ => None,
        }
    }
}

fn named(table: &[(u8, &'static str)], letter: u8) -> Option<&'static str> {
    table.iter().find(|(known, _)| *known == letter).map(|(_, name)| *name)
}
