//! Functions that stop whoever reaches them.
//!
//! Nothing of ours may stay in a program that effigy dies on, and a breakpoint that a debugger writes into the code, or
//! into a thread's debug registers, does ([docs/decisions/0007](../../../../docs/decisions/0007-breakpoints.md)). So it is
//! the kernel that keeps them, as uprobes that go with a descriptor of ours ([`uprobe`]): whoever reaches one gets, from
//! the kernel, a signal that the program does not know and that does nothing to it. Under our trace it stops the thread.

mod uprobe;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use bstr::{BString, ByteSlice};
use effigy_process::{Address, GeneralRegisters, Protection, Region};

use super::process::general;
use super::signals::{FROM_KERNEL, SignalInfo, bit};
use super::thrown::{Reader, SINGLE_BASE};
use super::{Image, Resolve, Wants, What};
use crate::LiveMemory;
use crate::procfs::{ProcDir, Status, parse_maps};
use uprobe::Probe;

pub use uprobe::check as check_breakpoints;

/// A function of a program or library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// The end of the path of the file that it is in, such as `libfoo.so`, or as far as a dot behind it (`libfoo`); `None`
    /// for any file.
    pub module: Option<String>,
    /// Its name.
    pub name: String,
}

impl Function {
    fn is_in(&self, path: &[u8]) -> bool {
        let Some(module) = &self.module else { return true };
        let name = path.rsplit_once_str("/").map_or(path, |(_, name)| name);
        let rest = name.strip_prefix(module.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
            || path.ends_with(format!("/{module}").as_bytes())
    }
}

/// The dynamic loader calls this before and after it changes what is loaded, for debuggers to stop there (link.h).
const LOADER: &str = "_dl_debug_state";
/// Signals that do nothing to a program that has not asked for them.
const HARMLESS: [i32; 3] = [libc::SIGURG, libc::SIGWINCH, libc::SIGCHLD];
/// A breakpoint stops behind the instruction that it is at, which is no longer than this.
const LONGEST_INSTRUCTION: u64 = 15;

/// Device and inode of a file.
type Key = (u32, u32, u64);

fn key(region: &Region) -> Key {
    (region.device.major, region.device.minor, region.inode)
}

/// What a function is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Libraries,
    Thrown,
    Panicked,
    Reached(usize),
}

/// What is watched for in every process.
pub(super) struct Breakpoints {
    aims: Vec<(Purpose, Function)>,
    resolve: Box<dyn Resolve>,
    /// Functions, by their places in what was asked for, that some file has.
    found: BTreeSet<usize>,
}

/// The breakpoints in one process.
#[derive(Default)]
pub(super) struct Armed {
    points: Vec<Point>,
    /// Files that are mapped to be run, and whether they have been looked into.
    images: BTreeMap<Key, BString>,
    /// The signal that stops, and the program in the kernel that sends it.
    signal: i32,
    sender: Option<OwnedFd>,
    /// Where type information of classes with one base points; 0 for not known.
    single_base: u64,
}

struct Point {
    purpose: Purpose,
    image: Key,
    address: u64,
    /// The bytes that belong there, as far as they can be read.
    code: [u8; 2],
    _probe: Probe,
}

impl Armed {
    /// Where breakpoints are, and the bytes that belong there.
    pub(super) fn bytes(&self) -> Vec<(Address, u8)> {
        self.points.iter().map(|point| (Address(point.address), point.code[0])).collect()
    }

    /// The breakpoint that a thread has just gone over.
    fn point(&self, registers: &GeneralRegisters, memory: &dyn Fn(u64) -> Option<u64>) -> Option<&Point> {
        let at = registers.instruction_pointer()?.0;
        let stack = registers.stack_pointer()?.0;
        self.points.iter().find(|point| {
            if point.returns() {
                // Where it has gone stands below the stack pointer yet.
                return stack.checked_sub(8).and_then(memory) == Some(at);
            }
            at.checked_sub(point.address).is_some_and(|past| past <= LONGEST_INSTRUCTION)
        })
    }
}

impl Point {
    /// Whether the function does nothing but return, as the loader's does.
    fn returns(&self) -> bool {
        const RETURN: u8 = 0xc3;
        self.code[0] == RETURN || self.code == [0xf3, RETURN]
    }
}

