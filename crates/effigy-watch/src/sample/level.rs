//! Numbers that are what they are at each look: memory, threads, pressure.

use std::io;
use std::time::Instant;

use super::kept::KeptFile;
use super::{Gauge, Metric, Reading, cgroup, fields, missing};
use crate::Target;

/// How a number is found in a file's text.
type Parse = Box<dyn Fn(&[u8]) -> Option<f64> + Send>;

/// A number in a file that stays open.
struct Level {
    what: String,
    file: KeptFile,
    parse: Parse,
}

impl Gauge for Level {
    fn read(&mut self, _now: Instant) -> Reading {
        match self.file.read() {
            Ok(text) => (self.parse)(text)
                .map_or_else(|| Reading::Missing(format!("{}: there is no such number", self.what)), Reading::Value),
            Err(error) => missing(&self.what, &error),
        }
    }
}

fn level(what: &str, file: io::Result<std::fs::File>, parse: Parse) -> Result<Box<dyn Gauge>, String> {
    let file = KeptFile::new(file.map_err(|error| format!("{what}: {error}"))?);
    Ok(Box::new(Level { what: what.to_owned(), file, parse }))
}

/// The sum of lines in kB, in bytes. A line that is not there counts for nothing, as long as the first is there.
fn kilobytes(names: &'static [&'static str]) -> Parse {
    Box::new(move |text: &[u8]| {
        let first = fields::named_number(text, names.first()?)?;
        let others = names[1..].iter().filter_map(|name| fields::named_number(text, name));
        Some(others.fold(first, u64::saturating_add) as f64 * 1024.0)
    })
}

/// Memory and threads of a process.
pub(super) fn of_process(metric: &Metric, target: &Target) -> Result<Box<dyn Gauge>, String> {
    let (file, parse): (_, Parse) = match metric {
        // What nobody else has: the pages of its own that it has written, in memory or swapped out. This is what Windows
        // calls its private bytes; smaps_rollup would tell the same and walk all page tables for it.
        Metric::Private => ("status", kilobytes(&["RssAnon", "VmSwap"])),
        Metric::Resident => ("status", kilobytes(&["VmRSS"])),
        Metric::Swap => ("status", kilobytes(&["VmSwap"])),
        Metric::Proportional => ("smaps_rollup", kilobytes(&["Pss"])),
        _ => ("stat", Box::new(|text: &[u8]| fields::stat_number(text, 20).map(|threads| threads as f64))),
    };
    level(file, target.dir().open_file(file), parse)
}

/// Memory of the control group that the process is in, in bytes.
pub(super) fn cgroup_memory(target: &Target) -> Result<Box<dyn Gauge>, String> {
    let names = ["memory.current", "memory.usage_in_bytes"];
    let parse = Box::new(|text: &[u8]| fields::words(text).next().and_then(fields::float));
    level("the control group's memory", cgroup::open(target, "memory", &names), parse)
}

/// Pressure stall: percent of the last ten seconds in which somebody (or everybody) waited for a resource.
pub(super) fn pressure(resource: &str, full: bool, of_group: bool, target: &Target) -> Result<Box<dyn Gauge>, String> {
    let file = if of_group {
        cgroup::open(target, resource, &[&format!("{resource}.pressure")])
    } else {
        std::fs::File::open(format!("/proc/pressure/{resource}"))
    };
    let kind = if full { "full" } else { "some" };
    level(&format!("pressure of {resource}"), file, Box::new(move |text: &[u8]| fields::pressure(text, kind)))
}
