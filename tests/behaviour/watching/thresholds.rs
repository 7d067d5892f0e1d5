//! Numbers beyond thresholds.

use std::time::{Duration, Instant};

use super::{Watch, does_not_fire, fires, moods};
use crate::harness::Dump;

#[test]
fn processor_time() {
    let mut target = moods();
    does_not_fire(&target, &["--above", "core=50", "--for", "500ms"]);
    fires(&target, &["--below", "core=5", "--for", "500ms"], "core 0.0 % < 5.0 %");
    target.ask("spin 1");
    fires(&target, &["--above", "core=30", "--for", "500ms"], ">= 30.0 %");
    fires(&target, &["--above", "cpu=30", "--one-core", "--for", "500ms"], "core ");
    does_not_fire(&target, &["--above", "cpu=101", "--for", "200ms"]);
    does_not_fire(&target, &["--below", "core=5", "--for", "500ms"]);
}

#[test]
fn a_burst_that_is_shorter_than_the_time_is_none() {
    let mut target = moods();
    // Long enough that no burst comes to it, on a machine that has much else to do.
    let running = Watch::of(&target.pid_text(), &["--above", "core=30", "--for", "5s", "--within", "8s"]).running();
    for _ in 0..5 {
        target.ask("spin 1");
        std::thread::sleep(Duration::from_millis(700));
        target.ask("rest");
        std::thread::sleep(Duration::from_millis(700));
    }
    running.wait().expect(7).dumped(0);
}

#[test]
fn it_fires_when_the_time_is_over() {
    let mut target = moods();
    // Far below what a thread that spins gets, with others that want the processors, too.
    let mut running = Watch::of(&target.pid_text(), &["--above", "core=5", "--for", "2s", "--within", "60s"]).running();
    running.await_begun(target.pid);
    let began = Instant::now();
    target.ask("spin 1");
    running.await_dumps(1);
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1800), "{took:?}");
    running.wait().expect(0).dumped(1);
}

#[test]
fn memory() {
    let mut target = moods();
    does_not_fire(&target, &["--above", "private=100M"]);
    fires(&target, &["--below", "private=100M"], "< 100.0 MiB");
    target.ask("grow 150");
    fires(&target, &["--above", "private=100M"], ">= 100.0 MiB");
    fires(&target, &["--above", "resident=100M"], "resident 15");
    fires(&target, &["--above", "pss=100M"], "pss 15");
    does_not_fire(&target, &["--below", "private=100M"]);
    does_not_fire(&target, &["--above", "swap=100M"]);
}

#[test]
fn threads_and_files() {
    let mut target = moods();
    does_not_fire(&target, &["--above", "threads=10", "--above", "fds=30"]);
    target.ask("threads 20");
    fires(&target, &["--above", "threads=10"], "threads 21 >= 10");
    target.ask("files 50");
    fires(&target, &["--above", "fds=30"], ">= 30");
    fires(&target, &["--above", "file:status:/Threads:\\s+(\\d+)/=20"], "21 >= 20");
    fires(&target, &["--above", "file:/proc/loadavg=0"], "file:/proc/loadavg");
}

#[test]
fn rates() {
    let mut target = moods();
    does_not_fire(&target, &["--above", "soft-faults=1000", "--above", "switches=20", "--for", "300ms"]);
    target.ask("fault");
    fires(&target, &["--above", "soft-faults=1000", "--for", "300ms"], "soft-faults");
    target.ask("rest");
    target.ask("beat");
    fires(&target, &["--above", "switches=20", "--for", "300ms"], "switches");
    target.ask("rest");
    // Threads that end between two looks take nothing away from the count.
    target.ask("churn");
    fires(&target, &["--above", "switches=200", "--for", "300ms"], "switches");
}

#[test]
fn each_of_a_list_of_thresholds_once() {
    let mut target = moods();
    let mut running = Watch::of(&target.pid_text(), &["--above", "private=50M,100M,150M"]).running();
    running.await_begun(target.pid);
    for count in 1..=3 {
        target.ask("grow 52");
        running.await_dumps(count);
        std::thread::sleep(Duration::from_millis(400));
    }
    let watched = running.wait().expect(0);
    watched.dumped(3);
    assert!(watched.cause().contains(">= 150.0 MiB"), "{}", watched.cause());
}

#[test]
fn so_many_dumps_and_no_more() {
    let mut target = moods();
    target.ask("threads 20");
    let watched = Watch::of(&target.pid_text(), &["--above", "threads=10", "-n", "3"]).run().expect(0);
    watched.dumped(3);
    assert_eq!(watched.events("end")[0]["reason"], "nothing_left");
}

#[test]
fn without_a_trigger_the_time_lies_between_dumps() {
    let target = moods();
    let began = Instant::now();
    let watched = Watch::of(&target.pid_text(), &["-n", "3", "-s", "1s"]).run().expect(0);
    let took = began.elapsed();
    watched.dumped(3);
    assert!(took >= Duration::from_secs(2), "{took:?}");
}

#[test]
fn spacing() {
    let mut target = moods();
    target.ask("threads 20");
    let began = Instant::now();
    let arguments = ["--above", "threads=10", "-n", "2", "--spacing", "2s"];
    Watch::of(&target.pid_text(), &arguments).run().expect(0).dumped(2);
    assert!(began.elapsed() >= Duration::from_secs(2));
}

#[test]
fn all_of_several() {
    let mut target = moods();
    target.ask("threads 20");
    does_not_fire(&target, &["--above", "threads=10", "--above", "fds=30", "--all-of"]);
    target.ask("files 50");
    fires(&target, &["--above", "threads=10", "--above", "fds=30", "--all-of"], "threads 21 >= 10; fds ");
}

#[test]
fn a_number_that_the_target_does_not_have() {
    let target = moods();
    let watched = Watch::of(&target.pid_text(), &["--above", "file:nothing=1"]).run().expect(11);
    watched.dumped(0);
    assert_eq!(watched.events("refused").len(), 1);
}

/// What was measured before is in the dump: for people in the comment, for programs as numbers.
#[test]
fn the_way_that_led_to_the_dump() {
    let mut target = moods();
    let mut running = Watch::of(&target.pid_text(), &["--above", "private=50M", "--comment", "for the test"]).running();
    running.await_begun(target.pid);
    // Twenty looks, of which three have to come on a machine that has much else to do.
    std::thread::sleep(Duration::from_secs(2));
    target.ask("grow 60");
    let watched = running.wait().expect(0);
    let event = &watched.events("dump")[0];
    let series = &event["journal"]["series"][0];
    let values: Vec<f64> = series["values"].as_array().unwrap().iter().filter_map(|value| value.as_f64()).collect();
    assert_eq!((series["name"].as_str(), series["unit"].as_str()), (Some("private"), Some("bytes")));
    assert!(values.len() >= 3 && values[0] < 50e6 && *values.last().unwrap() > 60e6, "{values:?}");
    let run = crate::harness::effigy(["info", "--json"]).arg(&watched.dumps()[0]).run().expect(0);
    let info = run.json();
    let comment = info["comment"].as_str().unwrap();
    assert!(comment.contains("Trigger: private 6") && comment.contains("for the test"), "{comment}");
    assert_eq!(info["journal"]["series"][0]["values"], series["values"]);
    // Somebody else's reader takes it for a dump.
    let _ = Dump::open(&watched.dumps()[0]);
}
