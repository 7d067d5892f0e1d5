//! The types of docs/json.d.ts, and answers held against them.
//!
//! Of TypeScript's notation this understands what the document uses: interfaces, one of which may extend another, names,
//! texts, lists, alternatives, and objects with any names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

/// Where the document is.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/json.d.ts");

/// A type.
#[derive(Clone, Debug)]
enum Type {
    Name(String),
    Literal(String),
    List(Box<Type>),
    Either(Vec<Type>),
    /// An object with any names.
    Any(Box<Type>),
}

#[derive(Clone, Debug)]
struct Field {
    name: String,
    optional: bool,
    of: Type,
}

#[derive(Clone, Debug)]
enum Declared {
    Record { extends: Option<String>, fields: Vec<Field> },
    Alias(Type),
}

/// All types of the document.
#[derive(Debug)]
pub(super) struct Types(BTreeMap<String, Declared>);

/// What was found in answers.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What is not as documented.
    pub(super) wrong: BTreeSet<String>,
    /// Fields that were there, with the interface that declares them.
    pub(super) seen: BTreeSet<(String, String)>,
}

impl Types {
    pub(super) fn read() -> Self {
        let text = fs::read_to_string(DOCUMENT).unwrap();
        Parser { words: words(&text), at: 0 }.all()
    }

    /// The fields of all interfaces.
    pub(super) fn fields(&self) -> BTreeSet<(String, String)> {
        let fields = self.0.iter().filter_map(|(name, declared)| match declared {
            Declared::Record { fields, .. } => Some(fields.iter().map(|field| (name.clone(), field.name.clone()))),
            Declared::Alias(_) => None,
        });
        fields.flatten().collect()
    }

    /// Holds an answer against a type.
    #[track_caller]
    pub(super) fn check(&self, value: &Value, name: &str, findings: &mut Findings) {
        assert!(self.0.contains_key(name), "docs/json.d.ts has no {name}");
        self.named(value, name, name, findings);
    }

    fn one(&self, value: &Value, of: &Type, path: &str, findings: &mut Findings) {
        let wrong = match (of, value) {
            (Type::Name(name), _) => return self.named(value, name, path, findings),
            (Type::Literal(text), _) => value != text.as_str(),
            (Type::List(each), Value::Array(values)) => {
                return values.iter().for_each(|value| self.one(value, each, &format!("{path}[]"), findings));
            }
            (Type::Any(each), Value::Object(fields)) => {
                return fields.values().for_each(|value| self.one(value, each, &format!("{path}{{}}"), findings));
            }
            (Type::Either(some), _) => return self.either(value, some, path, findings),
            (Type::List(_) | Type::Any(_), _) => true,
        };
        if wrong {
            findings.wrong.insert(format!("{path} is {}", shown(value)));
        }
    }

    /// The first that fits; where none does, what is wrong with the last, as null comes behind what it stands for.
    fn either(&self, value: &Value, some: &[Type], path: &str, findings: &mut Findings) {
        let mut closest = None;
        for of in some {
            let mut tried = Findings::default();
            self.one(value, of, path, &mut tried);
            let fits = tried.wrong.is_empty();
            if fits || !matches!(of, Type::Name(name) if name == "null") {
                closest = Some(tried);
            }
            if fits {
                break;
            }
        }
        let closest = closest.unwrap_or_default();
        findings.wrong.extend(closest.wrong);
        findings.seen.extend(closest.seen);
    }

    fn named(&self, value: &Value, name: &str, path: &str, findings: &mut Findings) {
        if let Some(fits) = built_in(value, name) {
            if !fits {
                findings.wrong.insert(format!("{path} is no {name}: {}", shown(value)));
            }
            return;
        }
        match self.0.get(name) {
            Some(Declared::Alias(of)) => self.one(value, of, path, findings),
            Some(Declared::Record { .. }) => self.record(value, name, path, findings),
            None => panic!("docs/json.d.ts does not say what {name} is"),
        }
    }

    fn record(&self, value: &Value, name: &str, path: &str, findings: &mut Findings) {
        let Value::Object(values) = value else {
            findings.wrong.insert(format!("{path} is no {name}: {}", shown(value)));
            return;
        };
        let fields = self.all_fields(name);
        for (owner, field) in &fields {
            let path = format!("{path}.{}", field.name);
            match values.get(&field.name) {
                Some(value) => {
                    findings.seen.insert((owner.clone(), field.name.clone()));
                    self.one(value, &field.of, &path, findings);
                }
                None if field.optional => {}
                None => _ = findings.wrong.insert(format!("{path} is not there")),
            }
        }
        let unknown = values.keys().filter(|key| !fields.iter().any(|(_, field)| field.name == **key));
        findings.wrong.extend(unknown.map(|key| format!("{path}.{key} is not in docs/json.d.ts")));
    }

    /// The fields of an interface and of what it extends, each with the interface that declares it.
    fn all_fields(&self, name: &str) -> Vec<(String, &Field)> {
        let Some(Declared::Record { extends, fields }) = self.0.get(name) else { panic!("{name} is no interface") };
        let mut all = extends.as_ref().map_or_else(Vec::new, |extended| self.all_fields(extended));
        all.extend(fields.iter().map(|field| (name.to_owned(), field)));
        all
    }
}

/// Whether a value is of a type that has a meaning beyond its TypeScript; `None` for others.
fn built_in(value: &Value, name: &str) -> Option<bool> {
    let text = value.as_str();
    Some(match name {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "Count" => value.is_u64(),
        "Integer" => value.is_i64() || value.is_u64(),
        "Address" => text.and_then(|text| text.strip_prefix("0x")).is_some_and(is_plain_number),
        "Digits" => text.is_some_and(|text| pairs(text).all(|pair| pair.iter().all(is_digit))),
        "DigitsWithGaps" => text.is_some_and(|text| pairs(text).all(|pair| pair == b"??" || pair.iter().all(is_digit))),
        _ => return None,
    })
}

