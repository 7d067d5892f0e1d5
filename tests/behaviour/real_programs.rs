//! Programs that people really run, dumped while they work.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::{
    Dump, Marker, MarkerKind, Plan, State, Target, Tolerance, compile_go, disk_bytes, dump_with, file_contains,
    gdb_core, is_root, lldb, oracle, scratch, skip, source_dir, stackwalk, status_field,
};

/// A dump of a program that lives on meanwhile; complete, or the test fails.
#[track_caller]
pub(crate) fn dump_lively(target: &Target, name: &str, arguments: &[&str]) -> Dump {
    let (run, dump) = dump_with(target, name, arguments, Tolerance::LIVELY);
    run.expect(0);
    dump.unwrap()
}

fn resident_bytes(pid: i32) -> u64 {
    let text = status_field(pid, "VmRSS").unwrap();
    text.trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// The marks that the program says it keeps are in the dump, and the file is no larger than what is resident.
#[track_caller]
fn expect_marks_and_size(target: &Target, dump: &Dump, resident: u64) {
    let seed = target.number("mark_seed");
    let marker = Marker { kind: MarkerKind::Random, name: "marks".into(), address: 0, length: 4096, seed };
    assert!(file_contains(&dump.path, &marker.bytes()), "the program's marks are not in {}", dump.path.display());
    let (used, most) = (disk_bytes(&dump.path), resident + resident / 10 + (32 << 20));
    assert!(used <= most, "{used} bytes on disk of a program with {resident} resident");
    eprintln!("{}: {} MiB resident, {} MiB on disk", dump.json["target"]["name"], resident >> 20, used >> 20);
}

/// Full dumps in both formats and a mini dump; gdb, lldb and minidump-stackwalk see all threads with frames.
fn expect_good_dumps(target: &Target) {
    let resident = resident_bytes(target.pid);
    let core = dump_lively(target, "dump.core", &[]);
    expect_marks_and_size(target, &core, resident);
    let minidump = dump_lively(target, "dump.dmp", &[]);
    expect_marks_and_size(target, &minidump, resident);
    let mini = dump_lively(target, "mini.dmp", &["--kind", "mini"]);
    assert!(disk_bytes(&mini.path) < 8 << 20, "a mini dump of {} bytes", disk_bytes(&mini.path));
    if let Some(gdb) = oracle("gdb") {
        expect_frames("gdb", &gdb_core(&gdb, &target.exe(), &core.path), &core);
    }
    if let Some(tool) = oracle("lldb-19") {
        expect_frames("lldb", &lldb(&tool, None, &minidump.path), &minidump);
    }
    if let Some(tool) = oracle("minidump-stackwalk") {
        expect_frames("minidump-stackwalk", &stackwalk(&tool, &mini.path), &mini);
    }
}

#[track_caller]
fn expect_frames(tool: &str, seen: &crate::harness::Backtraces, dump: &Dump) {
    let without: Vec<_> = dump.threads().into_iter().filter(|tid| seen.get(tid).is_none_or(Vec::is_empty)).collect();
    assert!(without.is_empty(), "{tool} shows no frames of threads {without:?}");
    let deep = seen.values().filter(|frames| frames.len() >= 2).count();
    assert!(deep * 2 >= seen.len(), "{tool} unwinds only {deep} of {} threads", seen.len());
}

/// Case 7: a JVM with a large heap limit: the file is as large as what is resident, and the JDK's own tool finds the
/// Java frames in it.
#[test]
fn java() {
    let Some((java, mut target)) = start_java() else { return };
    expect_good_dumps(&target);
    assert!(target.ask("work")["answered"].parse::<u32>().unwrap() >= 1);
    let Some(jhsdb) = java.parent().map(|dir| dir.join("jhsdb")).filter(|path| path.exists()) else {
        return skip("this Java has no jhsdb; the Java frames were not looked for");
    };
    let core = dump_lively(&target, "dump.core", &[]);
    let output =
        Command::new(jhsdb).args(["jstack", "--exe"]).arg(&java).arg("--core").arg(&core.path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.matches("Idler.idle").count(), 5, "Java frames: {said}{}", String::from_utf8_lossy(&output.stderr));
}

/// The program `java`, and a JVM that runs.
pub(crate) fn start_java() -> Option<(PathBuf, Target)> {
    // The program itself, not a link to it, so that its libraries are beside it.
    let java = oracle("java")?.canonicalize().unwrap();
    let arguments = ["-Xmx4g", "-Xshare:auto"];
    let target = Plan::program(&java).args(arguments).args([source_dir().join("Idler.java")]).start();
    Some((java, target))
}

/// Case 8.
#[test]
fn node() {
    let Some(node) = oracle("node") else { return };
    let mut target = Plan::program(node).args([source_dir().join("worker.js")]).start();
    expect_good_dumps(&target);
    assert_eq!(target.ask("squares")["squares"], "4,9,16");
}

/// Case 8.
#[test]
fn python() {
    let Some(python) = oracle("python3") else { return };
    let mut target = Plan::program(python).args([source_dir().join("threads.py")]).start();
    expect_good_dumps(&target);
    let before: u64 = target.ask("counter")["counter"].parse().unwrap();
    thread::sleep(Duration::from_millis(100));
    assert!(target.ask("counter")["counter"].parse::<u64>().unwrap() > before, "its threads stand still");
}

/// Case 6: a Go program, preempted by signals, with reserved arenas.
#[test]
fn go() {
    let Some(mut target) = start_go() else { return };
    expect_good_dumps(&target);
    expect_goroutines(&mut target);
}

/// A Go program that runs.
pub(crate) fn start_go() -> Option<Target> {
    let dir = scratch();
    let program = dir.path().join("worker");
    compile_go("worker", &[], &program).then(|| Plan::program(&program).start())
}

/// Its goroutines go on.
#[track_caller]
pub(crate) fn expect_goroutines(target: &mut Target) {
    let before: u64 = target.ask("sum")["sum"].parse().unwrap();
    thread::sleep(Duration::from_millis(200));
    let after = target.ask("sum");
    assert!(after["sum"].parse::<u64>().unwrap() > before, "its goroutines stand still");
    assert!(after["goroutines"].parse::<u32>().unwrap() > 100);
}

/// Redis under load: no request fails, all keys are there, and the worst wait is told.
#[test]
fn redis() {
    let Some(redis) = Redis::start() else { return };
    for name in ["dump.core", "dump.dmp", "dump.core", "dump.dmp", "dump.core"] {
        redis.expect_values(&dump_lively(&redis.target, name, &[]));
    }
    redis.expect_all_keys();
}

/// Redis, and a client that keeps it busy.
pub(crate) struct Redis {
    pub(crate) target: Target,
    load: Load,
    dir: tempfile::TempDir,
}

impl Redis {
    /// Starts it; `None`, and said to be skipped, where there is none.
    pub(crate) fn start() -> Option<Self> {
        let server = oracle("redis-server")?;
        let dir = scratch();
        let socket = dir.path().join("redis.sock");
        let arguments = ["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"];
        let target = Plan::program(server)
            .args(arguments)
            .args([&socket])
            .dir(dir.path())
            .start_until(|line| line.contains("ready to accept connections"));
        let load = Load::start(&socket);
        thread::sleep(Duration::from_millis(300));
        Some(Self { target, load, dir })
    }

    /// A value that was stored is in the dump.
    #[track_caller]
    pub(crate) fn expect_values(&self, dump: &Dump) {
        let name = dump.path.display();
        assert!(file_contains(&dump.path, value(7).as_bytes()), "a stored value is not in {name}");
        eprintln!("redis: {name} by {}, paused {} us", dump.json["snapshot"], dump.json["pause_us"]);
    }

    /// Every key that was stored is there, with its value.
    #[track_caller]
    pub(crate) fn expect_all_keys(self) {
        let (requests, longest) = self.load.stop();
        eprintln!("redis: {requests} requests, the longest took {longest:?}");
        let mut client = Client::connect(&self.dir.path().join("redis.sock"));
        for key in 0..requests.min(5000) {
            assert_eq!(client.ask(&format!("GET key{key}")), value(key), "key {key}");
        }
    }
}

/// A text that is nowhere but where it was stored.
fn value(key: u64) -> String {
    format!("{:016x}-stored-{:016x}", key.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15), key ^ 0x5bd1_e995)
}

