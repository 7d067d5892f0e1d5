//! `/proc/PID/fd` and `/proc/PID/fdinfo`: open file descriptors, proc_pid_fdinfo(5).

use bstr::{BStr, ByteSlice};
use effigy_process::{Gap, GapReason, GapSubject, Handle, HandleKind};
use rustix::fs::FileType;

use super::{ProcDir, SocketTable};

/// Descriptors that are looked at while the target stands still, at most; each takes about 20 µs. Of more, those that
/// were there before keep what was found then, which may be a moment old.
pub const HANDLES_WHILE_STOPPED: usize = 500;
/// Descriptors that a dump lists, at most.
const MOST_HANDLES: usize = 65_536;

/// All open descriptors, and a gap when the directory cannot be read or holds more than a dump lists. Descriptors that
/// are closed while being looked at are passed over. `known` are those that were found before.
#[must_use]
pub fn handles(dir: &ProcDir, sockets: &SocketTable, known: &[Handle]) -> (Vec<Handle>, Option<Gap>) {
    let gap = |reason, detail| Some(Gap { subject: GapSubject::Fact("fd".into()), reason, detail });
    let numbers = match dir.numbers("fd") {
        Ok(numbers) => numbers,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return (Vec::new(), gap(GapReason::NotPermitted, error.to_string()));
        }
        Err(error) => return (Vec::new(), gap(GapReason::Unreadable, error.to_string())),
    };
    let listed = &numbers[..numbers.len().min(MOST_HANDLES)];
    let more = numbers.len() - listed.len();
    let mut known = known.iter().peekable();
    let found = listed.iter().filter_map(|&number| {
        while known.next_if(|handle| handle.number < u64::from(number)).is_some() {}
        match known.next_if(|handle| handle.number == u64::from(number)) {
            Some(handle) => Some(handle.clone()),
            None => handle(dir, number, sockets),
        }
    });
    let found = found.collect();
    (found, if more > 0 { gap(GapReason::SizeLimit, format!("{more} more descriptors")) } else { None })
}

fn handle(dir: &ProcDir, number: u32, sockets: &SocketTable) -> Option<Handle> {
    let link = format!("fd/{number}");
    let target = dir.read_link(&link).ok()?;
    let stat = dir.stat_link(&link).ok();
    let kind = kind_of(target.as_bstr(), stat.map(|stat| FileType::from_raw_mode(stat.st_mode)));
    let info = dir.read(&format!("fdinfo/{number}")).unwrap_or_default();
    let field =
        |name: &str| info.lines().find_map(|line| line.strip_prefix(name.as_bytes())?.to_str().ok().map(str::trim));
    let inode = stat.map(|stat| stat.st_ino);
    Some(Handle {
        number: u64::from(number),
        kind,
        offset: field("pos:").and_then(|text| text.parse().ok()),
        flags: field("flags:").and_then(|text| u32::from_str_radix(text, 8).ok()),
        inode,
        socket: inode.filter(|_| kind == HandleKind::Socket).and_then(|inode| sockets.find(inode)),
        target,
        windows: None,
    })
}

fn kind_of(target: &BStr, file_type: Option<FileType>) -> HandleKind {
    let anonymous = target.strip_prefix(b"anon_inode:").map(|name| name.trim_with(|c| c == '[' || c == ']'));
    match anonymous {
        Some(b"eventfd") => HandleKind::Eventfd,
        Some(b"eventpoll") => HandleKind::Epoll,
        Some(b"timerfd") => HandleKind::Timerfd,
        Some(b"signalfd") => HandleKind::Signalfd,
        Some(b"inotify" | b"fanotify") => HandleKind::Notify,
        Some(b"pidfd") => HandleKind::Pidfd,
        Some(b"io_uring") => HandleKind::IoUring,
        Some(_) => HandleKind::Other,
        None if target.starts_with(b"/memfd:") => HandleKind::Memfd,
        None if target.starts_with(b"socket:") => HandleKind::Socket,
        None if target.starts_with(b"pipe:") => HandleKind::Pipe,
        None => match file_type {
            Some(FileType::RegularFile) => HandleKind::File,
            Some(FileType::Directory) => HandleKind::Directory,
            Some(FileType::Fifo) => HandleKind::Pipe,
            Some(FileType::Socket) => HandleKind::Socket,
            Some(FileType::CharacterDevice | FileType::BlockDevice) => HandleKind::Device,
            _ => HandleKind::Other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_link() {
        assert_eq!(kind_of("anon_inode:[eventpoll]".into(), None), HandleKind::Epoll);
        assert_eq!(kind_of("anon_inode:inotify".into(), None), HandleKind::Notify);
        assert_eq!(kind_of("/memfd:x (deleted)".into(), Some(FileType::RegularFile)), HandleKind::Memfd);
        assert_eq!(kind_of("/etc/passwd".into(), Some(FileType::RegularFile)), HandleKind::File);
    }
}
