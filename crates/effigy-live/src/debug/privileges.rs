//! Privileges that a program would have got by its file, had nobody traced it.
//!
//! execve(2) ignores the set-user-ID and set-group-ID bits and the capabilities of a file when the process is traced by
//! somebody without CAP_SYS_PTRACE (`cap_bprm_creds_from_file` in security/commoncap.c), and says nothing. The program then
//! runs as who has started it, which few programs of this kind expect. It cannot be told beforehand; whoever traces can at
//! least say so.

use rustix::fs::{StatVfsMountFlags, fgetxattr, fstatvfs};

use crate::permission::may_trace_all;
use crate::procfs::{ProcDir, Status};

/// What a program would have run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// The rights of this user.
    User(u32),
    /// The rights of this group.
    Group(u32),
    /// Capabilities.
    Capabilities,
}

/// What a file gives to a process that becomes the program in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gift {
    user: Option<u32>,
    group: Option<u32>,
    capabilities: bool,
}

/// What a process that has just become another program has not got, because we trace it.
pub(super) fn withheld(dir: &ProcDir) -> Option<Privilege> {
    let ours = Status::parse(&std::fs::read("/proc/self/status").unwrap_or_default()).credentials();
    if may_trace_all(&ours) {
        return None;
    }
    let theirs = Status::parse(&dir.read("status").ok()?).credentials();
    if theirs.no_new_privileges {
        return None;
    }
    let gift = gift(dir)?;
    let held = theirs.capabilities.get("CapPrm").copied().unwrap_or(0);
    missing(gift, theirs.uid[1], theirs.gid[1], held)
}

fn missing(gift: Gift, user: u32, group: u32, capabilities: u64) -> Option<Privilege> {
    gift.user
        .filter(|id| *id != user)
        .map(Privilege::User)
        .or_else(|| gift.group.filter(|id| *id != group).map(Privilege::Group))
        .or_else(|| (gift.capabilities && capabilities == 0).then_some(Privilege::Capabilities))
}

/// What the file of a process gives. `None` when that cannot be seen, or when it lies where files give nothing.
fn gift(dir: &ProcDir) -> Option<Gift> {
    /// Without it, the set-group-ID bit means something else (stat(2)).
    const RUN_BY_GROUP: u32 = 0o010;
    let about = dir.stat_link("exe").ok()?;
    // A file that may be run and not read cannot be asked where it lies; most lie where they count.
    let file = dir.open_link("exe").ok();
    let ignored = file.as_ref().and_then(|file| fstatvfs(file).ok());
    if ignored.is_some_and(|place| place.f_flag.contains(StatVfsMountFlags::NOSUID)) {
        return None;
    }
    let bit = |bit: u32| about.st_mode & bit != 0;
    let mut value = [0u8; 64];
    let has_capabilities =
        file.is_some_and(|file| fgetxattr(&file, "security.capability", &mut value).is_ok_and(|length| length > 0));
    Some(Gift {
        user: bit(libc::S_ISUID).then_some(about.st_uid),
        group: (bit(libc::S_ISGID) && bit(RUN_BY_GROUP)).then_some(about.st_gid),
        capabilities: has_capabilities,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_not_missing() {
        let root = Gift { user: Some(0), ..Gift::default() };
        assert_eq!(missing(root, 1000, 1000, 0), Some(Privilege::User(0)));
        assert_eq!(missing(root, 0, 1000, u64::MAX), None);
        let group = Gift { group: Some(5), ..Gift::default() };
        assert_eq!(missing(group, 1000, 1000, 0), Some(Privilege::Group(5)));
        assert_eq!(missing(group, 1000, 5, 0), None);
        let capabilities = Gift { capabilities: true, ..Gift::default() };
        assert_eq!(missing(capabilities, 1000, 1000, 0), Some(Privilege::Capabilities));
        assert_eq!(missing(capabilities, 1000, 1000, 1 << 13), None);
        assert_eq!(missing(Gift::default(), 1000, 1000, 0), None);
    }
}
