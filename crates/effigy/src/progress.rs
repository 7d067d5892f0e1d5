//! A progress bar on a terminal: bytes, rate, time left.

use std::io::IsTerminal;
use std::sync::atomic::Ordering;

use effigy_dump::write::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// Shows how far a dump has come; nothing when standard error is no terminal.
pub(crate) struct ProgressView {
    bar: Option<ProgressBar>,
}

impl ProgressView {
    /// Shows progress when `wanted` and somebody looks.
    pub(crate) fn new(wanted: bool) -> Self {
        let bar = (wanted && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(0);
            let template = "  {wide_bar} {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta} left";
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { bar }
    }

    /// Shows the present state.
    pub(crate) fn show(&self, progress: &Progress) {
        if let Some(bar) = &self.bar {
            bar.set_length(progress.total.load(Ordering::Relaxed));
            bar.set_position(progress.done.load(Ordering::Relaxed));
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
