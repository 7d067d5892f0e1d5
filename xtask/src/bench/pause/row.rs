//! What is done to the target once a round.

use clap::ValueEnum;

use crate::bench::arena::Arena;
use crate::bench::contender::{Contender, Snapshot};

/// What a row is about, as it is asked for. In the idle row nothing is done; in the loaded one as many bytes as the target has
/// are copied and written by a program that has nothing to do with the target: what is felt then is the machine's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Gcore,
    Procdump,
    Createdump,
    Stop,
    Clone,
    Live,
    Idle,
    Loaded,
}

/// A row, as it is run.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// Nothing in the rows without a dump.
    pub(crate) tool: Option<Contender>,
}

impl Kind {
    /// What effigy is asked to take the dump of; nothing for others.
    pub(crate) fn snapshot(self) -> Option<Snapshot> {
        match self {
            Self::Stop => Some(Snapshot::Stop),
            Self::Clone => Some(Snapshot::Clone),
            Self::Live => Some(Snapshot::Live),
            Self::Gcore | Self::Procdump | Self::Createdump | Self::Idle | Self::Loaded => None,
        }
    }

    pub(crate) fn is_peer(self) -> bool {
        matches!(self, Self::Gcore | Self::Procdump | Self::Createdump)
    }

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gcore => "gcore",
            Self::Procdump => "ProcDump",
            Self::Createdump => "createdump",
            Self::Stop => "effigy stop",
            Self::Clone => "effigy clone",
            Self::Live => "effigy live",
            Self::Idle => "idle",
            Self::Loaded => "loaded",
        }
    }

    fn tools(self, arena: &Arena) -> Vec<Contender> {
        match self {
            Self::Gcore => Contender::gcore(arena),
            Self::Procdump => Contender::proc_dumps(arena),
            Self::Createdump => Contender::create_dumps(arena),
            Self::Stop | Self::Clone | Self::Live | Self::Idle | Self::Loaded => {
                self.snapshot().map(|snapshot| Contender::effigy_snapshot(arena, snapshot)).into_iter().collect()
            }
        }
    }
}

impl Row {
    /// The rows that can be run, and the kinds for which nothing is installed.
    pub(crate) fn of(kinds: &[Kind], arena: &Arena) -> (Vec<Self>, Vec<Kind>) {
        let (mut rows, mut missing) = (Vec::new(), Vec::new());
        for &kind in kinds {
            let tools = kind.tools(arena);
            match (kind, tools.is_empty()) {
                (Kind::Idle | Kind::Loaded, _) => rows.push(Self { kind, name: kind.name().to_owned(), tool: None }),
                (_, true) => missing.push(kind),
                (_, false) => {
                    rows.extend(tools.into_iter().map(|tool| Self { kind, name: tool.name.clone(), tool: Some(tool) }));
                }
            }
        }
        (rows, missing)
    }

    /// What the tools call themselves, each once.
    pub(crate) fn versions(rows: &[Self]) -> Vec<String> {
        let mut versions = Vec::new();
        for version in rows.iter().filter_map(|row| row.tool.as_ref()?.version()) {
            if !versions.contains(&version) {
                versions.push(version);
            }
        }
        versions
    }
}
