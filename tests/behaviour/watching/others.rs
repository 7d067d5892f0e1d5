//! Triggers that are no thresholds.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Watch, does_not_fire, fires, moods};
use crate::harness::scratch;

#[test]
fn growth() {
    let mut target = moods();
    let arguments = ["--growth", "private=300M", "--window", "2s"];
    target.ask("grow 100");
    does_not_fire(&target, &arguments);
    target.ask("leak 20");
    fires(&target, &arguments, "private grows by");
    let too_much = ["--growth", "private=100G", "--window", "1s", "--within", "3s"];
    Watch::of(&target.pid_text(), &too_much).run().expect(7).dumped(0);
}

#[test]
fn a_hang_of_all() {
    let mut target = moods();
    target.ask("beat");
    // It beats a hundred times a second, if it gets a processor.
    does_not_fire(&target, &["--hang", "1200ms"]);
    target.ask("rest");
    fires(&target, &["--hang", "500ms"], "no thread has run");
}

#[test]
fn a_hang_of_one_thread() {
    let mut target = moods();
    target.ask("beat");
    does_not_fire(&target, &["--hang", "1200ms", "--thread", "beat"]);
    // The thread that waits for lines, while the other one beats.
    let watched = Watch::of(&target.pid_text(), &["--hang", "500ms", "--thread", &target.pid_text()]).run().expect(0);
    watched.dumped(1);
    assert_eq!(watched.events("trigger")[0]["thread"], target.pid);
    Watch::of(&target.pid_text(), &["--hang", "1s", "--thread", "nobody"]).run().expect(11).dumped(0);
}

/// A hang is dumped once, however long it lasts.
#[test]
fn a_hang_is_one_cause() {
    let target = moods();
    let watched = Watch::of(&target.pid_text(), &["--hang", "400ms", "-n", "5", "--within", "3s"]).run().expect(7);
    watched.dumped(1);
}

#[test]
fn uninterruptible_sleep() {
    let mut target = moods();
    does_not_fire(&target, &["--blocked", "300ms"]);
    target.ask("block");
    // The thread cannot be stopped: the dump is a partial one and says so.
    let watched = Watch::of(&target.pid_text(), &["--blocked", "500ms"]).run().expect(6);
    watched.dumped(1);
    assert!(watched.cause().contains("uninterruptible"), "{}", watched.cause());
}

/// A server that answers as long as it may.
fn server(healthy: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), healthy) = (stream, Arc::clone(&healthy)) else { return };
            thread::spawn(move || {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request);
                if healthy.load(Ordering::Relaxed) {
                    let body = "up 1\nqueue_length{name=\"a\"} 30\nqueue_length{name=\"b\"} 12\n";
                    let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                } else {
                    thread::sleep(Duration::from_secs(30));
                }
            });
        }
    });
    address
}

#[test]
fn probes_of_a_server() {
    let target = moods();
    let healthy = Arc::new(AtomicBool::new(true));
    let address = server(Arc::clone(&healthy));
    let url = format!("http://{address}/health");
    let often = ["--probe-every", "200ms", "--probe-timeout", "400ms"];
    let patiently = ["--probe-every", "200ms", "--probe-timeout", "30s"];
    does_not_fire(&target, &[&["--probe", &url][..], &patiently].concat());
    does_not_fire(&target, &[&["--probe", &format!("tcp:{address}")][..], &patiently].concat());
    healthy.store(false, Ordering::Relaxed);
    fires(&target, &[&["--probe", &url][..], &often].concat(), "no answer in time");
    fires(&target, &[&["--probe", "tcp:127.0.0.1:1"][..], &often].concat(), "refused");
}

#[test]
fn probes_by_a_command() {
    let target = moods();
    let often = ["--probe-every", "100ms", "--probe-timeout", "400ms"];
    let patiently = ["--probe-every", "100ms", "--probe-timeout", "30s"];
    does_not_fire(&target, &[&["--probe", "command:kill -0 $EFFIGY_PID"][..], &patiently].concat());
    fires(&target, &[&["--probe", "command:sleep 60"][..], &often].concat(), "did not end in time");
}

#[test]
fn a_metric_of_a_prometheus_endpoint() {
    let target = moods();
    let address = server(Arc::new(AtomicBool::new(true)));
    let metric = format!("prometheus:http://{address}/metrics#queue_length");
    does_not_fire(&target, &["--above", &format!("{metric}=43")]);
    fires(&target, &["--above", &format!("{metric}=42")], "42 >= 42");
}

#[test]
fn text_in_a_file() {
    let target = moods();
    let dir = scratch();
    let path = dir.path().join("log");
    std::fs::write(&path, "error: an old one\n").unwrap();
    let arguments =
        ["--follow", path.to_str().unwrap(), "--include", "error*", "--exclude", "harmless", "--within", "20s"];
    let mut running = Watch::of(&target.pid_text(), &arguments).running();
    running.await_begun(target.pid);
    let mut log = OpenOptions::new().append(true).open(&path).unwrap();
    writeln!(log, "all is well\nerror: harmless").unwrap();
    thread::sleep(Duration::from_millis(700));
    assert!(!running.running.is_over());
    writeln!(log, "Error 5: out of coffee").unwrap();
    let watched = running.wait().expect(0);
    watched.dumped(1);
    assert!(watched.cause().ends_with("Error 5: out of coffee"), "{}", watched.cause());
}

/// The journal is told by journalctl; one of ours stands in for it, as not every system has a journal.
#[test]
fn text_in_the_journal_of_a_unit() {
    let target = moods();
    let dir = scratch();
    let (path, log) = (dir.path().join("journalctl"), dir.path().join("log"));
    std::fs::write(&log, "").unwrap();
    let script = format!("#!/bin/sh\n[ \"$4\" = --unit=my.service ] && exec tail -n +1 -f {}\n", log.display());
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let search = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let arguments = ["--follow-unit", "my.service", "--include", "panic*", "--within", "20s"];
    let mut watch = Watch::of(&target.pid_text(), &arguments);
    watch.effigy = watch.effigy.env("PATH", &search);
    let mut running = watch.running();
    running.await_begun(target.pid);
    std::fs::write(&log, "all is well\nkernel: panic: out of tea\n").unwrap();
    let watched = running.wait().expect(0);
    assert!(watched.dumped(1).cause().contains("the journal of my.service: kernel: panic"), "{}", watched.cause());
}

#[test]
fn by_the_clock() {
    let target = moods();
    let began = Instant::now();
    Watch::of(&target.pid_text(), &["--every", "700ms", "-n", "2"]).run().expect(0).dumped(2);
    assert!(began.elapsed() >= Duration::from_millis(1400));
    let soon = time_of_day(Duration::from_secs(8));
    fires(&target, &["--daily", &soon], "it is");
}

/// A time of the day, so much later than now, by the clock of the wall.
fn time_of_day(later: Duration) -> String {
    let output = std::process::Command::new("date")
        .args(["+%H:%M:%S", "-d", &format!("now + {} seconds", later.as_secs())])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
