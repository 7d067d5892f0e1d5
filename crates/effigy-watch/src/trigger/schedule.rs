//! By the clock: each so often, or at a time of the day.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use jiff::Zoned;
use jiff::civil::Time;

use super::{Armed, Cause, Sight, Verdict};

/// Each so often. A dump that takes longer is not made up for: the next one comes a whole period after the last.
pub(super) struct Every {
    period: Duration,
    due: Instant,
    now: Instant,
}

impl Every {
    pub(super) fn new(period: Duration, at_once: bool, now: Instant) -> Self {
        Self { period, due: if at_once { now } else { now + period }, now }
    }
}

impl Armed for Every {
    fn look(&mut self, now: Instant) -> Verdict {
        self.now = now;
        if now < self.due {
            return Verdict::Quiet;
        }
        Verdict::Fired(Cause { what: "scheduled".into(), thread: None, kind: "time" })
    }

    fn rearm(&mut self) {
        self.due = self.now + self.period;
    }

    fn sight(&self) -> Sight {
        let left = self.due.saturating_duration_since(self.now);
        let value = format!("{:.0} s left", left.as_secs_f64());
        Sight { name: "schedule".into(), value, threshold: String::new(), recent: Vec::new() }
    }
}

/// A time of the day, in the local time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Daily(Time);

impl FromStr for Daily {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |format| Time::strptime(format, text).ok();
        parse("%H:%M:%S").or_else(|| parse("%H:%M")).map(Self).ok_or_else(|| format!("{text} is no time as 14:30"))
    }
}

impl fmt::Display for Daily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%H:%M:%S"))
    }
}

impl Daily {
    /// The next time after one; a time that a change of clocks leaves out comes when the clocks have changed.
    fn after(self, time: &Zoned) -> Option<Zoned> {
        let at = |day: jiff::civil::Date| day.to_datetime(self.0).to_zoned(time.time_zone().clone()).ok();
        let today = at(time.date());
        match today {
            Some(today) if today > *time => Some(today),
            _ => at(time.date().tomorrow().ok()?),
        }
    }
}

/// At that time.
pub(super) struct AtTime {
    daily: Daily,
    due: Option<Zoned>,
}

impl AtTime {
    pub(super) fn new(daily: Daily) -> Self {
        Self { daily, due: daily.after(&Zoned::now()) }
    }
}

impl Armed for AtTime {
    fn look(&mut self, _now: Instant) -> Verdict {
        // The clock of the wall: it may be set, and a day is not always as long as another.
        if self.due.as_ref().is_none_or(|due| Zoned::now() < *due) {
            return Verdict::Quiet;
        }
        Verdict::Fired(Cause { what: format!("it is {}", self.daily), thread: None, kind: "time" })
    }

    fn rearm(&mut self) {
        self.due = self.daily.after(&Zoned::now());
    }

    fn sight(&self) -> Sight {
        let value = format!("next at {}", self.daily);
        Sight { name: "schedule".into(), value, threshold: String::new(), recent: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_so_often() {
        let start = Instant::now();
        let mut every = Every::new(Duration::from_secs(10), true, start);
        let at = |every: &mut Every, second| every.look(start + Duration::from_secs(second)) != Verdict::Quiet;
        assert!(at(&mut every, 0));
        every.rearm();
        assert!(!at(&mut every, 9) && at(&mut every, 10));
        let mut later = Every::new(Duration::from_secs(10), false, start);
        assert!(!at(&mut later, 0) && at(&mut later, 11));
    }

    #[test]
    fn times_of_the_day() {
        let daily: Daily = "14:30".parse().unwrap();
        assert_eq!(daily.to_string(), "14:30:00");
        assert!("24:30".parse::<Daily>().is_err() && "x".parse::<Daily>().is_err() && "1".parse::<Daily>().is_err());
        let at = |hour, minute| {
            let day = jiff::civil::date(2026, 11, 21).at(hour, minute, 0, 0);
            day.to_zoned(jiff::tz::TimeZone::UTC).unwrap()
        };
        assert_eq!(daily.after(&at(14, 29)), Some(at(14, 30)));
        assert_eq!(daily.after(&at(14, 30)).unwrap().date().day(), 22);
    }
}
