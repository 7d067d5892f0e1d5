//! Runs fuzzers beside each other, each with its output in a file of its own.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::interrupt::Interrupt;

/// How often is looked whether one has ended.
const LOOK: Duration = Duration::from_millis(50);
/// Lines that are shown of the output of one that failed; the file has all.
const SHOWN_LINES: usize = 60;

/// A fuzzer to run.
pub(super) struct Program {
    pub(super) name: String,
    pub(super) command: Command,
}

/// One that ran to its end.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) name: String,
    /// It found nothing, and has looked.
    pub(super) passed: bool,
}

/// Runs the programs, so many at a time, and says of each that ends what came of it. An interrupt ends those that run.
pub(super) fn all(programs: Vec<Program>, at_once: usize, logs: &Path, interrupt: &Interrupt) -> Result<Vec<Ended>> {
    let mut waiting = programs.into_iter();
    let mut running: Vec<Running> = Vec::new();
    let mut all_ended = Vec::new();
    loop {
        let free = at_once.saturating_sub(running.len());
        for program in waiting.by_ref().take(free) {
            running.push(Running::start(program, logs)?);
        }
        if running.is_empty() {
            return Ok(all_ended);
        }
        std::thread::sleep(LOOK);
        interrupt.check()?;
        for index in (0..running.len()).rev() {
            if let Some(status) = running[index].ended()? {
                all_ended.push(running.swap_remove(index).report(status)?);
            }
        }
    }
}

/// A fuzzer that runs. It ends with this.
struct Running {
    name: String,
    child: Child,
    log: PathBuf,
    since: Instant,
}

impl Running {
    fn start(Program { name, mut command }: Program, logs: &Path) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let same = file.try_clone().context("cannot share the file for a fuzzer's output")?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(same).spawn();
        let child = child.with_context(|| format!("cannot run the fuzz target {name}"))?;
        Ok(Self { name, child, log, since: Instant::now() })
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot wait for the fuzz target {}", self.name))
    }

    /// Says how it ended, with the end of its output where that was badly.
    fn report(self, status: ExitStatus) -> Result<Ended> {
        let output = fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        let output = String::from_utf8_lossy(&output);
        let figures = Figures::of(&output);
        // One that ends well without having run anything has not looked.
        let passed = status.success() && figures.executions.is_some_and(|count| count > 0);
        let seconds = self.since.elapsed().as_secs();
        if passed {
            println!("    {}: nothing found; {figures}, {seconds} s", self.name);
        } else {
            println!(
                "    {}: FAILED, {status}; {figures}, {seconds} s; all of its output: {}",
                self.name,
                self.log.display()
            );
            let lines: Vec<&str> = output.lines().collect();
            for line in &lines[lines.len().saturating_sub(SHOWN_LINES)..] {
                println!("    {}| {line}", self.name);
            }
        }
        Ok(Ended { name: self.name.clone(), passed })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Where it has ended there is nothing to kill. What it has found is in files already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a fuzzer says of its work; `None` for what it did not come to say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    /// Files that it ran its target on.
    executions: Option<u64>,
    /// Places in the code that were reached.
    coverage: Option<u64>,
}

