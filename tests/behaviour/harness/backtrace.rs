//! Backtraces as other people's debuggers see them, brought to one shape: thread id to program counters and functions.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) pc: u64,
    pub(crate) function: String,
    /// No frame of the machine's, but an inlined function or an inferred tail call.
    pub(crate) made_up: bool,
}

/// Frames of every thread, innermost first.
pub(crate) type Backtraces = BTreeMap<u32, Vec<Frame>>;

/// gdb's own words vary with what it knows of sources and arguments; its Python interface gives just the frames. It
/// also tells which are no frames of the machine: inlined functions, and tail calls that it infers. Threads without registers are left
/// out: those of an exited leader, and those that libthread_db finds in memory by the ids of an inner PID namespace.
const GDB_BACKTRACES: &str = r#"python exec("""
for thread in sorted(gdb.selected_inferior().threads(), key=lambda thread: thread.ptid[1]):
    try:
        thread.switch()
        frame = gdb.newest_frame()
        frame.pc()
    except gdb.error:
        continue
    print('THREAD', thread.ptid[1])
    while frame is not None and frame.is_valid():
        made_up = frame.type() in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME)
        print('MADE_UP' if made_up else 'FRAME', hex(frame.pc()), str(frame.name()).replace(' ', '_'))
        try:
            frame = frame.older()
        except gdb.error as error:
            print('BROKEN', error)
            frame = None
