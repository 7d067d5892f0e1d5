//! Opens dumps, unwinds their threads, and asks others for the same.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use effigy_formats::source::{FileSource, SharedSource};
use effigy_formats::{OpenedDump, Surroundings, open};
use effigy_process::Process;
use effigy_symbols::image::Image;
use effigy_symbols::unwind::{BreakpadUnwind, Stack, UnwindImages, Unwinder};

/// The most frames that are looked at.
pub(crate) const MOST_FRAMES: usize = 1000;

/// Program counters of every thread, innermost first.
pub(crate) type Counters = BTreeMap<u32, Vec<u64>>;

/// The shared collection of dumps, which lies beside the checkout where it is there at all.
pub(crate) fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let path = std::env::var_os("EFFIGY_CORPUS").map_or(beside, PathBuf::from);
    if !path.is_dir() {
        println!("SKIPPED corpus not found");
        return None;
    }
    Some(path)
}

/// Where a tool is; `None` says that the test is skipped.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/oracles/bin"));
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        println!("SKIPPED {name} not found");
    }
    found
}

struct Alone;

impl Surroundings for Alone {
    fn open(&mut self, _: &Path) -> io::Result<SharedSource> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn scratch(&mut self) -> io::Result<File> {
        tempfile::tempfile()
    }
}

pub(crate) fn opened(path: &Path) -> OpenedDump {
    let source = FileSource::new(File::open(path).unwrap()).unwrap();
    open(Arc::new(source), &mut Alone).unwrap()
}

/// Images and symbol files of a dump's modules, by identity.
pub(crate) struct Files<'p> {
    process: &'p Process,
    /// Files that may be an image of the process, before those at the modules' own paths.
    programs: Vec<PathBuf>,
    /// Folders of Breakpad's layout.
    symbols: Vec<PathBuf>,
}

impl<'p> Files<'p> {
    pub(crate) fn new(process: &'p Process, programs: &[&Path], symbols: &[PathBuf]) -> Self {
        let programs = programs.iter().map(|path| path.to_path_buf()).collect();
        Self { process, programs, symbols: symbols.to_vec() }
    }
}

impl UnwindImages for Files<'_> {
    fn image(&self, module: usize) -> Option<Arc<Image>> {
        let module = &self.process.modules[module];
        let own = PathBuf::from(module.path.to_string());
        let named = self.programs.iter().find(|path| path.file_name() == own.file_name() || module.is_main);
        let differs = |image: &Image| module.build_id.is_some() && module.build_id != image.identity().build_id;
        if let Some(image) = named.and_then(|path| Image::open(path).ok()).filter(|image| !differs(image)) {
            return Some(Arc::new(image));
        }
        // A file at the module's own path may be another one by now.
        let image = Image::open(&own).ok().filter(|image| module.build_id.is_some() && !differs(image));
        image.map(Arc::new)
    }

    fn debug(&self, module: usize) -> Option<Arc<Image>> {
        let id = self.process.modules[module].build_id.as_ref()?.to_string();
        let (head, tail) = id.split_at_checked(2)?;
        Image::open(Path::new(&format!("/usr/lib/debug/.build-id/{head}/{tail}.debug"))).ok().map(Arc::new)
    }

    fn breakpad(&self, module: usize) -> Option<Arc<BreakpadUnwind>> {
        let module = &self.process.modules[module];
        let pdb = module.pdb.as_ref()?;
        let end = |path: &[u8]| {
            let name = path.rsplit(|byte| matches!(byte, b'/' | b'\\')).next().unwrap_or_default();
            String::from_utf8_lossy(name).into_owned()
        };
        let name = if pdb.path.is_empty() { end(&module.path) } else { end(&pdb.path) };
        let id = format!("{}{:X}", pdb.guid.windows().replace('-', ""), pdb.age);
        let file = format!("{}.sym", name.strip_suffix(".pdb").unwrap_or(&name));
        let paths = self.symbols.iter().map(|folder| folder.join(&name).join(&id).join(&file));
        let bytes = paths.into_iter().find_map(|path| std::fs::read(path).ok())?;
        Some(Arc::new(BreakpadUnwind::parse(bytes)))
    }
}

/// The stacks of all threads, unwound at the same time.
pub(crate) fn stacks(dump: &OpenedDump, files: &Files<'_>) -> BTreeMap<u32, Stack> {
    let unwinder = Unwinder::new(&dump.process, &dump.memory, files);
    let fault = dump.process.fault.as_ref();
    std::thread::scope(|scope| {
        let known = dump.process.threads.iter().filter_map(|thread| {
            // The registers of a fault are those of the time when it happened.
            let of_fault = fault.filter(|fault| fault.thread == thread.id).and_then(|fault| fault.registers.as_deref());
            Some((thread.id.0, of_fault.or(thread.registers.as_ref().ok())?))
        });
        let unwinder = &unwinder;
        let running: Vec<_> =
            known.map(|(id, registers)| (id, scope.spawn(move || unwinder.unwind(registers, MOST_FRAMES)))).collect();
        running.into_iter().map(|(id, thread)| (id, thread.join().unwrap())).collect()
    })
}

/// The program counters of the frames.
pub(crate) fn counters(stacks: &BTreeMap<u32, Stack>) -> Counters {
    let of = |stack: &Stack| stack.frames.iter().map(|frame| frame.address.0).collect();
    stacks.iter().map(|(id, stack)| (*id, of(stack))).collect()
}

/// What eu-stack sees in a core; `None` where it does not get as far as the threads.
pub(crate) fn eu_stack(tool: &Path, exe: Option<&Path>, core: &Path) -> Option<Counters> {
    let mut command = Command::new(tool);
    command.args(["-n", "0", "--core"]).arg(core);
    if let Some(exe) = exe {
        command.arg("-e").arg(exe);
    }
    let text = String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned();
    let mut all = Counters::new();
    let mut thread = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("TID ") {
            thread = rest.trim_end_matches(':').parse().ok();
        } else if let (Some(thread), true) = (thread, line.starts_with('#')) {
            all.entry(thread).or_default().extend(line.split_whitespace().nth(1).and_then(hexadecimal));
        }
    }
    (!all.is_empty()).then_some(all)
}

pub(crate) fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// How many frames two agree on, of how many that the other has; differences are printed.
pub(crate) fn agreement(name: &str, ours: &BTreeMap<u32, Stack>, theirs: &Counters) -> (usize, usize) {
    let mine = counters(ours);
    let (mut equal, mut all) = (0, 0);
    for (thread, other) in theirs {
        let own = mine.get(thread).map_or(&[][..], Vec::as_slice);
        // eu-stack gives the byte before a return address.
        let same = own.iter().zip(other).take_while(|(own, other)| own == other || **own == **other + 1).count();
        equal += same;
        all += other.len().max(own.len());
        if same < other.len().max(own.len()) {
            let frames = ours.get(thread).map(|stack| {
                let frame =
                    |frame: &effigy_symbols::unwind::Frame| format!("{} {}", frame.address, frame.trust.as_str());
                (stack.frames.iter().map(frame).collect::<Vec<_>>(), stack.stop.to_string())
            });
            println!("DIFFERS {name} thread {thread} from frame {same}: ours {frames:?}, theirs {other:x?}");
        }
    }
    (equal, all)
}