impl Figures {
    /// From the output of libFuzzer: its statistics at the end, and the last line that counts places.
    fn of(output: &str) -> Self {
        let number = |text: &str| text.split_ascii_whitespace().next()?.parse().ok();
        let after = |mark: &str| output.lines().rev().find_map(|line| number(line.split_once(mark)?.1));
        Self { executions: after("stat::number_of_executed_units:"), coverage: after(" cov: ") }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.executions {
            Some(count) => write!(f, "{count} executions")?,
            None => f.write_str("executions not told")?,
        }
        self.coverage.map_or(Ok(()), |count| write!(f, ", coverage {count}"))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const DONE: &str = "echo stat::number_of_executed_units: 7; echo '#7 DONE cov: 12 ft: 13 corp: 2/3b'";

    fn script(name: &str, text: &str) -> Program {
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        Program { name: name.to_owned(), command }
    }

    fn outcomes(programs: Vec<Program>, at_once: usize) -> Vec<(String, bool)> {
        let folder = tempfile::tempdir().unwrap();
        let ended = all(programs, at_once, folder.path(), &Interrupt::none()).unwrap();
        let mut found: Vec<_> = ended.into_iter().map(|ended| (ended.name, ended.passed)).collect();
        found.sort();
        found
    }

    #[test]
    fn what_fails_or_has_not_looked_has_not_passed() {
        let programs = vec![
            script("a", DONE),
            script("b", &format!("{DONE}; exit 77")),
            script("c", "true"),
            script("d", &format!("{DONE}; kill -9 $$")),
            script("e", "echo stat::number_of_executed_units: 0"),
        ];
        let expected = [("a", true), ("b", false), ("c", false), ("d", false), ("e", false)];
        assert_eq!(outcomes(programs, 2), expected.map(|(name, passed)| (name.to_owned(), passed)));
    }

    #[test]
    fn outputs_are_kept_apart() {
        let folder = tempfile::tempdir().unwrap();
        let programs = ["x", "y", "z"].map(|name| script(name, &format!("echo {name}; echo {name} >&2; {DONE}")));
        all(programs.into(), 2, folder.path(), &Interrupt::none()).unwrap();
        for name in ["x", "y", "z"] {
            let log = fs::read_to_string(folder.path().join(format!("{name}.log"))).unwrap();
            assert!(log.starts_with(&format!("{name}\n{name}\n")), "{log}");
        }
    }

    /// Two that wait for each other's file end only beside each other; a third that sees one of the marks came too early.
    #[test]
    fn as_many_run_at_once_as_may() {
        let folder = tempfile::tempdir().unwrap();
        let pair = |mine: &str, other: &str| {
            let at = folder.path().display();
            let wait = format!("until test -e {at}/{other}; do sleep 0.02; done");
            script(mine, &format!("touch {at}/run-{mine} {at}/{mine}; {wait}; sleep 0.2; rm {at}/run-{mine}; {DONE}"))
        };
        let third = format!("test $(ls {}/run-* 2>/dev/null | wc -l) -lt 2 && {{ {DONE}; }}", folder.path().display());
        let programs = vec![pair("a", "b"), pair("b", "a"), script("c", &third)];
        assert!(outcomes(programs, 2).iter().all(|(_, passed)| *passed));
    }

    #[test]
    fn an_interrupt_ends_those_that_run() {
        let folder = tempfile::tempdir().unwrap();
        let interrupt = Interrupt::none();
        let path = |name: &str| folder.path().join(name);
        let programs =
            ["a", "b"].map(|name| script(name, &format!("echo $$ > {}; exec sleep 600", path(name).display())));
        let written = |name| fs::read_to_string(path(name)).is_ok_and(|text| text.ends_with('\n'));
        let ended = thread::scope(|scope| {
            scope.spawn(|| {
                while !(written("a") && written("b")) {
                    thread::sleep(Duration::from_millis(5));
                }
                interrupt.see(2);
            });
            all(programs.into(), 2, folder.path(), &interrupt)
        });
        let error = ended.unwrap_err();
        assert!(error.is::<crate::interrupt::Interrupted>(), "{error}");
        for name in ["a", "b"] {
            let pid = fs::read_to_string(path(name)).unwrap();
            assert!(!Path::new("/proc").join(pid.trim()).exists(), "{name} runs on");
        }
    }

    #[test]
    fn figures_are_those_of_the_end() {
        let output = "#1\tINITED cov: 5 ft: 6\n#9\tDONE   cov: 11 ft: 12 corp: 1/2b\nDone 9 runs in 3 second(s)\n\
            stat::number_of_executed_units: 9\nstat::average_exec_per_sec:     3\n";
        assert_eq!(Figures::of(output), Figures { executions: Some(9), coverage: Some(11) });
        assert_eq!(Figures::of("no such thing"), Figures::default());
    }
}
