//! Images and symbols of what is looked at: for stacks, names and code.

use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bstr::BStr;
use effigy_analysis::stacks::ModuleNames;
use effigy_process::{Address, CapturedMemory, Module, Process};
use effigy_symbols::dwarf::{DwarfFiles, LocalFiles};
use effigy_symbols::image::Image;
use effigy_symbols::index::Index;
use effigy_symbols::locate::Locator;
use effigy_symbols::merge::{ModuleFiles, Tables};
use effigy_symbols::perf_map::PerfMap;
use effigy_symbols::python;
use effigy_symbols::unwind::{BreakpadUnwind, UnwindImages};
use effigy_symbols::{Name, Symbol, SymbolTable};
use rustix::fs::{Mode, OFlags};

use super::images::Places;
use super::python::{Interpreter, PythonAnswer};
use super::{Refused, Seen, Subject, find_bytes};
use crate::cli::SymbolArgs;
use crate::print;

/// Longest list of functions made at run time that is read, in bytes.
const LONGEST_PERF_MAP: u64 = 512 << 20;
/// Largest symbol file of Breakpad's whose rules for unwinding are read, in bytes.
const LARGEST_SYMBOL_FILE: u64 = 1 << 30;
/// Longest image that the kernel puts into a process, in bytes: the vdso has two pages.
const LONGEST_VDSO: u64 = 64 << 10;

/// Where images and symbols of a process are, and what was read of them. Each is looked for once, when it is needed.
pub(crate) struct Symbols<'a> {
    process: &'a Process,
    memory: &'a dyn CapturedMemory,
    locator: Arc<Locator>,
    finder: Arc<dyn DwarfFiles>,
    index: Index,
    modules: Vec<ModuleSymbols>,
    made_at_run_time: OnceLock<PerfMap>,
    /// The running process, where it is one.
    pid: Option<u32>,
    /// What it ran of Python when it stood still.
    python: Option<&'a PythonAnswer>,
}

#[derive(Default)]
struct ModuleSymbols {
    image: OnceLock<Option<Arc<Image>>>,
    tables: OnceLock<Option<Arc<Tables>>>,
    breakpad: OnceLock<Option<Arc<BreakpadUnwind>>>,
}

/// Finds what a debug file refers to.
#[derive(Debug)]
struct Finder(Arc<Locator>);

impl DwarfFiles for Finder {
    fn split(
        &self,
        image: &Image,
        directory: &BStr,
        name: &BStr,
        fits: &dyn Fn(&Arc<Image>) -> bool,
    ) -> Option<Arc<Image>> {
        LocalFiles.split(image, directory, name, fits)
    }

    fn package(&self, image: &Image) -> Option<Arc<Image>> {
        LocalFiles.package(image)
    }

    fn shared(&self, image: &Image) -> Option<Arc<Image>> {
        self.0.shared(image).file.clone()
    }
}

impl Subject {
    /// Images and symbols, from where the arguments say.
    pub(crate) fn symbols(&self, args: &SymbolArgs) -> Result<Symbols<'_>, Refused> {
        let pid = match &self.seen {
            Seen::Live(looked) => looked.view.process().identity.pid.map(|pid| pid.0),
            Seen::Dump(_) => None,
        };
        let python = match &self.seen {
            Seen::Live(looked) => looked.python.as_ref(),
            Seen::Dump(_) => None,
        };
        let mut locator = Places::of(&args.images, true)?.locator(&self.name);
        if let Some(pid) = pid {
            locator = locator.with_mapped(Box::new(move |module| mapped(pid, module)));
        }
        if let Seen::Dump(dump) = &self.seen {
            locator = locator.with_memory(Arc::new(dump.memory.clone()));
        }
        let locator = Arc::new(locator);
        Ok(Symbols {
            process: self.process(),
            memory: self.memory(),
            finder: Arc::new(Finder(locator.clone())),
            locator,
            index: if args.no_index { Index::none() } else { Index::of_user() },
            modules: self.process().modules.iter().map(|_| ModuleSymbols::default()).collect(),
            made_at_run_time: OnceLock::new(),
            pid,
            python,
        })
    }
}

