//! `/proc/PID/net/{tcp,tcp6,udp,udp6,unix}`: the two ends of sockets, proc_pid_net(5).

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, Ipv6Addr};

use bstr::ByteSlice;
use effigy_process::Socket;

use super::ProcDir;

/// Sockets of a network namespace by inode.
#[derive(Debug, Default)]
pub struct SocketTable {
    by_inode: HashMap<u64, Socket>,
}

impl SocketTable {
    /// Reads the tables of the target's network namespace and keeps the sockets that the target holds now. A busy
    /// server's tables are long, so this is done before the target is stopped.
    #[must_use]
    pub fn read(dir: &ProcDir) -> Self {
        let wanted: std::collections::HashSet<u64> = dir
            .numbers("fd")
            .unwrap_or_default()
            .into_iter()
            .filter_map(|number| {
                let target = dir.read_link(&format!("fd/{number}")).ok()?;
                target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?.to_str().ok()?.parse().ok()
            })
            .collect();
        let mut table = Self::default();
        if wanted.is_empty() {
            return table;
        }
        for (protocol, parse) in TABLES {
            let Ok(file) = dir.open_file(&format!("net/{protocol}")) else { continue };
            for line in BufReader::new(file).split(b'\n').skip(1).map_while(Result::ok) {
                if let Some((inode, socket)) = parse(&line, protocol)
                    && wanted.contains(&inode)
                {
                    table.by_inode.insert(inode, socket);
                }
            }
        }
        table
    }

    /// The socket with an inode.
    #[must_use]
    pub fn find(&self, inode: u64) -> Option<Socket> {
        self.by_inode.get(&inode).cloned()
    }
}

type ParseLine = fn(&[u8], &'static str) -> Option<(u64, Socket)>;

const TABLES: [(&str, ParseLine); 5] =
    [("tcp", internet), ("tcp6", internet), ("udp", internet), ("udp6", internet), ("unix", unix)];

/// A line of `tcp`, `udp` and their siblings: slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode.
fn internet(line: &[u8], protocol: &'static str) -> Option<(u64, Socket)> {
    let fields: Vec<&str> = line.to_str().ok()?.split_ascii_whitespace().collect();
    let state = u8::from_str_radix(fields.get(3)?, 16).ok()?;
    let socket = Socket {
        protocol: protocol.into(),
        local: endpoint(fields.get(1)?)?,
        remote: endpoint(fields.get(2)?)?,
        state: tcp_state(state).into(),
    };
    Some((fields.get(9)?.parse().ok()?, socket))
}

/// A line of `unix`: slot, reference count, protocol, flags, type, state, inode, path.
fn unix(line: &[u8], protocol: &'static str) -> Option<(u64, Socket)> {
    let text = line.to_str_lossy();
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let listening = u32::from_str_radix(fields.get(3)?, 16).ok()? & 0x1_0000 != 0;
    let state = match (listening, *fields.get(5)?) {
        (true, _) => "LISTEN",
        (_, "03") => "CONNECTED",
        _ => "UNCONNECTED",
    };
    let local = fields.get(7).copied().unwrap_or("").to_owned();
    Some((
        fields.get(6)?.parse().ok()?,
        Socket { protocol: protocol.into(), local, remote: String::new(), state: state.into() },
    ))
}

/// `ADDRESS:PORT` in hexadecimal; the address as 32-bit words in the machine's byte order.
fn endpoint(text: &str) -> Option<String> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for word in address.as_bytes().chunks(8) {
        bytes.extend_from_slice(&u32::from_str_radix(word.to_str().ok()?, 16).ok()?.to_ne_bytes());
    }
    match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => Some(format!("{}:{port}", Ipv4Addr::from(four))),
        Err(_) => Some(format!("[{}]:{port}", Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?))),
    }
}

/// Names of include/net/tcp_states.h.
fn tcp_state(state: u8) -> &'static str {
    match state {
        1 => "ESTABLISHED",
        2 => "SYN_SENT",
        3 => "SYN_RECV",
        4 => "FIN_WAIT1",
        5 => "FIN_WAIT2",
        6 => "TIME_WAIT",
        7 => "CLOSE",
        8 => "CLOSE_WAIT",
        9 => "LAST_ACK",
        10 => "LISTEN",
        11 => "CLOSING",
        12 => "NEW_SYN_RECV",
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn internet_lines() {
        let line = b"   0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4321 1 0 100 0 0 10 0";
        let (inode, socket) = internet(line, "tcp").unwrap();
        assert_eq!(inode, 4321);
        assert_eq!((socket.local.as_str(), &*socket.state), ("127.0.0.1:6379", "LISTEN"));
        assert_eq!(endpoint("00000000000000000000000001000000:0050").unwrap(), "[::1]:80");
    }

    #[test]
    fn unix_lines() {
        let line = b"ffff9a: 00000002 00000000 00010000 0001 01 55 /run/x.sock";
        let (inode, socket) = unix(line, "unix").unwrap();
        assert_eq!((inode, socket.local.as_str(), &*socket.state), (55, "/run/x.sock", "LISTEN"));
    }
}
