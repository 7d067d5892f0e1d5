//! The kernel's side of each thread as text, for the file beside a dump.

use std::fmt::Write as _;

use effigy_process::{Process, Thread};

use crate::print;

/// Everything that `--kernel-stacks` adds, for reading.
pub(crate) fn render(process: &Process) -> String {
    let mut text = format!(
        "Kernel side of {} (pid {}), {} threads.\nRead just before the process was stopped: stopping ends the sleep that a stack shows.\n",
        print::safe(&process.identity.name),
        process.identity.pid,
        process.threads.len()
    );
    for thread in &process.threads {
        thread_text(&mut text, thread);
    }
    text
}

fn thread_text(text: &mut String, thread: &Thread) {
    let name = thread.name.as_ref().map(|name| print::safe(name)).unwrap_or_default();
    let state = thread.kernel.as_ref().and_then(|kernel| kernel.state).unwrap_or(thread.state.0);
    let _ = writeln!(text, "\nThread {} \"{name}\"  state {state} ({})", thread.id, state_words(state));
    let facts = &thread.scheduling;
    let _ = writeln!(
        text,
        "  scheduling   policy {} ({}), priority {}, nice {}, on processor {}, may run on {:#x}",
        facts.policy,
        policy_words(facts.policy),
        facts.priority,
        facts.nice,
        facts.processor,
        facts.affinity
    );
    let _ = writeln!(
        text,
        "  so far       user {:.2} s, kernel {:.2} s, gave up the processor {} times, lost it {} times, faults {} minor {} major",
        thread.times.user.as_secs_f64(),
        thread.times.kernel.as_secs_f64(),
        facts.voluntary_switches,
        facts.involuntary_switches,
        facts.minor_faults,
        facts.major_faults
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