/// The file that a running process has mapped, also where its name is gone or leads elsewhere now.
fn mapped(pid: u32, module: &Module) -> Option<PathBuf> {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let path = module.path.strip_prefix(b"/").filter(|_| !module.deleted)?;
    let path = std::os::unix::ffi::OsStrExt::from_bytes(path);
    Some(root.join(Path::new::<std::ffi::OsStr>(path)))
}

impl Symbols<'_> {
    /// The image file of a module, or the image as it lies in memory, for the one that has no file.
    pub(crate) fn image_of(&self, module: usize) -> Option<Arc<Image>> {
        let known = self.modules.get(module)?;
        let find = || {
            let module = &self.process.modules[module];
            self.locator.image(module).file.clone().or_else(|| self.in_memory(module))
        };
        known.image.get_or_init(find).clone()
    }

    fn in_memory(&self, module: &Module) -> Option<Arc<Image>> {
        let has_no_file =
            matches!(module.name(), b"linux-gate.so" | b"linux-gate.so.1" | b"linux-vdso.so.1" | b"[vdso]");
        let size = module.range.size().min(LONGEST_VDSO);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        if !has_no_file || self.memory.read_exact(module.range.start(), &mut bytes).is_err() {
            return None;
        }
        Image::from_bytes(bytes, Path::new("[vdso]")).ok().map(Arc::new)
    }

    /// All that names places in a module.
    pub(crate) fn tables_of(&self, module: usize) -> Option<Arc<Tables>> {
        let known = self.modules.get(module)?;
        let open = || {
            let image = self.image_of(module);
            let module = &self.process.modules[module];
            let files = ModuleFiles {
                image,
                debug: self.locator.debug(module).file.clone(),
                pdb: self.locator.pdb(module).file.as_deref().map(ToOwned::to_owned),
                breakpad: self.locator.breakpad(module).file.as_deref().map(ToOwned::to_owned),
            };
            let is_known =
                files.image.is_some() || files.debug.is_some() || files.pdb.is_some() || files.breakpad.is_some();
            is_known.then(|| Arc::new(Tables::open(&files, &self.finder, &self.index)))
        };
        known.tables.get_or_init(open).clone()
    }

    /// The names of an address, innermost first, and its module.
    pub(crate) fn names_at(&self, address: Address) -> (Option<usize>, Vec<Name>) {
        let Some(index) = self.module_at(address) else { return (None, Vec::new()) };
        let offset = address.0 - self.process.modules[index].range.start().0;
        (Some(index), self.tables_of(index).map(|tables| tables.names_at(offset)).unwrap_or_default())
    }

    /// The symbol at or below an address.
    pub(crate) fn symbol_at(&self, address: Address) -> Option<(usize, Symbol)> {
        let index = self.module_at(address)?;
        let offset = address.0 - self.process.modules[index].range.start().0;
        Some((index, self.tables_of(index)?.symbol_at(offset)?))
    }

    /// The module that an address is in.
    pub(crate) fn module_at(&self, address: Address) -> Option<usize> {
        let after = self.process.modules.partition_point(|module| module.range.start() <= address);
        (0..after).rev().find(|index| self.process.modules[*index].range.contains(address))
    }

    /// The interpreter of Python, where the process is one of CPython's.
    pub(super) fn interpreter(&self) -> Option<Interpreter> {
        let modules = self.process.modules.iter().enumerate();
        let mut of_python = modules.filter(|(_, module)| find_bytes(module.name(), b"python"));
        let (index, runtime) = of_python.find_map(|(index, _)| Some((index, self.symbol_of(index, "_PyRuntime")?)))?;
        let module = self.process.modules.get(index)?;
        let number = self.symbol_of(index, "Py_Version").and_then(|address| {
            let mut bytes = [0; 4];
            self.memory.read_exact(address, &mut bytes).ok()?;
            Some(u32::from_le_bytes(bytes))
        });
        Some(Interpreter {
            module: module.clone(),
            architecture: self.process.architecture,
            runtime,
            version: python::version_of(module, number),
        })
    }

    /// The stacks of Python, where the process is one of CPython's; and why not, where it is and they cannot be read.
    pub(crate) fn python(&self) -> Option<PythonAnswer> {
        match self.pid {
            Some(_) => self.python.cloned(),
            None => Some(self.interpreter()?.stacks(self.memory)),
        }
    }

    /// Where the symbol of exactly this name lies.
    fn symbol_of(&self, module: usize, name: &str) -> Option<Address> {
        let mut found = None;
        self.tables_of(module)?.find(name, &mut |symbol| {
            // Names of C++ are also found without their parameters.
            if symbol.name != name {
                return ControlFlow::Continue(());
            }
            found = Some(symbol.offset);
            ControlFlow::Break(())
        });
        self.process.modules.get(module)?.range.start().checked_add(found?)
    }

    /// Writes down what was found, so that the next look is quicker.
    pub(crate) fn save(&self) {
        for tables in self.modules.iter().filter_map(|module| module.tables.get()).flatten() {
            tables.save();
        }
    }

    /// What was not found, or is another version: for people.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let looked_at = self.modules.iter().enumerate().filter(|(_, known)| known.image.get().is_some());
        for (index, _) in looked_at {
            let module = &self.process.modules[index];
            let found = self.locator.image(module);
            for (path, identity) in found.mismatches() {
                let path = print::safe(path.as_os_str().as_encoded_bytes());
                let name = print::safe(module.name());
                let wanted = found.wanted.as_deref().unwrap_or("another");
                warnings.push(format!("{path} is not used: it has {identity}, and {name} was {wanted}"));
            }
        }
        warnings
    }
}

