//! ThreadList: threads with their registers and stacks.

use super::output::{Output, narrow};
use super::stacks::Stack;
use super::{Scene, location};
use crate::WriteError;
use crate::minidump::layout::{Location, MemoryDescriptor, Thread};

/// Writes the list, and behind it a CONTEXT for every thread whose registers are known.
pub(super) fn write(scene: &Scene<'_>, out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    let threads = &scene.process.threads;
    let start = out.position();
    out.record(&narrow(threads.len() as u64).to_le_bytes())?;
    let size = 4 + (threads.len() * size_of::<Thread>()) as u64;

    let mut context = scene.context.aligned(start + size);
    for (index, thread) in threads.iter().enumerate() {
        let has_context = scene.context.registers(thread).is_some();
        let context_size = if has_context { scene.context.size() } else { 0 };
        out.record(&Thread {
            id: thread.id.0.into(),
            suspend_count: 0.into(),
            priority_class: 0.into(),
            priority: 0.into(),
            // Zero, although Linux has a like thing in fs_base: readers that find a block here look into it for what
            // Windows keeps there, such as the thread's last error.
            environment_block: 0.into(),
            stack: scene.stacks.get(index).map(|stack| descriptor(scene, stack)).unwrap_or_default(),
            context: if has_context { location(context, context_size) } else { Location::default() },
        })?;
        context = scene.context.aligned(context + context_size);
    }
    for thread in threads {
        if let Some(registers) = scene.context.registers(thread) {
            scene.context.write(registers, out)?;
        }
    }
    Ok(Some(size))
}

/// Where the stack lies. A descriptor has 32 bits for it; a stack further on, or not in the dump, is given by its
/// address alone, and readers look that up in the list of memory.
fn descriptor(scene: &Scene<'_>, stack: Stack) -> MemoryDescriptor {
    let at = scene.data_offset.saturating_add(stack.offset);
    let reachable = !stack.range.is_empty() && at.saturating_add(stack.range.size()) <= u64::from(u32::MAX);
    MemoryDescriptor {
        start: stack.range.start().0.into(),
        location: if reachable { location(at, stack.range.size()) } else { Location::default() },
    }
}