/// What a thread has reached.
pub(super) enum Hit {
    /// The loader's function.
    Libraries,
    /// Something to be told.
    Told(What),
    /// A breakpoint whose registers cannot be read: it has been killed.
    Nothing,
}

impl Breakpoints {
    pub(super) fn new(wants: &Wants, resolve: Box<dyn Resolve>) -> Self {
        let named = |name: &str| Function { module: None, name: name.to_owned() };
        let mut aims = Vec::new();
        if wants.breakpoints() {
            // What is not loaded yet is found when it is.
            aims.push((Purpose::Libraries, named(LOADER)));
        }
        if wants.exceptions {
            aims.push((Purpose::Thrown, named("__cxa_throw")));
        }
        if wants.panics {
            aims.push((Purpose::Panicked, named("rust_panic")));
            aims.push((Purpose::Panicked, named("__rustc::rust_panic")));
        }
        let functions = wants.functions.iter().cloned().enumerate();
        aims.extend(functions.map(|(index, function)| (Purpose::Reached(index), function)));
        Self { aims, resolve, found: BTreeSet::new() }
    }

    /// Functions that were to be told of and that no file had.
    pub(super) fn not_found(&self) -> Vec<String> {
        let missing = self.aims.iter().filter_map(|(purpose, function)| match purpose {
            Purpose::Reached(index) if !self.found.contains(index) => Some(function.name.clone()),
            _ => None,
        });
        missing.collect()
    }

    /// Sets all breakpoints in a process, in place of those that were set in the program that it was before. Says what
    /// cannot be set.
    pub(super) fn arm(&mut self, armed: &mut Armed, dir: &ProcDir) -> Vec<String> {
        *armed = Armed::default();
        if self.aims.is_empty() {
            return Vec::new();
        }
        let status = Status::parse(&dir.read("status").unwrap_or_default());
        let known = ["SigCgt", "SigBlk"].map(|name| status.mask(name).unwrap_or(0));
        let unknown = HARMLESS.into_iter().find(|signal| (known[0] | known[1]) & bit(*signal) == 0);
        armed.signal = unknown.unwrap_or(HARMLESS[0]);
        match uprobe::sender(armed.signal) {
            Ok(sender) => armed.sender = Some(sender),
            Err(error) => return vec![error],
        }
        self.look(armed, dir).2
    }

    /// Looks which files have come and gone, and sets breakpoints in those that have come. Says what cannot be set.
    pub(super) fn look(&mut self, armed: &mut Armed, dir: &ProcDir) -> (Vec<BString>, Vec<BString>, Vec<String>) {
        let Ok(regions) = parse_maps(dir) else { return <_>::default() };
        let mut images = BTreeMap::new();
        for region in regions.iter().filter(|region| runs(region)) {
            images.entry(key(region)).or_insert_with(|| region.path().0.to_owned());
        }
        let mut loaded = Vec::new();
        let mut troubles = BTreeSet::new();
        for (key, path) in &images {
            if !armed.images.contains_key(key) {
                loaded.push(path.clone());
                troubles.extend(self.set(armed, dir, &regions, *key));
            }
        }
        let gone = armed.images.iter().filter(|(key, _)| !images.contains_key(key));
        let unloaded: Vec<BString> = gone.map(|(_, path)| path.clone()).collect();
        armed.points.retain(|point| images.contains_key(&point.image));
        armed.images = images;
        (loaded, unloaded, troubles.into_iter().collect())
    }

    /// Sets the breakpoints that belong into one file.
    fn set(&mut self, armed: &mut Armed, dir: &ProcDir, regions: &[Region], key: Key) -> Vec<String> {
        let of_file: Vec<&Region> = regions.iter().filter(|region| self::key(region) == key).collect();
        let Some(first) = of_file.iter().find(|region| runs(region)) else { return Vec::new() };
        let link = map_file(first);
        let Ok(file) = dir.open_link(&link) else { return Vec::new() };
        let path = first.path().0;
        let image = Image { path, file: &file };
        let mut troubles = Vec::new();
        for (purpose, function) in self.aims.iter().filter(|(_, function)| function.is_in(path)) {
            let Some(offset) = self.resolve.offset(&image, &function.name) else { continue };
            let Some(address) = address_of(&of_file, offset, true) else { continue };
            if let Purpose::Reached(index) = purpose {
                self.found.insert(*index);
            }
            let Some(sender) = &armed.sender else { continue };
            match Probe::set(dir.id().0, &link, offset, sender) {
                Ok(probe) => {
                    let mut code = [0; 2];
                    // A function that cannot be read cannot be reached either.
                    let _ = file.read_exact_at(&mut code, offset);
                    armed.points.push(Point { purpose: *purpose, image: key, address, code, _probe: probe });
                }
                Err(error) => troubles.push(error),
            }
            if *purpose == Purpose::Thrown {
                let offset = self.resolve.offset(&image, SINGLE_BASE);
                // Behind the offset to the top and the pointer to its own type information.
                let table = offset.and_then(|offset| address_of(&of_file, offset, false)).map(|table| table + 16);
                armed.single_base = table.unwrap_or(armed.single_base);
            }
        }
        troubles
    }

