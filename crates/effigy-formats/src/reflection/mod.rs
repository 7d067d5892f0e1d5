//! A reflection pair: one process in two minidumps, and the configuration file that ties them together.
//!
//! ProcDump 4.0 on Windows 7 wrote such three files for its option `-r`: `NAME-1.dmp`, a small dump with threads and
//! modules, taken while the process stood still; `NAME-reflected.dmp`, with all memory, taken from a clone of the process
//! while that went on; and `NAME.ini`:
//!
//! ```text
//! [UserModeDump]
//! default=NAME-1.dmp
//! memory=NAME-reflected.dmp
//! module=NAME-1.dmp
//! ```
//!
//! WinDbg opens the last as one dump. What it says then ("default dump", "memory dump", "module list dump") is all that
//! is known of what the keys mean; Microsoft publishes no specification of the file that we know of.
//!
//! [`Configuration`] is the text, [`Files`] are the paths that it leads to, [`Opened`] the files once somebody has opened
//! them, [`Pair`] the process.
//!
//! ```no_run
//! # use std::path::Path;
//! # use std::sync::Arc;
//! # use effigy_formats::source::SharedSource;
//! # use effigy_formats::reflection::{Configuration, Pair};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let configuration = Configuration::parse(&std::fs::read("dumps/NAME.ini")?)?;
//! let opened = configuration.files(Path::new("dumps")).open(|path| Ok(Arc::new(std::fs::read(path)?) as SharedSource))?;
//! let pair = Pair::new(&opened)?;
//! println!("{} threads", pair.threads()?.len());
//! # Ok(())
//! # }
//! ```

mod configuration;
mod error;
mod files;
mod pair;

pub use self::configuration::{Configuration, Key, LARGEST, is_configuration};
pub use self::error::{ConfigurationError, PairError};
pub use self::files::{Files, Opened};
pub use self::pair::Pair;

#[cfg(test)]
mod tests;
