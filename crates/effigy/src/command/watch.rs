//! `effigy watch`: waits for the moment that matters, and dumps then.
//!
//! ```text
//! $ effigy watch redis-server --above cpu=80 --for 10s
//! effigy: watching redis-server (pid 4711): cpu >= 80.0 % for 10 s
//! effigy: redis-server (pid 4711): cpu 97.4 % >= 80.0 %, 10 times in a row
//! wrote redis-server_261121_031502.dmp: 11.4 MiB
//! ```

use std::sync::Arc;
use std::time::Duration;

use effigy_live::select::Query;
use effigy_process::ProcessId;
use effigy_watch::control;
use effigy_watch::sample::{Metric, Unit};
use effigy_watch::session::{Awaited, Events, Plan};
use effigy_watch::trigger::{Side, Spec};
use effigy_watch::wildcard::{Filter, Wildcard};

use crate::cli::{TriggerArgs, WatchArgs, parse_size, split_list};
use crate::events::{self, Selection};
use crate::exit::Exit;
use crate::print;
use crate::procdump::Naming;
use crate::target;
use crate::watch::{Errand, JsonTeller, PlainTeller, Teller, Watching, watch};

/// How long a rate or a percentage must hold, and the time between dumps without a trigger, when nothing is said: as
/// with ProcDump.
const USUAL_TIME: Duration = Duration::from_secs(10);

/// Runs the command.
pub(crate) fn run(args: &WatchArgs) -> Exit {
    run_as(args, None, |plan| if args.json { Arc::new(JsonTeller) } else { Arc::new(PlainTeller::new(plan)) })
}

/// The same with other names of files and another way to tell.
pub(crate) fn run_as(
    args: &WatchArgs,
    naming: Option<Arc<Naming>>,
    teller: impl FnOnce(&Plan) -> Arc<dyn Teller>,
) -> Exit {
    if args.cancel {
        return cancel(args);
    }
    super::tell(prepare(args, naming).map(|watching| {
        let teller = teller(&watching.plan);
        watch(watching, &teller)
    }))
}

/// Arguments as meant.
fn prepare(args: &WatchArgs, naming: Option<Arc<Naming>>) -> Result<Watching, (Exit, String)> {
    let usage = |text: String| (Exit::Usage, text);
    let (targets, awaited) = targets(args)?;
    let plan = plan(args).map_err(usage)?;
    if let Some(events) = &plan.events {
        events::check(&events.wants)?;
    }
    if args.options.output.as_deref() == Some(std::path::Path::new("-")) {
        return Err(usage("a watch writes files: standard output takes one dump only".into()));
    }
    let request = super::dump::request(&args.options, 1, "Dump of a watch").map_err(usage)?;
    let errand = Errand {
        request,
        naming,
        timeout: args.options.timeout,
        before: args.then.before.clone(),
        after: args.then.after.clone(),
        command_timeout: args.then.command_timeout,
    };
    Ok(Watching { plan, targets, awaited, errand })
}

/// Processes that are there, and those that may come.
fn targets(args: &WatchArgs) -> Result<(Vec<ProcessId>, Vec<Awaited>), (Exit, String)> {
    let mut named: Vec<Option<&str>> = args.targets.iter().map(|target| Some(target.as_str())).collect();
    if named.is_empty() {
        named.push(None);
    }
    if !args.wait {
        let mut found = Vec::new();
        for name in named {
            found.extend(target::resolve(name, &args.select)?);
        }
        found.dedup();
        return Ok((found, Vec::new()));
    }
    let mut awaited = Vec::new();
    for name in named {
        if let Some(pid) = name.and_then(target::id) {
            return Err((Exit::Usage, format!("--wait waits for names; nobody can know that {pid} will be the id")));
        }
        let query = target::query(name, &args.select);
        if query == Query::default() {
            return Err((Exit::Usage, "wait for which process? Give its name, --cgroup or --unit".into()));
        }
        awaited.push(Awaited { query, all: args.select.all });
    }
    Ok((Vec::new(), awaited))
}

