//! ProcDump's options, of both tables, in the words of `effigy watch`.

use std::path::PathBuf;

use super::counters;
use super::happenings::Happenings;

/// What `-?` prints.
pub(super) const HELP: &str = "\
usage: procdump [options] [-w] NAME|PID [FILE|FOLDER]
       procdump [options] -x FOLDER PROGRAM [ARGUMENTS]
       procdump -cancel PID|NAME

 -mm -ma -mp -mt -mc MASK   mini, full, miniplus, triage, custom: minidumps; without any, a full ELF core
 -mk                        add kernel stacks
 -n N                       dumps before it ends (1)
 -s SECONDS                 consecutive seconds that a threshold must hold (10); without a trigger, between dumps
 -c -cl PERCENT [-u]        processor above, below; of one core with -u
 -m -ml MB[,MB]             memory commit above (each in turn), below
 -p -pl COUNTER THRESHOLD   a counter above, below
 -tc -fc N                  threads, file descriptors
 -h                         no thread has run for 5 seconds
 -pf MS                     time between two looks (1000)
 -e [1 [-b]]                a signal that is about to kill; with 1 each exception: signals of faults, C++ exceptions and
                            Rust panics too, whether or not the program handles them; with -b SIGTRAP too
 -sig N[,N]                 signals, whether or not the program handles them
 -t                         the end of the process
 -ld -ud -ct -et            a library loaded, unloaded; a thread that begins, that ends
 -f -fx TEXT[,TEXT]         only events that hold, or do not hold, a text (* for anything); -f \"\" lists them, without dumps
 -r [1..5] [-a]             from a clone; skip when there would be an outage
 -at SECONDS                give a dump up after so long
 -dc TEXT  -o  -k           comment; overwrite; kill the process after its dump
 -w                         wait for the process to start
 -x FOLDER PROGRAM …        start a program, and be there from its first instruction on; dumps go into the folder
 -pgid                      the id is that of a process group: all of it";

/// What was asked for.
#[derive(Debug)]
pub(super) enum Asked {
    /// The list of options.
    Help,
    /// A watch, or the end of one.
    Translated(Translation),
}

/// A command line in other words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Translation {
    /// A program is to be started (`effigy run`), in place of one that runs (`effigy watch`).
    pub(super) launches: bool,
    /// What follows behind the name of the command.
    pub(super) words: Vec<String>,
    /// Where dumps go, as ProcDump's line has it.
    pub(super) place: Option<PathBuf>,
    /// Minidumps with the names that Windows has, in place of cores with those of Linux.
    pub(super) like_windows: bool,
    /// What ought to be said about it.
    pub(super) notes: Vec<String>,
}

/// What is gathered on the way.
#[derive(Debug, Default)]
struct Gathered {
    translation: Translation,
    /// Percentages above and below: whether of one core is known at the end.
    processor: Vec<(&'static str, u32)>,
    one_core: bool,
    group: bool,
    cancel: bool,
    avoid: bool,
    reflect: bool,
    happenings: Happenings,
    /// Folder, program and arguments of `-x`.
    launch: Option<(String, Vec<String>)>,
    /// Names of options that were given.
    used: Vec<String>,
    /// Target, then file or folder.
    plain: Vec<String>,
}

/// An option: its name, and what it does with what follows.
type Entry = (&'static str, fn(&mut Gathered, &mut Words<'_>) -> Result<(), String>);

