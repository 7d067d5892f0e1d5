//! How one effigy ends another one's watch: each watch has a socket in the user's runtime folder, on which it is asked to
//! let a target be. The folder belongs to the user alone, so nobody else can ask.

use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::session::Waker;

/// How long the other side may take to speak.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a watch may take to answer: it may be in the middle of a round over many targets.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);
/// Longest request, in bytes.
const LONGEST_REQUEST: u64 = 4096;
/// How long the end of a watch waits for an answer to be on its way.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// What names of sockets end in.
const SUFFIX: &str = ".watch";

/// A request to end the watch of a target, and where the answer goes.
#[derive(Debug)]
pub struct Request {
    /// A process id or a name.
    pub target: String,
    /// Takes the number of targets that are watched no more.
    pub answer: Sender<usize>,
}

/// The socket of a watch; gone when this is dropped.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    requests: Receiver<Request>,
    /// Held while a request is being answered.
    answering: Arc<Mutex<()>>,
}

/// Where sockets of watches are: below `XDG_RUNTIME_DIR`, else in `/run` for root and in `/tmp` for others.
#[must_use]
pub fn folder() -> PathBuf {
    let user = rustix::process::geteuid();
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_dir()) {
        Some(folder) => folder.join("effigy"),
        None if user.is_root() => PathBuf::from("/run/effigy"),
        None => PathBuf::from(format!("/tmp/effigy-{}", user.as_raw())),
    }
}

impl Control {
    /// Opens the socket of this process. Requests wake a session.
    ///
    /// # Errors
    /// When the folder or the socket cannot be made, or the folder is somebody else's.
    pub fn open(waker: Waker) -> io::Result<Self> {
        let folder = folder();
        make(&folder)?;
        let path = folder.join(format!("{}{SUFFIX}", std::process::id()));
        // One of this name is left of a process that was killed: the id is ours now.
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        let (sender, requests) = bounded(16);
        let answering = Arc::new(Mutex::new(()));
        let held = Arc::clone(&answering);
        let body = move || {
            for stream in listener.incoming() {
                match stream {
                    Ok(stream) => serve(&stream, &sender, &waker, &held),
                    // Out of descriptors: there may be some later.
                    Err(_) => std::thread::sleep(PATIENCE),
                }
            }
        };
        std::thread::Builder::new().name("control".into()).spawn(body)?;
        Ok(Self { path, requests, answering })
    }

    /// The next request, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<Request> {
        self.requests.try_recv().ok()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        // Requests that nobody will look at are answered by that.
        while self.next().is_some() {}
        // Who has ended this watch is to hear of it before the program ends.
        let deadline = Instant::now() + LAST_WORDS;
        while matches!(self.answering.try_lock(), Err(TryLockError::WouldBlock)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A folder of our own, that nobody else can look into.
fn make(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        outcome => outcome?,
    }
    let about = fs::symlink_metadata(folder)?;
    let ours = about.is_dir() && about.uid() == rustix::process::geteuid().as_raw() && about.mode() & 0o022 == 0;
    if ours { Ok(()) } else { Err(io::Error::other(format!("{} is not ours alone", folder.display()))) }
}

/// Answers one request; a side that says nothing in time is not listened to.
fn serve(stream: &UnixStream, sender: &Sender<Request>, waker: &Waker, answering: &Mutex<()>) {
    let answer = || -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        BufReader::new(stream.take(LONGEST_REQUEST)).read_line(&mut line)?;
        let Some(target) = line.trim_end().strip_prefix("cancel ") else { return Ok(()) };
        let _answering = answering.lock().unwrap_or_else(PoisonError::into_inner);
        let (answer, answered) = bounded(1);
        let asked = sender.send_timeout(Request { target: target.to_owned(), answer }, PATIENCE);
        waker.wake();
        let count = asked.ok().and_then(|()| answered.recv_timeout(LONGEST_ANSWER).ok()).unwrap_or(0);
        writeln!({ stream }, "ended {count}")
    };
    let _ = answer();
}

/// Asks every watch of this user to let a target be, and tells how many watches of it were ended. As root, those of all
/// users.
///
/// # Errors
/// When a folder of sockets is there and cannot be read.
pub fn cancel(target: &str) -> io::Result<usize> {
    let mut ended = 0;
    for folder in folders() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|ending| ending == &SUFFIX[1..]) {
                // One that does not answer is the socket of a watch that was killed.
                ended += ask(&path, target).unwrap_or(0);
            }
        }
    }
    Ok(ended)
}

fn folders() -> Vec<PathBuf> {
    let mut folders = vec![folder()];
    if rustix::process::geteuid().is_root() {
        let users = fs::read_dir("/run/user").into_iter().flatten().flatten();
        folders.extend(users.map(|user| user.path().join("effigy")));
        folders.push(PathBuf::from("/run/effigy"));
    }
    folders.sort();
    folders.dedup();
    folders
}

fn ask(path: &Path, target: &str) -> io::Result<usize> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(LONGEST_ANSWER + PATIENCE))?;
    writeln!(stream, "cancel {}", target.replace('\n', " "))?;
    let mut answer = String::new();
    BufReader::new(stream.take(LONGEST_REQUEST)).read_line(&mut answer)?;
    let count = answer.trim_end().strip_prefix("ended ").and_then(|count| count.parse().ok());
    count.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no answer of a watch"))
}
