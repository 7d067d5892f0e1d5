//! The fields of notes, held against what elfutils shows of them.

use std::collections::HashMap;

use super::cores::{Shown, ask, shown};
use super::corpus::{corpus, index, opened_file};
use crate::{Field, FieldValue};

/// The types of notes that are compared, as elfutils calls them and as the kernel does.
const KINDS: [(&str, &str); 5] = [
    ("PRSTATUS", "NT_PRSTATUS"),
    ("PRPSINFO", "NT_PRPSINFO"),
    ("SIGINFO", "NT_SIGINFO"),
    ("AUXV", "NT_AUXV"),
    ("FILE", "NT_FILE"),
];

#[test]
fn notes_have_the_fields_that_elfutils_shows() {
    let Some(corpus) = corpus() else { return };
    let mut compared: HashMap<&str, usize> = HashMap::new();
    for (path, _) in index(&corpus).into_iter().filter(|(_, description)| description.starts_with("ELF core")) {
        let Some(text) = ask("eu-readelf", &["-n"], &corpus.join(&path)) else { return };
        let theirs = shown(&text);
        let opened = opened_file(&corpus.join(&path)).unwrap();
        for (kind, name) in KINDS {
            let theirs: Vec<&Shown> = theirs.iter().filter(|note| note.kind == kind).collect();
            let ours: Vec<_> = opened.parts.iter().filter(|part| part.name == Some(name)).collect();
            for (theirs, ours) in theirs.iter().zip(&ours).filter(|(theirs, _)| !theirs.lines.is_empty()) {
                assert!(ours.size > 0, "{path}");
                let fields = opened.fields_of(ours).unwrap();
                same(&path, kind, theirs, &fields);
                *compared.entry(kind).or_default() += 1;
            }
        }
    }
    for (kind, _) in KINDS {
        assert!(compared.get(kind).is_some_and(|count| *count > 10), "{compared:?}");
    }
}

fn same(path: &str, kind: &str, theirs: &Shown, fields: &[Field]) {
    match kind {
        "PRSTATUS" => {
            let names = [("pr_pid", "pid"), ("pr_ppid", "ppid"), ("pr_pgrp", "pgrp"), ("pr_sid", "sid")];
            numbers(path, theirs, fields, &names);
            numbers(path, theirs, fields, &[("pr_cursig", "cursig"), ("pr_fpvalid", "fpvalid")]);
            for (ours, name) in
                [("pr_utime", "utime"), ("pr_stime", "stime"), ("pr_cutime", "cutime"), ("pr_cstime", "cstime")]
            {
                assert!(theirs.lines.join(" ").contains(&format!("{name}: {}", text(fields, ours))), "{path}: {name}");
            }
        }
        "PRPSINFO" => process_info(path, theirs, fields),
        "SIGINFO" => {
            numbers(path, theirs, fields, &["si_signo", "si_errno", "si_code"].map(|name| (name, name)));
            if let (Some(FieldValue::Number(ours)), Some(address)) =
                (find(fields, "si_addr"), theirs.values.get("fault_address"))
            {
                assert_eq!(ours, address, "{path}: si_addr");
            }
        }
        "AUXV" => auxiliary(path, theirs, fields),
        _ => files(path, theirs, fields),
    }
}

fn process_info(path: &str, theirs: &Shown, fields: &[Field]) {
    let names = [
        ("pr_state", "state"),
        ("pr_zomb", "zomb"),
        ("pr_nice", "nice"),
        ("pr_flag", "flag"),
        ("pr_uid", "uid"),
        ("pr_gid", "gid"),
        ("pr_pid", "pid"),
        ("pr_ppid", "ppid"),
        ("pr_pgrp", "pgrp"),
        ("pr_sid", "sid"),
    ];
    numbers(path, theirs, fields, &names);
    // The last two stand on one line or on two.
    let shown = theirs.lines.join("\n");
    assert!(shown.contains(&format!("sname: {},", text(fields, "pr_sname"))), "{path}: {shown}");
    let (_, rest) = shown.split_once("fname: ").unwrap();
    let (name, arguments) = rest.split_once("psargs: ").unwrap();
    assert_eq!(name.trim_end().trim_end_matches(','), text(fields, "pr_fname"), "{path}");
    assert_eq!(arguments.trim_end(), text(fields, "pr_psargs").trim_end(), "{path}");
}

