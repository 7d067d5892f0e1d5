//! Notes about the process as a whole: `NT_PRPSINFO`, `NT_SIGINFO`, `NT_AUXV`, `NT_FILE`.

use std::borrow::Cow;
use std::io::{self, Write};

use bstr::ByteSlice;
use effigy_process::{Process, Region, Thread, ThreadId};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::super::layout::{Class, OWNER_CORE, ProcessInfo32, ProcessInfo64, SIGINFO_SIZE, note};
use super::notes::Notes;

/// All of them, in the kernel's order.
pub(super) fn write(process: &Process, notes: &mut Notes<'_>) -> io::Result<()> {
    notes.add(OWNER_CORE, note::PRPSINFO, &process_info(process))?;
    notes.add(OWNER_CORE, note::SIGINFO, &signal_info(process))?;
    if !process.files.auxv.is_empty() {
        notes.add(OWNER_CORE, note::AUXV, &process.files.auxv)?;
    }
    if mapped_files(process).next().is_some() {
        notes.stream(OWNER_CORE, note::FILE, |out| file_table(process, out))?;
    }
    Ok(())
}

/// The user and group of a process of which these are not known: the kernel's overflow id, `nobody`. 0 would be root.
const NOBODY: u32 = 65534;

/// `NT_PRPSINFO`, filled as `fill_psinfo` (fs/binfmt_elf.c) does.
fn process_info(process: &Process) -> Vec<u8> {
    let identity = &process.identity;
    let main = identity.pid.and_then(|pid| process.thread(ThreadId(pid.0))).or(process.threads.first());
    let letter = main.and_then(|thread| thread.state).map_or('?', |state| state.0);
    let letter = u8::try_from(letter).unwrap_or(b'?');
    let info = ProcessInfo64 {
        state: state_number(letter),
        letter,
        zombie: u8::from(letter == b'Z'),
        nice: main.map_or(0, nice),
        pad: U32::ZERO,
        flags: U64::new(task_flags(process)),
        uid: U32::new(process.credentials.as_ref().map_or(NOBODY, |credentials| credentials.uid[0])),
        gid: U32::new(process.credentials.as_ref().map_or(NOBODY, |credentials| credentials.gid[0])),
        pid: U32::new(identity.pid.map_or(0, |pid| pid.0)),
        parent: U32::new(identity.parent.map_or(0, |parent| parent.0)),
        group: U32::new(identity.group.unwrap_or(0)),
        session: U32::new(identity.session.unwrap_or(0)),
        name: text(&identity.name),
        arguments: text(&arguments(process)),
    };
    match Class::of(process.architecture) {
        Class::Elf64 => info.as_bytes().to_vec(),
        Class::Elf32 => narrow(&info).as_bytes().to_vec(),
    }
}

fn narrow(info: &ProcessInfo64) -> ProcessInfo32 {
    // An id that is too large for 16 bits becomes the overflow id (`high2lowuid`, include/linux/highuid.h).
    let id = |id: U32| U16::new(u16::try_from(id.get()).unwrap_or(65534));
    #[expect(clippy::cast_possible_truncation, reason = "the kernel's flags are 32 bits wide")]
    let flags = info.flags.get() as u32;
    ProcessInfo32 {
        state: info.state,
        letter: info.letter,
        zombie: info.zombie,
        nice: info.nice,
        flags: U32::new(flags),
        uid: id(info.uid),
        gid: id(info.gid),
        pid: info.pid,
        parent: info.parent,
        group: info.group,
        session: info.session,
        name: info.name,
        arguments: info.arguments,
    }
}

/// The number that belongs to a state's letter: its place in the kernel's "RSDTZW".
fn state_number(letter: u8) -> u8 {
    match letter {
        b'S' | b'I' => 1,
        b'D' => 2,
        b'T' | b't' => 3,
        b'Z' | b'X' => 4,
        _ => 0,
    }
}

fn nice(thread: &Thread) -> i8 {
    thread.scheduling.nice.and_then(|nice| i8::try_from(nice).ok()).unwrap_or(0)
}

