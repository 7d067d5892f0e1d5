//! What is told about a finished dump, to people and as JSON. docs/json.md describes the fields.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use bstr::BString;
use effigy_dump::kind::Kind;
use effigy_dump::sink::size;
use effigy_formats::Format;
use effigy_process::{BuildId, Gap, GapReason, GapSubject};
use serde::Serialize;

use crate::print;
use crate::words::count;

/// A finished dump.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Where it is; `-` for standard output.
    pub(crate) path: PathBuf,
    /// The file by which this dump and its counterpart are opened as one, for a reflection pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) configuration: Option<PathBuf>,
    #[serde(serialize_with = "format_name")]
    pub(crate) format: Format,
    #[serde(serialize_with = "kind_name")]
    pub(crate) kind: Kind,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// What it takes on the disk.
    pub(crate) disk_bytes: u64,
    /// Memory that it holds.
    pub(crate) memory_bytes: u64,
    pub(crate) threads: usize,
    pub(crate) regions: usize,
    pub(crate) modules: usize,
    pub(crate) gaps: Vec<Gap>,
    /// How the target was frozen.
    pub(crate) snapshot: &'static str,
    /// Why not in a way that holds it up less; empty when it was the best for this kind of dump, or as asked.
    pub(crate) snapshot_reason: String,
    /// How long all of the target's threads stood still, in microseconds.
    pub(crate) pause_us: u64,
    /// The longest time that the target, or one thread of it, could not go on, in microseconds: standing still, making a
    /// call for us, or waiting for a page.
    pub(crate) stall_us: u64,
    /// How long everything took, in microseconds.
    pub(crate) wall_us: u64,
    pub(crate) target: TargetReport,
}

/// Whose dump it is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TargetReport {
    pub(crate) pid: u32,
    #[serde(serialize_with = "effigy_process::text::lossy")]
    pub(crate) name: BString,
    #[serde(serialize_with = "effigy_process::text::lossy")]
    pub(crate) exe: BString,
    pub(crate) build_id: Option<BuildId>,
}

pub(crate) fn format_name<S: serde::Serializer>(format: &Format, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match format {
        Format::Minidump => "minidump",
        Format::ElfCore => "core",
    })
}

fn kind_name<S: serde::Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

impl Report {
    /// Whether the dump lacks something that its kind promises.
    pub(crate) fn is_partial(&self) -> bool {
        self.gaps.iter().any(|gap| gap.reason.is_loss())
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{} {}: {}",
            if self.is_partial() { "kept a partial dump," } else { "wrote" },
            match self.path.as_os_str().as_encoded_bytes() {
                b"-" => "to standard output".to_owned(),
                path => print::safe(path),
            },
            size(self.bytes)
        );
        if self.disk_bytes > 0 && self.disk_bytes + self.disk_bytes / 10 < self.bytes {
            let _ = write!(text, " ({} on disk)", size(self.disk_bytes));
        }
        let _ = write!(
            text,
            "\n  {} of {} (pid {}): {}, {}, {}, {} of memory",
            self.kind,
            print::safe(&self.target.name),
            self.target.pid,
            count(self.threads as u64, "thread"),
            count(self.modules as u64, "module"),
            count(self.regions as u64, "region"),
            size(self.memory_bytes)
        );
        if self.snapshot == "none" {
            text.push_str("\n  the process was not stopped: no registers, and its memory may have changed meanwhile");
        } else {
            let time = |micros| print::duration(Duration::from_micros(micros));
            let _ = write!(text, "\n  the process stood still for {}", time(self.pause_us));
            if self.stall_us > self.pause_us {
                let _ = write!(text, ", a thread of it for {} at most", time(self.stall_us));
            }
            let _ = write!(text, "\n  snapshot: {}", self.snapshot);
            if !self.snapshot_reason.is_empty() {
                let _ = write!(text, " ({})", print::safe(self.snapshot_reason.as_bytes()));
            }
        }
        if let Some(path) = &self.configuration {
            let _ = write!(text, "\n  half of a reflection pair: {}", print::safe(path.as_os_str().as_encoded_bytes()));
        }
        for line in gap_lines(&self.gaps) {
            let _ = write!(text, "\n  {line}");
        }
        text
    }
}

