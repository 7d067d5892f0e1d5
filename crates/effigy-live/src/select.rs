//! Finding processes: by name, process group, control group, systemd unit, container.

use std::fs;
use std::time::Duration;

use bstr::{BString, ByteSlice};
use effigy_process::ProcessId;

use crate::procfs::{ProcDir, Stat};

/// A process that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub pid: ProcessId,
    /// Its short name.
    pub name: BString,
    /// Its command line, arguments separated by spaces; empty when it cannot be read.
    pub command_line: BString,
    /// From the system's start to its own.
    pub started: Duration,
}

/// What is looked for. All that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The name: `comm`, or the last part of the executable's or the first argument's path.
    pub name: Option<String>,
    /// A control group's path, as in `/proc/PID/cgroup`; groups below it count too.
    pub cgroup: Option<String>,
    /// A systemd unit; `.service` is understood when it has no suffix.
    pub unit: Option<String>,
    /// A process group's id.
    pub group: Option<u32>,
    /// A container's id, or the first twelve or more characters of it, as the name of its control group has it.
    pub container: Option<String>,
}

/// All processes that fit, oldest first; never effigy itself or a kernel thread.
#[must_use]
pub fn find(query: &Query) -> Vec<Candidate> {
    let own = std::process::id();
    let mut found: Vec<Candidate> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own)
        .filter_map(|pid| look(ProcessId(pid), query))
        .collect();
    found.sort_by_key(|candidate| (candidate.started, candidate.pid));
    found
}

/// The process of an id, if there is one and it fits; never a kernel thread.
#[must_use]
pub fn look(pid: ProcessId, query: &Query) -> Option<Candidate> {
    let dir = ProcDir::open(pid).ok()?;
    let stat = Stat::parse(&dir.read("stat").ok()?)?;
    if stat.is_kernel_thread() || query.group.is_some_and(|group| group != stat.group) {
        return None;
    }
    let arguments = dir.read("cmdline").unwrap_or_default();
    if let Some(name) = &query.name {
        let executable = dir.read_link("exe").unwrap_or_default();
        if !has_name(name.as_bytes(), &stat.name, &executable, &arguments) {
            return None;
        }
    }
    if query.cgroup.is_some() || query.unit.is_some() || query.container.is_some() {
        let groups = dir.read("cgroup").ok()?;
        let fits = |path: &[u8]| {
            query.cgroup.as_ref().is_none_or(|group| is_below(path, group.as_bytes()))
                && query.unit.as_ref().is_none_or(|unit| is_in_unit(path, unit))
                && query.container.as_ref().is_none_or(|container| is_in_container(path, container))
        };
        // Lines read ID:CONTROLLERS:PATH.
        if !groups.lines().filter_map(|line| line.splitn_str(3, ":").nth(2)).any(fits) {
            return None;
        }
    }
    let mut command_line = BString::from(arguments);
    while command_line.last() == Some(&0) {
        command_line.pop();
    }
    for byte in command_line.iter_mut().filter(|byte| **byte == 0) {
        *byte = b' ';
    }
    Some(Candidate { pid, name: stat.name, command_line, started: stat.started })
}

fn has_name(wanted: &[u8], name: &[u8], executable: &[u8], arguments: &[u8]) -> bool {
    let base = |path: &[u8]| path.rsplit(|byte| *byte == b'/').next().unwrap_or(path).to_vec();
    let executable = executable.strip_suffix(b" (deleted)").unwrap_or(executable);
    let first = arguments.split(|byte| *byte == 0).next().unwrap_or(b"");
    // A server may rewrite its arguments ("nginx: worker process"): the part before the colon is its name.
    let titled = first.split_once_str(":").map_or(first, |(title, _)| title);
    wanted == name || wanted == base(executable) || wanted == base(first) || wanted == base(titled)
}

fn is_below(path: &[u8], group: &[u8]) -> bool {
    let mounted = group.strip_prefix(b"/sys/fs/cgroup");
    let group = mounted.unwrap_or(group);
    let group = group.strip_suffix(b"/").unwrap_or(group);
    let group = group.strip_prefix(b"/").unwrap_or(group);
    let path = path.strip_prefix(b"/").unwrap_or(path);
    // Under cgroup v1 the mount point is followed by the controller, which is no part of the group's path.
    let without_controller = group.split_once_str("/").map(|(_, rest)| rest).filter(|_| mounted.is_some());
    [Some(group), without_controller].into_iter().flatten().any(|group| {
        !group.is_empty() && path.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    })
}

fn is_in_unit(path: &[u8], unit: &str) -> bool {
    const SUFFIXES: [&str; 4] = [".service", ".scope", ".slice", ".socket"];
    let whole =
        if SUFFIXES.iter().any(|suffix| unit.ends_with(suffix)) { unit.to_owned() } else { format!("{unit}.service") };
    path.split_str("/").any(|part| part == whole.as_bytes())
}

/// Shortest part of a container's id that is taken for one, as container tools print it.
const SHORTEST_CONTAINER_ID: usize = 12;

/// Container tools name a container's control group after its id: `/docker/ID`, `docker-ID.scope`, `libpod-ID.scope`,
/// `cri-containerd-ID.scope`, `crio-ID.scope`, `/kubepods/…/ID`.
fn is_in_container(path: &[u8], wanted: &str) -> bool {
    let wanted = wanted.as_bytes();
    wanted.len() >= SHORTEST_CONTAINER_ID
        && path.split_str("/").any(|part| {
            let part = part.strip_suffix(b".scope").unwrap_or(part);
            let id = part.rsplit_once_str("-").map_or(part, |(_, id)| id);
            id.len() == 64 && id.iter().all(u8::is_ascii_hexdigit) && id.starts_with(wanted)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(has_name(b"redis-server", b"redis-server", b"/usr/bin/redis-check-rdb", b"redis-server *:6379\0"));
        assert!(has_name(b"nginx", b"x", b"/opt/y", b"nginx: worker process\0"));
        assert!(has_name(
            b"a-very-long-process-name",
            b"a-very-long-pro",
            b"/b/a-very-long-process-name (deleted)",
            b""
        ));
        assert!(!has_name(b"redis", b"redis-server", b"/usr/bin/redis-server", b"redis-server\0"));
    }

    #[test]
    fn control_groups() {
        assert!(is_below(b"/a/b/c", b"/a/b"));
        assert!(is_below(b"/a/b", b"/sys/fs/cgroup/a/b/"));
        assert!(is_below(b"/a/b", b"/sys/fs/cgroup/memory/a/b"));
        assert!(!is_below(b"/a/bc", b"/a/b"));
        assert!(!is_below(b"/a", b"/"));
        assert!(is_in_unit(b"/system.slice/redis.service", "redis"));
        assert!(is_in_unit(b"/user.slice/x.scope", "x.scope"));
        assert!(!is_in_unit(b"/system.slice/redis-2.service", "redis"));
    }

    #[test]
    fn containers() {
        let id = "0123456789abcdef".repeat(4);
        for path in [format!("/docker/{id}"), format!("/system.slice/docker-{id}.scope"), format!("/x/{id}/init")] {
            assert!(is_in_container(path.as_bytes(), &id), "{path}");
            assert!(is_in_container(path.as_bytes(), &id[..12]), "{path}");
        }
        assert!(!is_in_container(format!("/docker/{id}").as_bytes(), &id[..6]));
        assert!(!is_in_container(b"/system.slice/redis.service", "redis.servic"));
    }
}