""".strip())"#;

const GDB_SETTINGS: [&str; 4] =
    ["set width 0", "set height 0", "set backtrace past-main on", "set debuginfod enabled off"];

/// What gdb sees of the living process.
pub(crate) fn gdb_live(gdb: &Path, pid: i32) -> Backtraces {
    // Named outright, since the path that the link reads may be nobody's (memfd, deleted).
    let exe = format!("/proc/{pid}/exe");
    parse_gdb(&run_gdb(gdb, &[&exe, "-p", &pid.to_string()], &[&gdb_script()]))
}

/// What gdb answers on the living process.
pub(crate) fn run_gdb_live(gdb: &Path, pid: i32, commands: &[&str]) -> String {
    run_gdb(gdb, &["-p", &pid.to_string()], commands)
}

/// What gdb sees in a core.
pub(crate) fn gdb_core(gdb: &Path, exe: &Path, core: &Path) -> Backtraces {
    parse_gdb(&gdb_commands(gdb, exe, core, &[&gdb_script()]))
}

/// What gdb answers on a core.
pub(crate) fn gdb_commands(gdb: &Path, exe: &Path, core: &Path, commands: &[&str]) -> String {
    run_gdb(gdb, &[exe.to_str().unwrap(), core.to_str().unwrap()], commands)
}

/// The script as one line, as gdb takes it.
fn gdb_script() -> String {
    GDB_BACKTRACES.replace("\n", "\\n").replace("\"\"\"", "\"")
}

fn run_gdb(gdb: &Path, arguments: &[&str], commands: &[&str]) -> String {
    let mut command = Command::new(gdb);
    command.args(["-q", "-batch", "-nx"]);
    for words in GDB_SETTINGS {
        command.args(["-iex", words]);
    }
    command.args(arguments);
    for words in commands {
        command.args(["-ex", words]);
    }
    text_of(&mut command)
}

fn text_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    format!("{}\n{errors}", String::from_utf8_lossy(&output.stdout))
}

fn parse_gdb(text: &str) -> Backtraces {
    let mut all = Backtraces::new();
    let mut tid = None;
    for line in text.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["THREAD", id] => tid = leading_number(id),
            [kind @ ("FRAME" | "MADE_UP"), pc, name] => {
                let (Some(tid), Some(pc)) = (tid, hexadecimal(pc)) else { continue };
                all.entry(tid).or_default().push(Frame { pc, function: name.to_owned(), made_up: kind == "MADE_UP" });
            }
            _ => {}
        }
    }
    all
}

/// What eu-stack sees in a core.
pub(crate) fn eu_stack(eu_stack: &Path, exe: &Path, core: &Path) -> Backtraces {
    let mut command = Command::new(eu_stack);
    parse_eu_stack(&text_of(command.args(["-n", "0", "--core"]).arg(core).arg("-e").arg(exe)))
}

/// What eu-stack sees of the living process.
pub(crate) fn eu_stack_live(eu_stack: &Path, pid: i32) -> Backtraces {
    let mut command = Command::new(eu_stack);
    parse_eu_stack(&text_of(command.args(["-n", "0", "-p", &pid.to_string()])))
}

fn parse_eu_stack(text: &str) -> Backtraces {
    let mut all = Backtraces::new();
    let mut tid = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("TID ") {
            tid = leading_number(rest);
        } else if let (Some(tid), true) = (tid, line.starts_with('#')) {
            let mut words = line.split_whitespace().skip(1);
            let Some(pc) = words.next().and_then(hexadecimal) else { continue };
            let function = words.last().unwrap_or("??").to_owned();
            all.entry(tid).or_default().push(Frame { pc, function, made_up: false });
        }
    }
    all
}

/// What lldb sees in a core or minidump.
pub(crate) fn lldb(lldb: &Path, exe: Option<&Path>, dump: &Path) -> Backtraces {
    let mut command = Command::new(lldb);
    command.args(["-b", "--no-lldbinit", "-c"]).arg(dump);
    if let Some(exe) = exe {
        command.arg(exe);
    }
    let settings = [
        "settings set term-width 1024",
        r#"settings set frame-format "FRAME ${frame.pc} ${frame.sp} ${function.name-without-args}\n""#,
        r#"settings set thread-stop-format "THREAD ${thread.id%tid}\n""#,
        "thread backtrace all",
    ];
    for words in settings {
        command.args(["-o", words]);
    }
    parse_lldb(&text_of(&mut command))
}

fn parse_lldb(text: &str) -> Backtraces {
    let mut all = Backtraces::new();
    let mut tid = None;
    let mut stack_pointer = None;
    for line in text.lines() {
        let words: Vec<_> = line.trim_start_matches([' ', '*']).split_whitespace().collect();
        match words[..] {
            ["THREAD", id, ..] => {
                tid = leading_number(id);
                stack_pointer = None;
            }
            ["FRAME", pc, sp, ref rest @ ..] => {
                let (Some(tid), Some(pc)) = (tid, hexadecimal(pc)) else { continue };
                // Inlined frames share the stack pointer of the one they are inlined in; the first has the true pc.
                if stack_pointer.replace(sp.to_owned()).as_deref() != Some(sp) {
                    let function = rest.first().unwrap_or(&"??").to_string();
                    all.entry(tid).or_default().push(Frame { pc, function, made_up: false });
                }
            }
            // Its own format, where ours asks for what it does not know.
            ["frame", _, pc, ..] => {
                let (Some(tid), Some(pc)) = (tid, hexadecimal(pc)) else { continue };
                all.entry(tid).or_default().push(Frame { pc, function: "??".to_owned(), made_up: false });
            }
            _ => {}
        }
    }
    all
}

/// What minidump-stackwalk sees in a minidump.
pub(crate) fn stackwalk(stackwalk: &Path, dump: &Path) -> Backtraces {
    walk(Command::new(stackwalk).args(["--json", "--use-local-debuginfo"]).arg(dump), |_| true)
}

/// The same with a folder of symbol files, and nothing else. Where it begins to search the stack for what looks like a return
/// address, it says that it guesses; that is no measure for others.
pub(crate) fn stackwalk_with_symbols(stackwalk: &Path, dump: &Path, symbols: &Path) -> Backtraces {
    walk(Command::new(stackwalk).arg("--json").arg(dump).arg(symbols), |frame| frame["trust"] != "scan")
}

fn walk(command: &mut Command, counts: fn(&Value) -> bool) -> Backtraces {
    let output = command.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("minidump-stackwalk: {error}: {}", String::from_utf8_lossy(&output.stderr)));
    let threads = report["threads"].as_array().unwrap();
    threads.iter().map(|thread| (narrow(&thread["thread_id"]), stackwalk_frames(thread, counts))).collect()
}

fn stackwalk_frames(thread: &Value, counts: fn(&Value) -> bool) -> Vec<Frame> {
    let frames = thread["frames"].as_array().map_or(&[][..], Vec::as_slice).iter();
    frames.take_while(|frame| counts(frame)).map(stackwalk_frame).collect()
}

fn stackwalk_frame(frame: &Value) -> Frame {
    Frame {
        pc: frame["offset"].as_str().and_then(hexadecimal).unwrap(),
        function: frame["function"].as_str().unwrap_or("??").to_owned(),
        made_up: false,
    }
}

fn narrow(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// Panics unless these threads have the same backtraces, functions and program counters.
#[track_caller]
pub(crate) fn compare_exactly<'a>(live: &Backtraces, dumped: &Backtraces, threads: impl IntoIterator<Item = &'a u32>) {
    compare(live, dumped, threads, |live, dumped| live == dumped);
}

/// Panics unless the frames of these threads are at the same places: a tool may give the return address of a caller or
/// the byte before it, and may or may not show inlined frames. `frames` bounds how many are compared.
#[track_caller]
pub(crate) fn compare_places<'a>(
    live: &Backtraces,
    dumped: &Backtraces,
    threads: impl IntoIterator<Item = &'a u32>,
    frames: usize,
) {
    compare(live, dumped, threads, |live, dumped| {
        let live: Vec<_> = live.iter().filter(|frame| !frame.made_up).collect();
        let (live, dumped) = (&live[..live.len().min(frames)], &dumped[..dumped.len().min(frames)]);
        live.len() == dumped.len() && live.iter().zip(dumped).all(|(a, b)| a.pc == b.pc || a.pc == b.pc + 1)
    });
}

#[track_caller]
fn compare<'a>(
    live: &Backtraces,
    dumped: &Backtraces,
    threads: impl IntoIterator<Item = &'a u32>,
    same: impl Fn(&[Frame], &[Frame]) -> bool,
) {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for tid in threads {
        seen += 1;
        let live = live.get(tid).unwrap_or_else(|| panic!("gdb saw no thread {tid} in the living process"));
        assert!(!live.is_empty(), "gdb saw no frame of thread {tid} in the living process");
        match dumped.get(tid) {
            Some(dumped) if same(live, dumped) => {}
            Some(dumped) => wrong.push(format!("thread {tid}:\n live {}\n dump {}", shown(live), shown(dumped))),
            None => wrong.push(format!("thread {tid} is not in the dump")),
        }
    }
    assert!(seen > 0, "no threads to compare");
    let shown = wrong.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {seen} backtraces differ:\n{shown}", wrong.len());
}

fn shown(frames: &[Frame]) -> String {
    frames.iter().map(|frame| format!("{:#x} {}", frame.pc, frame.function)).collect::<Vec<_>>().join(", ")
}