/// What is missing, one line a reason. Kernel pages, guard pages and file ends are in every dump and said in JSON only.
pub(crate) fn gap_lines<'a>(gaps: impl IntoIterator<Item = &'a Gap>) -> Vec<String> {
    let mut by_reason: BTreeMap<&str, (GapReason, u64, u64, Vec<String>)> = BTreeMap::new();
    for gap in gaps {
        if matches!(
            gap.reason,
            GapReason::KernelData
                | GapReason::GuardPage
                | GapReason::PastEndOfFile
                | GapReason::Redacted
                | GapReason::AlreadyTraced
                | GapReason::Unsupported
        ) {
            continue;
        }
        let entry = by_reason.entry(gap.reason.as_str()).or_insert((gap.reason, 0, 0, Vec::new()));
        match &gap.subject {
            GapSubject::Memory(range) => {
                entry.1 += 1;
                entry.2 += range.size();
            }
            GapSubject::Registers(tid) => entry.3.push(format!("registers of thread {tid}")),
            GapSubject::Fact(fact) => entry.3.push(print::safe(fact.as_bytes())),
        }
    }
    by_reason
        .into_values()
        .map(|(reason, ranges, bytes, mut others)| {
            if ranges > 0 {
                others.insert(
                    0,
                    format!("{} of memory in {ranges} {}", size(bytes), if ranges == 1 { "place" } else { "places" }),
                );
            }
            let more = others.len().saturating_sub(5);
            others.truncate(5);
            let mut what = others.join(", ");
            if more > 0 {
                let _ = write!(what, " and {more} more");
            }
            let word = match reason {
                GapReason::NotFrozen => "not of one instant",
                reason if reason.is_loss() => "missing",
                _ => "left out",
            };
            format!("{word}: {what}: {reason}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use effigy_process::{Address, AddressRange, ThreadId};

    use super::*;

    fn report(gaps: Vec<Gap>) -> Report {
        Report {
            path: "/dumps/a\nb.dmp".into(),
            configuration: None,
            format: Format::Minidump,
            kind: Kind::Full,
            bytes: 13_680_640,
            disk_bytes: 12_451_840,
            memory_bytes: 13_086_720,
            threads: 5,
            regions: 117,
            modules: 19,
            gaps,
            snapshot: "clone",
            snapshot_reason: "live: userfaultfd: EPERM".into(),
            pause_us: 22_400,
            stall_us: 23_900,
            wall_us: 47_492,
            target: TargetReport {
                pid: 4711,
                name: "redis\x1b[2J".into(),
                exe: "/usr/bin/redis-server".into(),
                build_id: Some(BuildId(vec![0xa5, 0x0d])),
            },
        }
    }

    fn memory(start: u64, size: u64, reason: GapReason) -> Gap {
        let range = AddressRange::sized(Address(start), size);
        Gap { subject: GapSubject::Memory(range), reason, detail: String::new() }
    }

    #[test]
    fn a_complete_dump_for_people() {
        insta::assert_snapshot!(report(vec![memory(0, 4096, GapReason::KernelData)]).text(), @r"
        wrote /dumps/a\nb.dmp: 13.0 MiB
          full of redis\u{1b}[2J (pid 4711): 5 threads, 19 modules, 117 regions, 12.5 MiB of memory
          the process stood still for 22.4 ms, a thread of it for 23.9 ms at most
          snapshot: clone (live: userfaultfd: EPERM)
        ");
    }

    #[test]
    fn what_is_missing_is_said_by_reason() {
        let gaps = vec![
            memory(0x1000, 1 << 20, GapReason::DontDump),
            memory(0x40_0000, 4096, GapReason::Unreadable),
            memory(0x50_0000, 4096, GapReason::Unreadable),
            Gap {
                subject: GapSubject::Registers(ThreadId(7)),
                reason: GapReason::UninterruptibleSleep,
                detail: String::new(),
            },
        ];
        let report = report(gaps);
        assert!(report.is_partial());
        insta::assert_snapshot!(report.text(), @r"
        kept a partial dump, /dumps/a\nb.dmp: 13.0 MiB
          full of redis\u{1b}[2J (pid 4711): 5 threads, 19 modules, 117 regions, 12.5 MiB of memory
          the process stood still for 22.4 ms, a thread of it for 23.9 ms at most
          snapshot: clone (live: userfaultfd: EPERM)
          left out: 1.0 MiB of memory in 1 place: the program excludes it from dumps (MADV_DONTDUMP)
          missing: registers of thread 7: the thread is in uninterruptible sleep
          missing: 8.0 KiB of memory in 2 places: could not be read
        ");
    }

    #[test]
    fn json() {
        let report = report(vec![memory(0x40_0000, 4096, GapReason::Unreadable)]);
        insta::assert_snapshot!(serde_json::to_string_pretty(&report).unwrap(), @r#"
        {
          "path": "/dumps/a\nb.dmp",
          "format": "minidump",
          "kind": "full",
          "bytes": 13680640,
          "disk_bytes": 12451840,
          "memory_bytes": 13086720,
          "threads": 5,
          "regions": 117,
          "modules": 19,
          "gaps": [
            {
              "subject": "memory",
              "start": "0x400000",
              "end": "0x401000",
              "reason": "unreadable",
              "loss": true,
              "detail": ""
            }
          ],
          "snapshot": "clone",
          "snapshot_reason": "live: userfaultfd: EPERM",
          "pause_us": 22400,
          "stall_us": 23900,
          "wall_us": 47492,
          "target": {
            "pid": 4711,
            "name": "redis\u001b[2J",
            "exe": "/usr/bin/redis-server",
            "build_id": "a50d"
          }
        }
        "#);
    }
}