fn plan(args: &WatchArgs) -> Result<Plan, String> {
    let then = &args.then;
    let mut triggers = triggers(&args.when)?;
    let events = happenings(args);
    check_numbers(args, &triggers, events.is_some())?;
    if triggers.is_empty() && events.is_none() {
        triggers.push(Spec::Every { period: args.when.hold.unwrap_or(USUAL_TIME), at_once: true });
    }
    Ok(Plan {
        all_of: args.when.all_of,
        interval: args.when.interval,
        count: then.count.unwrap_or_else(|| usual_count(&triggers)),
        triggers,
        events,
        total: then.total,
        spacing: then.spacing,
        cool_down: then.cool_down,
        within: then.within,
        children: args.children,
        kill: then.kill,
    })
}

/// Options that are about something that was not asked for.
fn check_numbers(args: &WatchArgs, triggers: &[Spec], events: bool) -> Result<(), String> {
    let when = &args.when;
    let filtered = !(when.include.is_empty() && when.exclude.is_empty());
    if filtered && !events && when.follow.is_empty() && when.follow_unit.is_empty() {
        return Err(
            "--include and --exclude are about the lines of --follow and --follow-unit, and about events".into()
        );
    }
    if events && triggers.is_empty() && when.hold.is_some() {
        return Err("--for is about numbers; the time between dumps of events is --spacing".into());
    }
    if args.then.count == Some(0) && (!events || !triggers.is_empty() || args.then.kill) {
        return Err("-n 0 tells of events, and takes no dumps: it goes with --on, --signal and --at only".into());
    }
    Ok(())
}

/// What is waited for that happens to a program.
fn happenings(args: &WatchArgs) -> Option<Events> {
    if !args.events.are_given() {
        return None;
    }
    let words =
        |texts: &[String]| texts.iter().flat_map(|text| split_list(text)).map(str::to_owned).collect::<Vec<_>>();
    let (include, exclude) = (words(&args.when.include), words(&args.when.exclude));
    Some(Events {
        wants: events::wants(&args.events, args.children),
        judge: Arc::new(Selection::new(&args.events, &include, &exclude)),
        words: events::words(&args.events),
    })
}

/// Numbers and the like that are waited for.
fn triggers(when: &TriggerArgs) -> Result<Vec<Spec>, String> {
    let mut triggers = thresholds(when)?;
    for text in &when.growth {
        let (metric, values) = number(text, when)?;
        let [per_minute] = values[..] else { return Err(format!("--growth {text}: one rate, please")) };
        triggers.push(Spec::Growth { metric, per_minute, window: when.window });
    }
    triggers.extend(when.hang.map(|time| Spec::Hang { time, thread: when.thread.clone() }));
    triggers.extend(when.blocked.map(|time| Spec::Blocked { time }));
    triggers.extend(when.probe.iter().map(|probe| Spec::Probe {
        probe: probe.clone(),
        every: when.probe_every,
        timeout: when.probe_timeout,
        failures: when.probe_failures,
    }));
    triggers.extend(when.every.map(|period| Spec::Every { period, at_once: false }));
    triggers.extend(when.daily.iter().map(|daily| Spec::Daily(*daily)));
    let patterns = |texts: &[String]| texts.iter().map(|text| Wildcard::new(text)).collect();
    let filter = Filter { include: patterns(&when.include), exclude: patterns(&when.exclude) };
    triggers.extend(when.follow.iter().map(|file| Spec::Text { file: file.clone(), filter: filter.clone() }));
    let journals = when.follow_unit.iter().map(|unit| Spec::Journal { unit: unit.clone(), filter: filter.clone() });
    triggers.extend(journals);
    Ok(triggers)
}

