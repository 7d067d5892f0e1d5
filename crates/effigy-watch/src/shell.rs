//! Commands of the user's, run by the shell with a deadline.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use effigy_live::spawn::with_usual_signals;
use rustix::process::{Pid, Signal, kill_process_group};

/// How often a command is looked at.
const TICK: Duration = Duration::from_millis(10);

/// How a command is run.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Variables that it gets beside our own.
    pub variables: &'a [(&'a str, String)],
    /// Longest time; after it everything that the command has started is killed.
    pub timeout: Duration,
    /// Whether what it prints goes to our standard error, in place of nowhere.
    pub heard: bool,
}

/// Runs a command until it ends, or nobody wants it any more.
///
/// # Errors
/// Says what went wrong with it, as the end of a sentence: it could not be run, did not end in time, ended with another
/// status than 0.
pub fn run(command: &str, terms: Terms<'_>, is_wanted: &dyn Fn() -> bool) -> Result<(), String> {
    let output = || if terms.heard { Stdio::from(std::io::stderr()) } else { Stdio::null() };
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(output()).stderr(output());
    // What a program writes may hold a zero byte; a variable may not.
    shell.envs(terms.variables.iter().map(|(name, value)| (name, value.replace('\0', " "))));
    // In a group of its own, so that all of it can be ended.
    let mut child =
        with_usual_signals(shell.process_group(0)).spawn().map_err(|error| format!("could not be run: {error}"))?;
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("ended with {status}")),
            Ok(None) => {}
            Err(error) => return Err(format!("was lost: {error}")),
        }
        if began.elapsed() >= terms.timeout || !is_wanted() {
            end(&mut child);
            return Err("did not end in time".into());
        }
        std::thread::sleep(TICK);
    }
}

/// Ends a command and what it has started.
fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &str, is_wanted: bool) -> Result<(), String> {
        let variables = [("EFFIGY_PID", "5".to_owned())];
        let terms = Terms { variables: &variables, timeout: Duration::from_millis(500), heard: false };
        super::run(command, terms, &|| is_wanted)
    }

    /// Neither what effigy holds back nor what it handles is a command's business.
    #[test]
    fn commands_have_the_usual_signals() {
        assert_eq!(run("grep -q 'SigBlk:\t0000000000000000$' /proc/self/status", true), Ok(()));
    }

    #[test]
    fn commands_end() {
        assert_eq!(run("test $EFFIGY_PID = 5", true), Ok(()));
        assert!(run("exit 3", true).unwrap_err().contains('3'));
        let began = Instant::now();
        assert!(run("sleep 60", true).unwrap_err().contains("in time"));
        assert!(run("sleep 60", false).unwrap_err().contains("in time"));
        assert!(began.elapsed() < Duration::from_secs(20));
    }
}
