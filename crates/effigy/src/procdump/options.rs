//! ProcDump's options, of both tables, in the words of `effigy watch`.

use std::path::PathBuf;

use super::counters;

/// What `-?` prints.
pub(super) const HELP: &str = "\
usage: procdump [options] [-w] NAME|PID [FILE|FOLDER]
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
 -r [1..5] [-a]             from a clone; skip when there would be an outage
 -at SECONDS                give a dump up after so long
 -dc TEXT  -o  -k           comment; overwrite; kill the process after its dump
 -w                         wait for the process to start
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
    /// What follows behind `effigy watch`.
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
    /// Target, then file or folder.
    plain: Vec<String>,
}

/// An option: its name, and what it does with what follows.
type Entry = (&'static str, fn(&mut Gathered, &mut Words<'_>) -> Result<(), String>);

/// Both tables. Names are the same in upper and lower case, as on Windows.
static OPTIONS: [Entry; 33] = [
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

/// The words that are left.
struct Words<'a>(std::iter::Peekable<std::slice::Iter<'a, &'a str>>);

impl<'a> Words<'a> {
    fn next_word(&mut self) -> Result<&'a str, String> {
        self.0.next().copied().ok_or_else(|| "something must follow".to_owned())
    }
}

/// Takes a command line apart.
pub(super) fn parse(words: &[&str]) -> Result<Asked, String> {
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
    all.finish().map(Asked::Translated)
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

    /// `-r`, or `-r N`: a number that is the last word is the process.
    fn reflect(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        self.reflect = true;
        self.say("--reflect")?;
        let clones = words.0.peek().and_then(|word| word.parse::<u8>().ok()).filter(|clones| (1..=5).contains(clones));
        let is_last = words.0.len() <= 1;
        if let Some(clones) = clones.filter(|_| !is_last || !self.plain.is_empty()) {
            words.0.next();
            self.say(&format!("--clones={clones}"))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Translation, String> {
        if self.avoid && !self.reflect {
            return Err("-a goes with -r".into());
        }
        let mut plain = std::mem::take(&mut self.plain).into_iter();
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
        if !self.translation.like_windows {
            self.say("--kind=full")?;
            self.say("--format=core")?;
        }
        if self.group {
            self.say(&format!("--group={target}"))?;
            self.say("--all")?;
        } else {
            self.say("--")?;
            self.translation.words.push(target);
        }
        Ok(self.translation)
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
mod tests {
    use super::*;

    fn translated(line: &str) -> Translation {
        let words: Vec<&str> = line.split_whitespace().collect();
        match parse(&words) {
            Ok(Asked::Translated(translation)) => translation,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn words(line: &str) -> String {
        translated(line).words.join(" ")
    }

    #[test]
    fn lines_that_people_know() {
        for (line, expected) in [
            ("-ma -c 80 -s 5 -n 3 -u w3wp", "--kind=full --for 5s -n 3 --above=core=80 -- w3wp"),
            ("-mp -r -a notepad", "--kind=miniplus --reflect --avoid-outage -- notepad"),
            ("-c 65 -cl 5 -n 2 1234", "-n 2 --above=cpu=65 --below=cpu=5 --kind=full --format=core -- 1234"),
            ("-m 100,200 1234", "--above=private=100M,200M --kind=full --format=core -- 1234"),
            (
                "-M 100 -tc 50 -fc 60 -pf 500 x",
                "--above=private=100M --above=threads=50 --above=fds=60 --interval 500ms --kind=full --format=core -- x",
            ),
            ("-w launchd", "--wait --kind=full --format=core -- launchd"),
            ("-pgid 500", "--kind=full --format=core --group=500 --all"),
            (
                "-mm -ma -r 3 -at 30 -k -o x",
                "--kind=mini --kind=full --reflect --clones=3 --timeout 30 --kill --overwrite -- x",
            ),
            ("-cancel 77", "--cancel -- 77"),
            ("-p 1234", "--kind=full --format=core -- 1234"),
            ("-mt -h x", "--kind=triage --hang=5s -- x"),
        ] {
            assert_eq!(words(line), expected, "{line}");
        }
    }

    #[test]
    fn places_and_clones() {
        assert_eq!(translated("-ma x /dumps").place, Some("/dumps".into()));
        assert_eq!(words("-ma -r 5"), "--kind=full --reflect -- 5");
        assert_eq!(words("-ma x -r 5"), "--kind=full --reflect --clones=5 -- x");
        assert!(translated("-c 250 x").notes[0].contains("one core"));
        assert!(translated("-mc 1 x").notes[0].contains("MINIDUMP_TYPE"));
    }

    #[test]
    fn what_is_refused() {
        for line in [
            "",
            "-ma",
            "-c x y",
            "-c",
            "-a x",
            "-zz x",
            "-wer x",
            "-restrack x",
            "-md a.dll x",
            "x y z",
            "-p \\X(a)\\b 5 x",
            "-mc zz x",
            "-pc a 5 x",
        ] {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert!(parse(&words).is_err(), "{line}");
        }
    }
}
