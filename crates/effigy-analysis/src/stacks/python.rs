//! Functions of Python in place of the interpreter's own frames.

use effigy_process::{Registers, ThreadId};
use effigy_symbols::Name;
use effigy_symbols::python::{self, PythonFrame, PythonStacks, PythonThread};

use super::{NamedFrame, ThreadStack};

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
        let Some(thread) = thread_of(known, id, pointer.map(|pointer| pointer.0)) else { continue };
        let names: Vec<String> = stack.frames.iter().map(function).collect();
        let Some(parts) = python::splice(&names, thread) else { continue };
        let part = |part: python::Splice| {
            let functions = thread.frames.get(part.python)?.to_vec();
            Some(PythonPart { frame: part.machine, functions })
        };
        stack.python = parts.into_iter().filter_map(part).collect();
    }
}

/// What the interpreter knows of a thread. By the thread pointer first: the ids in a process that was forked off may still
/// be those of its parent. Each interpreter of a process may know the same thread; then it is the one that runs something.
fn thread_of(known: &PythonStacks, id: u32, pointer: Option<u64>) -> Option<&PythonThread> {
    let by_pointer = |thread: &&PythonThread| pointer == Some(thread.thread_id);
    let by_id = |thread: &&PythonThread| thread.native_id == Some(id);
    let runs = |thread: &&PythonThread| !thread.frames.is_empty() || thread.cut.is_some();
    let mut found: Vec<_> = known.threads.iter().filter(by_pointer).filter(runs).collect();
    if found.is_empty() {
        found.extend(known.threads.iter().filter(by_id).filter(runs));
    }
    match found[..] {
        [only] => Some(only),
        _ => None,
    }
}

/// The name of the function that a frame of the machine is of, where it is known how far that reaches; of what was inlined
/// into it nothing. What merely lies below is not taken: it would be paired with frames that are not its own.
fn function(frame: &NamedFrame) -> String {
    let holds = |name: &&Name| {
        let behind = frame.offset.and_then(|offset| offset.checked_sub(name.start));
        behind.zip(name.size).is_some_and(|(behind, size)| behind < size)
    };
    frame.names.last().filter(holds).map(|name| name.function.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use effigy_process::{Address, Architecture};
    use effigy_symbols::Symbol;
    use effigy_symbols::SymbolKind;
    use effigy_symbols::unwind::{Frame, FrameRegisters, Stop, Trust};

    use super::*;

    const EVALUATION: &str = "_PyEval_EvalFrameDefault";

    /// A frame 0x1010 bytes into its module, in a function of so many bytes from 0x1000 on.
    fn frame(function: &str, size: Option<u64>) -> NamedFrame {
        let frame = Frame {
            registers: FrameRegisters::empty(Architecture::X86_64).unwrap(),
            address: Address(0x7f00_0000_1010),
            lookup: Address(0x7f00_0000_1010),
            cfa: None,
            trust: Trust::Context,
            module: Some(0),
            signal: false,
        };
        let name = Name { function: function.into(), start: 0x1000, size, line: None, inlined: false };
        NamedFrame { frame, offset: Some(0x1010), names: [name].into(), symbol: None }
    }

    fn stack(thread: u32, frames: Vec<NamedFrame>) -> ThreadStack {
        ThreadStack { thread: ThreadId(thread), frames, stop: Stop::End, python: Vec::new() }
    }

    fn thread(native_id: Option<u32>, thread_id: u64, functions: &[&str]) -> PythonThread {
        let frame = |function: &&str| PythonFrame {
            function: (*function).to_owned(),
            file: "a.py".into(),
            line: Some(1),
            is_entry: true,
        };
        PythonThread { native_id, thread_id, frames: functions.iter().map(frame).collect(), cut: None }
    }

    fn spliced(stack: ThreadStack, threads: Vec<PythonThread>) -> Vec<String> {
        let mut stacks = [stack];
        with_python(&mut stacks, &PythonStacks { threads, cut: None }, |_| (None, None));
        let functions =
            |part: &PythonPart| part.functions.iter().map(|frame| frame.function.clone()).collect::<Vec<_>>();
        stacks[0].python.iter().flat_map(functions).collect()
    }

    #[test]
    fn only_a_function_that_holds_the_place_is_the_evaluation() {
        let known = || vec![thread(Some(7), 0x1, &["f"])];
        assert_eq!(spliced(stack(7, vec![frame(EVALUATION, Some(0x11))]), known()), ["f"]);
        for size in [Some(0x10), None] {
            assert!(spliced(stack(7, vec![frame(EVALUATION, size)]), known()).is_empty(), "{size:?}");
        }
        let mut nearest = frame(EVALUATION, Some(0x100));
        nearest.names = [].into();
        let (name, kind) = (EVALUATION.into(), SymbolKind::Function);
        nearest.symbol = Some(Symbol { name, offset: 0x1000, size: None, kind, global: true });
        assert!(spliced(stack(7, vec![nearest]), known()).is_empty());
    }

    #[test]
    fn a_thread_that_several_interpreters_know_is_the_one_that_runs() {
        let evaluation = || stack(7, vec![frame(EVALUATION, Some(0x100))]);
        let idle = || thread(Some(7), 0x1, &[]);
        assert_eq!(spliced(evaluation(), vec![idle(), thread(Some(7), 0x1, &["f"])]), ["f"]);
        let both = vec![thread(Some(7), 0x1, &["f"]), thread(Some(7), 0x1, &["g"])];
        assert!(spliced(evaluation(), both).is_empty());
        assert!(spliced(evaluation(), vec![thread(Some(8), 0x1, &["f"])]).is_empty());
    }

    #[test]
    fn the_thread_pointer_is_believed_before_the_id() {
        let known = PythonStacks {
            threads: vec![thread(Some(7), 0x1, &["parent"]), thread(Some(9), 0x2, &["own"])],
            cut: None,
        };
        let name = |id, pointer| thread_of(&known, id, pointer).map(|thread| thread.frames[0].function.clone());
        assert_eq!(name(7, Some(0x2)).as_deref(), Some("own"));
        assert_eq!(name(7, Some(0x3)).as_deref(), Some("parent"), "where the pointer is none of theirs");
        assert_eq!(name(8, None), None);
    }
}
