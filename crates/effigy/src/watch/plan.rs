//! What is waited for and how often, from arguments as typed.

use std::sync::Arc;
use std::time::Duration;

use effigy_watch::sample::{Metric, Unit};
use effigy_watch::session::{Events, Plan};
use effigy_watch::trigger::{Side, Spec};
use effigy_watch::wildcard::{Filter, Wildcard};

use crate::cli::{EventArgs, ThenArgs, TriggerArgs, parse_size, split_list};
use crate::events::{self, Selection};

/// How long a rate or a percentage must hold, and the time between dumps without a trigger, when nothing is said: as
/// with ProcDump.
const USUAL_TIME: Duration = Duration::from_secs(10);

/// Arguments as typed, of what `effigy watch` and `effigy run` have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meant<'a> {
    pub(crate) when: &'a TriggerArgs,
    pub(crate) events: &'a EventArgs,
    pub(crate) then: &'a ThenArgs,
    pub(crate) children: bool,
    /// Lines of the program's standard error are looked at.
    pub(crate) stderr: bool,
}

impl Meant<'_> {
    /// Of a watch: without a trigger, one dump at once and further ones a time apart.
    pub(crate) fn plan(self) -> Result<Plan, String> {
        let mut triggers = triggers(self.when, false)?;
        let events = self.events.are_given().then(|| self.happenings());
        self.check(&triggers, events.is_some())?;
        if triggers.is_empty() && events.is_none() {
            triggers.push(Spec::Every { period: self.when.hold.unwrap_or(USUAL_TIME), at_once: true });
        }
        Ok(self.with(triggers, events))
    }

    /// Of a program that is started: without a trigger, a crash. Its dumps are counted together with those of its children.
    pub(crate) fn plan_of_program(self) -> Result<Plan, String> {
        let triggers = triggers(self.when, true)?;
        let is_crash = triggers.is_empty() && !self.stderr;
        let events = (self.events.are_given() || is_crash).then(|| self.happenings());
        self.check(&triggers, events.is_some())?;
        let plan = self.with(triggers, events);
        let total = plan.total.or(Some(plan.count)).filter(|total| *total > 0);
        Ok(Plan { total, ..plan })
    }

    fn with(self, triggers: Vec<Spec>, events: Option<Events>) -> Plan {
        let then = self.then;
        Plan {
            all_of: self.when.all_of,
            interval: self.when.interval,
            count: then.count.unwrap_or_else(|| usual_count(&triggers)),
            triggers,
            events,
            text: self.stderr.then(|| filter(self.when)),
            total: then.total,
            spacing: then.spacing,
            cool_down: then.cool_down,
            within: then.within,
            children: self.children,
            kill: then.kill,
        }
    }

    /// Options that are about something that was not asked for.
    fn check(self, triggers: &[Spec], events: bool) -> Result<(), String> {
        let when = self.when;
        let filtered = !(when.include.is_empty() && when.exclude.is_empty());
        if filtered && !events && !self.stderr && when.follow.is_empty() && when.follow_unit.is_empty() {
            return Err(
                "--include and --exclude are about lines of text (--follow and its kin), and about events".into()
            );
        }
        if (events || self.stderr) && triggers.is_empty() && when.hold.is_some() {
            return Err("--for is about numbers; the time between dumps of events is --spacing".into());
        }
        if self.then.count == Some(0) && (!events || self.stderr || !triggers.is_empty() || self.then.kill) {
            return Err("-n 0 tells of events, and takes no dumps: it goes with --on, --signal and --at only".into());
        }
        Ok(())
    }

    /// What is waited for that happens to a program.
    fn happenings(self) -> Events {
        let words =
            |texts: &[String]| texts.iter().flat_map(|text| split_list(text)).map(str::to_owned).collect::<Vec<_>>();
        let (include, exclude) = (words(&self.when.include), words(&self.when.exclude));
        Events {
            wants: events::wants(self.events, self.children),
            judge: Arc::new(Selection::new(self.events, &include, &exclude)),
            words: events::words(self.events),
        }
    }
}

/// Numbers and the like that are waited for; `launched` says that the program has only begun.
fn triggers(when: &TriggerArgs, launched: bool) -> Result<Vec<Spec>, String> {
    let mut triggers = thresholds(when)?;
    for text in &when.growth {
        let (metric, values) = number(text, when)?;
        let [per_minute] = values[..] else { return Err(format!("--growth {text}: one rate, please")) };
        triggers.push(Spec::Growth { metric, per_minute, window: when.window });
    }
    triggers.extend(when.hang.map(|time| Spec::Hang { time, thread: when.thread.clone(), may_come: launched }));
    triggers.extend(when.blocked.map(|time| Spec::Blocked { time }));
    triggers.extend(when.probe.iter().map(|probe| Spec::Probe {
        probe: probe.clone(),
        every: when.probe_every,
        timeout: when.probe_timeout,
        failures: when.probe_failures,
    }));
    triggers.extend(when.every.map(|period| Spec::Every { period, at_once: false }));
    triggers.extend(when.daily.iter().map(|daily| Spec::Daily(*daily)));
    let filter = filter(when);
    triggers.extend(when.follow.iter().map(|file| Spec::Text { file: file.clone(), filter: filter.clone() }));
    let journals = when.follow_unit.iter().map(|unit| Spec::Journal { unit: unit.clone(), filter: filter.clone() });
    triggers.extend(journals);
    Ok(triggers)
}

/// Which lines count.
fn filter(when: &TriggerArgs) -> Filter {
    let patterns = |texts: &[String]| texts.iter().map(|text| Wildcard::new(text)).collect();
    Filter { include: patterns(&when.include), exclude: patterns(&when.exclude) }
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
fn samples(time: Duration, interval: Duration) -> u32 {
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