/// Field 9 of proc_pid_stat(5), the kernel's flags of the task; 0 when the file could not be read. The name, field 2,
/// may hold spaces and parentheses, so fields are counted from its end.
fn task_flags(process: &Process) -> u64 {
    let stat = &process.files.stat;
    let after_name = stat.rfind_byte(b')').map_or(&[][..], |end| &stat[end + 1..]);
    let field = after_name.fields().nth(6).and_then(|field| field.to_str().ok());
    field.and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// The command line with spaces between its words; the name where there is none (triage dumps, kernel threads).
fn arguments(process: &Process) -> Vec<u8> {
    let line = process.files.command_line.trim_end_with(|end| end == '\0');
    if line.is_empty() { process.identity.name.to_vec() } else { line.replace(b"\0", b" ") }
}

/// As much of `bytes` as fits in front of a final zero byte.
fn text<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    for (to, from) in field[..N - 1].iter_mut().zip(bytes) {
        *to = *from;
    }
    field
}

/// `si_signo` of a core of a process that nothing had happened to: `SIGSTOP`, as in the cores of gdb's gcore.
const STOPPED: i32 = 19;
/// `SI_KERNEL`: no process sent the signal.
const BY_KERNEL: i32 = 0x80;

/// `NT_SIGINFO`: `si_signo`, `si_errno`, `si_code`, then, aligned to a pointer, `si_addr`.
fn signal_info(process: &Process) -> [u8; SIGINFO_SIZE] {
    let (signal, code, address) = process
        .fault
        .as_ref()
        .and_then(|fault| fault.as_signal().map(|(number, code)| (number, code, fault.address)))
        .unwrap_or((STOPPED, BY_KERNEL, None));
    let mut info = [0; SIGINFO_SIZE];
    info[..4].copy_from_slice(&signal.to_le_bytes());
    info[8..12].copy_from_slice(&code.to_le_bytes());
    if let Some(address) = address {
        let (at, size) = match Class::of(process.architecture) {
            Class::Elf64 => (16, 8),
            Class::Elf32 => (12, 4),
        };
        info[at..at + size].copy_from_slice(&address.0.to_le_bytes()[..size]);
    }
    info
}

/// `NT_FILE` (`fill_files_note`, fs/binfmt_elf.c): how many, the unit of offsets, then start, end and offset of each,
/// then all names.
fn file_table(process: &Process, out: &mut dyn Write) -> io::Result<()> {
    let class = Class::of(process.architecture);
    let page = process.system.page_size.max(1);
    put_word(class, mapped_files(process).count() as u64, out)?;
    put_word(class, page, out)?;
    for region in mapped_files(process) {
        put_word(class, region.range.start().0, out)?;
        put_word(class, region.range.end().0, out)?;
        put_word(class, region.offset / page, out)?;
    }
    for region in mapped_files(process) {
        out.write_all(&file_name(region))?;
        out.write_all(&[0])?;
    }
    Ok(())
}

fn mapped_files(process: &Process) -> impl Iterator<Item = &Region> {
    process.regions.iter().filter(|region| region.inode != 0)
}

/// The path as the file system has it: `maps` shows a newline as `\012` (`seq_path`, fs/proc/task_mmu.c) and nothing
/// else in another way.
fn file_name(region: &Region) -> Cow<'_, [u8]> {
    let (path, _) = region.path();
    let path: &[u8] = path;
    if path.contains_str(b"\\012") { Cow::Owned(path.replace(b"\\012", b"\n")) } else { Cow::Borrowed(path) }
}

fn put_word(class: Class, word: u64, out: &mut dyn Write) -> io::Result<()> {
    match class {
        Class::Elf64 => out.write_all(&word.to_le_bytes()),
        Class::Elf32 => {
            let word = u32::try_from(word).map_err(|_| {
                io::Error::new(io::ErrorKind::FileTooLarge, format!("{word:#x} is no address of a 32-bit process"))
            })?;
            out.write_all(&word.to_le_bytes())
        }
    }
}
