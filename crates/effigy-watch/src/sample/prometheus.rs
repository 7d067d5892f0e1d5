//! Metrics of a Prometheus endpoint, in its text format.
//!
//! A server may take its time to answer: it is asked on a thread of its own, and a look tells what it said last.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Gauge, Reading, fields};
use crate::http::{self, Url};

/// Time between two questions.
const EVERY: Duration = Duration::from_secs(1);
/// How long an answer may take.
const LONGEST: Duration = Duration::from_secs(5);

/// What was last heard.
type Heard = Arc<Mutex<Reading>>;

/// One series of an endpoint.
pub(super) struct Scraped {
    heard: Heard,
    /// Dropping it ends the thread.
    _stop: Sender<()>,
}

impl Scraped {
    pub(super) fn start(url: &str, series: &str) -> Result<Self, String> {
        let url = Url::parse(url)?;
        let series = series.to_owned();
        let heard: Heard = Arc::new(Mutex::new(Reading::NotYet));
        let (stop, stopped) = channel();
        let told = Arc::clone(&heard);
        let ask = move || {
            loop {
                let reading = ask(&url, &series);
                *told.lock().unwrap_or_else(PoisonError::into_inner) = reading;
                if stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("prometheus".into()).spawn(ask).map_err(|error| error.to_string())?;
        Ok(Self { heard, _stop: stop })
    }
}

impl Gauge for Scraped {
    fn read(&mut self, _now: Instant) -> Reading {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn ask(url: &Url, series: &str) -> Reading {
    match http::get(url, LONGEST) {
        Ok(answer) if answer.status == 200 => find(&answer.body, series)
            .map_or_else(|| Reading::Missing(format!("the endpoint has no {series}")), Reading::Value),
        Ok(answer) => Reading::Missing(format!("the endpoint answers {}", answer.status)),
        Err(error) => Reading::Missing(format!("the endpoint: {error}")),
    }
}

/// The value of a series, or the sum of all series of a name.
fn find(text: &[u8], series: &str) -> Option<f64> {
    let labelled = series.contains('{');
    let mut sum = None;
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#")) {
        let Some(rest) = line.strip_prefix(series.as_bytes()) else { continue };
        let rest = match rest.first() {
            Some(b' ' | b'\t') => rest,
            // Labels hold any text in quotation marks, but the value and the time behind them hold no brace.
            Some(b'{') if !labelled => match rest.iter().rposition(|byte| *byte == b'}') {
                Some(end) => &rest[end + 1..],
                None => continue,
            },
            _ => continue,
        };
        let value = fields::words(rest).next().and_then(fields::float);
        sum = value.map(|value| value + sum.unwrap_or(0.0)).or(sum);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &[u8] = b"# HELP up x\n# TYPE up gauge\nup 1\nreq_total{code=\"200\",p=\"a } b\"} 5 1700000000\nreq_total{code=\"500\"} 2\nreq_total_max 9\nbad NaN\n";

    #[test]
    fn series() {
        assert_eq!(find(PAGE, "up"), Some(1.0));
        assert_eq!(find(PAGE, "req_total"), Some(7.0));
        assert_eq!(find(PAGE, "req_total{code=\"500\"}"), Some(2.0));
        assert_eq!((find(PAGE, "req"), find(PAGE, "bad"), find(b"", "up")), (None, None, None));
    }
}
