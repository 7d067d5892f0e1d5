//! What a process must be like, whatever dump it is in.

use std::collections::HashSet;

use effigy_process::{CapturedMemory, GapReason, GapSubject, Module, Platform, Thread};

use super::Defects;
use super::ranges::overlaps;
use crate::OpenedDump;

/// Checks threads, modules and the fault.
pub(super) fn check(dump: &OpenedDump, defects: &mut Defects) {
    threads(dump, defects);
    modules(dump, defects);
    fault(dump, defects);
    for gap in dump.process.gaps.iter().filter(|gap| gap.reason.is_loss()) {
        let subject = match &gap.subject {
            GapSubject::Memory(range) => format!("memory at {range}"),
            GapSubject::Registers(thread) => format!("registers of thread {thread}"),
            GapSubject::Fact(name) => name.clone(),
        };
        let detail = if gap.detail.is_empty() { String::new() } else { format!(" ({})", gap.detail) };
        defects.odd(None, subject, format!("missing, as the dump's writer said: {}{detail}", gap.reason));
    }
}

fn threads(dump: &OpenedDump, defects: &mut Defects) {
    let process = &dump.process;
    if process.threads.is_empty() {
        defects.odd(None, "threads", "there are none");
    }
    let mut seen = HashSet::with_capacity(process.threads.len());
    for thread in &process.threads {
        if !seen.insert(thread.id) {
            defects.broken(None, format!("thread {}", thread.id), "there is more than one of this id");
        }
        match &thread.registers {
            Err(missing) if missing.reason == GapReason::NotInDump => {
                defects.odd(None, format!("thread {}", thread.id), format!("no registers {}", missing.detail));
            }
            Ok(_) => stack(dump, thread, defects),
            // A reason is given, and among the gaps or warnings.
            Err(_) => {}
        }
    }
}

/// Whether the dump has what the stack pointer points at.
fn stack(dump: &OpenedDump, thread: &Thread, defects: &mut Defects) {
    let general = thread.registers.as_ref().ok().and_then(|registers| registers.general());
    let Some(pointer) = general.and_then(|general| general.stack_pointer()) else { return };
    let holds = |captured: &effigy_process::CapturedRange| captured.range.contains(pointer);
    if !dump.memory.captured_from(pointer).first().is_some_and(holds) {
        let text = format!("its stack is not in the dump (the stack pointer is {pointer})");
        defects.odd(None, format!("thread {}", thread.id), text);
    }
}

fn modules(dump: &OpenedDump, defects: &mut Defects) {
    let modules = &dump.process.modules;
    let field = |index: usize| format!("module {}", modules[index].path);
    for (index, module) in modules.iter().enumerate() {
        if module.range.is_empty() {
            defects.odd(None, field(index), format!("it has no length (at {})", module.range.start()));
        }
        if module.path.is_empty() {
            defects.odd(None, format!("module at {}", module.range.start()), "it has no name");
        }
    }
    // Images of the shared cache of macOS lie in each other: their data is elsewhere than their code.
    if !matches!(dump.process.system.platform, Platform::MacOs | Platform::Ios) {
        // The kernel puts the vdso into gaps that images of its architectures may have.
        let range = |module: &Module| match &module.path[..] {
            b"linux-gate.so" => (0, 0),
            _ => (module.range.start().0, module.range.end().0),
        };
        let ranges: Vec<_> = modules.iter().map(range).collect();
        overlaps(&ranges, |one, two| {
            // A 32-bit program on 64-bit Windows is in the lists of both loaders.
            if modules[one].range == modules[two].range && modules[one].path == modules[two].path {
                return;
            }
            let text =
                format!("{} lies over that of {} at {}", modules[two].range, modules[one].path, modules[one].range);
            defects.odd(None, field(two), text);
        });
    }
}

fn fault(dump: &OpenedDump, defects: &mut Defects) {
    let process = &dump.process;
    let faults = process.fault.iter().chain(&process.further_faults).map(|fault| fault.thread);
    for id in faults.chain(process.selected) {
        if !process.threads.is_empty() && process.thread(id).is_none() {
            defects.odd(None, "Exception.ThreadId", format!("there is no thread {id}"));
            return;
        }
    }
}
