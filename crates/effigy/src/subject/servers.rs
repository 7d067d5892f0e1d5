//! Symbol servers and debuginfod, as the arguments and the environment name them.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use effigy_symbols::server::{Options, Servers, SymbolPath, Transfer};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Refused;
use crate::cli::ServerArgs;
use crate::exit::Exit;
use crate::print;

/// The symbol path: that of the arguments, else that of the environment.
pub(crate) fn symbol_path(args: &ServerArgs) -> Result<SymbolPath, Refused> {
    if let Some(text) = &args.symbol_path {
        return SymbolPath::parse(text).map_err(|error| (Exit::Usage, format!("--symbol-path: {error}")));
    }
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let path = SymbolPath::parse(&variable("_NT_SYMBOL_PATH")).unwrap_or_else(|error| {
        print::note(&format!("effigy: warning: _NT_SYMBOL_PATH is passed over: {error}"));
        SymbolPath::default()
    });
    Ok(path.then(SymbolPath::of_debuginfod_urls(&variable("DEBUGINFOD_URLS"))))
}

/// The servers of a path, with progress on standard error. `offline`: only what was got before is used.
pub(crate) fn servers(path: SymbolPath, offline: bool) -> Arc<Servers> {
    let bar: Mutex<Option<ProgressBar>> = Mutex::default();
    let is_terminal = std::io::stderr().is_terminal();
    let on_transfer = move |transfer: Transfer<'_>| {
        let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
        if transfer.ended {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
            return;
        }
        let bar = bar.get_or_insert_with(|| begin(transfer.url, is_terminal));
        if let Some(total) = transfer.total {
            bar.set_length(total);
        }
        bar.set_position(transfer.done);
    };
    Arc::new(Servers::new(path, Options { offline, on_transfer: Some(Box::new(on_transfer)), ..Options::default() }))
}

/// Says that a download begins: with a bar on a terminal.
fn begin(url: &str, is_terminal: bool) -> ProgressBar {
    let url = print::safe(url.as_bytes());
    if !is_terminal {
        print::note(&format!("effigy: downloading {url}"));
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = "  {msg}  {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta} left";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_message(url)
}
