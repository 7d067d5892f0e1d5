//! What a triage dump must not hold: environment, arguments, paths, and words on stacks and in registers that are no
//! pointers. A pointer says where something lies, not what it is.

use bstr::{BString, ByteSlice};
use effigy_process::{
    Address, AddressRange, CompactBytes, Gap, GapReason, GapSubject, HandleKind, Process, Region, RegionUsage,
    RegisterSet, Registers, TextFiles, note,
};

/// What stands in place of a defaced word; the pattern is the one that minidump readers know.
const DEFACED: u64 = 0x0def_aced_0def_aced;
/// Numbers below this are kept: they are counters, flags and null pointers, and say what went wrong.
const SMALL: u64 = 4096;

/// A copy of the process without secrets.
#[must_use]
pub fn triage(process: &Process) -> Process {
    let keeper = WordKeeper::new(process);
    let mut redacted = process.clone();
    redacted.identity.executable = file_name(&redacted.identity.executable);
    redacted.system.host.clear();
    // Names of what was measured, and what a trigger has seen, may hold paths and text of the program's.
    redacted.journal = None;
    if let Some(credentials) = &mut redacted.credentials {
        credentials.security_label.clear();
    }
    redacted.files = TextFiles {
        cpuinfo: process.files.cpuinfo.clone(),
        status: process.files.status.clone(),
        release: process.files.release.clone(),
        auxv: process.files.auxv.clone(),
        limits: process.files.limits.clone(),
        stat: process.files.stat.clone(),
        uptime: process.files.uptime.clone(),
        command_line: BString::default(),
        environment: BString::default(),
        cgroup: BString::default(),
    };
    for module in &mut redacted.modules {
        module.path = file_name(&module.path);
    }
    for region in &mut redacted.regions {
        region.name = file_name(&region.name);
    }
    for handle in &mut redacted.handles {
        handle.target = match handle.kind {
            HandleKind::Pipe | HandleKind::Socket if !handle.target.starts_with(b"/") => handle.target.clone(),
            _ if handle.target.starts_with(b"anon_inode:") => handle.target.clone(),
            _ => BString::default(),
        };
        handle.socket = None;
    }
    for thread in &mut redacted.threads {
        if let Ok(registers) = &mut thread.registers {
            *registers = deface_registers(registers, &keeper);
        }
        if let Some(kernel) = &mut thread.kernel {
            kernel.arguments.retain_mut(|word| {
                *word = keeper.keep(*word).unwrap_or(DEFACED);
                true
            });
        }
    }
    for gap in &mut redacted.gaps {
        gap.detail.clear();
    }
    redacted.gaps.extend(["environ", "cmdline", "cgroup", "paths", "vector registers"].map(|what| Gap {
        subject: GapSubject::Fact(what.into()),
        reason: GapReason::Redacted,
        detail: String::new(),
    }));
    redacted
}

/// The last component of a path. Names of the kernel's own (`[heap]`) have none; names that programs give their memory
/// (`[anon:…]`) are text of theirs and go.
fn file_name(path: &BString) -> BString {
    if path.starts_with(b"[anon") {
        return "[anon]".into();
    }
    if path.starts_with(b"/memfd:") {
        return "memfd:".into();
    }
    path.rsplit_str("/").next().unwrap_or(path).into()
}

/// Knows which words may stay.
#[derive(Debug)]
pub struct WordKeeper {
    mapped: Vec<AddressRange>,
    word: usize,
}

impl WordKeeper {
    /// For a process's address space.
    #[must_use]
    pub fn new(process: &Process) -> Self {
        let mut mapped: Vec<AddressRange> = Vec::new();
        // Reservations without a page behind them may span most of the address space; nothing points into them.
        let mut stacks: Vec<Address> =
            process.threads.iter().filter_map(|thread| Some(thread.stack?.start())).collect();
        stacks.sort_unstable();
        let holds_a_stack = |region: &Region| {
            let after = stacks.partition_point(|stack| *stack < region.range.start());
            stacks.get(after).is_some_and(|stack| region.range.contains(*stack))
        };
        let is_used = |region: &&Region| {
            region.resident.unwrap_or(0) + region.swapped.unwrap_or(0) > 0
                || region.inode != 0
                || matches!(region.usage(), RegionUsage::Vdso | RegionUsage::KernelData)
                || holds_a_stack(region)
        };
        for region in process.regions.iter().filter(is_used) {
            match mapped.last_mut().filter(|last| last.end() == region.range.start()) {
                Some(last) => *last = AddressRange::new(last.start(), region.range.end()),
                None => mapped.push(region.range),
            }
        }
        Self { mapped, word: process.architecture.pointer_size() }
    }

    /// The word, if it is small or points into the address space.
    fn keep(&self, word: u64) -> Option<u64> {
        let after = self.mapped.partition_point(|range| range.end() <= Address(word));
        let points = self.mapped.get(after).is_some_and(|range| range.contains(Address(word)));
        (word < SMALL || points).then_some(word)
    }

    fn deface(&self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(self.word) {
            let value = word.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
            if word.len() < self.word || self.keep(value).is_none() {
                let pattern = DEFACED.to_le_bytes();
                word.copy_from_slice(&pattern[..word.len()]);
            }
        }
    }
}

