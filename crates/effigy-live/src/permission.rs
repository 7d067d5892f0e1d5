//! Which of the system's guards refused, and what helps.

use std::fmt;
use std::fs;

use effigy_process::{Credentials, ProcessId};

use crate::procfs::{ProcDir, Status};

/// Bit of `CAP_SYS_PTRACE` in a capability mask.
const CAP_SYS_PTRACE: u32 = 19;

/// The guard that refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guard {
    /// The target runs as another user, or partly so.
    User {
        /// Ours, the real one.
        ours: u32,
        /// The target's: real, effective, saved.
        theirs: [u32; 3],
    },
    /// The target runs as our user, but with another group, or partly so.
    Group {
        /// Ours, the real one.
        ours: u32,
        /// The target's: real, effective, saved.
        theirs: [u32; 3],
    },
    /// The target's user is ours, but the kernel counts it as not dumpable: it is (or was) set-uid, gained
    /// capabilities, or asked for it with prctl(PR_SET_DUMPABLE).
    NotDumpable,
    /// The Yama security module, with its `ptrace_scope`.
    Yama(u32),
    /// The target has capabilities that we do not have.
    Capabilities,
    /// A seccomp filter on effigy itself forbids ptrace(2), as containers' default profiles do.
    Seccomp,
    /// The target lives in another user namespace, over which we have no rights.
    UserNamespace,
    /// None of the above; as a rule a security module such as SELinux or AppArmor.
    Unknown,
}

/// A refusal: what was tried on whom, which guard refused, what helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The target.
    pub pid: ProcessId,
    /// What was tried.
    pub attempt: &'static str,
    /// Who refused.
    pub guard: Guard,
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not permitted to {} process {}: ", self.attempt, self.pid)?;
        match &self.guard {
            Guard::User { ours, theirs: [real, effective, saved] } if real == effective && real == saved => write!(
                f,
                "it runs as user {real} and effigy as user {ours}. Run effigy as root, as user {real}, or with \
                 CAP_SYS_PTRACE"
            ),
            Guard::User { ours, theirs: [real, effective, saved] } => write!(
                f,
                "its user ids are {real} (real), {effective} (effective) and {saved} (saved), and not all of them \
                 effigy's, {ours}. Run effigy as root or with CAP_SYS_PTRACE"
            ),
            Guard::Group { ours, theirs: [real, effective, saved] } if real == effective && real == saved => write!(
                f,
                "it runs as the same user as effigy, but with group {real}, and effigy with group {ours}. Run effigy as \
                 root, with group {real} (setpriv --regid, newgrp), or with CAP_SYS_PTRACE"
            ),
            Guard::Group { ours, theirs: [real, effective, saved] } => write!(
                f,
                "it runs as the same user as effigy, but its group ids are {real} (real), {effective} (effective) and \
                 {saved} (saved), and not all of them effigy's, {ours}. Run effigy as root or with CAP_SYS_PTRACE"
            ),
            Guard::NotDumpable => f.write_str(
                "it is marked as not dumpable (a set-uid program, one with capabilities of its own, or one that asked \
                 for it). Run effigy as root or with CAP_SYS_PTRACE",
            ),
            Guard::Yama(1) => f.write_str(
                "the Yama security module lets only ancestors trace a process (kernel.yama.ptrace_scope is 1). Run \
                 effigy as root or with CAP_SYS_PTRACE, or set kernel.yama.ptrace_scope to 0",
            ),
            Guard::Yama(2) => f.write_str(
                "the Yama security module lets only administrators trace (kernel.yama.ptrace_scope is 2). Run effigy \
                 as root or with CAP_SYS_PTRACE",
            ),
            Guard::Yama(scope) => write!(
                f,
                "the Yama security module forbids tracing for everyone until the next boot \
                 (kernel.yama.ptrace_scope is {scope})"
            ),
            Guard::Capabilities => {
                f.write_str("it has capabilities that effigy does not have. Run effigy as root or with CAP_SYS_PTRACE")
            }
            Guard::Seccomp => f.write_str(
                "a seccomp filter on effigy itself forbids ptrace. In a container, start it with the capability \
                 SYS_PTRACE and a seccomp profile that allows ptrace, or run effigy on the host",
            ),
            Guard::UserNamespace => f.write_str(
                "it lives in another user namespace, in which effigy has no rights. Run effigy as root of the host, or \
                 inside that namespace",
            ),
            Guard::Unknown => f.write_str(
                "users and capabilities would allow it, so a security module (SELinux, AppArmor, a sandbox) has refused; \
                 its log names the rule",
            ),
        }
    }
}

