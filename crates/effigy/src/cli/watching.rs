//! Arguments of `effigy watch`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use effigy_watch::trigger::{Daily, Probe};

use super::{DumpOptions, EventArgs, SelectArgs};

/// Arguments of `effigy watch`.
#[derive(Debug, Args)]
#[command(after_help = "\
Numbers that --above, --below and --growth take: cpu (percent of the machine), core (percent of one processor), private,
resident, swap, pss, cgroup-memory (bytes: 500M, 2G), threads, fds, switches, soft-faults, hard-faults (a second), read,
write, net-in, net-out (bytes a second), pressure-cpu, pressure-memory, pressure-io (percent; also with -full, and with
cgroup- before), file:PATH[:WORD|:/REGEX/] (a relative path is below /proc/PID), prometheus:URL#METRIC.

Without a trigger a dump is taken at once, and with -n more of them, -s seconds apart. The target is traced while a dump is
taken, and all the time for --on, --signal and --at only: debuggers and strace cannot have it then.

Exit codes: 0 every dump was taken; 1 usage; 2 no such target, or it ended before; 7 --within is over; 11 a trigger cannot
be had of the target; 130 and 143 cancelled; else those of `effigy dump`, of the first dump that failed.")]
pub(crate) struct WatchArgs {
    /// Process ids, or processes' names
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<String>,

    #[command(flatten)]
    pub(crate) select: SelectArgs,

    /// Wait for a process that is not there yet; with --all, for every one that ever comes
    #[arg(long)]
    pub(crate) wait: bool,

    /// Watch children of the targets too, from their start on
    #[arg(long)]
    pub(crate) children: bool,

    /// End the watch of these targets, whoever began it; they go on
    #[arg(long, conflicts_with_all = ["wait", "children"])]
    pub(crate) cancel: bool,

    /// Print what happens as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) when: TriggerArgs,

    #[command(flatten, next_help_heading = "Triggers for which the target is traced")]
    pub(crate) events: EventArgs,

    #[command(flatten)]
    pub(crate) then: ThenArgs,

    #[command(flatten, next_help_heading = "The dump")]
    pub(crate) options: DumpOptions,
}

/// What to wait for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Triggers")]
pub(crate) struct TriggerArgs {
    /// A number at a threshold or above; of several thresholds each in turn
    #[arg(long, value_name = "NUMBER=THRESHOLD[,…]")]
    pub(crate) above: Vec<String>,

    /// A number below a threshold; of several thresholds each in turn
    #[arg(long, value_name = "NUMBER=THRESHOLD[,…]")]
    pub(crate) below: Vec<String>,

    /// A number that grows by so much a minute or more (least squares over --window): a leak
    #[arg(long, value_name = "NUMBER=RATE")]
    pub(crate) growth: Vec<String>,

    /// The time over which growth is measured
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_time)]
    pub(crate) window: Duration,

    /// Take "cpu" for percent of one processor, in place of all
    #[arg(long)]
    pub(crate) one_core: bool,

    /// How long a threshold must hold without a break; without a trigger, the time between dumps [default: 10s for rates
    /// and percentages, one look for others]
    #[arg(short = 's', long = "for", value_name = "TIME", value_parser = parse_time)]
    pub(crate) hold: Option<Duration>,

    /// No thread has run for so long
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) hang: Option<Duration>,

    /// The thread that must run, by id or name, for --hang
    #[arg(long, value_name = "THREAD", requires = "hang")]
    pub(crate) thread: Option<String>,

    /// A thread is in uninterruptible sleep (state D) for so long
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) blocked: Option<Duration>,

    /// Something that is not answered in time: http://HOST[:PORT]/PATH, tcp:HOST:PORT, or command:COMMAND
    #[arg(long, value_name = "PROBE")]
    pub(crate) probe: Vec<Probe>,

    /// Time between two probes
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    pub(crate) probe_every: Duration,

    /// Longest time for an answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    pub(crate) probe_timeout: Duration,

    /// Probes in a row that fail
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) probe_failures: u32,

    /// Each so often, the first time after that time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) every: Option<Duration>,

    /// At a time of the day, as 14:30 or 14:30:15
    #[arg(long, value_name = "TIME")]
    pub(crate) daily: Vec<Daily>,

    /// A new line of text in a file; which one, --include and --exclude say
    #[arg(long, value_name = "FILE")]
    pub(crate) follow: Vec<PathBuf>,

    /// The same in the journal of a systemd unit
    #[arg(long, value_name = "UNIT")]
    pub(crate) follow_unit: Vec<String>,

    /// Text that a line, or the description of an event, must hold; * stands for any text
    #[arg(long, value_name = "TEXT")]
    pub(crate) include: Vec<String>,

    /// Text that it must not hold
    #[arg(long, value_name = "TEXT")]
    pub(crate) exclude: Vec<String>,

    /// All triggers at the same time, in place of any; of --on, --signal and --at any one, while all numbers hold
    #[arg(long)]
    pub(crate) all_of: bool,

    /// Time between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    pub(crate) interval: Duration,
}

/// What is done when it is the moment, and how often.
#[derive(Debug, Args)]
#[command(next_help_heading = "What happens then")]
pub(crate) struct ThenArgs {
    /// Dumps of each target [default: 1, or as many as thresholds]; 0 to tell of events only
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) count: Option<u32>,

    /// Dumps in all, after which the watch ends
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) total: Option<u32>,

    /// Shortest time from a target's dump to its next
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_time)]
    pub(crate) spacing: Duration,

    /// How long a trigger rests after it has fired
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_time)]
    pub(crate) cool_down: Duration,

    /// End the watch after so long (exit code 7)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) within: Option<Duration>,

    /// A command before each dump; it gets EFFIGY_PID, EFFIGY_NAME, EFFIGY_TRIGGER
    #[arg(long, value_name = "COMMAND")]
    pub(crate) before: Option<String>,

    /// A command after each dump; it gets EFFIGY_DUMP too, the file
    #[arg(long, value_name = "COMMAND")]
    pub(crate) after: Option<String>,

    /// Longest time for each of these commands
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    pub(crate) command_timeout: Duration,

    /// End the target with SIGKILL after its last dump
    #[arg(long)]
    pub(crate) kill: bool,
}

/// Arguments of `effigy procdump`, which are taken apart by ProcDump's own rules.
#[derive(Debug, Args)]
pub(crate) struct ProcdumpArgs {
    /// ProcDump's command line; -? lists its options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "…")]
    pub(crate) words: Vec<OsString>,
}

/// Words of a list between commas.
pub(crate) fn split_list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// A time: seconds, or with one of the units ms, s, m, h, d.
fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        other => return Err(format!("{other} is no unit; use ms, s, m, h or d")),
    };
    let number: f64 = digits.trim().parse().map_err(|_| "not a time".to_owned())?;
    let time = Duration::try_from_secs_f64(number * unit).map_err(|_| "out of range".to_owned())?;
    // What follows is added to points in time.
    if time > LONGEST { Err("longer than a hundred years".into()) } else { Ok(time) }
}

/// Longest time that is taken.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86400);
/// Shortest time between two looks: the kernel counts processor time in hundredths of a second.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(20);

fn parse_interval(text: &str) -> Result<Duration, String> {
    let time = parse_time(text)?;
    if time < SHORTEST_INTERVAL { Err("shorter than 20 ms".into()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(parse_time("10"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_time("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_time("250ms"), Ok(Duration::from_millis(250)));
        for text in ["", "x", "-1", "5 parsecs", "1e300", "nan", "200000d"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
        assert!(parse_interval("1ms").is_err() && parse_interval("50ms").is_ok());
    }
}