/// One dump, or one for each of a list of thresholds.
fn usual_count(triggers: &[Spec]) -> u32 {
    let each = triggers.iter().map(|trigger| match trigger {
        Spec::Threshold { thresholds, .. } => u32::try_from(thresholds.len()).unwrap_or(u32::MAX),
        _ => 1,
    });
    each.max().unwrap_or(1)
}

fn thresholds(when: &TriggerArgs) -> Result<Vec<Spec>, String> {
    let above = when.above.iter().map(|text| (text, Side::Above));
    let below = when.below.iter().map(|text| (text, Side::Below));
    above
        .chain(below)
        .map(|(text, side)| {
            let (metric, thresholds) = number(text, when)?;
            let usual = if metric.unit().is_rate() { USUAL_TIME } else { Duration::ZERO };
            let samples = samples(when.hold.unwrap_or(usual), when.interval);
            Ok(Spec::Threshold { metric, side, thresholds, samples })
        })
        .collect()
}

/// Looks in a row that a time takes; at least one.
pub(crate) fn samples(time: Duration, interval: Duration) -> u32 {
    let looks = time.as_nanos().div_ceil(interval.as_nanos().max(1));
    u32::try_from(looks).unwrap_or(u32::MAX).max(1)
}

/// `NUMBER=VALUE[,VALUE…]`. The name may hold an equals sign, a list of numbers does not.
fn number(text: &str, when: &TriggerArgs) -> Result<(Metric, Vec<f64>), String> {
    let (name, values) = text.rsplit_once('=').ok_or_else(|| format!("{text}: a threshold follows behind ="))?;
    let mut metric: Metric = name.parse().map_err(|error: effigy_watch::sample::MetricError| error.to_string())?;
    if when.one_core && metric == Metric::Cpu {
        metric = Metric::Core;
    }
    let values: Result<Vec<f64>, String> = split_list(values)
        .map(|value| threshold(value, metric.unit()).map_err(|why| format!("{text}: {why}")))
        .collect();
    match values {
        Ok(values) if values.is_empty() => Err(format!("{text}: a threshold follows behind =")),
        values => Ok((metric, values?)),
    }
}

/// A number, with a unit where it counts bytes.
fn threshold(text: &str, unit: Unit) -> Result<f64, String> {
    let plain = || text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>().ok().filter(|value| value.is_finite());
    match unit {
        Unit::Bytes | Unit::BytesPerSecond if text != "0" => parse_size(text).map(|size| size as f64),
        _ => plain().ok_or_else(|| format!("{text} is no number")),
    }
}

fn cancel(args: &WatchArgs) -> Exit {
    if args.targets.is_empty() {
        print::error("end the watch of which target? Give its id or its name");
        return Exit::Usage;
    }
    let mut exit = Exit::Done;
    for target in &args.targets {
        let name = print::safe(target.as_bytes());
        match control::cancel(target) {
            Ok(0) => {
                print::error(&format!("nobody watches {name}"));
                exit = exit.and(Exit::NoTarget);
            }
            Ok(count) => {
                print::line(&format!("ended {count} {} of {name}", if count == 1 { "watch" } else { "watches" }))
            }
            Err(error) => {
                print::error(&format!("looking for watches: {error}"));
                exit = exit.and(Exit::Output);
            }
        }
    }
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_that_a_time_takes() {
        let samples = |time, interval| samples(Duration::from_millis(time), Duration::from_millis(interval));
        assert_eq!((samples(10_000, 1000), samples(0, 1000), samples(1500, 1000)), (10, 1, 2));
    }

    #[test]
    fn thresholds_with_units() {
        assert_eq!(threshold("80%", Unit::Percent), Ok(80.0));
        assert_eq!(threshold("2K", Unit::Bytes), Ok(2048.0));
        assert_eq!(threshold("0", Unit::Bytes), Ok(0.0));
        assert!(threshold("x", Unit::Plain).is_err() && threshold("nan", Unit::Plain).is_err());
    }
}
