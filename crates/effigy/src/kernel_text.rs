//! The kernel's side of each thread as text, for the file beside a dump.

use std::fmt::{Display, Write as _};

use effigy_process::{Process, Thread};

use crate::print;
use crate::words::count;

/// Everything that `--kernel-stacks` adds, for reading.
pub(crate) fn render(process: &Process) -> String {
    let mut text = format!(
        "Kernel side of {} (pid {}), {}.\nRead just before the process was stopped: stopping ends the sleep that a stack shows.\n",
        print::safe(&process.identity.name),
        known(process.identity.pid),
        count(process.threads.len() as u64, "thread")
    );
    for thread in &process.threads {
        thread_text(&mut text, thread);
    }
    text
}

/// A fact, or a question mark for one that is not known.
fn known(fact: Option<impl Display>) -> String {
    fact.map_or_else(|| "?".to_owned(), |fact| fact.to_string())
}

fn thread_text(text: &mut String, thread: &Thread) {
    let name = thread.name.as_ref().map(|name| print::safe(name)).unwrap_or_default();
    let state =
        thread.kernel.as_ref().and_then(|kernel| kernel.state).or(thread.state.map(|state| state.0)).unwrap_or('?');
    let _ = writeln!(text, "\nThread {} \"{name}\"  state {state} ({})", thread.id, state_words(state));
    let facts = &thread.scheduling;
    let times = thread.times.unwrap_or_default();
    let _ = writeln!(
        text,
        "  scheduling   policy {} ({}), priority {}, nice {}, on processor {}, may run on {:#x}",
        known(facts.policy),
        facts.policy.map_or("not known", policy_words),
        known(facts.priority),
        known(facts.nice),
        known(facts.processor),
        facts.affinity.unwrap_or(0)
    );
    let _ = writeln!(
        text,
        "  so far       user {:.2} s, kernel {:.2} s, gave up the processor {} times, lost it {} times, faults {} minor {} major",
        times.user.as_secs_f64(),
        times.kernel.as_secs_f64(),
        known(facts.voluntary_switches),
        known(facts.involuntary_switches),
        known(facts.minor_faults),
        known(facts.major_faults)
    );
    let Some(kernel) = &thread.kernel else {
        text.push_str("  kernel side  not read: the thread began after it was looked at\n");
        return;
    };
    if let Some(number) = kernel.syscall {
        let arguments: Vec<String> = kernel.arguments.iter().map(|word| format!("{word:#x}")).collect();
        let name = kernel.syscall_name.as_deref().unwrap_or("?");
        let _ = writeln!(text, "  system call  {name} ({number}): {}", arguments.join(" "));
    } else {
        text.push_str("  system call  none\n");
    }
    if !kernel.wait_channel.is_empty() {
        let _ = writeln!(text, "  waits in     {}", print::safe(kernel.wait_channel.as_bytes()));
    }
    if kernel.stack.is_empty() {
        text.push_str("  stack        empty, or not shown by this kernel (needs root and CONFIG_STACKTRACE)\n");
    }
    for (index, frame) in kernel.stack.iter().enumerate() {
        let _ = writeln!(
            text,
            "  {}  {}",
            if index == 0 { "stack      " } else { "           " },
            print::safe(frame.as_bytes())
        );
    }
}

/// Words of proc_pid_stat(5).
fn state_words(state: char) -> &'static str {
    match state {
        'R' => "running",
        'S' => "sleeping",
        'D' => "uninterruptible sleep",
        'T' => "stopped",
        't' => "stopped by a tracer",
        'Z' => "exited",
        'I' => "idle",
        'X' | 'x' => "dead",
        _ => "unknown",
    }
}

/// Words of sched(7).
fn policy_words(policy: u32) -> &'static str {
    match policy {
        0 => "other",
        1 => "FIFO",
        2 => "round robin",
        3 => "batch",
        5 => "idle",
        6 => "deadline",
        _ => "unknown",
    }
}