    /// What a thread that is about to get a signal has reached; `None` when the signal is none of ours.
    pub(super) fn hit(&self, armed: &Armed, tid: u32, info: &SignalInfo, dir: &ProcDir) -> Option<Hit> {
        if info.number != armed.signal || info.code != FROM_KERNEL || armed.points.is_empty() {
            return None;
        }
        let Ok(registers) = general(tid) else { return Some(Hit::Nothing) };
        let page = rustix::param::page_size() as u64;
        let memory = ProcDir::open(dir.id()).and_then(|dir| LiveMemory::open(dir, page));
        let Ok(memory) = memory else { return Some(Hit::Nothing) };
        let reader = Reader(&memory);
        let point = armed.point(&registers, &|address| reader.word(address))?;
        let argument = |name| Address(registers.get(name).unwrap_or(0));
        Some(match point.purpose {
            Purpose::Libraries => Hit::Libraries,
            Purpose::Reached(index) => Hit::Told(What::Reached(index)),
            // The object and its type information (Itanium C++ ABI, exception handling, 2.4.3).
            Purpose::Thrown => {
                let exception = reader.exception(argument("rdi"), argument("rsi"), armed.single_base);
                Hit::Told(What::Thrown(exception))
            }
            Purpose::Panicked => Hit::Told(What::Panicked(reader.panic(argument("rdi"), argument("rsi")))),
        })
    }
}

/// Whether a region is code of a file.
fn runs(region: &Region) -> bool {
    region.inode != 0 && region.protection.contains(Protection::EXECUTE)
}

fn map_file(region: &Region) -> String {
    format!("map_files/{:x}-{:x}", region.range.start(), region.range.end())
}

/// Where a place in a file lies in memory.
fn address_of(regions: &[&Region], offset: u64, code: bool) -> Option<u64> {
    let holds = |region: &&&Region| {
        let distance = offset.checked_sub(region.offset);
        distance.is_some_and(|distance| distance < region.range.size())
            && region.protection.contains(Protection::EXECUTE) == code
    };
    // The page between two segments is mapped with both; data belongs to the later one.
    let region = if code { regions.iter().find(holds) } else { regions.iter().rev().find(holds) };
    region.map(|region| region.range.start().0 + (offset - region.offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(line: &str) -> Region {
        Region::from_maps_line(line.as_bytes()).unwrap()
    }

    #[test]
    fn modules_are_named_by_the_end_of_their_path() {
        let function = |module: &str| Function { module: Some(module.to_owned()), name: String::new() };
        let path = b"/usr/lib/libfoo.so.1.2";
        assert!(function("libfoo.so.1.2").is_in(path) && function("libfoo").is_in(path));
        assert!(function("lib/libfoo.so.1.2").is_in(path));
        assert!(!function("libfo").is_in(path) && !function("foo").is_in(path));
    }

    #[test]
    fn a_place_in_a_file_is_found_in_the_mapping_of_its_kind() {
        let all = [
            region("1000-3000 r--p 00000000 fe:00 7 /a"),
            region("3000-5000 r-xp 00002000 fe:00 7 /a"),
            region("6000-7000 r--p 00003000 fe:00 7 /a"),
        ];
        let all: Vec<&Region> = all.iter().collect();
        assert_eq!(address_of(&all, 0x3010, true), Some(0x4010));
        assert_eq!(address_of(&all, 0x3010, false), Some(0x6010));
        assert_eq!(address_of(&all, 0x9000, true), None);
    }
}