/// What the guards look at.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// Ours.
    pub ours: Credentials,
    /// The target's.
    pub theirs: Credentials,
    /// Owner of the target's directory in `/proc`: another than its effective user when it is not dumpable.
    pub proc_owner: u32,
    /// Yama's `ptrace_scope`; `None` without Yama.
    pub yama: Option<u32>,
    /// Whether both are in one user namespace; `None` when the target's cannot be told.
    pub same_user_namespace: Option<bool>,
    /// Whether effigy is in the system's first user namespace, where its rights reach into all others.
    pub in_first_user_namespace: bool,
}

impl Circumstances {
    /// The present ones.
    #[must_use]
    pub fn gather(target: &ProcDir) -> Self {
        let status = |bytes: std::io::Result<Vec<u8>>| Status::parse(&bytes.unwrap_or_default()).credentials();
        let namespace = target.read_link("ns/user").ok().zip(fs::read_link("/proc/self/ns/user").ok());
        Self {
            ours: status(fs::read("/proc/self/status")),
            theirs: status(target.read("status")),
            proc_owner: target.owner().unwrap_or(0),
            yama: fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
                .ok()
                .and_then(|text| text.trim().parse().ok()),
            same_user_namespace: namespace.map(|(theirs, ours)| {
                use std::os::unix::ffi::OsStrExt;
                theirs.as_slice() == ours.as_os_str().as_bytes()
            }),
            in_first_user_namespace: fs::read_to_string("/proc/self/uid_map")
                .is_ok_and(|map| map.split_ascii_whitespace().eq(["0", "0", "4294967295"])),
        }
    }

    /// Which guard it was, in the order in which the kernel asks them (ptrace(2), "Ptrace access mode checking"; the
    /// seccomp filter comes before all others, being asked at the system call).
    #[must_use]
    pub fn guard(&self) -> Guard {
        let we_may_all = may_trace_all(&self.ours);
        let (uid, gid) = (self.ours.uid[0], self.ours.gid[0]);
        let ([uids @ .., _], [gids @ .., _]) = (self.theirs.uid, self.theirs.gid);
        let (same_user, same_group) = (uids == [uid; 3], gids == [gid; 3]);
        if self.ours.seccomp == 2 && (we_may_all || same_user && same_group) {
            return Guard::Seccomp;
        }
        if we_may_all {
            return match (self.same_user_namespace, self.yama) {
                (Some(false) | None, _) if !self.in_first_user_namespace => Guard::UserNamespace,
                (_, Some(scope @ 3..)) => Guard::Yama(scope),
                _ => Guard::Unknown,
            };
        }
        if !same_user {
            return Guard::User { ours: uid, theirs: uids };
        }
        if !same_group {
            return Guard::Group { ours: gid, theirs: gids };
        }
        if self.proc_owner != self.theirs.uid[1] {
            return Guard::NotDumpable;
        }
        let mask = |credentials: &Credentials| credentials.capabilities.get("CapPrm").copied().unwrap_or(0);
        if mask(&self.theirs) & !mask(&self.ours) != 0 {
            return Guard::Capabilities;
        }
        match (self.same_user_namespace, self.yama) {
            (Some(false), _) => Guard::UserNamespace,
            (_, Some(scope @ 1..)) => Guard::Yama(scope),
            _ => Guard::Unknown,
        }
    }
}

