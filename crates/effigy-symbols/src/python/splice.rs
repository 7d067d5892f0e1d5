//! Which of the machine's frames stand for which of Python's.

use std::ops::Range;

use super::PythonThread;

/// The C function that runs Python's.
const EVALUATION: &str = "_PyEval_EvalFrameDefault";

/// A frame of the machine, and the frames of Python that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splice {
    /// Index of the machine's frame, counted from the innermost one.
    pub machine: usize,
    /// Indices of the Python frames, of which the last is one that C called.
    pub python: Range<usize>,
}

/// Whether a function is the one that runs Python's, or a part that the compiler split off it: `.cold`, `.lto_priv.0`.
#[must_use]
pub fn is_evaluation(function: &str) -> bool {
    function.strip_prefix(EVALUATION).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Which frames of the machine, given by the names of their functions from the innermost on, stand for which frames of
/// Python. One that runs Python stands for the frames from its innermost up to and including the next that C called.
///
/// `None` unless they come out even: a frame that is missing on either side (not unwound, not captured, entered or left
/// in that instant, or split by the compiler) would shift all others, and which one it is cannot be told.
#[must_use]
pub fn splice(machine: &[impl AsRef<str>], thread: &PythonThread) -> Option<Vec<Splice>> {
    if thread.cut.is_some() {
        return None;
    }
    let mut evaluations = (0..machine.len()).filter(|index| is_evaluation(machine[*index].as_ref()));
    let mut splices = Vec::new();
    let mut start = 0;
    for group in thread.frames.split_inclusive(|frame| frame.is_entry) {
        if !group.last()?.is_entry {
            return None;
        }
        let python = start..start + group.len();
        start = python.end;
        splices.push(Splice { machine: evaluations.next()?, python });
    }
    evaluations.next().is_none().then_some(splices)
}

#[cfg(test)]
mod tests {
    use super::super::PythonFrame;
    use super::*;

    fn thread(entries: &[bool]) -> PythonThread {
        let frame = |is_entry: &bool| PythonFrame {
            function: String::new(),
            file: String::new(),
            line: None,
            is_entry: *is_entry,
        };
        PythonThread { frames: entries.iter().map(frame).collect(), ..PythonThread::default() }
    }

    const MACHINE: &[&str] =
        &["poll", "_PyEval_EvalFrameDefault", "sorted", "_PyEval_EvalFrameDefault.cold", "PyEval_EvalCode", "main"];

    #[test]
    fn each_evaluation_stands_for_the_frames_up_to_an_entry() {
        let splices = splice(MACHINE, &thread(&[false, true, false, false, true])).unwrap();
        assert_eq!(splices, [Splice { machine: 1, python: 0..2 }, Splice { machine: 3, python: 2..5 }]);
    }

    #[test]
    fn what_does_not_come_out_even_is_not_guessed() {
        for entries in [&[true][..], &[true, true, true], &[true, true, false], &[]] {
            assert_eq!(splice(MACHINE, &thread(entries)), None, "{entries:?}");
        }
        assert_eq!(splice(&MACHINE[..2], &thread(&[true, true])), None);
        let cut = PythonThread { cut: Some("a reason".into()), ..thread(&[true, true]) };
        assert_eq!(splice(MACHINE, &cut), None);
    }

    #[test]
    fn a_thread_without_python_has_nothing_to_replace() {
        assert_eq!(splice(&["poll", "main"], &thread(&[])), Some(Vec::new()));
    }

    #[test]
    fn other_functions_are_not_the_evaluation() {
        for name in ["_PyEval_EvalFrameDefaultX", "PyEval_EvalFrameDefault", "_PyEval_EvalFrame", ""] {
            assert!(!is_evaluation(name), "{name}");
        }
        assert!(is_evaluation("_PyEval_EvalFrameDefault.lto_priv.0"));
    }
}
