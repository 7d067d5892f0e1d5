//! Windows' performance counters of a process, as the numbers that there are on Linux.

use effigy_watch::sample::Metric;

/// Names of counters without the process, in lower case.
static COUNTERS: [(&str, &str); 11] = [
    ("% processor time", "core"),
    ("private bytes", "private"),
    ("working set", "resident"),
    ("working set - private", "private"),
    ("page file bytes", "swap"),
    ("thread count", "threads"),
    ("handle count", "fds"),
    ("page faults/sec", "soft-faults"),
    ("io read bytes/sec", "read"),
    ("io write bytes/sec", "write"),
    ("context switches/sec", "switches"),
];

/// The number that `\Process(NAME)\COUNTER` is; or a name of a number as `effigy watch` has it.
pub(super) fn metric(name: &str) -> Result<String, String> {
    let Some(path) = name.strip_prefix('\\') else {
        return name.parse::<Metric>().map(|_| name.to_owned()).map_err(|error| error.to_string());
    };
    let (object, counter) = path.split_once('\\').ok_or_else(|| format!("{name} is no counter's path"))?;
    let counter = counter.to_lowercase();
    let found = COUNTERS.iter().find(|(known, _)| *known == counter);
    match found {
        Some((_, metric)) if object.to_lowercase().starts_with("process(") => Ok((*metric).to_owned()),
        _ => {
            let known: Vec<&str> = COUNTERS.iter().map(|(known, _)| *known).collect();
            Err(format!("there is no counter {name} here; of a process there are {}", known.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters() {
        assert_eq!(metric("\\Process(w3wp)\\Thread Count"), Ok("threads".into()));
        assert_eq!(metric("\\process(a#2)\\% processor time"), Ok("core".into()));
        assert_eq!(metric("fds"), Ok("fds".into()));
        assert!(metric("\\Processor(_Total)\\Thread Count").is_err() && metric("\\x").is_err() && metric("x").is_err());
        for (_, name) in COUNTERS {
            assert!(name.parse::<Metric>().is_ok(), "{name}");
        }
    }
}