struct Client(BufReader<UnixStream>);

impl Client {
    fn connect(socket: &Path) -> Self {
        Self(BufReader::new(UnixStream::connect(socket).unwrap()))
    }

    fn ask(&mut self, request: &str) -> String {
        self.0.get_mut().write_all(format!("{request}\r\n").as_bytes()).unwrap();
        let first = self.line();
        if first.starts_with('$') { self.line() } else { first }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

/// A client that stores one key after the other and checks each answer.
struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, Duration)>,
}

impl Load {
    fn start(socket: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, mut client) = (Arc::clone(&stop), Client::connect(socket));
        let thread = thread::spawn(move || {
            let mut longest = Duration::ZERO;
            let mut key = 0;
            while !stopped.load(Ordering::Relaxed) {
                let since = Instant::now();
                assert_eq!(client.ask(&format!("SET key{key} {}", value(key))), "+OK");
                longest = longest.max(since.elapsed());
                key += 1;
            }
            (key, longest)
        });
        Self { stop, thread }
    }

    fn stop(self) -> (u64, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// PostgreSQL: the postmaster and a backend. A row that a backend wrote lies in the shared buffers, so it is in the
/// postmaster's dump too, though the postmaster never touched it.
#[test]
fn postgres() {
    let (Some(server), Some(initdb), Some(psql)) = (oracle("postgres"), oracle("initdb"), oracle("psql")) else {
        return;
    };
    if !is_root() {
        return skip("the shared memory of others is for root");
    }
    let base = Postgres::prepare(&initdb);
    let target = Plan::program("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args([server.as_os_str(), "-D".as_ref(), base.data.as_os_str(), "-k".as_ref(), base.dir.path().as_os_str()])
        .args(["-c", "listen_addresses=", "-c", "logging_collector=off", "-c", "log_destination=stderr"])
        .dir(base.dir.path())
        .start_until_file(&base.dir.path().join(".s.PGSQL.5432"));
    let row = value(4711);
    base.sql(&psql, &format!("create table t (x text); insert into t values ('{row}')"));
    for name in ["dump.core", "dump.dmp"] {
        let dump = dump_lively(&target, name, &[]);
        assert!(file_contains(&dump.path, row.as_bytes()), "the row is not in the postmaster's {name}");
    }
    let workers = State::of(target.pid).children().to_vec();
    assert!(!workers.is_empty(), "the postmaster has no workers");
    let worker = workers[0];
    let before = State::of(worker);
    let path = base.dir.path().join("worker.dmp");
    crate::harness::effigy(["dump", &worker.to_string(), "-o"]).arg(&path).run().expect(0);
    before.assert_unharmed(Tolerance::STRICT);
    assert_eq!(base.sql(&psql, "select x from t"), row);
}

struct Postgres {
    dir: tempfile::TempDir,
    data: PathBuf,
}

impl Postgres {
    /// A database that belongs to the user nobody, as PostgreSQL refuses to run as root.
    fn prepare(initdb: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("behaviour-").tempdir_in("/tmp").unwrap();
        chown(dir.path(), Some(65534), Some(65534)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let data = dir.path().join("data");
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(initdb)
            .args(["--auth=trust", "--no-sync", "--username=postgres", "-D"])
            .arg(&data)
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        Self { dir, data }
    }

    fn sql(&self, psql: &Path, statement: &str) -> String {
        let output = Command::new(psql)
            .args(["-X", "-q", "-A", "-t", "-U", "postgres", "-d", "postgres", "-h"])
            .arg(self.dir.path())
            .args(["-c", statement])
            .output()
            .unwrap();
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}
