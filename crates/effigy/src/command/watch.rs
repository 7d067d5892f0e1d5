//! `effigy watch`: waits for the moment that matters, and dumps then.
//!
//! ```text
//! $ effigy watch redis-server --above cpu=80 --for 10s
//! effigy: watching redis-server (pid 4711): cpu >= 80.0 % for 10 s
//! effigy: redis-server (pid 4711): cpu 97.4 % >= 80.0 %, 10 times in a row
//! wrote redis-server_261121_031502.dmp: 11.4 MiB
//! ```

use std::sync::Arc;

use effigy_live::select::Query;
use effigy_process::ProcessId;
use effigy_watch::control;
use effigy_watch::session::{Awaited, Plan};

use crate::cli::WatchArgs;
use crate::events;
use crate::exit::Exit;
use crate::print;
use crate::procdump::Naming;
use crate::target;
use crate::watch::{Errand, JsonTeller, Meant, PlainTeller, Teller, Watching, watch};

/// Runs the command.
pub(crate) fn run(args: &WatchArgs) -> Exit {
    run_as(args, None, |plan| if args.json { Arc::new(JsonTeller) } else { Arc::new(PlainTeller::new(plan)) })
}

/// The same with other names of files and another way to tell.
pub(crate) fn run_as(
    args: &WatchArgs,
    naming: Option<Arc<Naming>>,
    teller: impl FnOnce(&Plan) -> Arc<dyn Teller>,
) -> Exit {
    if args.cancel {
        return cancel(args);
    }
    super::tell(prepare(args, naming).map(|watching| {
        let teller = teller(&watching.plan);
        watch(watching, &teller)
    }))
}

/// Arguments as meant.
fn prepare(args: &WatchArgs, naming: Option<Arc<Naming>>) -> Result<Watching, (Exit, String)> {
    let usage = |text: String| (Exit::Usage, text);
    let (targets, awaited) = targets(args)?;
    let meant =
        Meant { when: &args.when, events: &args.events, then: &args.then, children: args.children, stderr: false };
    let plan = meant.plan().map_err(usage)?;
    if let Some(events) = &plan.events {
        events::check(&events.wants)?;
    }
    if args.options.output.as_deref() == Some(std::path::Path::new("-")) {
        return Err(usage("a watch writes files: standard output takes one dump only".into()));
    }
    let request = super::dump::request(&args.options, 1, "Dump of a watch").map_err(usage)?;
    let errand = Errand::new(request, naming, &args.options, &args.then);
    Ok(Watching { plan, targets, awaited, errand })
}

/// Processes that are there, and those that may come.
fn targets(args: &WatchArgs) -> Result<(Vec<ProcessId>, Vec<Awaited>), (Exit, String)> {
    let mut named: Vec<Option<&str>> = args.targets.iter().map(|target| Some(target.as_str())).collect();
    if named.is_empty() {
        named.push(None);
    }
    if !args.wait {
        let mut found = Vec::new();
        for name in named {
            found.extend(target::resolve(name, &args.select)?);
        }
        found.dedup();
        return Ok((found, Vec::new()));
    }
    let mut awaited = Vec::new();
    for name in named {
        if let Some(pid) = name.and_then(target::id) {
            return Err((Exit::Usage, format!("--wait waits for names; nobody can know that {pid} will be the id")));
        }
        let query = target::query(name, &args.select);
        if query == Query::default() {
            return Err((Exit::Usage, "wait for which process? Give its name, --cgroup or --unit".into()));
        }
        awaited.push(Awaited { query, all: args.select.all });
    }
    Ok((Vec::new(), awaited))
}

fn cancel(args: &WatchArgs) -> Exit {
    if args.targets.is_empty() {
        print::error("end the watch of which target? Give its id or its name");
        return Exit::Usage;
    }
    let mut exit = Exit::Done;
    for target in &args.targets {
        let name = print::safe(target.as_bytes());
        match control::cancel(target) {
            Ok(0) => {
                print::error(&format!("nobody watches {name}"));
                exit = exit.and(Exit::NoTarget);
            }
            Ok(count) => {
                print::line(&format!("ended {count} {} of {name}", if count == 1 { "watch" } else { "watches" }))
            }
            Err(error) => {
                print::error(&format!("looking for watches: {error}"));
                exit = exit.and(Exit::Output);
            }
        }
    }
    exit
}