/// Whether somebody may trace whomever he likes, as far as users and capabilities go.
pub(crate) fn may_trace_all(credentials: &Credentials) -> bool {
    credentials.capabilities.get("CapEff").copied().unwrap_or(0) & 1 << CAP_SYS_PTRACE != 0
}

/// Explains why `attempt` on the target was refused.
#[must_use]
pub fn explain(target: &ProcDir, attempt: &'static str) -> Box<Refusal> {
    Box::new(Refusal { pid: target.id(), attempt, guard: Circumstances::gather(target).guard() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: u32) -> Credentials {
        Credentials { uid: [id; 4], gid: [id; 4], ..Credentials::default() }
    }

    fn with_capability(mut credentials: Credentials, name: &str, mask: u64) -> Credentials {
        credentials.capabilities.insert(name.into(), mask);
        credentials
    }

    fn plain() -> Circumstances {
        Circumstances {
            ours: user(1000),
            theirs: user(1000),
            proc_owner: 1000,
            yama: None,
            same_user_namespace: Some(true),
            in_first_user_namespace: true,
        }
    }

    #[test]
    fn each_guard_is_named() {
        let cases = [
            (Circumstances { theirs: user(33), ..plain() }, Guard::User { ours: 1000, theirs: [33; 3] }),
            (
                Circumstances { theirs: Credentials { uid: [1000, 0, 0, 0], ..user(1000) }, ..plain() },
                Guard::User { ours: 1000, theirs: [1000, 0, 0] },
            ),
            (
                Circumstances { theirs: Credentials { gid: [33; 4], ..user(1000) }, ..plain() },
                Guard::Group { ours: 1000, theirs: [33; 3] },
            ),
            (Circumstances { proc_owner: 0, ..plain() }, Guard::NotDumpable),
            (Circumstances { yama: Some(1), ..plain() }, Guard::Yama(1)),
            (Circumstances { yama: Some(0), ..plain() }, Guard::Unknown),
            (Circumstances { theirs: with_capability(user(1000), "CapPrm", 1 << 10), ..plain() }, Guard::Capabilities),
            (Circumstances { ours: Credentials { seccomp: 2, ..user(1000) }, ..plain() }, Guard::Seccomp),
            (Circumstances { same_user_namespace: Some(false), ..plain() }, Guard::UserNamespace),
            (
                Circumstances { ours: with_capability(user(0), "CapEff", u64::MAX), yama: Some(3), ..plain() },
                Guard::Yama(3),
            ),
        ];
        for (circumstances, guard) in cases {
            assert_eq!(circumstances.guard(), guard, "{circumstances:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_remedy() {
        let other = [Guard::User { ours: 1, theirs: [2; 3] }, Guard::User { ours: 1, theirs: [1, 2, 2] }];
        let group = [Guard::Group { ours: 1, theirs: [2; 3] }, Guard::Group { ours: 1, theirs: [1, 2, 2] }];
        for guard in [Guard::NotDumpable, Guard::Yama(1), Guard::Capabilities].into_iter().chain(other).chain(group) {
            let text = Refusal { pid: ProcessId(7), attempt: "stop", guard }.to_string();
            assert!(text.contains("process 7") && text.contains("CAP_SYS_PTRACE"), "{text}");
        }
    }

    #[test]
    fn what_differs_is_named() {
        let text = |guard| Refusal { pid: ProcessId(7), attempt: "stop", guard }.to_string();
        let group = text(Guard::Group { ours: 1000, theirs: [33; 3] });
        assert!(group.contains("same user") && group.contains("group 33") && group.contains("group 1000"), "{group}");
        let partly = text(Guard::User { ours: 1000, theirs: [1000, 0, 0] });
        assert!(partly.contains("0 (effective)") && !partly.contains("as user"), "{partly}");
    }
}
