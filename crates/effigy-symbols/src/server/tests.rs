//! Against a server on loopback that each test starts.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use effigy_process::{PdbIdentity, PeIdentity};
use tempfile::TempDir;

use super::*;
use crate::image::tests::{Elf, Pe, pdb};
use crate::locate::{Locator, SearchPaths};

/// What a server answers.
#[derive(Clone)]
enum Answer {
    File(Vec<u8>),
    /// The length that is told, and what comes of it before the connection ends.
    Short(usize, Vec<u8>),
    Status(u16),
    /// Goes to another address.
    Moved(String),
    /// Nothing, for a long time.
    Silence,
}

/// A server; it ends when it is dropped.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicBool>,
}

impl Server {
    fn start(answers: impl IntoIterator<Item = (String, Answer)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers: Arc<HashMap<String, Answer>> = Arc::new(answers.into_iter().collect());
        let (asked, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let server = Self { address, asked: asked.clone(), ended: ended.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let (answers, asked, ended) = (answers.clone(), asked.clone(), ended.clone());
                std::thread::spawn(move || serve(stream, &answers, &asked, &ended));
            }
        });
        server
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

/// Answers one request and closes.
fn serve(stream: TcpStream, answers: &HashMap<String, Answer>, asked: &Mutex<Vec<String>>, ended: &AtomicBool) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().unwrap().push(path.clone());
    let mut stream = stream;
    let mut answer = |head: &str, body: &[u8]| {
        let _ = stream.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes());
        let _ = stream.write_all(body);
    };
    match answers.get(&path).cloned().unwrap_or(Answer::Status(404)) {
        Answer::File(bytes) => answer(&format!("200 OK\r\nContent-Length: {}", bytes.len()), &bytes),
        Answer::Short(length, bytes) => answer(&format!("200 OK\r\nContent-Length: {length}"), &bytes),
        Answer::Status(status) => answer(&format!("{status} Said\r\nContent-Length: 0"), b""),
        Answer::Moved(to) => answer(&format!("302 Moved\r\nLocation: {to}\r\nContent-Length: 0"), b""),
        Answer::Silence => {
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn options(cache: &TempDir) -> Options {
    let second = Duration::from_secs(1);
    Options { cache: cache.path().to_owned(), connect_timeout: second, stall_timeout: second, ..Options::default() }
}

fn servers(path: &str, cache: &TempDir) -> Servers {
    Servers::new(SymbolPath::parse(path).unwrap(), options(cache))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

fn elf() -> (Module, Vec<u8>) {
    let module = Module { path: "/lib/libx.so".into(), build_id: Some(BuildId(vec![1; 20])), ..Module::default() };
    (module, Elf::new(&[1; 20]).bytes())
}

fn windows() -> (Module, Pe, PdbIdentity) {
    let pe = Pe::default();
    let identity = PeIdentity { time_stamp: pe.time_stamp, checksum: 0, size_of_image: pe.size_of_image() };
    let pdb = PdbIdentity { guid: pe.guid, age: pe.age, path: "c:\\b\\made.pdb".into() };
    let path = "C:\\made.dll".into();
    (Module { path, pe: Some(identity), pdb: Some(pdb.clone()), ..Module::default() }, pe, pdb)
}

#[test]
fn images_and_debug_files_come_from_debuginfod_and_stay() {
    let (module, image) = elf();
    let debug = Elf::new(&[1; 20]).debug_only().bytes();
    let id = "01".repeat(20);
    let server = Server::start([
        (format!("/buildid/{id}/executable"), Answer::File(image.clone())),
        (format!("/buildid/{id}/debuginfo"), Answer::File(debug)),
        (format!("/buildid/{id}/source/usr/src/a.c"), Answer::File(b"int a;".to_vec())),
    ]);
    let cache = tempfile::tempdir().unwrap();
    let path = format!("DebugInfoD*{}", server.url());
    let found = servers(&path, &cache);
    let file = found.image(&module).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), image);
    assert!(file.starts_with(cache.path()));
    assert!(found.debug(&module).is_some());
    let source = found.source(&BuildId(vec![1; 20]), "/usr/src/a.c").unwrap();
    assert_eq!(std::fs::read(source).unwrap(), b"int a;");
    assert_eq!(server.asked().len(), 3);
    // Another process finds them without asking, also where it may not ask.
    let offline = Options { offline: true, ..options(&cache) };
    let again = Servers::new(SymbolPath::parse(&path).unwrap(), offline);
    assert!(again.image(&module).is_some() && again.debug(&module).is_some());
    assert_eq!(server.asked().len(), 3);
    // The locator asks last, and takes what is right.
    let locator = Locator::new(SearchPaths::default()).with_download(Arc::new(again));
    assert!(locator.image(&module).file.is_some() && locator.debug(&module).file.is_some());
}

#[test]
fn images_and_pdbs_come_from_symbol_servers() {
    let (module, pe, identity) = windows();
    let key = format!("{}1", "04".repeat(16));
    let server = Server::start([
        ("/made.dll/5AE55DB54000/made.dll".to_owned(), Answer::File(pe.bytes())),
        (format!("/made.pdb/{key}/made.pdb"), Answer::File(pdb(identity.guid, identity.age))),
    ]);
    let (cache, near) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let found = servers(&format!("srv*{}*{}", near.path().display(), server.url()), &cache);
    assert_eq!(found.image(&module), Some(near.path().join("made.dll/5AE55DB54000/made.dll")));
    assert!(found.pdb(&module).is_some_and(|path| path.starts_with(near.path())));
    assert!(files(cache.path()).is_empty() && found.notes().is_empty());
    // A folder laid out like a server is one, and needs no copy.
    let local = servers(&format!("srv*{}", near.path().display()), &cache);
    assert!(local.image(&module).is_some() && local.pdb(&module).is_some());
    assert!(files(cache.path()).is_empty());
}

#[test]
fn what_is_not_there_is_asked_for_once() {
    let (module, _) = elf();
    let server = Server::start([]);
    let cache = tempfile::tempdir().unwrap();
    let found = servers(&format!("DebugInfoD*{}", server.url()), &cache);
    for _ in 0..3 {
        assert_eq!(found.image(&module), None);
    }
    assert_eq!((server.asked().len(), files(cache.path()).len()), (1, 0));
    assert!(found.notes().is_empty());
}

#[test]
fn another_file_than_was_asked_for_is_not_kept() {
    let (module, _) = elf();
    let id = "01".repeat(20);
    let wrong = Answer::File(Elf::new(&[2; 20]).bytes());
    let server = Server::start([(format!("/buildid/{id}/executable"), wrong)]);
    let cache = tempfile::tempdir().unwrap();
    let found = servers(&format!("DebugInfoD*{}", server.url()), &cache);
    assert_eq!((found.image(&module), files(cache.path()).len()), (None, 0));
    assert!(found.notes()[0].contains("another file than was asked for"), "{:?}", found.notes());
}

#[test]
fn half_a_file_is_not_kept() {
    let (module, image) = elf();
    let id = "01".repeat(20);
    let half = Answer::Short(image.len(), image[..image.len() / 2].to_vec());
    let server = Server::start([(format!("/buildid/{id}/executable"), half)]);
    let cache = tempfile::tempdir().unwrap();
    let found = servers(&format!("DebugInfoD*{}", server.url()), &cache);
    assert_eq!((found.image(&module), files(cache.path()).len()), (None, 0));
    assert_eq!(found.notes().len(), 1);
    let most = Options { most_bytes: 100, ..options(&cache) };
    let server = Server::start([(format!("/buildid/{id}/executable"), Answer::File(image))]);
    let found = Servers::new(SymbolPath::of_debuginfod_urls(&server.url()), most);
    assert_eq!(found.image(&module), None);
    assert!(found.notes()[0].contains("too many"), "{:?}", found.notes());
}

#[test]
fn a_server_that_does_not_answer_is_not_asked_again() {
    let (module, image) = elf();
    let id = "01".repeat(20);
    let silent = Server::start([(format!("/buildid/{id}/executable"), Answer::Silence)]);
    let refusing = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let server = Server::start([(format!("/buildid/{id}/executable"), Answer::File(image))]);
    let cache = tempfile::tempdir().unwrap();
    let path = format!("DebugInfoD*{};DebugInfoD*{refusing};DebugInfoD*{}", silent.url(), server.url());
    let found = servers(&path, &cache);
    let began = Instant::now();
    assert!(found.image(&module).is_some());
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(found.notes().len(), 2, "{:?}", found.notes());
    assert_eq!(found.debug(&module), None);
    assert_eq!(silent.asked().len(), 1);
}

#[test]
fn a_download_can_be_ended_and_tells_how_far_it_is() {
    let (module, image) = elf();
    let id = "01".repeat(20);
    let path = format!("/buildid/{id}/executable");
    let server = Server::start([(path.clone(), Answer::Silence)]);
    let cache = tempfile::tempdir().unwrap();
    let cancel = Arc::new(AtomicBool::new(false));
    let long = Duration::from_secs(60);
    let options = Options { cancel: cancel.clone(), stall_timeout: long, ..options(&cache) };
    let found = Servers::new(SymbolPath::of_debuginfod_urls(&server.url()), options);
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            cancel.store(true, Ordering::Relaxed);
        });
        assert_eq!(found.image(&module), None);
    });
    assert!(began.elapsed() < Duration::from_secs(10) && files(cache.path()).is_empty());

    let server = Server::start([(path, Answer::File(image.clone()))]);
    let most = Arc::new(AtomicUsize::new(0));
    let seen = most.clone();
    let total = image.len() as u64;
    let on_transfer: Box<OnTransfer> = Box::new(move |transfer| {
        assert_eq!(transfer.total.unwrap_or(total), total);
        seen.fetch_max(usize::try_from(transfer.done).unwrap(), Ordering::Relaxed);
    });
    let options = Options { on_transfer: Some(on_transfer), ..self::options(&cache) };
    let found = Servers::new(SymbolPath::of_debuginfod_urls(&server.url()), options);
    assert!(found.image(&module).is_some());
    assert_eq!(most.load(Ordering::Relaxed), image.len());
}

