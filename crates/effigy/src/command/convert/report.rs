//! What is told about a converted dump, to people and as JSON. docs/json.md describes the fields.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use bstr::BString;
use effigy_dump::convert::lost::Loss;
use effigy_dump::convert::{Conversion, Converted};
use effigy_dump::sink::{Published, size};
use effigy_formats::{DumpKind, Format, OpenedDump};
use effigy_process::Gap;
use serde::Serialize;

use crate::cli::ConvertArgs;
use crate::print;
use crate::report::{format_name, gap_lines};
use crate::words::count;

/// A converted dump.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Where it is; `-` for standard output.
    path: PathBuf,
    #[serde(serialize_with = "format_name")]
    format: Format,
    kind: &'static str,
    /// `copied`, `carried` or `written`.
    manner: &'static str,
    /// Length of the file.
    bytes: u64,
    /// What it takes on the disk.
    disk_bytes: u64,
    /// Memory that it holds.
    memory_bytes: u64,
    threads: usize,
    modules: usize,
    /// What it cannot hold.
    lost: Vec<Loss>,
    gaps: Vec<Gap>,
    /// How long everything took, in microseconds.
    wall_us: u64,
    /// Bytes of memory that come from image files, where these were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image_bytes: Option<u64>,
    source: Source,
}

/// The dump that was converted.
#[derive(Debug, Serialize)]
struct Source {
    path: PathBuf,
    kind: &'static str,
    compression: Option<&'static str>,
    memory_bytes: u64,
    pid: Option<u32>,
    #[serde(serialize_with = "effigy_process::text::lossy")]
    name: BString,
    warnings: Vec<Warning>,
}

/// What is wrong with it.
#[derive(Debug, Serialize)]
struct Warning {
    offset: Option<u64>,
    text: String,
}

impl Report {
    pub(super) fn new(
        args: &ConvertArgs,
        dump: &OpenedDump,
        conversion: &Conversion<'_>,
        format: Format,
        published: Published,
        converted: Converted,
        wall: Duration,
    ) -> Self {
        let warning =
            |warning: &effigy_formats::Warning| Warning { offset: warning.offset, text: warning.text.clone() };
        Self {
            path: published.path,
            format,
            kind: conversion.kind().name(),
            manner: conversion.manner(),
            bytes: published.bytes,
            disk_bytes: published.disk_bytes,
            memory_bytes: converted.memory_bytes,
            threads: dump.process.threads.len(),
            modules: dump.process.modules.len(),
            lost: conversion.losses().to_vec(),
            gaps: converted.gaps,
            wall_us: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX),
            image_bytes: None,
            source: Source {
                path: args.input.clone(),
                kind: match dump.kind {
                    DumpKind::Minidump => "minidump",
                    DumpKind::ElfCore => "core",
                    _ => "reflection_pair",
                },
                compression: dump.compression.map(effigy_formats::Compression::as_str),
                memory_bytes: effigy_process::CapturedMemory::captured_bytes(&dump.memory),
                pid: dump.process.identity.pid.map(|pid| pid.0),
                name: dump.process.identity.name.clone(),
                warnings: dump.warnings.iter().map(warning).collect(),
            },
        }
    }

    /// Adds what is amiss with other files.
    pub(super) fn warn(&mut self, texts: &[String]) {
        self.source.warnings.extend(texts.iter().map(|text| Warning { offset: None, text: text.clone() }));
    }

    /// Whether it went to standard output.
    pub(super) fn is_streamed(&self) -> bool {
        self.path.as_os_str() == "-"
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let path = if self.is_streamed() {
            "to standard output".to_owned()
        } else {
            print::safe(self.path.as_os_str().as_encoded_bytes())
        };
        let mut text = format!("wrote {path}: {}", size(self.bytes));
        if self.disk_bytes > 0 && self.disk_bytes + self.disk_bytes / 10 < self.bytes {
            let _ = write!(text, " ({} on disk)", size(self.disk_bytes));
        }
        let format = if self.format == Format::ElfCore { "core" } else { "minidump" };
        let pid = self.source.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
        let name = if self.source.name.is_empty() { "a process".to_owned() } else { print::safe(&self.source.name) };
        let _ = write!(
            text,
            "\n  {} {format} of {name}{pid}, from a {}: {}, {}, {} of memory",
            self.kind,
            self.source.kind.replace('_', " "),
            count(self.threads as u64, "thread"),
            count(self.modules as u64, "module"),
            size(self.memory_bytes)
        );
        if self.manner == "copied" {
            text.push_str("\n  byte for byte what was in the file");
        }
        if let Some(bytes) = self.image_bytes {
            let _ = write!(text, "\n  {} of that from image files", size(bytes));
        }
        for warning in &self.source.warnings {
            let _ = write!(text, "\n  warning: {}", print::safe(warning.text.as_bytes()));
        }
        for loss in &self.lost {
            let word = if loss.kept_for_effigy { "for effigy only" } else { "lost" };
            let _ = write!(text, "\n  {word}: {}", print::safe(loss.what.as_bytes()));
            if !loss.detail.is_empty() {
                let _ = write!(text, ": {}", print::safe(loss.detail.as_bytes()));
            }
        }
        for line in gap_lines(&self.gaps) {
            let _ = write!(text, "\n  {line}");
        }
        text
    }
}
