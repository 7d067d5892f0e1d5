//! How many of everything there are: in an answer's JSON, and in what people see of it.
//!
//! Each gives both, in the same order.

use serde_json::Value;

use super::list;

/// What the answer says, and what people see.
pub(super) type Counts = (Vec<usize>, Vec<usize>);

fn length(value: &Value) -> usize {
    list(value).len()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))).unwrap()
}

/// The number that stands before a word.
fn before(text: &str, word: &str) -> usize {
    let place = text.find(word).unwrap_or_else(|| panic!("no {word} in {text}"));
    let number = text[..place].split([' ', '(', ':']).next_back().unwrap_or_default();
    number.parse().unwrap_or_else(|_| panic!("no number before {word} in {text}"))
}

/// Lines below the one that begins with some words, up to an empty one.
fn rows(text: &str, head: &str) -> usize {
    let below = text.lines().skip_while(|line| !line.trim_start().starts_with(head)).skip(1);
    below.take_while(|line| !line.is_empty()).count()
}

pub(super) fn info(answer: &Value, text: &str) -> Counts {
    let contents = text.lines().find_map(|line| line.strip_prefix("Contents ")).unwrap_or_default();
    let words = [" thread", " module", " region", " handle"];
    let counts = ["threads", "modules", "regions", "handles"].map(|name| number(&answer["counts"][name]));
    (counts.into(), words.map(|word| before(contents, word)).into())
}

pub(super) fn threads(answer: &Value, text: &str) -> Counts {
    (vec![length(&answer["threads"])], vec![text.lines().skip(1).count()])
}

pub(super) fn modules(answer: &Value, text: &str) -> Counts {
    let (loaded, unloaded) = (&answer["modules"], &answer["unloaded_modules"]);
    let (above, below) = text.split_once("Unloaded modules:\n").unwrap_or((text, ""));
    (vec![length(loaded), length(unloaded)], vec![rows(above, "start"), rows(below, "start")])
}

pub(super) fn regions(answer: &Value, text: &str) -> Counts {
    let regions = list(&answer["regions"]).iter();
    let busy = regions.filter(|region| !matches!(region["usage"].as_str(), Some("free" | "not_listed")));
    (vec![busy.count()], vec![rows(text, "BaseAddress")])
}

pub(super) fn summary(answer: &Value, text: &str) -> Counts {
    let summary = &answer["summary"];
    let tables = [
        ("by_usage", "--- Usage Summary"),
        ("by_kind", "--- Type Summary"),
        ("by_state", "--- State Summary"),
        ("by_protection", "--- Protect Summary"),
    ];
    (tables.map(|(name, _)| length(&summary[name])).into(), tables.map(|(_, head)| rows(text, head)).into())
}

pub(super) fn handles(answer: &Value, text: &str) -> Counts {
    (vec![length(&answer["handles"])], vec![rows(text, "Handle  ")])
}

pub(super) fn streams(answer: &Value, text: &str) -> Counts {
    let parts = text.lines().filter(|line| line.starts_with("Stream ") || line.starts_with("Note "));
    (vec![length(&answer["parts"])], vec![parts.count()])
}

pub(super) fn compare(answer: &Value, text: &str) -> Counts {
    let threads = &answer["threads"];
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
    let mut counts = (vec![], vec![]);
    for (name, word) in [("new", " new"), ("gone", " gone"), ("changed", " changed")] {
        counts.0.push(length(&threads[name]));
        counts.1.push(before(&line("threads:"), word));
    }
    counts.0.push(number(&threads["unchanged"]));
    counts.1.push(before(&line("threads:"), " unchanged"));
    if answer["modules"].is_object() {
        counts.0.push(number(&answer["modules"]["unchanged"]));
        counts.1.push(before(&line("modules:"), " unchanged"));
    }
    counts
}

pub(super) fn verify(answer: &Value, text: &str) -> Counts {
    let (head, _) = text.split_once('\n').unwrap();
    let defects = text.lines().filter(|line| line.starts_with("  broken: ") || line.starts_with("  odd: "));
    let json = vec![number(&answer["threads"]), number(&answer["modules"]), length(&answer["defects"])];
    (json, vec![before(head, " thread"), before(head, " module"), defects.count()])
}

pub(super) fn stacks(answer: &Value, text: &str) -> Counts {
    let is_thread = |line: &&str| ["# Thread ", ". Thread ", "  Thread "].iter().any(|head| line.starts_with(head));
    let frames = |thread: &Value| length(&thread["frames"]);
    let is_frame = |line: &&str| {
        let words: Vec<_> = line.split_whitespace().take(2).collect();
        words.len() == 2 && words[0].parse::<u32>().is_ok()
    };
    let json = vec![length(&answer["threads"]), list(&answer["threads"]).iter().map(frames).sum()];
    (json, vec![text.lines().filter(is_thread).count(), text.lines().filter(is_frame).count()])
}
