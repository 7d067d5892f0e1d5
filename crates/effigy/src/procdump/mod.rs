//! `procdump`: the command lines that people know, of ProcDump for Windows and for Linux.
//!
//! They are put into the words of `effigy watch`, and of `effigy run` for `-x` ([`options`], [`happenings`]), which do the rest; what is told looks as ProcDump's
//! ([`telling`]), and files are called what it calls them ([`naming`]). docs/procdump.md says what becomes of each option.

mod counters;
mod happenings;
mod naming;
mod options;
mod telling;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use effigy_live::debug::check_breakpoints;

use crate::cli::{Cli, Command};
use crate::command::{run as launch, watch};
use crate::exit::Exit;
use crate::job_control;
use crate::print;
pub(crate) use naming::Naming;
use options::{Asked, Translation};
use telling::ProcdumpTeller;

/// The words behind the program's name, when that is `procdump`.
pub(crate) fn words_of_own_name() -> Option<Vec<OsString>> {
    let mut words = std::env::args_os();
    let name = words.next()?;
    (Path::new(&name).file_name() == Some(OsStr::new("procdump"))).then(|| words.collect())
}

/// Runs a command line of ProcDump's.
pub(crate) fn run(words: &[OsString]) -> Exit {
    let words: Option<Vec<&str>> = words.iter().map(|word| word.to_str()).collect();
    let Some(words) = words else { return refuse("the command line is not text") };
    match options::parse(&words, &check_breakpoints) {
        Ok(Asked::Help) => {
            print::line(options::HELP);
            Exit::Done
        }
        Ok(Asked::Translated(translation)) => begin(&translation),
        Err(why) => refuse(&why),
    }
}

fn refuse(why: &str) -> Exit {
    print::error(&format!("{why} (-? lists the options, docs/procdump.md explains them)"));
    Exit::Usage
}

fn begin(translation: &Translation) -> Exit {
    for note in &translation.notes {
        print::note(&format!("effigy: {note}"));
    }
    if let Some(folder) = translation.place.as_ref().filter(|folder| translation.launches && !folder.is_dir()) {
        return refuse(&format!("-x: there is no folder {}", print::safe(folder.as_os_str().as_encoded_bytes())));
    }
    let command = if translation.launches { "run" } else { "watch" };
    let naming = Arc::new(Naming { like_windows: translation.like_windows, place: translation.place.clone() });
    let words = ["effigy", command].into_iter().map(str::to_owned).chain(translation.words.iter().cloned());
    let args = match Cli::try_parse_from(words) {
        Ok(Cli { command: Command::Watch(args) }) => args,
        // The program has standard output to itself: no banner, no lines of progress.
        Ok(Cli { command: Command::Run(args) }) => return launch::run_as(&args, Some(naming)),
        // Numbers that are out of range; everything else was checked before.
        Ok(_) => return refuse("no watch"),
        Err(error) => return print::usage(&error),
    };
    job_control::take_over();
    watch::run_as(&args, Some(Arc::clone(&naming)), |plan| Arc::new(ProcdumpTeller::new(plan, &naming)))
}
