//! `effigy demo`: a first look. Starts a sample program with several threads, dumps it while it runs, shows for how long
//! it stood still, and reads the dump back.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use effigy_dump::kind::Kind;
use effigy_dump::sink::size;
use effigy_process::{Address, Memory, ProcessId};

use crate::cancel::Cancel;
use crate::capture::mode::Wish;
use crate::capture::{OutputPlace, Request, capture};
use crate::exit::Exit;
use crate::files::open_dump;
use crate::print;
use crate::report::Report;

/// Names of the sample's threads besides the main one.
const THREADS: [&str; 4] = ["counter", "sleeper", "waiter", "listener"];

/// Runs the command.
pub(crate) fn run() -> Exit {
    match show() {
        Ok(()) => Exit::Done,
        Err(error) => {
            print::error(&format!("{error:#}"));
            Exit::Output
        }
    }
}

fn show() -> Result<()> {
    let mut sample = Sample::start()?;
    print::line(&format!("Started a sample program: process {}, {} threads.", sample.pid(), THREADS.len() + 1));
    let path = std::env::temp_dir().join(format!("effigy-demo-{}.dmp", std::process::id()));
    let report = dump(sample.pid(), &path)?;
    print::line(&format!(
        "Dumped it while it ran: {}, {}, {} of memory.",
        print::safe(report.path.as_os_str().as_encoded_bytes()),
        size(report.bytes),
        size(report.memory_bytes)
    ));
    print::line(&format!("It stood still for {}.", print::duration(Duration::from_micros(report.pause_us))));
    print::line("\nRead back from the dump:");
    let captured = read_back(&report.path, sample.counter_address)?;
    let now = sample.counter()?;
    print::line(&format!(
        "\nIts counter stood at {captured} in the dump and stands at {now} now: the program {}.",
        if now > captured { "went on" } else { "has not gone on, which is a defect of effigy" }
    ));
    print::line(&format!(
        "Open the dump yourself: lldb -c {0}, or minidump-stackwalk {0}.\nFor gdb, dump to a core: effigy dump PID -o file.core",
        report.path.display()
    ));
    Ok(())
}

fn dump(pid: u32, path: &Path) -> Result<Report> {
    let comment = format!("effigy demo\nManual dump by effigy {}", env!("CARGO_PKG_VERSION"));
    let request = Request {
        kinds: vec![Kind::Full],
        output: OutputPlace::Path(Some(path.to_owned())),
        format: None,
        kernel_stacks: false,
        compress: false,
        size_limit: None,
        triage_comment: comment.clone(),
        comment,
        keep_partial: false,
        overwrite: false,
        include_dontdump: false,
        embed_binaries: false,
        registers: true,
        snapshot: Wish::Auto,
        clones: 1,
        avoid_outage: false,
        split: false,
        show_progress: false,
        journal: None,
        selected: None,
    };
    let reports = capture(ProcessId(pid), &request, &Cancel::listen(Some(Duration::from_secs(60))))?;
    reports.into_iter().next().ok_or_else(|| anyhow!("no dump was written"))
}

/// Prints the dump's threads and gives the counter's value in it.
fn read_back(path: &Path, counter: u64) -> Result<u64> {
    let dump = open_dump(path)?;
    for thread in &dump.process.threads {
        let name = thread.name.as_ref().map_or_else(String::new, |name| print::safe(name));
        let pointer = thread.registers.as_ref().ok().and_then(|registers| registers.general()?.instruction_pointer());
        let at = pointer.map_or_else(
            || "no registers".to_owned(),
            |at| match dump.process.module_at(at) {
                Some(module) => format!("{}+{:#x}", print::safe(module.name()), at.0 - module.range.start().0),
                None => at.to_string(),
            },
        );
        print::line(&format!("  thread {:>8}  {name:<16} at {at}", thread.id.0));
    }
    let mut value = [0; 8];
    dump.memory.read_exact(Address(counter), &mut value).map_err(|missing| anyhow!("the counter: {missing}"))?;
    Ok(u64::from_le_bytes(value))
}

/// The running sample; ended when dropped.
struct Sample {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    counter_address: u64,
}

impl Sample {
    fn start() -> Result<Self> {
        let own = std::env::current_exe().context("finding effigy's own program file")?;
        let mut child = Command::new(own)
            .arg("demo-target")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the sample program")?;
        let input = child.stdin.take().context("the sample's input")?;
        let output = BufReader::new(child.stdout.take().context("the sample's output")?);
        let mut sample = Self { child, input, output, counter_address: 0 };
        sample.counter_address = sample.line()?;
        Ok(sample)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The counter as the running program sees it.
    fn counter(&mut self) -> Result<u64> {
        self.input.write_all(b"\n").context("asking the sample")?;
        self.line()
    }

    fn line(&mut self) -> Result<u64> {
        let mut line = String::new();
        self.output.read_line(&mut line).context("reading from the sample")?;
        line.trim().parse().context("reading from the sample")
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sample program itself: five threads that do different things, until its input ends.
pub(crate) fn target() -> Exit {
    let counter: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
    let ready = Arc::new(Barrier::new(THREADS.len() + 1));
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    for name in THREADS {
        let (ready, gate) = (Arc::clone(&ready), Arc::clone(&gate));
        let started = std::thread::Builder::new().name(name.into()).spawn(move || {
            ready.wait();
            match name {
                "counter" => loop {
                    counter.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_micros(50));
                },
                "sleeper" => std::thread::sleep(Duration::from_secs(3600)),
                "waiter" => {
                    if let Ok(open) = gate.0.lock() {
                        drop(gate.1.wait_while(open, |open| !*open));
                    }
                }
                _ => {
                    if let Ok(listener) = std::net::TcpListener::bind("127.0.0.1:0") {
                        let _ = listener.accept();
                    }
                }
            }
        });
        if started.is_err() {
            return Exit::Output;
        }
    }
    ready.wait();
    std::thread::sleep(Duration::from_millis(20));
    print::line(&format!("{}", std::ptr::from_ref(counter).addr()));
    for line in std::io::stdin().lines() {
        if line.is_err() {
            break;
        }
        print::line(&counter.load(Ordering::Relaxed).to_string());
    }
    Exit::Done
}
