//! A question that a healthy program answers in time: an HTTP request, a TCP connection, or a command that ends with 0.
//!
//! Questions are asked on a thread of their own; a look tells how the last ones went.

use std::fmt;
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Armed, Cause, Sight, Verdict};
use crate::Target;
use crate::http::{self, Url};
use crate::shell::{self, Terms};

/// The question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A GET, to be answered by a status below 500.
    Http(String),
    /// A connection to HOST:PORT.
    Tcp(String),
    /// A command for the shell, to end with 0. It gets the target's id in `EFFIGY_PID`.
    Command(String),
}

impl FromStr for Probe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(address) = text.strip_prefix("tcp:") {
            let address = address.trim_start_matches("//");
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            return port.map(|_| Self::Tcp(address.to_owned())).ok_or_else(|| format!("{address} is no HOST:PORT"));
        }
        if let Some(command) = text.strip_prefix("command:") {
            return if command.is_empty() {
                Err("which command?".into())
            } else {
                Ok(Self::Command(command.to_owned()))
            };
        }
        if text.starts_with("http") {
            return Url::parse(text).map(|_| Self::Http(text.to_owned()));
        }
        Err(format!("{text} is neither http://HOST…, nor tcp:HOST:PORT, nor command:COMMAND"))
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => f.write_str(url),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Command(command) => write!(f, "command:{command}"),
        }
    }
}

/// How the last questions went.
#[derive(Debug, Default)]
struct Record {
    /// Failures since the last answer.
    failures: u32,
    /// What the last failure was.
    why: String,
    asked: u64,
}

/// The trigger.
pub(super) struct Probing {
    name: String,
    record: Arc<Mutex<Record>>,
    failures: u32,
    told: bool,
    /// Dropping it ends the thread.
    _stop: Sender<()>,
}

impl Probing {
    pub(super) fn start(
        probe: &Probe,
        every: Duration,
        timeout: Duration,
        failures: u32,
        target: &Target,
    ) -> Result<Self, String> {
        let record = Arc::new(Mutex::new(Record::default()));
        let (stop, stopped) = channel();
        let (asked, kept, pid) = (probe.clone(), Arc::clone(&record), target.pid().0);
        let body = move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let outcome = ask(&asked, timeout, pid, &stopped);
                let mut record = kept.lock().unwrap_or_else(PoisonError::into_inner);
                record.asked += 1;
                match outcome {
                    Ok(()) => record.failures = 0,
                    Err(why) => (record.failures, record.why) = (record.failures.saturating_add(1), why),
                }
            }
        };
        std::thread::Builder::new().name("probe".into()).spawn(body).map_err(|error| error.to_string())?;
        Ok(Self { name: probe.to_string(), record, failures: failures.max(1), told: false, _stop: stop })
    }
}

fn ask(probe: &Probe, timeout: Duration, pid: u32, stopped: &Receiver<()>) -> Result<(), String> {
    match probe {
        Probe::Http(url) => match http::get(&Url::parse(url)?, timeout) {
            Ok(answer) if answer.status < 500 => Ok(()),
            Ok(answer) => Err(format!("answered {}", answer.status)),
            Err(error) => Err(in_time(&error)),
        },
        Probe::Tcp(address) => http::connect(address, timeout).map(|_| ()).map_err(|error| in_time(&error)),
        Probe::Command(command) => run(command, timeout, pid, stopped),
    }
}

fn in_time(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => "no answer in time".into(),
        _ => error.to_string(),
    }
}

/// Runs a command; without anybody who waits for its answer, it is ended.
fn run(command: &str, timeout: Duration, pid: u32, stopped: &Receiver<()>) -> Result<(), String> {
    let variables = [("EFFIGY_PID", pid.to_string())];
    let is_wanted = || stopped.try_recv() != Err(TryRecvError::Disconnected);
    shell::run(command, Terms { variables: &variables, timeout, heard: false }, &is_wanted)
}

impl Armed for Probing {
    fn look(&mut self, _now: Instant) -> Verdict {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        if record.failures < self.failures {
            self.told = false;
            return Verdict::Quiet;
        }
        if self.told {
            return Verdict::Quiet;
        }
        Verdict::Fired(Cause { what: format!("{}: {}", self.name, record.why), thread: None, kind: "hang" })
    }

    fn rearm(&mut self) {
        self.told = true;
    }

    fn resume(&mut self) {
        // A question that was asked while the target stood still says nothing.
        self.record.lock().unwrap_or_else(PoisonError::into_inner).failures = 0;
    }

    fn sight(&self) -> Sight {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let value = match record.failures {
            0 if record.asked == 0 => String::new(),
            0 => "answers".to_owned(),
            _ => record.why.clone(),
        };
        Sight { name: self.name.clone(), value, threshold: String::new(), recent: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn questions() {
        for text in ["http://h:1/x", "tcp:h:80", "command:test -e /x"] {
            assert_eq!(text.parse::<Probe>().unwrap().to_string(), text);
        }
        for text in ["", "h:80", "tcp:h", "command:", "https://h"] {
            assert!(text.parse::<Probe>().is_err(), "{text}");
        }
    }

    #[test]
    fn outcomes() {
        let (_stop, stopped) = channel();
        let short = Duration::from_millis(300);
        let ask = |text: &str| ask(&text.parse().unwrap(), short, 1, &stopped);
        assert_eq!(ask("command:test $EFFIGY_PID = 1"), Ok(()));
        assert!(ask("command:exit 3").is_err());
        let began = Instant::now();
        assert_eq!(ask("command:sleep 60"), Err("did not end in time".into()));
        assert!(began.elapsed() < Duration::from_secs(10));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(ask(&format!("tcp:{address}")), Ok(()));
        assert!(ask(&format!("http://{address}/")).is_err());
        drop(listener);
        assert!(ask(&format!("tcp:{address}")).is_err());
    }
}
