//! Getting files by HTTP.
//!
//! A download runs on a thread of its own, which hands over what it reads. Whoever waits for it looks every now and then
//! whether anybody wants an end, and whether anything came at all.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use ureq::http::StatusCode;

use super::{OnTransfer, Options, Transfer};

/// Bytes that are read at a time, and pieces that may wait to be written.
const CHUNK: usize = 64 << 10;
const PIECES: usize = 8;
/// How often it is looked whether somebody wants an end.
const TICK: Duration = Duration::from_millis(50);
/// Longest text that is read as a whole.
const LONGEST_TEXT: u64 = 4096;
/// Redirections that are followed.
const MOST_REDIRECTIONS: u32 = 5;

/// Why a file was not got.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum FetchError {
    /// The server does not have it.
    #[error("not there")]
    Absent,
    /// The server answered with something else.
    #[error("the server answered {0}")]
    Status(StatusCode),
    /// No connection, no answer, or the connection broke.
    #[error("{0}")]
    Connection(String),
    /// The answer is longer than is taken, or shorter than it was to be.
    #[error("the answer has {0}")]
    Length(String),
    /// What came is not what was asked for.
    #[error("what came is another file than was asked for")]
    Other,
    /// Somebody wanted an end.
    #[error("cancelled")]
    Cancelled,
    /// It cannot be written.
    #[error("writing it: {0}")]
    Write(io::Error),
    /// It cannot be kept.
    #[error("keeping it in {}: {source}", folder.display())]
    Cache {
        /// Where.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Asks servers.
pub(super) struct Client {
    agent: ureq::Agent,
    stall: Duration,
    most_bytes: u64,
    cancel: Arc<AtomicBool>,
    on_transfer: Option<Arc<OnTransfer>>,
}

/// What a download's thread tells.
enum Event {
    /// An answer begins; its length, where that is known.
    Begin(Option<u64>),
    Piece(Vec<u8>),
    End,
    Failed(FetchError),
}

impl Client {
    pub(super) fn new(options: &mut Options) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(MOST_REDIRECTIONS)
            .timeout_connect(Some(options.connect_timeout))
            .timeout_resolve(Some(options.connect_timeout))
            .timeout_recv_response(Some(options.stall_timeout))
            .user_agent(concat!("effigy/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: agent.into(),
            stall: options.stall_timeout,
            most_bytes: options.most_bytes,
            cancel: options.cancel.clone(),
            on_transfer: options.on_transfer.take().map(Arc::from),
        }
    }

    /// Writes what an address has into a file.
    pub(super) fn fetch(&self, url: &str, file: &mut File) -> Result<(), FetchError> {
        let mut told = Told { url, done: 0, total: None, on_transfer: self.on_transfer.as_deref() };
        let outcome = self.receive(url, |event| match event {
            Piece::Length(total) => {
                told.total = total;
                told.tell(false);
                total.filter(|total| *total > self.most_bytes).map_or(Ok(()), |total| Err(too_long(total)))
            }
            Piece::Bytes(bytes) => {
                told.done += bytes.len() as u64;
                told.tell(false);
                if told.done > self.most_bytes {
                    return Err(too_long(told.done));
                }
                file.write_all(bytes).map_err(FetchError::Write)
            }
        });
        told.tell(true);
        outcome?;
        match told.total {
            Some(total) if total != told.done => Err(FetchError::Length(format!("{} of {total} bytes", told.done))),
            _ => Ok(()),
        }
    }

    /// A short text.
    pub(super) fn fetch_text(&self, url: &str) -> Result<String, FetchError> {
        let mut text = Vec::new();
        self.receive(url, |event| match event {
            Piece::Length(_) => Ok(()),
            Piece::Bytes(bytes) if text.len() as u64 + bytes.len() as u64 > LONGEST_TEXT => Err(too_long(LONGEST_TEXT)),
            Piece::Bytes(bytes) => {
                text.extend_from_slice(bytes);
                Ok(())
            }
        })?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Whether there is something at an address.
    pub(super) fn is_there(&self, url: &str) -> bool {
        // What comes is not looked at: the first piece ends it.
        let outcome = self.receive(url, |_| Err(FetchError::Cancelled));
        matches!(outcome, Ok(()) | Err(FetchError::Cancelled)) && !self.is_cancelled()
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// Hands on what an address has, until `take` has enough.
    fn receive(&self, url: &str, mut take: impl FnMut(Piece<'_>) -> Result<(), FetchError>) -> Result<(), FetchError> {
        let (sender, events) = sync_channel(PIECES);
        let (agent, address) = (self.agent.clone(), url.to_owned());
        // It ends by itself: when nobody takes what it reads, or when its connection has timed out.
        std::thread::Builder::new()
            .name("download".into())
            .spawn(move || download(&agent, &address, &sender))
            .map_err(|error| FetchError::Connection(error.to_string()))?;
        loop {
            match self.next(&events)? {
                Event::Begin(total) => take(Piece::Length(total))?,
                Event::Piece(bytes) => take(Piece::Bytes(&bytes))?,
                Event::End => return Ok(()),
                Event::Failed(error) => return Err(error),
            }
        }
    }

    /// The next event, within the time that an answer may take.
    fn next(&self, events: &Receiver<Event>) -> Result<Event, FetchError> {
        // A connection may be tried and the name be looked up before; these have limits of their own.
        let deadline = Instant::now() + self.stall * 2;
        loop {
            if self.is_cancelled() {
                return Err(FetchError::Cancelled);
            }
            match events.recv_timeout(TICK) {
                Ok(event) => return Ok(event),
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(FetchError::Connection(format!("nothing came for {:?}", self.stall * 2)));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(FetchError::Connection("the download ended early".to_owned()));
                }
            }
        }
    }
}

/// What comes from a server.
enum Piece<'a> {
    Length(Option<u64>),
    Bytes(&'a [u8]),
}

fn too_long(bytes: u64) -> FetchError {
    FetchError::Length(format!("{bytes} bytes or more, which are too many"))
}

/// Tells how far a download is.
struct Told<'a> {
    url: &'a str,
    done: u64,
    total: Option<u64>,
    on_transfer: Option<&'a OnTransfer>,
}

impl Told<'_> {
    fn tell(&self, ended: bool) {
        if let Some(on_transfer) = self.on_transfer {
            on_transfer(Transfer { url: self.url, done: self.done, total: self.total, ended });
        }
    }
}

/// Asks, and sends what comes for as long as somebody takes it.
fn download(agent: &ureq::Agent, url: &str, events: &SyncSender<Event>) {
    let connection = |error: &dyn std::fmt::Display| Event::Failed(FetchError::Connection(error.to_string()));
    let response = match agent.get(url).call() {
        Ok(response) => response,
        Err(error) => return drop(events.send(connection(&error))),
    };
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND | StatusCode::GONE => return drop(events.send(Event::Failed(FetchError::Absent))),
        status => return drop(events.send(Event::Failed(FetchError::Status(status)))),
    }
    let mut body = response.into_body();
    if events.send(Event::Begin(body.content_length())).is_err() {
        return;
    }
    let mut reader = body.as_reader();
    loop {
        let mut bytes = vec![0; CHUNK];
        let event = match reader.read(&mut bytes) {
            Ok(0) => return drop(events.send(Event::End)),
            Ok(count) => {
                bytes.truncate(count);
                Event::Piece(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return drop(events.send(connection(&error))),
        };
        if events.send(event).is_err() {
            return;
        }
    }
}
