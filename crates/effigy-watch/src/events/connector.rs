//! The process connector: netlink messages of include/uapi/linux/cn_proc.h and connector.h, taken apart by offset.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use effigy_process::ProcessId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{CONNECTOR, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with, sockopt,
};

use super::Started;

/// `CN_IDX_PROC` and `CN_VAL_PROC`: the multicast group, and who a message is for.
const PROC: u32 = 1;
/// `PROC_CN_MCAST_LISTEN`.
const LISTEN: u32 = 1;
/// `NLMSG_DONE`: the only type of the connector's messages.
const DONE: u16 = 3;
/// `struct nlmsghdr`.
const NETLINK_HEADER: usize = 16;
/// `struct cn_msg` without its data.
const CONNECTOR_HEADER: usize = 20;
/// Where a message has its acknowledgement.
const ACKNOWLEDGEMENT: usize = NETLINK_HEADER + 12;
/// Where `struct proc_event` begins in a message.
const EVENT: usize = NETLINK_HEADER + CONNECTOR_HEADER;
/// Where the part of it begins that differs from event to event.
const DATA: usize = EVENT + 16;
/// `PROC_EVENT_FORK`.
const FORK: u32 = 1;
/// `PROC_EVENT_EXEC`.
const EXEC: u32 = 2;
/// `PROC_EVENT_COMM`.
const COMM: u32 = 0x200;
/// Room for messages that have not been read yet, in bytes: some 20,000 of them.
const BACKLOG: usize = 4 << 20;
/// How long the kernel's answer is waited for.
const PATIENCE: Duration = Duration::from_millis(300);
/// Messages that are read at a time.
const MOST: usize = 10_000;

/// A socket on which the kernel tells.
#[derive(Debug)]
pub(super) struct Connector {
    socket: OwnedFd,
}

impl Connector {
    /// Begins to listen, and waits for the kernel's word that it will tell.
    pub(super) fn listen() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(CONNECTOR))?;
        // Failing leaves a smaller backlog; what does not fit is told as missed.
        let _ = sockopt::set_socket_recv_buffer_size_force(&socket, BACKLOG)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, BACKLOG));
        bind(&socket, &SocketAddrNetlink::new(0, PROC))?;
        let mark = std::process::id();
        send(&socket, &request(LISTEN, mark), SendFlags::empty())?;
        let connector = Self { socket };
        connector.await_answer(mark)?;
        Ok(connector)
    }

    /// Outside of the first namespaces the request is passed over without a word. What others have the kernel tell comes
    /// all the same, with process ids that mean nothing there: only the answer to our own request counts.
    fn await_answer(&self, mark: u32) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            if left.is_zero() || poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout))? == 0 {
                return Err(io::Error::other("the kernel does not answer outside of its first namespaces"));
            }
            let message = match recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((count, _)) => &buffer[..count],
                Err(Errno::INTR | Errno::AGAIN | Errno::NOBUFS) => continue,
                Err(error) => return Err(error.into()),
            };
            let ours = word(message, ACKNOWLEDGEMENT) == Some(mark.wrapping_add(1));
            match (event(message), word(message, DATA)) {
                (Some(0), Some(0)) if ours => return Ok(()),
                (Some(0), Some(error)) if ours => {
                    return Err(io::Error::from_raw_os_error(i32::try_from(error).unwrap_or(0)));
                }
                _ => {}
            }
        }
    }

    pub(super) fn readiness(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn collect(&mut self, into: &mut Vec<Started>) {
        let mut buffer = [0; 4096];
        for _ in 0..MOST {
            match recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((count, _)) => messages(&buffer[..count], into),
                Err(Errno::INTR) => {}
                // The backlog was full.
                Err(Errno::NOBUFS) => into.push(Started::Missed),
                Err(_) => return,
            }
        }
    }
}

/// The message that asks the kernel to tell.
fn request(operation: u32, mark: u32) -> Vec<u8> {
    let length = u32::try_from(EVENT + 4).unwrap_or(u32::MAX);
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(DONE.to_ne_bytes());
    // Flags, sequence number, sender: nobody asks for them.
    message.extend([0; 2 + 4 + 4]);
    message.extend(PROC.to_ne_bytes());
    message.extend(PROC.to_ne_bytes());
    // Sequence number, which the kernel counts by itself; acknowledgement, which comes back raised by one.
    message.extend([0; 4]);
    message.extend(mark.to_ne_bytes());
    message.extend(4_u16.to_ne_bytes());
    message.extend([0; 2]);
    message.extend(operation.to_ne_bytes());
    message
}

fn word(message: &[u8], at: usize) -> Option<u32> {
    message.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_ne_bytes)
}

/// What kind of event a message tells of; `None` when it is none of the process connector's.
fn event(message: &[u8]) -> Option<u32> {
    let ours = word(message, NETLINK_HEADER)? == PROC && word(message, NETLINK_HEADER + 4)? == PROC;
    if ours { word(message, EVENT) } else { None }
}

/// The messages of a datagram, one behind the other.
fn messages(mut bytes: &[u8], into: &mut Vec<Started>) {
    while let Some(length) = word(bytes, 0).and_then(|length| usize::try_from(length).ok()) {
        if length < NETLINK_HEADER {
            return;
        }
        let (message, rest) = bytes.split_at(length.min(bytes.len()));
        into.extend(started(message));
        // Each begins at a multiple of four.
        let padding = (length.next_multiple_of(4) - length).min(rest.len());
        bytes = &rest[padding..];
    }
}

fn started(message: &[u8]) -> Option<Started> {
    let id = |index: usize| word(message, DATA + index * 4).map(ProcessId);
    match event(message)? {
        // Thread and process of the parent, thread and process of the child: a new thread's process is not its own.
        FORK if id(2)? == id(3)? => Some(Started::Forked { pid: id(3)?, parent: id(1)? }),
        // A thread's name is not the process's.
        COMM if id(0)? != id(1)? => None,
        EXEC | COMM => Some(Started::Named(id(1)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(what: u32, ids: [u32; 4]) -> Vec<u8> {
        let mut message = request(what, 0);
        message.extend([0; 12]);
        ids.iter().for_each(|id| message.extend(id.to_ne_bytes()));
        let length = u32::try_from(message.len()).unwrap();
        message[..4].copy_from_slice(&length.to_ne_bytes());
        message
    }

    fn heard(bytes: &[u8]) -> Vec<Started> {
        let mut into = Vec::new();
        messages(bytes, &mut into);
        into
    }

    #[test]
    fn forks_and_execs() {
        let forked = Started::Forked { pid: ProcessId(9), parent: ProcessId(1) };
        assert_eq!(heard(&message(FORK, [2, 1, 9, 9])), [forked]);
        assert_eq!(heard(&message(FORK, [2, 1, 8, 1])), [], "a thread");
        assert_eq!(heard(&message(EXEC, [9, 9, 0, 0])), [Started::Named(ProcessId(9))]);
        assert_eq!(heard(&message(COMM, [8, 1, 0, 0])), []);
        let two = [message(EXEC, [9, 9, 0, 0]), message(FORK, [2, 1, 9, 9])].concat();
        assert_eq!(heard(&two), [Started::Named(ProcessId(9)), forked]);
    }

    #[test]
    fn damaged_messages() {
        let whole = message(FORK, [2, 1, 9, 9]);
        for length in 0..whole.len() {
            assert_eq!(heard(&whole[..length]), [], "{length}");
        }
        assert_eq!(heard(&[0; 64]), []);
        assert_eq!(heard(&[0xff; 64]), []);
    }
}