/// General registers only, with what is no pointer defaced. Vector registers hold keys and text.
fn deface_registers(registers: &Registers, keeper: &WordKeeper) -> Registers {
    let sets = registers
        .sets
        .iter()
        .filter(|set| set.note == note::PRSTATUS)
        .map(|set| {
            let mut bytes = set.bytes.to_vec();
            keeper.deface(&mut bytes);
            restore_control(registers, &mut bytes);
            RegisterSet { note: set.note, bytes: CompactBytes::new(&bytes) }
        })
        .collect();
    Registers { sets, ..*registers }
}

/// Flags and selectors are no secrets, and a debugger needs them whole.
fn restore_control(registers: &Registers, bytes: &mut [u8]) {
    use effigy_process::Architecture as A;
    let control: &[usize] = match registers.architecture {
        // orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs
        A::X86_64 => &[15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26],
        // ds es fs gs orig_eax eip cs eflags esp ss
        A::X86 => &[7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
        // sp pc cpsr
        A::Arm => &[13, 15, 16],
        // sp pc pstate
        A::Aarch64 => &[31, 32, 33],
        // pc sp
        A::Riscv64 => &[0, 2],
        _ => &[],
    };
    let size = registers.architecture.pointer_size();
    let Some(original) = registers.set(note::PRSTATUS) else { return };
    for index in control {
        let place = index * size..(index + 1) * size;
        if let (Some(to), Some(from)) = (bytes.get_mut(place.clone()), original.get(place)) {
            to.copy_from_slice(from);
        }
    }
}

/// Defaces the memory of a triage dump: stacks keep their pointers from the stack pointer up to where arguments and
/// environment begin; whatever else lies on their pages goes.
#[derive(Debug)]
pub struct StackFilter {
    keeper: WordKeeper,
    live: Vec<AddressRange>,
    /// The vdso: the kernel's code, the same for everyone.
    public: AddressRange,
}

impl StackFilter {
    /// For the stacks of a process.
    #[must_use]
    pub fn new(process: &Process) -> Self {
        let bottom = process.identity.start_stack;
        let mut live: Vec<AddressRange> = process
            .threads
            .iter()
            .filter_map(|thread| {
                let stack = thread.stack?;
                let registers = thread.registers.as_ref().ok()?.general()?;
                let start = registers.stack_pointer()?.saturating_sub(registers.architecture.red_zone());
                let end = if stack.contains(bottom) { bottom } else { stack.end() };
                // Words are looked at where the machine would: at multiples of their size.
                let start = Address(start.max(stack.start()).0 & !(registers.architecture.pointer_size() as u64 - 1));
                Some(AddressRange::new(start, end))
            })
            .collect();
        live.sort_unstable();
        let vdso = process.regions.iter().find(|region| region.usage() == RegionUsage::Vdso);
        let public = vdso.map_or(AddressRange::default(), |region| region.range);
        Self { keeper: WordKeeper::new(process), live, public }
    }

    /// Defaces `bytes`, which lie at `address`.
    pub fn apply(&self, address: Address, bytes: &mut [u8]) {
        if self.public.contains(address) {
            return;
        }
        let whole = AddressRange::sized(address, bytes.len() as u64);
        let mut at = 0;
        let first = self.live.partition_point(|live| live.end() <= whole.start());
        let near = self.live[first..].iter().take_while(|live| live.start() < whole.end());
        for live in near.filter_map(|live| live.intersection(&whole)) {
            let offset = |address: Address| usize::try_from(address.0 - whole.start().0).unwrap_or(0);
            let (start, end) = (offset(live.start()).max(at), offset(live.end()));
            if start >= end {
                continue;
            }
            bytes[at..start].fill(0);
            self.keeper.deface(&mut bytes[start..end]);
            at = end;
        }
        bytes[at..].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeSnapshot;

    #[test]
    fn only_pointers_and_small_numbers_stay() {
        let mut snapshot = FakeSnapshot::new();
        snapshot.anonymous(0x10000, 0x20000, &[(0x10000, 0x1000)]);
        snapshot.anonymous(0x7061_0000_0000_0000, 0x7f61_0000_0000_0000, &[]);
        let keeper = WordKeeper::new(&snapshot.process);
        let mut bytes = Vec::new();
        for word in [0x10010u64, 7, u64::from_le_bytes(*b"password"), 0x20000] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        keeper.deface(&mut bytes);
        let words: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        assert_eq!(words, [0x10010, 7, DEFACED, DEFACED]);
    }

    #[test]
    fn what_lies_outside_the_live_stack_is_wiped() {
        let filter = StackFilter {
            keeper: WordKeeper { mapped: vec![AddressRange::new(Address(0x1000), Address(0x3000))], word: 8 },
            live: vec![AddressRange::new(Address(0x1008), Address(0x1010))],
            public: AddressRange::default(),
        };
        let mut bytes = [0x20u8; 24];
        bytes[8..16].copy_from_slice(&0x2000u64.to_le_bytes());
        filter.apply(Address(0x1000), &mut bytes);
        assert_eq!(bytes[..8], [0; 8]);
        assert_eq!(bytes[8..16], 0x2000u64.to_le_bytes());
        assert_eq!(bytes[16..], [0; 8]);
    }

    #[test]
    fn paths_lose_their_directories() {
        assert_eq!(file_name(&"/home/alice/x.so".into()), "x.so");
        assert_eq!(file_name(&"[heap]".into()), "[heap]");
        assert_eq!(file_name(&"[anon:alice's cache]".into()), "[anon]");
    }
}
