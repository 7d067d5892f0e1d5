//! Which targets are dumped, by whom and how often.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use clap::ValueEnum;

use super::PauseArgs;
use super::row::Kind;
use crate::bench::machine::Room;
use crate::bench::scenario::ENOUGH_ROUNDS;
use crate::bench::target::Shape;

/// How much of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) kinds: Vec<Kind>,
    pub(crate) rounds: u32,
    sizes: Vec<u64>,
    rates: Vec<Rate>,
}

/// Pages that the target's writer dirties in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rate(u64);

/// The rate for which effigy makes promises.
pub(crate) const PROMISED: Rate = Rate(1_000);
const HIGH: Rate = Rate(100_000);

/// The rates of which the page of results tells.
pub(crate) const MEASURED: [Rate; 2] = [PROMISED, HIGH];

/// The target of one course.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) gib: u64,
    pub(crate) rate: Rate,
}

const GIB: u64 = 1 << 30;
const PAGE: u64 = 4096;
const THREADS: u64 = 50;

impl Plan {
    pub(crate) fn of(args: &PauseArgs) -> Self {
        let whole = Self::whole();
        let mut kinds = if args.rows.is_empty() { whole.kinds } else { args.rows.clone() };
        if !kinds.contains(&Kind::Idle) {
            kinds.push(Kind::Idle);
        }
        Self {
            kinds,
            rounds: args.rounds.unwrap_or(if args.quick { 1 } else { whole.rounds }),
            sizes: each_once(&args.sizes, if args.quick { vec![1] } else { whole.sizes }),
            rates: each_once(&args.rates, whole.rates),
        }
    }

    fn whole() -> Self {
        Self {
            kinds: Kind::value_variants().to_vec(),
            rounds: ENOUGH_ROUNDS,
            sizes: vec![1, 2, 4, 8],
            rates: MEASURED.to_vec(),
        }
    }

    /// Whether its results say all that the page of results is to say of one rate.
    pub(crate) fn is_whole(&self, rate: Rate) -> bool {
        let Self { kinds, rounds, sizes, rates } = Self::whole();
        self.rounds >= rounds
            && kinds.iter().all(|kind| self.kinds.contains(kind))
            && sizes.iter().all(|size| self.sizes.contains(size))
            && rates.contains(&rate)
            && self.rates.contains(&rate)
    }

    /// How fast targets' writers write, each once.
    pub(crate) fn rates(&self) -> &[Rate] {
        &self.rates
    }

    /// The targets with writers of one rate, in the order in which they are dumped.
    pub(crate) fn settings(&self, rate: Rate) -> impl Iterator<Item = Setting> {
        self.sizes.iter().map(move |&gib| Setting { gib, rate })
    }
}

/// What was asked for, in order; `all` if nothing was.
fn each_once<T: Ord + Clone>(asked: &[T], all: Vec<T>) -> Vec<T> {
    let mut chosen = if asked.is_empty() { all } else { asked.to_vec() };
    chosen.sort();
    chosen.dedup();
    chosen
}

impl Setting {
    pub(crate) fn bytes(self) -> u64 {
        self.gib * GIB
    }

    pub(crate) fn shape(self) -> Shape {
        Shape {
            resident_mib: self.gib * 1024,
            threads: THREADS,
            reserved_gib: 0,
            dirtied: self.rate.each_millisecond(),
        }
    }

    /// The target, what it writes anew while a clone keeps the old pages, and something for the dump on its way to the disk.
    pub(crate) fn room(self) -> Room {
        let copied = (self.rate.0 * PAGE * 60).min(self.bytes());
        Room { memory: self.bytes() + copied + 2 * GIB, disk: self.bytes() + self.bytes() / 4 }
    }
}

impl Rate {
    /// For people.
    pub(crate) fn show(self) -> String {
        format!("{},000 pages a second", self.each_millisecond())
    }

    fn each_millisecond(self) -> u64 {
        self.0 / 1000
    }
}

/// As it is given on the command line.
impl Display for Rate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(pages) if (1000..1_000_000).contains(&pages) && pages % 1000 == 0 => Ok(Self(pages)),
            _ => Err("not a number of thousands below a million, such as 1000".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(words: &[&str]) -> Plan {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: PauseArgs,
        }
        let cli: Cli = clap::Parser::try_parse_from([&["pause"], words].concat()).expect("arguments");
        Plan::of(&cli.args)
    }

    #[test]
    fn everything_is_asked_for_unless_something_is() {
        assert_eq!(plan(&[]), Plan::whole());
        for whole in [&["--rounds", "6"][..], &["--sizes", "8,4,2,1,16"], &["--rates", "1000"]] {
            assert!(plan(whole).is_whole(PROMISED), "{whole:?}");
        }
        for less in
            [&["--quick"][..], &["--rounds", "4"], &["--rows", "live"], &["--sizes", "1"], &["--rates", "100000"]]
        {
            assert!(!plan(less).is_whole(PROMISED), "{less:?}");
        }
    }

    #[test]
    fn the_idle_row_always_runs() {
        let plan = plan(&["--rows", "live,clone", "--sizes", "4,1,4", "--rates", "2000"]);
        assert_eq!(plan.kinds, [Kind::Live, Kind::Clone, Kind::Idle]);
        assert_eq!(plan.rates(), [Rate(2000)]);
        assert!(!plan.is_whole(Rate(2000)));
        let settings: Vec<_> = plan.settings(Rate(2000)).map(|setting| (setting.gib, setting.rate)).collect();
        assert_eq!(settings, [(1, Rate(2000)), (4, Rate(2000))]);
    }

    #[test]
    fn rates_are_thousands() {
        assert_eq!("100000".parse(), Ok(HIGH));
        assert_eq!(HIGH.show(), "100,000 pages a second");
        for wrong in ["0", "1500", "1000000", "-1000", "many"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