/// Both tables. Names are the same in upper and lower case, as on Windows.
static OPTIONS: [Entry; 47] = [
    ("mm", |all, _| all.kind("mini")),
    ("ma", |all, _| all.kind("full")),
    ("mp", |all, _| all.kind("miniplus")),
    ("mt", |all, _| all.kind("triage")),
    ("mc", Gathered::mask),
    ("mk", |all, _| all.say("--kernel-stacks")),
    ("n", |all, words| all.number("-n", words, "")),
    ("s", |all, words| all.number("--for", words, "s")),
    ("c", |all, words| all.percentage("--above", words)),
    ("cl", |all, words| all.percentage("--below", words)),
    ("u", |all, _| {
        all.one_core = true;
        Ok(())
    }),
    ("m", |all, words| all.megabytes("--above", words)),
    ("ml", |all, words| all.megabytes("--below", words)),
    ("p", |all, words| all.counter("--above", words)),
    ("pl", |all, words| all.counter("--below", words)),
    ("tc", |all, words| all.count("threads", words)),
    ("fc", |all, words| all.count("fds", words)),
    ("h", |all, _| all.say("--hang=5s")),
    ("pf", |all, words| all.number("--interval", words, "ms")),
    ("e", Gathered::exceptions),
    ("b", |all, _| {
        all.happenings.refine(true);
        Ok(())
    }),
    ("g", |all, _| {
        all.happenings.refine(false);
        Ok(())
    }),
    ("ld", |all, _| all.happening("load")),
    ("ud", |all, _| all.happening("unload")),
    ("ct", |all, _| all.happening("thread-start")),
    ("et", |all, _| all.happening("thread-exit")),
    ("t", |all, _| all.happening("exit")),
    ("sig", |all, words| all.happenings.signals(words)),
    ("f", |all, words| all.happenings.filter(false, words)),
    ("fx", |all, words| all.happenings.filter(true, words)),
    ("x", Gathered::launch),
    ("r", Gathered::reflect),
    ("a", |all, _| {
        all.avoid = true;
        all.say("--avoid-outage")
    }),
    ("at", |all, words| all.number("--timeout", words, "")),
    ("dc", |all, words| {
        let text = words.next_word()?;
        all.say(&format!("--comment={text}"))
    }),
    ("o", |all, _| all.say("--overwrite")),
    ("k", |all, _| all.say("--kill")),
    ("w", |all, _| all.say("--wait")),
    ("pgid", |all, _| {
        all.group = true;
        Ok(())
    }),
    ("cancel", |all, _| {
        all.cancel = true;
        Ok(())
    }),
    ("accepteula", |_, _| Ok(())),
    // A process is dumped as what it is, of 32 or of 64 bits.
    ("64", |_, _| Ok(())),
    ("md", |_, _| Err("-md: no callback library is loaded; choose memory with -mc MASK or -mp".into())),
    ("wer", |_, _| Err("-wer: there is no queue of error reports; give a folder to write to".into())),
    ("l", |_, _| {
        Err("-l: what OutputDebugString is for, programs here write into a log or to standard error; `effigy watch \
             --follow FILE --include TEXT` waits for text in a file, `effigy run --follow-stderr` for text there"
            .into())
    }),
    ("i", |_, _| {
        Err("-i: effigy does not install itself as the system's handler of crashes. `procdump -e -w NAME` and `effigy run` \
             are there when a program crashes, and the commands that read take the cores that the kernel writes"
            .into())
    }),
    ("log", |_, _| Err("-log: `effigy watch --json` writes what happens, one object a line".into())),
];

/// Options of ProcDump for Linux that are for .NET or for other tools, and what to use in their place.
static REFUSED: [(&str, &str); 7] = [
    ("usegcore", "effigy takes its dumps itself"),
    (
        "restrack",
        "a leak is found by `effigy watch --growth private=RATE`, and what grew by `effigy compare` of two dumps",
    ),
    ("sr", "there is nothing to sample without -restrack"),
    ("gcm", "watch the memory of the process with -m"),
    ("gcgen", "watch the memory of the process with -m"),
    ("pc", "`effigy watch --above prometheus:URL#METRIC=THRESHOLD` watches a metric that the program publishes"),
    ("pcl", "`effigy watch --below prometheus:URL#METRIC=THRESHOLD` watches a metric that the program publishes"),
];

/// What is about processes that run already, or that somebody else starts.
const NOT_LAUNCHED: [&str; 3] = ["w", "pgid", "cancel"];
/// Triggers that are numbers.
const NUMBERS: [&str; 9] = ["c", "cl", "m", "ml", "p", "pl", "tc", "fc", "h"];

/// The words that are left.
pub(super) struct Words<'a>(std::iter::Peekable<std::slice::Iter<'a, &'a str>>);

impl<'a> Words<'a> {
    pub(super) fn next_word(&mut self) -> Result<&'a str, String> {
        self.0.next().copied().ok_or_else(|| "something must follow".to_owned())
    }
}

/// Takes a command line apart. `can_break` tells whether functions can be watched here, as C++ exceptions need it.
pub(super) fn parse(words: &[&str], can_break: &dyn Fn() -> Result<(), String>) -> Result<Asked, String> {
    let mut all = Gathered::default();
    let mut words = Words(words.iter().peekable());
    while let Some(word) = words.0.next() {
        // On Linux a word that begins with a slash is a path, but for the one that asks for help.
        if matches!(*word, "-?" | "/?" | "--help") {
            return Ok(Asked::Help);
        }
        let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else {
            all.plain.push((*word).to_owned());
            continue;
        };
        let name = name.to_ascii_lowercase();
        all.used.push(name.clone());
        match OPTIONS.iter().find(|(known, _)| *known == name) {
            Some((_, take)) => take(&mut all, &mut words).map_err(|why| with_name(&name, why))?,
            None => {
                let refused = REFUSED.iter().find(|(known, _)| *known == name);
                return Err(refused.map_or_else(
                    || format!("{word} is no option that is known here"),
                    |(_, instead)| format!("{word} is not done here: {instead}"),
                ));
            }
        }
    }
    all.finish(can_break).map(Asked::Translated)
}

