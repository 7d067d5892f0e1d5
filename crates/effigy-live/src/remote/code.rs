//! Instructions of the target that injected calls are made with. Nothing is written into its code: what is needed is in
//! every C library.

use std::os::unix::fs::FileExt;

use bstr::ByteSlice;
use effigy_process::{Address, Protection, Region, RegionUsage};

use super::Refused;
use crate::LiveMemory;

/// Where the two pieces of code lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// `syscall; ret`.
    pub(crate) call: Address,
    /// `mov $15, %rax; syscall`: the return from a signal handler (`__restore_rt` of the C libraries).
    pub(crate) restore: Address,
}

const CALL: &[u8] = &[0x0f, 0x05, 0xc3];
/// `SYS_rt_sigreturn` into `rax` or `eax`, then `syscall`.
const RESTORE: [&[u8]; 2] = [&[0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05], &[0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05]];

/// Bytes of one image that are searched, at most.
const MOST: u64 = 256 << 20;
/// Bytes searched at a time.
const CHUNK: usize = 1 << 20;

/// Looks for them, in the files that are mapped executable: reading those touches no page of the target.
pub(crate) fn find(memory: &LiveMemory, regions: &[Region]) -> Result<Code, Refused> {
    if !cfg!(target_arch = "x86_64") {
        return Err(Refused::new("calls inside the target are written for x86-64 only"));
    }
    let mut images: Vec<&Region> = regions
        .iter()
        .filter(|region| region.protection.contains(Protection::EXECUTE) && region.usage() == RegionUsage::File)
        .collect();
    // The C library has both, and so it is one search as a rule.
    images.sort_by_key(|region| !region.name.windows(4).any(|part| part == b"libc"));
    let (mut call, mut restore) = (None, None);
    for region in images {
        let wanted = |found: Option<Address>, patterns: &[&[u8]]| {
            found.or_else(|| search(memory, region, patterns)).filter(|at| still_there(memory, *at, patterns))
        };
        call = wanted(call, &[CALL]);
        restore = wanted(restore, &RESTORE);
        if let (Some(call), Some(restore)) = (call, restore) {
            return Ok(Code { call, restore });
        }
    }
    Err(Refused::new("the program has no code that a call could be made with (no C library)"))
}

impl Code {
    /// Whether the code lies in this memory where it was found: the process may have become another program since.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn is_in(&self, memory: &LiveMemory) -> bool {
        still_there(memory, self.call, &[CALL]) && still_there(memory, self.restore, &RESTORE)
    }
}

fn search(memory: &LiveMemory, region: &Region, patterns: &[&[u8]]) -> Option<Address> {
    let file = memory.open_backing(region).ok()?;
    let size = region.range.size().min(MOST);
    let longest = patterns.iter().map(|pattern| pattern.len()).max()?;
    let mut buffer = vec![0; CHUNK + longest];
    let mut at = 0;
    while at < size {
        // Chunks overlap by a pattern's length, so that none is missed on a border.
        let want = usize::try_from(size - at).unwrap_or(usize::MAX).min(buffer.len());
        let got = file.read_at(&mut buffer[..want], region.offset.checked_add(at)?).ok()?;
        let found = patterns.iter().filter_map(|pattern| buffer[..got].find(pattern)).min();
        if let Some(found) = found {
            return Some(region.range.start().saturating_add(at + found as u64));
        }
        if got < want || got <= longest {
            return None;
        }
        at += (got - longest) as u64;
    }
    None
}

/// Whether the process's memory holds what the file does: code may have been patched.
fn still_there(memory: &LiveMemory, at: Address, patterns: &[&[u8]]) -> bool {
    use effigy_process::Memory;
    patterns.iter().any(|pattern| {
        let mut bytes = vec![0; pattern.len()];
        memory.read_exact(at, &mut bytes).is_ok() && bytes == *pattern
    })
}