fn auxiliary(path: &str, theirs: &Shown, fields: &[Field]) {
    let Some(FieldValue::List(entries)) = find(fields, "Entries") else { panic!("{path}: no entries") };
    let mut same = 0;
    for entry in entries {
        let kind = number(entry, "a_type").to_string();
        // AT_IGNOREPPC is there more than once.
        if kind == "22" {
            continue;
        }
        let name = find(entry, "Name").map(|_| text(entry, "Name"));
        let by_name = name.as_deref().and_then(|name| theirs.values.get(name.trim_start_matches("AT_")));
        let shown = by_name.or(theirs.values.get(&kind));
        let Some(expected) = shown else {
            // Of a type that it does not know it shows no value of zero.
            assert_eq!(number(entry, "a_val"), 0, "{path}: elfutils does not show {entry:?}");
            continue;
        };
        assert_eq!(number(entry, "a_val"), i128::from(*expected), "{path}: {entry:?}");
        same += 1;
    }
    assert!(same > 5 || entries.len() < 6, "{path}: {same} values are the same");
}

/// `      557b4fca8000-557b4fca9000 00000000 4096        /usr/bin/app`, behind a line that counts them.
fn files(path: &str, theirs: &Shown, fields: &[Field]) {
    let Some(FieldValue::List(ours)) = find(fields, "Files") else { panic!("{path}: no files") };
    let lines: Vec<&String> = theirs.lines.iter().filter(|line| line.starts_with("      ")).collect();
    assert_eq!((lines.len(), i128::try_from(lines.len()).unwrap()), (ours.len(), number(fields, "count")), "{path}");
    for (line, file) in lines.iter().zip(ours) {
        let mut words = line.split_whitespace();
        let place = format!("{:08x}-{:08x}", number(file, "start"), number(file, "end"));
        assert_eq!(words.next(), Some(&place[..]), "{path}");
        assert_eq!(words.next(), Some(&format!("{:08x}", number(file, "offset"))[..]), "{path}");
        let size = number(file, "end") - number(file, "start");
        assert_eq!(words.next(), Some(&size.to_string()[..]), "{path}");
        assert!(line.ends_with(&text(file, "path")), "{path}: {line}");
    }
}

/// Numbers by our names and theirs. Those below zero are kept by their bits.
fn numbers(path: &str, theirs: &Shown, fields: &[Field], names: &[(&str, &str)]) {
    for (ours, name) in names {
        let expected = theirs.values.get(*name).unwrap_or_else(|| panic!("{path}: elfutils shows no {name}"));
        let value = number(fields, ours);
        assert!(
            value == i128::from(*expected) || value == i128::from(expected.cast_signed()),
            "{path}: {ours} is {value}, and {expected} to elfutils"
        );
    }
}

fn find<'a>(fields: &'a [Field], name: &str) -> Option<&'a FieldValue> {
    fields.iter().find(|field| field.name == name).map(|field| &field.value)
}

fn number(fields: &[Field], name: &str) -> i128 {
    match find(fields, name) {
        Some(FieldValue::Number(number)) => (*number).into(),
        Some(FieldValue::Signed(number)) => (*number).into(),
        other => panic!("{name} is {other:?}"),
    }
}

fn text(fields: &[Field], name: &str) -> String {
    match find(fields, name) {
        Some(FieldValue::Text(text)) => text.clone(),
        other => panic!("{name} is {other:?}"),
    }
}