/// Hexadecimal digits as Rust and C print a number.
fn is_plain_number(digits: &str) -> bool {
    digits == "0" || !digits.is_empty() && !digits.starts_with('0') && digits.bytes().all(|digit| is_digit(&digit))
}

fn is_digit(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// A text's pairs of letters. A single one at the end is no pair, and no digit.
fn pairs(text: &str) -> impl Iterator<Item = &[u8]> {
    text.as_bytes().chunks(2).map(|pair| if pair.len() == 2 { pair } else { &b"odd"[..] })
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

/// The document's words, texts with their quotes, and signs, without comments.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => rest.find("*/").expect("the comment's end") + 2,
            '"' => rest[1..].find('"').expect("the text's end") + 2,
            letter if letter.is_alphanumeric() || letter == '_' => {
                rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len())
            }
            other => other.len_utf8(),
        };
        let (word, behind) = rest.split_at(length);
        if !first.is_whitespace() && !word.starts_with("//") && !word.starts_with("/*") {
            words.push(word.to_owned());
        }
        rest = behind;
    }
    words
}

struct Parser {
    words: Vec<String>,
    at: usize,
}

impl Parser {
    fn all(mut self) -> Types {
        let mut types = BTreeMap::new();
        while self.at < self.words.len() {
            self.expect("export");
            let is_interface = self.next() == "interface";
            let name = self.next();
            let declared = if is_interface { self.interface() } else { self.alias() };
            assert!(types.insert(name.clone(), declared).is_none(), "{name} is declared twice");
        }
        Types(types)
    }

    fn interface(&mut self) -> Declared {
        let extends = self.takes("extends").then(|| self.next());
        self.expect("{");
        let mut fields = Vec::new();
        while !self.takes("}") {
            let name = self.next();
            let optional = self.takes("?");
            self.expect(":");
            fields.push(Field { name, optional, of: self.either() });
            self.takes(";");
        }
        Declared::Record { extends, fields }
    }

    fn alias(&mut self) -> Declared {
        self.expect("=");
        let of = self.either();
        self.expect(";");
        Declared::Alias(of)
    }

    fn either(&mut self) -> Type {
        let mut some = vec![self.list()];
        while self.takes("|") {
            some.push(self.list());
        }
        if some.len() == 1 { some.remove(0) } else { Type::Either(some) }
    }

    fn list(&mut self) -> Type {
        let mut of = match self.next().as_str() {
            "(" => {
                let of = self.either();
                self.expect(")");
                of
            }
            "{" => self.any(),
            word => match word.strip_prefix('"').and_then(|word| word.strip_suffix('"')) {
                Some(text) => Type::Literal(text.to_owned()),
                None => Type::Name(word.to_owned()),
            },
        };
        while self.takes("[") {
            self.expect("]");
            of = Type::List(Box::new(of));
        }
        of
    }

    /// `{ [name: string]: … }`.
    fn any(&mut self) -> Type {
        self.expect("[");
        self.next();
        [":", "string", "]", ":"].into_iter().for_each(|word| self.expect(word));
        let of = self.either();
        self.expect("}");
        Type::Any(Box::new(of))
    }

    fn next(&mut self) -> String {
        self.at += 1;
        self.words.get(self.at - 1).expect("more of the document").clone()
    }

    fn takes(&mut self, word: &str) -> bool {
        let is_next = self.words.get(self.at).is_some_and(|next| next == word);
        self.at += usize::from(is_next);
        is_next
    }

    #[track_caller]
    fn expect(&mut self, word: &str) {
        let around = self.words[self.at.saturating_sub(4)..].iter().take(8).cloned().collect::<Vec<_>>().join(" ");
        assert!(self.takes(word), "no {word} in docs/json.d.ts at {around}");
    }
}

#[test]
fn what_differs_from_the_types_is_found() {
    let types = Types::read();
    let wrong = |value: Value, name: &str| {
        let mut findings = Findings::default();
        types.check(&value, name, &mut findings);
        findings.wrong.into_iter().collect::<Vec<_>>().join("; ")
    };
    let range = |start: &str| serde_json::json!({"start": start, "end": "0x10"});
    assert_eq!(wrong(range("0x0"), "Range"), "");
    for start in ["10", "0x", "0x01", "0xA", "0x1g"] {
        assert!(wrong(range(start), "Range").starts_with("Range.start is no Address"), "{start}");
    }
    assert_eq!(
        wrong(serde_json::json!({"start": "0x1", "more": 1}), "Range"),
        "Range.end is not there; Range.more is not in docs/json.d.ts"
    );
    let warning = |offset: Value| serde_json::json!({"offset": offset, "text": ""});
    assert_eq!((wrong(warning(Value::Null), "Warning"), wrong(warning(7.into()), "Warning")), Default::default());
    assert_eq!(wrong(warning("7".into()), "Warning"), "Warning.offset is no Count: \"7\"");
    assert_eq!(wrong(warning((-7).into()), "Warning"), "Warning.offset is no Count: -7");
    assert_eq!(wrong(serde_json::json!({"offset": 0, "text": null}), "Warning"), "Warning.text is no string: null");
    let count = serde_json::json!({"major": 0, "minor": 1.5, "build": true});
    assert_eq!(wrong(count, "Version"), "Version.build is no Count: true; Version.minor is no Count: 1.5");
}
