//! `effigy verify`: is a dump whole? Lists each defect with its place.
//!
//! ```text
//! $ effigy verify crash.dmp
//! crash.dmp: a minidump of crash (pid 4711): 3 threads, 12 modules, 240.0 KiB of memory
//!   broken: Memory64List[17] at 0x3f2a0: 4096 bytes of memory at 0x7ffd1000 reach beyond the file's end at 0x3f800
//! 1 defect
//! ```

use std::path::Path;

use effigy_dump::sink::size;
use effigy_formats::verify::{Defect, Severity, Verdict, verify};
use effigy_formats::{DumpKind, OpenedDump, names_offset};
use effigy_process::CapturedMemory;
use serde::Serialize;

use crate::cli::VerifyArgs;
use crate::exit::Exit;
use crate::print;
use crate::subject::open_file;
use crate::words::count;

/// What was found, for JSON.
#[derive(Serialize)]
struct Answer<'a> {
    path: &'a Path,
    kind: &'static str,
    compression: Option<&'static str>,
    whole: bool,
    /// Whether the checksums of compressed frames were checked.
    thorough: bool,
    threads: usize,
    modules: usize,
    parts: usize,
    memory_bytes: u64,
    defects: &'a [Defect],
    more_defects: u64,
}

/// Runs the command.
pub(crate) fn run(args: &VerifyArgs) -> Exit {
    let name = print::safe(args.file.as_os_str().as_encoded_bytes());
    let outcome = open_file(&args.file).and_then(|dump| {
        verify(dump, !args.quick).map_err(|error| (Exit::from(&error), format!("{name}: {}", print::chain(&error))))
    });
    let verdict = match outcome {
        Ok(verdict) => verdict,
        Err((exit, text)) => {
            print::error(&text);
            return exit;
        }
    };
    let answer = Answer {
        path: &args.file,
        kind: kind(&verdict.dump),
        compression: verdict.dump.compression.map(effigy_formats::Compression::as_str),
        whole: verdict.is_whole(),
        thorough: !args.quick,
        threads: verdict.dump.process.threads.len(),
        modules: verdict.dump.process.modules.len(),
        parts: verdict.dump.parts.len(),
        memory_bytes: verdict.dump.memory.captured_bytes(),
        defects: &verdict.defects,
        more_defects: verdict.more,
    };
    match serde_json::to_string(&answer) {
        Ok(text) if args.json => print::line(&text),
        _ => tell(&name, &answer, &verdict),
    }
    if verdict.is_whole() { Exit::Done } else { Exit::Defects }
}

fn kind(dump: &OpenedDump) -> &'static str {
    match dump.kind {
        DumpKind::Minidump => "minidump",
        DumpKind::ElfCore => "core",
        _ => "reflection_pair",
    }
}

fn tell(name: &str, answer: &Answer<'_>, verdict: &Verdict) {
    let identity = &verdict.dump.process.identity;
    let pid = identity.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
    let process = if identity.name.is_empty() { "a process".to_owned() } else { print::safe(&identity.name) };
    print::line(&format!(
        "{name}: a {} of {process}{pid}: {}, {}, {} of memory",
        answer.kind.replace('_', " "),
        count(answer.threads as u64, "thread"),
        count(answer.modules as u64, "module"),
        size(answer.memory_bytes)
    ));
    let mut broken = answer.more_defects;
    for defect in &verdict.defects {
        broken += u64::from(defect.severity == Severity::Broken);
        let word = if defect.severity == Severity::Broken { "broken" } else { "odd" };
        let unsaid = defect.offset.filter(|offset| !names_offset(&defect.text, *offset));
        let place = unsaid.map_or_else(String::new, |offset| format!("at {offset:#x}"));
        let file = defect.file.as_ref().map_or_else(String::new, |file| print::safe(file.as_bytes()));
        let parts = [file, print::safe(defect.field.as_bytes()), place];
        let subject = parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(" ");
        let separator = if subject.is_empty() { "" } else { ": " };
        print::line(&format!("  {word}: {subject}{separator}{}", print::safe(defect.text.as_bytes())));
    }
    if answer.more_defects > 0 {
        print::line(&format!("  and {} more", answer.more_defects));
    }
    print::line(&match broken {
        0 => "whole".to_owned(),
        1 => "1 defect".to_owned(),
        count => format!("{count} defects"),
    });
}
