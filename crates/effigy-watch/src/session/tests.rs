//! Whole sessions on real processes, with hands that take no dumps.

use std::process::{Child, Command};
use std::time::Duration;

use effigy_live::select::Query;

use super::*;
use crate::sample::Metric;
use crate::trigger::{Side, Spec};

/// A process that ends with this.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self(Command::new("sleep").arg("60").spawn().unwrap())
    }

    fn pid(&self) -> ProcessId {
        ProcessId(self.0.id())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Tells the same outcome each time, from another thread.
struct Told {
    outcome: Outcome,
    orders: Vec<Order>,
    refused: u32,
    asked: bool,
    /// After so many looks an end is asked for.
    looks: u32,
}

impl Told {
    fn new(outcome: Outcome) -> Self {
        Self { outcome, orders: Vec::new(), refused: 0, asked: false, looks: 100 }
    }
}

impl Hands for Told {
    fn begin(&mut self, order: Order, done: Done) {
        self.orders.push(order);
        let outcome = self.outcome;
        std::thread::spawn(move || done.tell(outcome));
    }

    fn give_up(&mut self, _pid: ProcessId) {}

    fn is_asked_to_end(&self) -> bool {
        self.asked
    }

    fn tell(&mut self, event: &Event<'_>, _lines: &dyn Fn() -> Vec<Line>) {
        match event {
            Event::Refused { .. } => self.refused += 1,
            Event::Looked => {
                self.looks -= 1;
                self.asked = self.looks == 0;
            }
            _ => {}
        }
    }
}

fn plan(triggers: Vec<Spec>) -> Plan {
    Plan {
        triggers,
        events: None,
        text: None,
        all_of: false,
        interval: Duration::from_millis(20),
        count: 1,
        total: None,
        spacing: Duration::ZERO,
        cool_down: Duration::ZERO,
        within: Some(Duration::from_secs(20)),
        children: false,
        kill: false,
    }
}

fn threads(side: Side, threshold: f64) -> Spec {
    Spec::Threshold { metric: Metric::Threads, side, thresholds: vec![threshold], samples: 2 }
}

fn run(plan: Plan, targets: &[ProcessId], hands: &mut Told) -> Over {
    Session::new(plan).unwrap().run(targets, Vec::new(), hands).unwrap()
}

#[test]
fn so_many_dumps_of_each() {
    let sleepers = [Sleeper::start(), Sleeper::start()];
    let pids = [sleepers[0].pid(), sleepers[1].pid()];
    let mut hands = Told::new(Outcome::Taken);
    let over = run(Plan { count: 3, ..plan(vec![threads(Side::Above, 1.0)]) }, &pids, &mut hands);
    assert_eq!((over.reason, over.taken, hands.orders.len()), (Reason::NothingLeft, 6, 6));
    let numbers: Vec<u32> =
        hands.orders.iter().filter(|order| order.pid == pids[0]).map(|order| order.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert!(over.endings.iter().all(|ending| ending.why == Why::Done && ending.taken == 3));
    assert_eq!(hands.orders[0].journal.series[0].name, "threads");
}

#[test]
fn a_target_is_killed_after_its_last_dump() {
    let mut sleeper = Sleeper::start();
    let mut hands = Told::new(Outcome::Taken);
    let plan = Plan { count: 2, kill: true, ..plan(vec![threads(Side::Above, 1.0)]) };
    let over = run(plan, &[sleeper.pid()], &mut hands);
    assert_eq!((over.endings[0].why, over.taken), (Why::Done, 2));
    assert!(!sleeper.0.wait().unwrap().success());
}

#[test]
fn no_more_than_so_many_in_all() {
    let sleepers = [Sleeper::start(), Sleeper::start(), Sleeper::start()];
    let pids: Vec<ProcessId> = sleepers.iter().map(Sleeper::pid).collect();
    let mut hands = Told::new(Outcome::Taken);
    let over = run(Plan { count: 9, total: Some(4), ..plan(vec![threads(Side::Above, 1.0)]) }, &pids, &mut hands);
    assert_eq!((over.reason, hands.orders.len()), (Reason::TotalTaken, 4));
}

#[test]
fn dumps_that_fail_come_to_an_end() {
    let sleeper = Sleeper::start();
    let mut hands = Told::new(Outcome::Failed);
    let over = run(plan(vec![threads(Side::Above, 1.0)]), &[sleeper.pid()], &mut hands);
    assert_eq!((over.endings[0].why, over.taken, hands.orders.len()), (Why::Failed, 0, 3));
}

#[test]
fn any_of_and_all_of() {
    let sleeper = Sleeper::start();
    let triggers = vec![threads(Side::Above, 1.0), threads(Side::Above, 100.0)];
    let mut hands = Told::new(Outcome::Taken);
    run(plan(triggers.clone()), &[sleeper.pid()], &mut hands);
    assert_eq!(hands.orders.len(), 1);
    let mut hands = Told { looks: 10, ..Told::new(Outcome::Taken) };
    let over = run(Plan { all_of: true, ..plan(triggers) }, &[sleeper.pid()], &mut hands);
    assert_eq!((over.reason, hands.orders.len()), (Reason::Asked, 0));
    assert_eq!(over.endings[0].why, Why::WatchOver);
}

#[test]
fn a_target_that_ends_is_seen_at_once() {
    let mut sleeper = Sleeper::start();
    let pid = sleeper.pid();
    let ender = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        sleeper.0.kill().unwrap();
        sleeper.0.wait().unwrap();
    });
    let began = Instant::now();
    let slow = Plan { interval: Duration::from_secs(30), ..plan(vec![threads(Side::Above, 100.0)]) };
    let over = run(slow, &[pid], &mut Told::new(Outcome::Taken));
    assert_eq!((over.reason, over.endings[0].why), (Reason::NothingLeft, Why::Ended));
    assert!(began.elapsed() < Duration::from_secs(10));
    ender.join().unwrap();
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let sleeper = Sleeper::start();
    let trigger = Spec::Threshold {
        metric: "file:nothing".parse().unwrap(),
        side: Side::Above,
        thresholds: vec![1.0],
        samples: 1,
    };
    let mut hands = Told::new(Outcome::Taken);
    let over = run(plan(vec![trigger]), &[sleeper.pid(), ProcessId(4_194_303)], &mut hands);
    assert_eq!((over.reason, hands.refused), (Reason::NothingLeft, 2));
}

#[test]
fn the_first_of_those_that_are_awaited() {
    let sleepers = [Sleeper::start(), Sleeper::start()];
    let group = rustix::process::getpgrp().as_raw_nonzero().get();
    let query = Query { name: Some("sleep".into()), group: u32::try_from(group).ok(), ..Query::default() };
    let now = Spec::Every { period: Duration::from_secs(60), at_once: true };
    let mut hands = Told::new(Outcome::Taken);
    let session = Session::new(plan(vec![now])).unwrap();
    let over = session.run(&[], vec![Awaited { query, all: false }], &mut hands).unwrap();
    assert_eq!((over.reason, hands.orders.len(), over.nobody_came), (Reason::NothingLeft, 1, false));
    drop(sleepers);
}
