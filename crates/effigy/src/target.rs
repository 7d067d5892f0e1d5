//! Which process is meant.

use std::fmt::Write as _;

use bstr::ByteSlice;
use effigy_live::procfs::{ProcDir, Status};
use effigy_live::select::{Candidate, Query, find};
use effigy_process::ProcessId;

use crate::cli::SelectArgs;
use crate::exit::Exit;
use crate::print;

/// Lines of candidates that are shown, at most.
const MOST_SHOWN: usize = 20;

/// What is looked for, by a name (not an id) and what else was said.
pub(crate) fn query(name: Option<&str>, select: &SelectArgs) -> Query {
    Query {
        name: name.map(str::to_owned),
        cgroup: select.cgroup.clone(),
        unit: select.unit.clone(),
        group: select.group,
        container: select.container.clone(),
    }
}

/// The id that a target is named by; `None` for a name.
pub(crate) fn id(target: &str) -> Option<u32> {
    target.parse().ok()
}

/// Finds the processes to dump, or says why there are none.
pub(crate) fn resolve(target: Option<&str>, select: &SelectArgs) -> Result<Vec<ProcessId>, (Exit, String)> {
    if let Some(pid) = target.and_then(id) {
        if select.all || select.newest || select.oldest || query(None, select) != Query::default() {
            return Err((
                Exit::Usage,
                format!(
                    "{pid} is a process id: --all, --newest, --oldest, --cgroup, --unit, --group and --container go \
                     with names"
                ),
            ));
        }
        return Ok(vec![leader_of(ProcessId(pid))]);
    }
    let query = query(target, select);
    if query == Query::default() {
        return Err((Exit::Usage, "which process? Give its id, its name, --cgroup or --unit".into()));
    }
    choose(select, find(&query), &wanted(&query))
}

/// A thread's id is taken for the process that it belongs to.
fn leader_of(id: ProcessId) -> ProcessId {
    let group = ProcDir::open(id).ok().and_then(|dir| Status::parse(&dir.read("status").ok()?).number("Tgid"));
    group.and_then(|group| u32::try_from(group).ok()).map_or(id, ProcessId)
}

/// What is looked for, in words.
pub(crate) fn wanted(query: &Query) -> String {
    let mut text = String::from("process");
    if let Some(name) = &query.name {
        let _ = write!(text, " named {}", print::safe(name.as_bytes()));
    }
    if let Some(group) = &query.cgroup {
        let _ = write!(text, " in the control group {}", print::safe(group.as_bytes()));
    }
    if let Some(unit) = &query.unit {
        let _ = write!(text, " of the unit {}", print::safe(unit.as_bytes()));
    }
    if let Some(group) = query.group {
        let _ = write!(text, " of the process group {group}");
    }
    if let Some(container) = &query.container {
        let _ = write!(text, " of the container {container}");
    }
    text
}

fn choose(args: &SelectArgs, found: Vec<Candidate>, wanted: &str) -> Result<Vec<ProcessId>, (Exit, String)> {
    match found.as_slice() {
        [] => Err((Exit::NoTarget, format!("there is no {wanted}"))),
        [only] => Ok(vec![only.pid]),
        all if args.all => Ok(all.iter().map(|each| each.pid).collect()),
        [.., newest] if args.newest => Ok(vec![newest.pid]),
        [oldest, ..] if args.oldest => Ok(vec![oldest.pid]),
        all => Err((Exit::Usage, several(all, wanted, "Give one's id, or --newest, --oldest or --all"))),
    }
}

/// Says that more than one process fits, and which.
fn several(all: &[Candidate], wanted: &str, advice: &str) -> String {
    let mut text = format!("{} fit: {wanted}. {advice}:\n", all.len());
    for each in all.iter().take(MOST_SHOWN) {
        let line: String = each.command_line.to_str_lossy().chars().take(80).collect();
        let _ = writeln!(text, "  {:>8}  {}  {}", each.pid, print::safe(&each.name), print::safe(line.as_bytes()));
    }
    if all.len() > MOST_SHOWN {
        let _ = writeln!(text, "  and {} more", all.len() - MOST_SHOWN);
    }
    text.trim_end().to_owned()
}

/// The one process with an id or a name, for commands that look at one.
pub(crate) fn one(target: &str) -> Result<ProcessId, (Exit, String)> {
    if let Ok(pid) = target.parse() {
        return Ok(leader_of(ProcessId(pid)));
    }
    let query = Query { name: Some(target.to_owned()), ..Query::default() };
    match find(&query).as_slice() {
        [] => {
            let name = print::safe(target.as_bytes());
            Err((Exit::NoTarget, format!("there is neither a file nor a process named {name}")))
        }
        [only] => Ok(only.pid),
        all => Err((Exit::Usage, several(all, &wanted(&query), "Give one's id"))),
    }
}
