//! Functions of Python in place of the interpreter's own frames.

use effigy_process::{Registers, ThreadId};
use effigy_symbols::python::{self, PythonFrame, PythonStacks, PythonThread};

use super::ThreadStack;

/// What one frame of the interpreter stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonPart {
    /// Index of the frame in the thread's stack.
    pub frame: usize,
    /// The functions of Python, innermost first.
    pub functions: Vec<PythonFrame>,
}

/// Finds what the interpreter's frames in `stacks` stand for. A thread is the interpreter's by its id within its own PID
/// namespace, or by its thread pointer. Where the two stacks do not come out even, a thread stays as it is.
pub fn with_python<'a>(
    stacks: &mut [ThreadStack],
    known: &PythonStacks,
    about: impl Fn(ThreadId) -> (Option<ThreadId>, Option<&'a Registers>),
) {
    for stack in stacks {
        let (inner, registers) = about(stack.thread);
        let id = inner.unwrap_or(stack.thread).0;
        let pointer = registers.and_then(|registers| registers.general()?.thread_pointer());
        let fits = |thread: &&PythonThread| match thread.native_id {
            Some(native) => native == id,
            None => pointer.is_some_and(|pointer| pointer.0 == thread.thread_id),
        };
        let Some(thread) = known.threads.iter().find(fits) else { continue };
        let names: Vec<String> = stack.frames.iter().map(function).collect();
        let Some(parts) = python::splice(&names, thread) else { continue };
        let part = |part: python::Splice| {
            let functions = thread.frames.get(part.python)?.to_vec();
            Some(PythonPart { frame: part.machine, functions })
        };
        stack.python = parts.into_iter().filter_map(part).collect();
    }
}

/// The name of the function that a frame of the machine is of; of what was inlined into it nothing.
fn function(frame: &super::NamedFrame) -> String {
    let name = frame.names.last().map(|name| &name.function);
    let name = name.or_else(|| frame.symbol.as_ref().map(|symbol| &symbol.name));
    name.map(ToString::to_string).unwrap_or_default()
}
