//! Ten minutes with everything armed on programs that work hard: nothing fires, nobody traces them, and they get as much
//! done as without.
//!
//! What a watch takes is less than what a machine loses to itself from one minute to the next. So the watch is stopped for
//! every other two seconds, and each stretch with it is compared with those around it. The median of three hundred says
//! more than any one of them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Watch;
use crate::harness::{Plan, Target, alive, heavy, oracle, scratch, source_dir, status_field};

/// Ten minutes in all with the watch at work.
const ROUNDS: usize = 300;
const AT_WORK: Duration = Duration::from_secs(2);
const STOPPED: Duration = Duration::from_secs(2);
/// What the target may lose.
const MOST_LOST: f64 = 0.01;

/// Every trigger that needs no ptrace, none of which should be met.
fn everything(probe: &str) -> Vec<String> {
    let numbers = [
        "core=100000",
        "private=1T",
        "resident=1T",
        "swap=1T",
        "pss=1T",
        "threads=1000000",
        "fds=1000000",
        "switches=1e12",
        "soft-faults=1e12",
        "hard-faults=1e12",
        "read=1000T",
        "write=1000T",
        "net-in=1000T",
        "net-out=1000T",
        "pressure-cpu=101",
        "file:status:/Threads:\\s+(\\d+)/=1000000",
    ];
    let mut words: Vec<&str> = numbers.iter().flat_map(|number| ["--above", number]).collect();
    words.extend(["--below", "threads=1", "--growth", "private=1T", "--window", "1m", "--hang", "30s"]);
    words.extend(["--blocked", "30s", "--every", "1h", "--follow", "/nowhere/log", "--interval", "1s"]);
    words.extend(["--probe", "command:true", "--probe", probe, "--probe-failures", "20"]);
    words.into_iter().map(str::to_owned).collect()
}

/// Operations a second over a time.
fn rate(operations: &mut dyn FnMut() -> u64, time: Duration) -> f64 {
    let (before, since) = (operations(), Instant::now());
    sleep(time);
    (operations() - before) as f64 / since.elapsed().as_secs_f64()
}

fn soak(pid: i32, probe: &str, operations: &mut dyn FnMut() -> u64) {
    // What is compiled or filled in the beginning is behind it.
    sleep(Duration::from_secs(20));
    let words = everything(probe);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut watch = Watch::of(&pid.to_string(), &words).running_within(1500);
    watch.await_begun(pid);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        watch.running.send(Signal::SIGSTOP);
        without.push(rate(operations, STOPPED));
        watch.running.send(Signal::SIGCONT);
        if round < ROUNDS {
            with.push(rate(operations, AT_WORK));
        }
        assert!(alive(pid) && !watch.running.is_over(), "round {round}");
        assert_eq!(status_field(pid, "TracerPid").as_deref(), Some("0"), "round {round}");
    }
    watch.running.send(Signal::SIGTERM);
    watch.wait().expect(143).dumped(0);
    let around = without.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0);
    let mut losses: Vec<f64> = with.iter().zip(around).map(|(with, without)| 1.0 - with / without).collect();
    losses.sort_by(f64::total_cmp);
    let [low, median, high] = [ROUNDS / 4, ROUNDS / 2, ROUNDS * 3 / 4].map(|at| 100.0 * losses[at]);
    let mean = without.iter().sum::<f64>() / without.len() as f64;
    eprintln!("{mean:.0} operations a second; with the watch {median:.2} % fewer (quartiles {low:.2} and {high:.2} %)");
    assert!(median < 100.0 * MOST_LOST, "{median:.2} % fewer operations");
}

#[test]
fn heavy_nothing_fires_on_a_busy_jvm() {
    if !heavy() {
        return;
    }
    let Some(java) = oracle("java") else { return };
    let mut target = Plan::program(java).args(["-Xmx512m"]).args([source_dir().join("Busy.java")]).start();
    let pid = target.pid;
    soak(pid, "command:true", &mut || target.ask("look")["operations"].parse().unwrap());
}

#[test]
fn heavy_nothing_fires_on_a_busy_redis() {
    if !heavy() {
        return;
    }
    let (Some(server), Some(load)) = (oracle("redis-server"), oracle("redis-benchmark")) else { return };
    let dir = scratch();
    let socket = dir.path().join("redis.sock");
    let target: Target = Plan::program(server)
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
        .args([&socket])
        .dir(dir.path())
        .start_until(|line| line.contains("ready to accept connections"));
    let load = Command::new(load)
        .args(["-l", "-q", "-t", "set,get", "-c", "20", "-r", "100000", "-n", "100000", "-d", "64", "-s"])
        .arg(&socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _load = Load(load);
    let probe = format!("command:test -S {}", socket.display());
    soak(target.pid, &probe, &mut || commands(&socket));
}

/// A program that is ended with the test.
struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Commands that a Redis has carried out.
fn commands(socket: &Path) -> u64 {
    let mut stream = BufReader::new(UnixStream::connect(socket).unwrap());
    stream.get_mut().write_all(b"INFO stats\r\n").unwrap();
    let mut lines = stream.lines().map_while(Result::ok);
    let count = lines.find_map(|line| line.strip_prefix("total_commands_processed:")?.trim().parse().ok());
    count.expect("Redis tells how much it has done")
}