fn with_name(name: &str, why: String) -> String {
    if why.starts_with('-') { why } else { format!("-{name}: {why}") }
}

fn number(word: &str) -> Result<u32, String> {
    word.parse().map_err(|_| format!("{word} is no number"))
}

impl Gathered {
    fn say(&mut self, word: &str) -> Result<(), String> {
        self.translation.words.push(word.to_owned());
        Ok(())
    }

    fn kind(&mut self, kind: &str) -> Result<(), String> {
        self.translation.like_windows = true;
        self.say(&format!("--kind={kind}"))
    }

    /// MINIDUMP_TYPE bits; the other ProcDump means bits of coredump_filter.
    fn mask(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        let word = words.next_word()?;
        let digits = word.trim_start_matches("0x").trim_start_matches("0X");
        let mask = u64::from_str_radix(digits, 16).map_err(|_| format!("{word} is no hexadecimal number"))?;
        if mask <= 0x1ff {
            let note =
                format!("-mc {word} is taken for MINIDUMP_TYPE bits, as on Windows, and not for coredump_filter");
            self.translation.notes.push(note);
        }
        self.translation.like_windows = true;
        self.say(&format!("--mask={mask:#x}"))
    }

    fn number(&mut self, as_option: &str, words: &mut Words<'_>, unit: &str) -> Result<(), String> {
        let number = number(words.next_word()?)?;
        // Seconds of zero mean the first look.
        self.say(as_option)?;
        self.say(&format!("{number}{unit}"))
    }

    fn percentage(&mut self, side: &'static str, words: &mut Words<'_>) -> Result<(), String> {
        let percent = number(words.next_word()?.trim_end_matches('%'))?;
        self.processor.push((side, percent));
        Ok(())
    }

    fn megabytes(&mut self, side: &str, words: &mut Words<'_>) -> Result<(), String> {
        let list = words.next_word()?;
        let sizes: Result<Vec<String>, String> =
            list.split(',').map(|word| number(word.trim()).map(|size| format!("{size}M"))).collect();
        self.say(&format!("{side}=private={}", sizes?.join(",")))
    }