#[test]
fn pointers_and_packed_files_of_symbol_servers() {
    let (module, pe, _) = windows();
    let store = tempfile::tempdir().unwrap();
    let elsewhere = store.path().join("elsewhere.dll");
    std::fs::write(&elsewhere, pe.bytes()).unwrap();
    let folder = "/made.dll/5AE55DB54000";
    let pointer = format!("PATH:{}", elsewhere.display());
    let server = Server::start([(format!("{folder}/file.ptr"), Answer::File(pointer.into_bytes()))]);
    let cache = tempfile::tempdir().unwrap();
    assert_eq!(servers(&format!("srv*{}", server.url()), &cache).image(&module), Some(elsewhere));
    let server = Server::start([(format!("{folder}/made.dl_"), Answer::File(b"MSCF".to_vec()))]);
    let found = servers(&format!("srv*{}", server.url()), &cache);
    assert_eq!(found.image(&module), None);
    assert!(found.notes()[0].contains("made.dl_ is packed"), "{:?}", found.notes());
    let asked = ["made.dll", "file.ptr", "made.dl_"].map(|name| format!("{folder}/{name}"));
    assert_eq!(server.asked(), asked);
}

#[test]
fn redirections_are_followed_and_errors_are_told() {
    let (module, image) = elf();
    let id = "01".repeat(20);
    let path = format!("/buildid/{id}/executable");
    let target = Server::start([("/moved".to_owned(), Answer::File(image))]);
    let server = Server::start([
        (path, Answer::Moved(format!("{}/moved", target.url()))),
        (format!("/buildid/{id}/debuginfo"), Answer::Status(500)),
    ]);
    let cache = tempfile::tempdir().unwrap();
    let found = servers(&format!("DebugInfoD*{}", server.url()), &cache);
    assert!(found.image(&module).is_some());
    assert_eq!(found.debug(&module), None);
    assert!(found.notes()[0].contains("500"), "{:?}", found.notes());
}

#[test]
fn threads_may_ask_at_once() {
    let (module, image) = elf();
    let id = "01".repeat(20);
    let server = Server::start([(format!("/buildid/{id}/executable"), Answer::File(image))]);
    let cache = tempfile::tempdir().unwrap();
    let found = servers(&format!("cache*{};DebugInfoD*{}", cache.path().display(), server.url()), &cache);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(found.image(&module).is_some()));
        }
    });
    assert_eq!(files(cache.path()).len(), 1);
}

#[test]
fn the_cache_lies_in_the_users_folder() {
    let with = |pairs: &[(&str, &str)]| {
        let pairs: HashMap<String, PathBuf> =
            pairs.iter().map(|(name, path)| ((*name).to_owned(), PathBuf::from(path))).collect();
        default_cache(|name| pairs.get(name).cloned())
    };
    assert_eq!(with(&[("XDG_CACHE_HOME", "/c"), ("HOME", "/h")]), PathBuf::from("/c/effigy/symbols"));
    assert_eq!(with(&[("XDG_CACHE_HOME", "relative"), ("HOME", "/h")]), PathBuf::from("/h/.cache/effigy/symbols"));
    assert_eq!(with(&[]), PathBuf::from("/var/tmp/effigy/symbols"));
}
