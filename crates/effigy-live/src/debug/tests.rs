//! Sessions with programs that every system has. While a session traces a child of ours, the child must not be waited for:
//! the kernel takes that for the tracer's waiting, and its stops would be lost.

#![allow(clippy::zombie_processes, reason = "the session collects them")]

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use effigy_process::ProcessId;

use super::{End, Event, Image, Session, SignalSet, Wants, What};
use crate::procfs::{ProcDir, Status};
use crate::stop::{StopLimits, Tracer};

fn shell(script: &str) -> Child {
    Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

fn attach(child: &Child, wants: Wants) -> Session {
    let nowhere = |_: &Image<'_>, _: &str| None;
    Session::attach(ProcessId(child.id()), wants, Box::new(nowhere)).unwrap()
}

fn crashes() -> Wants {
    Wants { second_chance: SignalSet::with_core(), ..Wants::default() }
}

fn next(session: &Session) -> Event {
    session.events().recv_timeout(Duration::from_secs(20)).unwrap()
}

fn tracer(child: &Child) -> u32 {
    Status::parse(&ProcDir::open(ProcessId(child.id())).unwrap().read("status").unwrap()).tracer()
}

#[test]
fn a_crash_is_told_before_it_kills() {
    let mut child = shell("read line; kill -SEGV $$");
    let session = attach(&child, crashes());
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let event = next(&session);
    assert!(matches!(&event.what, What::Signal { info, kills: true } if info.number == libc::SIGSEGV), "{event:?}");
    assert_ne!(tracer(&child), 0, "it died before it was looked at");
    drop(event);
    assert!(matches!(next(&session).what, What::Ended(Some(End::Killed(libc::SIGSEGV)))));
    assert!(session.events().recv().is_err(), "the channel closes");
}

#[test]
fn sessions_leave_nothing() {
    let mut child = shell("while :; do (:) ; done");
    for round in 0..30 {
        let session = attach(&child, crashes());
        assert_ne!(tracer(&child), 0);
        std::thread::sleep(Duration::from_millis(round % 5));
        drop(session);
        assert_eq!(tracer(&child), 0);
    }
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Nobody has to have said that it may go on.
#[test]
fn the_end_of_a_session_lets_go_what_is_held() {
    let mut child = shell("read line; kill -SEGV $$");
    let session = attach(&child, crashes());
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let event = next(&session);
    drop(session);
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGSEGV));
    drop(event);
}

#[test]
fn a_process_is_stopped_through_its_session() {
    let mut child = shell("while :; do :; done");
    let session = attach(&child, crashes());
    let mut stopping = Tracer::of_session(&session.member(session.pid()));
    for _ in 0..3 {
        stopping.stop(StopLimits::default(), None).unwrap();
        let stopped = stopping.wait_stopped(Duration::from_secs(5)).unwrap().unwrap();
        assert_eq!(stopped.threads.len(), 1);
        assert!(stopped.threads[0].registers.is_ok());
        stopping.resume().unwrap();
    }
    assert_ne!(tracer(&child), 0, "it stays traced");
    child.kill().unwrap();
    assert!(matches!(next(&session).what, What::Ended(Some(End::Killed(libc::SIGKILL)))));
}

#[test]
fn one_that_is_killed_while_it_is_held_has_ended() {
    let mut child = shell("read line; kill -SEGV $$");
    let session = attach(&child, crashes());
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let event = next(&session);
    child.kill().unwrap();
    assert!(matches!(next(&session).what, What::Ended(Some(End::Killed(libc::SIGKILL)))));
    drop(event);
}