    /// `-p COUNTER THRESHOLD`; the first ProcDump for Linux had `-p PID`.
    fn counter(&mut self, side: &str, words: &mut Words<'_>) -> Result<(), String> {
        let name = words.next_word()?;
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            self.plain.insert(0, name.to_owned());
            self.used.pop();
            return Ok(());
        }
        let threshold = words.next_word()?;
        let metric = counters::metric(name)?;
        self.say(&format!("{side}={metric}={threshold}"))
    }

    fn count(&mut self, metric: &str, words: &mut Words<'_>) -> Result<(), String> {
        let count = number(words.next_word()?)?;
        self.say(&format!("--above={metric}={count}"))
    }

    /// `-r`, or `-r N`
    fn reflect(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        self.reflect = true;
        self.say("--reflect")?;
        match self.own_number(words, 1..=5) {
            Some(clones) => self.say(&format!("--clones={clones}")),
            None => Ok(()),
        }
    }

    /// `-e`, or `-e 1`
    fn exceptions(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        let first_chance = self.own_number(words, 1..=1).is_some();
        self.happenings.exception(first_chance);
        Ok(())
    }

    /// A number that follows an option and may be left out: one that is the last word is the process.
    fn own_number(&self, words: &mut Words<'_>, range: std::ops::RangeInclusive<u8>) -> Option<u8> {
        let number = words.0.peek().and_then(|word| word.parse::<u8>().ok()).filter(|number| range.contains(number))?;
        let is_last = words.0.len() <= 1;
        if is_last && self.plain.is_empty() {
            return None;
        }
        words.0.next();
        Some(number)
    }

    fn happening(&mut self, event: &'static str) -> Result<(), String> {
        self.happenings.on(event);
        Ok(())
    }

    /// `-x FOLDER PROGRAM [ARGUMENTS]`, to the end of the line
    fn launch(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        let folder = words.next_word()?.to_owned();
        let program: Vec<String> = words.0.by_ref().map(|word| (*word).to_owned()).collect();
        if program.is_empty() {
            return Err("a folder and a program must follow".into());
        }
        self.launch = Some((folder, program));
        Ok(())
    }

    fn uses(&self, names: &[&str]) -> Option<&String> {
        self.used.iter().find(|used| names.contains(&used.as_str()))
    }

    fn finish(mut self, can_break: &dyn Fn() -> Result<(), String>) -> Result<Translation, String> {
        self.check()?;
        let mut plain = std::mem::take(&mut self.plain).into_iter();
        if let Some((folder, program)) = self.launch.take() {
            if let Some(more) = plain.next() {
                return Err(format!("{more}: with -x the folder and the program follow behind it, and no process"));
            }
            return self.launched(folder, program, can_break);
        }
        let target = plain.next().ok_or("which process? Give its name or its id")?;
        self.translation.place = plain.next().map(PathBuf::from);
        if let Some(more) = plain.next() {
            return Err(format!("{more}: a process and a file or folder were given already"));
        }
        if self.cancel {
            let words = vec!["--cancel".to_owned(), "--".to_owned(), target];
            return Ok(Translation { words, ..Translation::default() });
        }
        self.add_processor()?;
        self.add_happenings(can_break)?;
        self.add_kind()?;
        if self.group {
            self.say(&format!("--group={target}"))?;
            self.say("--all")?;
        } else {
            self.say("--")?;
            self.translation.words.push(target);
        }
        Ok(self.translation)
    }

    /// What goes together.
    fn check(&self) -> Result<(), String> {
        if self.avoid && !self.reflect {
            return Err("-a goes with -r".into());
        }
        if self.one_core && self.processor.is_empty() {
            return Err(match (self.used.len(), self.plain.is_empty()) {
                (1, true) => {
                    "-u alone: there is nothing to uninstall, as effigy does not install itself as the system's \
                              handler of crashes"
                        .into()
                }
                _ => "-u goes with -c or -cl".into(),
            });
        }
        if self.happenings.are_told_only() && self.uses(&["n"]).is_some() {
            return Err("-f \"\" lists without dumps, and -n is a number of dumps".into());
        }
        Ok(())
    }

    /// A program that is started.
    fn launched(
        mut self,
        folder: String,
        program: Vec<String>,
        can_break: &dyn Fn() -> Result<(), String>,
    ) -> Result<Translation, String> {
        if let Some(name) = self.uses(&NOT_LAUNCHED) {
            return Err(format!(
                "-{name} does not go with -x, which starts a program; for one that somebody else starts, or that runs, leave \
                 -x out"
            ));
        }
        if !self.happenings.are_given() && self.uses(&NUMBERS).is_none() {
            self.happenings.exception(false);
            self.translation.notes.push("-x without a trigger waits for a crash (-e)".to_owned());
        }
        self.add_processor()?;
        self.add_happenings(can_break)?;
        self.add_kind()?;
        self.say(&format!("--output={folder}"))?;
        self.say("--")?;
        self.translation.words.extend(program);
        self.translation.place = Some(folder.into());
        self.translation.launches = true;
        Ok(self.translation)
    }

    /// A full core, unless a kind was asked for.
    fn add_kind(&mut self) -> Result<(), String> {
        if !self.translation.like_windows {
            self.say("--kind=full")?;
            self.say("--format=core")?;
        }
        Ok(())
    }

    fn add_happenings(&mut self, can_break: &dyn Fn() -> Result<(), String>) -> Result<(), String> {
        let (words, notes) = self.happenings.words(can_break)?;
        self.translation.words.extend(words);
        self.translation.notes.extend(notes);
        if self.happenings.are_given() && self.uses(&NUMBERS).is_none() {
            // Without a threshold that could hold for a time, it is the time between dumps.
            for word in self.translation.words.iter_mut().filter(|word| *word == "--for") {
                "--spacing".clone_into(word);
            }
            if self.uses(&["pf"]).is_some() {
                self.translation.notes.push("-pf changes nothing: there is no number to look at".to_owned());
            }
        }
        Ok(())
    }

    /// Percent of the machine as on Windows; more than 100 of it is of one core, as on Linux.
    fn add_processor(&mut self) -> Result<(), String> {
        for (side, percent) in std::mem::take(&mut self.processor) {
            let beyond = percent > 100 && !self.one_core;
            if beyond {
                self.translation.notes.push(format!("more than 100 % is taken for {percent} % of one core (-u)"));
            }
            let metric = if self.one_core || beyond { "core" } else { "cpu" };
            self.say(&format!("{side}={metric}={percent}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