impl UnwindImages for Symbols<'_> {
    fn image(&self, module: usize) -> Option<Arc<Image>> {
        self.image_of(module)
    }

    fn debug(&self, module: usize) -> Option<Arc<Image>> {
        self.locator.debug(self.process.modules.get(module)?).file.clone()
    }

    fn breakpad(&self, module: usize) -> Option<Arc<BreakpadUnwind>> {
        let known = self.modules.get(module)?;
        let open = || {
            let found = self.locator.breakpad(&self.process.modules[module]);
            let path = found.file.as_deref()?;
            let is_ordinary = path.metadata().is_ok_and(|about| about.is_file() && about.len() <= LARGEST_SYMBOL_FILE);
            let text = is_ordinary.then(|| std::fs::read(path).ok()).flatten()?;
            Some(Arc::new(BreakpadUnwind::parse(text)))
        };
        known.breakpad.get_or_init(open).clone()
    }
}

impl ModuleNames for Symbols<'_> {
    fn table(&self, module: usize) -> Option<Arc<dyn SymbolTable>> {
        self.tables_of(module).map(|tables| tables as _)
    }

    fn made_at_run_time(&self, address: Address) -> Option<Symbol> {
        let map = self.made_at_run_time.get_or_init(|| {
            let read = self.pid.map(read_perf_map);
            read.flatten().map(|text| PerfMap::parse(&text)).unwrap_or_default()
        });
        map.at(address.0).cloned()
    }
}

/// What a process's just-in-time compiler has written down: in the folder that the process sees as `/tmp`, under the id
/// that the process has there. Anybody may put something there: it must be an ordinary file of the process's own user.
fn read_perf_map(pid: u32) -> Option<Vec<u8>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = |name| status.lines().find_map(move |line| line.strip_prefix(name));
    let inner = line("NSpid:")?.split_whitespace().last()?;
    let owner: u32 = line("Uid:")?.split_whitespace().nth(1)?.parse().ok()?;
    let path = format!("/proc/{pid}/root/tmp/perf-{inner}.map");
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let about = file.metadata().ok()?;
    let mut text = Vec::new();
    let is_theirs = about.is_file() && (about.uid() == owner || about.uid() == 0);
    is_theirs.then(|| file.take(LONGEST_PERF_MAP).read_to_end(&mut text).ok()).flatten()?;
    Some(text)
}
