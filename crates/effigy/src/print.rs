//! The only room that prints. Text from outside is made safe first; a reader that has gone away is no error.

mod background;

use std::fmt::{Display, Write as _};
use std::io::{self, BufWriter, Stdout, Write};

use bstr::ByteSlice;

use crate::exit::Exit;
pub(crate) use background::{Background, later};

/// Prints a line of result.
pub(crate) fn line(text: &str) {
    let text = text.to_owned();
    later(move || line_now(&text));
}

/// Prints a line for the person at the terminal, not for a pipe.
pub(crate) fn note(text: &str) {
    let text = text.to_owned();
    later(move || note_now(&text));
}

/// [`line`], by who prints in the background.
pub(crate) fn line_now(text: &str) {
    // Nobody listens any more: a broken pipe is success.
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// [`note`], by who prints in the background.
pub(crate) fn note_now(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints an error.
pub(crate) fn error(text: &str) {
    note(&format!("effigy: {text}"));
}

/// Prints an error with everything that led to it.
pub(crate) fn failure(error: &(dyn std::error::Error + 'static)) {
    self::error(&chain(error));
}

/// An error with everything that led to it, on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        // Transparent errors repeat their source.
        if !text.ends_with(&more) {
            let _ = write!(text, ": {more}");
        }
        source = cause.source();
    }
    text
}

/// Prints what clap has to say: help is a result, anything else a usage error.
pub(crate) fn usage(error: &clap::Error) -> Exit {
    let _ = error.print();
    if error.use_stderr() { Exit::Usage } else { Exit::Done }
}

/// Text from outside for a terminal: control characters are shown as escapes, nothing can move the cursor.
pub(crate) fn safe(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for letter in bytes.to_str_lossy().chars() {
        // Besides control characters: those that turn the direction of writing (Unicode Bidi_Control).
        let turns = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if letter.is_control() || turns {
            text.extend(letter.escape_default());
        } else {
            text.push(letter);
        }
    }
    text
}

/// A long result on its way to standard output. Once nobody reads it any more, the rest is dropped.
pub(crate) struct Page {
    out: BufWriter<Stdout>,
    /// Columns of the terminal; `None` when it is none, and nothing is shortened then.
    width: Option<usize>,
    failed: Option<io::Error>,
}

impl Page {
    /// Begins one.
    pub(crate) fn begin() -> Self {
        let stdout = io::stdout();
        let columns = || rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col));
        let width = rustix::termios::isatty(&stdout).then(columns).flatten().filter(|columns| *columns > 0);
        Self { out: BufWriter::new(stdout), width, failed: None }
    }

    /// Columns of the terminal; `None` when there is none.
    pub(crate) fn width(&self) -> Option<usize> {
        self.width
    }

    /// Prints a line.
    pub(crate) fn line(&mut self, text: impl Display) {
        if self.failed.is_none() {
            self.failed = writeln!(self.out, "{text}").err();
        }
    }

    /// Whether nothing more can be printed: time to stop working.
    pub(crate) fn is_closed(&self) -> bool {
        self.failed.is_some()
    }

    /// Prints a value as one line of JSON.
    pub(crate) fn json(&mut self, value: &impl serde::Serialize) {
        if self.failed.is_some() {
            return;
        }
        let written = serde_json::to_writer(&mut self.out, value).map_err(io::Error::from);
        self.failed = written.and_then(|()| writeln!(self.out)).err();
    }

    /// Prints the rest. A reader that has gone away is no error, anything else is.
    pub(crate) fn finish(mut self) -> Exit {
        let outcome = self.failed.take().map_or_else(|| self.out.flush(), Err);
        match outcome {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self::error(&format!("writing to standard output: {error}"));
                Exit::Output
            }
            _ => Exit::Done,
        }
    }
}

/// A duration for people.
pub(crate) fn duration(time: std::time::Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1000.0) } else { format!("{seconds:.2} s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_moves_the_cursor() {
        assert_eq!(safe(b"a\x1b[2Jb\nc\xff"), "a\\u{1b}[2Jb\\nc\u{fffd}");
        assert_eq!(safe("x\u{202e}y".as_bytes()), "x\\u{202e}y");
    }
}
