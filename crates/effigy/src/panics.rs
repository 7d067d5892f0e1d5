//! Panics are recorded, not printed: printing may block for ever on a terminal that is the target itself, and a thread
//! that has not unwound yet may be the one that holds it. What was recorded is printed when the target runs again.

use std::sync::Mutex;

static RECORDED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Takes over from the standard library.
pub(crate) fn record() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current().name().unwrap_or("a thread").to_owned();
        if let Ok(mut recorded) = RECORDED.lock() {
            recorded.push(format!("{thread}: {panic}"));
        }
    }));
}

/// What was recorded so far.
pub(crate) fn take() -> Vec<String> {
    RECORDED.lock().map(|mut recorded| std::mem::take(&mut *recorded)).unwrap_or_default()
}
