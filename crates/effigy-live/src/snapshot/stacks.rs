//! Copies of stacks, made while a process stands still, so that it need not while they are unwound.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use effigy_process::{Address, AddressRange, ProcessId, RegionFlags, stack};

use super::Prelude;
use crate::procfs::ProcDir;
use crate::stop::Stopped;

/// Most bytes that are copied of one stack, from its stack pointer on. Few programs nest deeper than that; what lies
/// beyond is read after the process goes on, and is what changes last.
const LONGEST: u64 = 256 << 10;
/// Most bytes that are copied in all: some 10 ms.
const MOST: u64 = 32 << 20;

/// The used parts of threads' stacks, as they were at one instant.
#[derive(Debug, Default)]
pub struct StackCopies {
    /// By rising address; none overlaps another.
    copies: Vec<(AddressRange, Vec<u8>)>,
}

impl StackCopies {
    /// Copies them, from a process that stands still. A stack that cannot be read, or not before `limit` has passed, is
    /// left out: it will be read, or not, when somebody asks for it.
    #[must_use]
    pub fn take(prelude: &Prelude, stopped: &Stopped, limit: Duration) -> Self {
        let until = Instant::now() + limit;
        let Ok(memory) = ProcDir::open(ProcessId(stopped.witness.0))
            .and_then(|dir| dir.open_file("mem").map_err(|source| dir.error("mem", source)))
        else {
            return Self::default();
        };
        let parts = parts(prelude, stopped);
        let (sender, receiver) = bounded(parts.len());
        // A page may have to come back from swap, or from where it never comes: the process must not wait for that.
        let copying = thread::Builder::new().name("stacks".into()).spawn(move || {
            for part in parts {
                let bytes = read(&memory, part);
                if sender.send((AddressRange::sized(part.start(), bytes.len() as u64), bytes)).is_err() {
                    break;
                }
            }
        });
        let mut copies = Vec::new();
        while copying.is_ok()
            && let Ok(copy) = receiver.recv_deadline(until)
        {
            copies.push(copy);
        }
        copies.retain(|(range, _)| !range.is_empty());
        Self { copies }
    }

    /// The bytes from `address` on that were copied, in one piece; `None` where none were.
    pub(super) fn at(&self, address: Address) -> Option<&[u8]> {
        let after = self.copies.partition_point(|(range, _)| range.end() <= address);
        let (range, bytes) = self.copies.get(after).filter(|(range, _)| range.contains(address))?;
        usize::try_from(address.0 - range.start().0).ok().and_then(|from| bytes.get(from..))
    }

    /// Where the copies that lie behind `address` begin.
    pub(super) fn next_start(&self, address: Address) -> Option<Address> {
        let after = self.copies.partition_point(|(range, _)| range.start() <= address);
        self.copies.get(after).map(|(range, _)| range.start())
    }
}

/// What is to be copied, by rising address.
fn parts(prelude: &Prelude, stopped: &Stopped) -> Vec<AddressRange> {
    // Memory that comes from somewhere else than the kernel, such as a file on a network, may not come at all.
    let is_plain = |part: &AddressRange| {
        let region = stack::region_at(&prelude.regions, part.start());
        region.is_some_and(|region| region.inode == 0 && !region.flags.contains(RegionFlags::USERFAULTFD))
    };
    let registers = stopped.threads.iter().filter_map(|thread| thread.registers.as_ref().ok());
    let used = registers
        .filter_map(|registers| stack::used_part(registers, &prelude.regions, prelude.system.page_size))
        .filter(is_plain);
    let mut used: Vec<_> = used.map(|part| AddressRange::sized(part.start(), part.size().min(LONGEST))).collect();
    used.sort_unstable_by_key(AddressRange::start);
    let mut left = MOST;
    let mut parts: Vec<AddressRange> = Vec::with_capacity(used.len());
    for part in used {
        // Of stacks that lie in one region, such as goroutines', the used part of one may seem to reach into the next.
        let start = parts.last().map_or(part.start(), |before| before.end().max(part.start()));
        if start < part.end() && part.end().0 - start.0 <= left {
            left -= part.end().0 - start.0;
            parts.push(AddressRange::new(start, part.end()));
        }
    }
    parts
}

/// As much of a range as can be read from its start on.
fn read(memory: &File, range: AddressRange) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(range.size()).unwrap_or(0)];
    let mut done = 0;
    while done < bytes.len() {
        match memory.read_at(&mut bytes[done..], range.start().0 + done as u64) {
            Ok(0) | Err(_) => break,
            Ok(count) => done += count,
        }
    }
    bytes.truncate(done);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_found_by_address() {
        let copy = |start: u64, bytes: &[u8]| (AddressRange::sized(Address(start), bytes.len() as u64), bytes.to_vec());
        let copies = StackCopies { copies: vec![copy(0x1000, &[1, 2, 3]), copy(0x2000, &[4])] };
        assert_eq!(copies.at(Address(0x1001)), Some(&[2, 3][..]));
        assert_eq!(copies.at(Address(0x1003)), None);
        assert_eq!(copies.at(Address(0x2000)), Some(&[4][..]));
        assert_eq!(copies.next_start(Address(0x1000)), Some(Address(0x2000)));
        assert_eq!(copies.next_start(Address(0x2000)), None);
    }
}
