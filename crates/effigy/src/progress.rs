//! A progress bar on a terminal: bytes, rate, time left.
//!
//! It is drawn by a thread of its own that nobody waits for: a terminal may stop taking output (Ctrl-S), and may even be
//! the target, which stands still until the dump is done.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use effigy_dump::write::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two pictures.
const REFRESH: Duration = Duration::from_millis(100);
/// How long the end of the bar is waited for, so that what is printed next does not mix with it.
const LONGEST_CLEARING: Duration = Duration::from_millis(300);

/// Shows how far a dump has come; nothing when standard error is no terminal.
pub(crate) struct ProgressView {
    /// Dropping the sender ends the bar; the receiver then closes.
    drawing: Option<(Sender<()>, Receiver<()>)>,
}

impl ProgressView {
    /// Shows progress when `wanted` and somebody looks.
    pub(crate) fn new(wanted: bool, progress: &Arc<Progress>) -> Self {
        let drawing = (wanted && std::io::stderr().is_terminal()).then(|| {
            let (stop, stopped) = bounded::<()>(0);
            let (cleared_sender, cleared) = bounded::<()>(0);
            let progress = Arc::clone(progress);
            // Without the thread there is no bar, and no harm.
            let _ = std::thread::Builder::new().name("progress".into()).spawn(move || {
                draw(&progress, &stopped);
                drop(cleared_sender);
            });
            (stop, cleared)
        });
        Self { drawing }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&mut self) {
        if let Some((stop, cleared)) = self.drawing.take() {
            drop(stop);
            let _ = cleared.recv_timeout(LONGEST_CLEARING);
        }
    }
}

fn draw(progress: &Progress, stopped: &Receiver<()>) {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let template = "  {wide_bar} {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta} left";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(REFRESH) {
        bar.set_length(progress.total.load(Ordering::Relaxed));
        bar.set_position(progress.done.load(Ordering::Relaxed));
    }
    bar.finish_and_clear();
}
