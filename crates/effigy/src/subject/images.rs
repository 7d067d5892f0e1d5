//! Image files: pages of programs that a dump leaves out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use effigy_formats::{MemoryMap, OpenedDump};
use effigy_process::{AddressRange, CapturedMemory, Module, Process};
use effigy_symbols::locate::{Locator, SearchPaths};
use effigy_symbols::server::Servers;
use effigy_symbols::whole::{ImageMemory, ModuleFile};
use serde::Serialize;

use super::servers::{servers, symbol_path};
use super::{Refused, Seen, Subject};
use crate::cli::ImageArgs;
use crate::print;

/// Most files that warnings name.
const MOST_WARNINGS: usize = 20;

/// Memory that is read from an image file.
#[derive(Debug, Serialize)]
pub(crate) struct FromImage {
    #[serde(flatten)]
    pub(crate) range: AddressRange,
    /// The file.
    pub(crate) path: String,
}

/// Image files that were looked for, and what is taken from them.
#[derive(Debug)]
pub(crate) struct Images {
    files: Arc<ImageMemory>,
    /// The dump's memory with theirs; `None` where it is only asked what could be.
    memory: Option<MemoryMap>,
    warnings: Vec<String>,
}

impl Images {
    /// Looks for the files of a dump's images. Where only some addresses matter, `within` names them.
    pub(crate) fn find(dump: &OpenedDump, path: &Path, places: &Places, within: Option<AddressRange>) -> Self {
        let locator = places.locator(path).with_memory(Arc::new(dump.memory.clone()));
        let files = ImageMemory::find(&dump.process, &dump.memory, &locator, within);
        let mut warnings = warnings(&dump.process, &files, within.is_some());
        warnings.extend(places.servers.iter().flat_map(|servers| servers.notes()));
        Self { files: Arc::new(files), memory: None, warnings }
    }

    /// The dump's memory, and where it has none, that of the files.
    pub(crate) fn fill(&self, memory: MemoryMap) -> MemoryMap {
        memory.filled_from(self.files.clone())
    }

    /// The files.
    pub(crate) fn files(&self) -> &ImageMemory {
        &self.files
    }

    /// What is amiss with them, for people.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether something is taken from them, and not only asked about.
    pub(super) fn is_used(&self) -> bool {
        self.memory.is_some()
    }

    /// Bytes of memory that the files have.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.captured_bytes()
    }

    /// How many files something is taken from.
    pub(crate) fn used(&self) -> usize {
        self.files.files().iter().filter(|file| file.bytes > 0).count()
    }
}

/// Where image files are looked for.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Folders that are looked in first.
    folders: Vec<PathBuf>,
    /// Servers that are asked last.
    servers: Option<Arc<Servers>>,
}

impl Places {
    /// Folders, and what every system has.
    pub(crate) fn folders(folders: &[PathBuf]) -> Self {
        Self { folders: folders.to_vec(), servers: None }
    }

    /// What the arguments name. Servers of the environment are asked only for what somebody wants to see just now:
    /// `asked`.
    pub(super) fn of(args: &ImageArgs, asked: bool) -> Result<Self, Refused> {
        let path = symbol_path(&args.servers)?;
        let mut folders = args.image_path.clone();
        folders.extend(path.folders().map(Path::to_owned));
        let offline = args.servers.offline || !asked && args.servers.symbol_path.is_none();
        let servers = (!path.entries().is_empty()).then(|| servers(path, offline));
        Ok(Self { folders, servers })
    }

    /// What looks there for the files of a dump's modules. `dump` is the dump's file.
    pub(super) fn locator(&self, dump: &Path) -> Locator {
        let beside = dump.parent().map(|parent| if parent == Path::new("") { Path::new(".") } else { parent });
        let paths = SearchPaths {
            folders: self.folders.clone(),
            beside: beside.map(Path::to_owned),
            ..SearchPaths::of_this_system()
        };
        let locator = Locator::new(paths);
        match &self.servers {
            Some(servers) => locator.with_download(servers.clone()),
            None => locator,
        }
    }
}

impl Subject {
    /// Takes what a dump leaves out from image files, as the arguments have it. A running process has all its memory.
    pub(crate) fn fill(&mut self, args: &ImageArgs, within: Option<AddressRange>) -> Result<(), Refused> {
        if !args.no_images {
            self.fill_from(&Places::of(args, within.is_some())?, within);
        }
        Ok(())
    }

    /// The same, from other places.
    pub(crate) fn fill_from(&mut self, places: &Places, within: Option<AddressRange>) {
        self.look_in(places, within);
        if let (Seen::Dump(dump), Some(images)) = (&self.seen, &mut self.images) {
            images.memory = Some(images.fill(dump.memory.clone()));
        }
    }

    /// Finds out what image files have of what a dump leaves out, without taking it, and without asking servers.
    pub(crate) fn look_for_images(&mut self, args: &ImageArgs) -> Result<(), Refused> {
        if !args.no_images {
            let mut places = Places::of(args, false)?;
            places.servers = None;
            self.look_in(&places, None);
        }
        Ok(())
    }

    fn look_in(&mut self, places: &Places, within: Option<AddressRange>) {
        if let Seen::Dump(dump) = &self.seen {
            self.images = Some(Images::find(dump, &self.name, places, within));
        }
    }

    /// The image files that were looked for.
    pub(crate) fn images(&self) -> Option<&Images> {
        self.images.as_ref()
    }

    /// A dump's memory with that of image files, where these are to be used.
    pub(super) fn filled(&self) -> Option<&MemoryMap> {
        self.images.as_ref()?.memory.as_ref()
    }

    /// What of a range comes from image files, or could, and from which.
    pub(crate) fn image_parts(&self, range: AddressRange) -> Vec<FromImage> {
        let mut parts: Vec<FromImage> = Vec::new();
        let Some(images) = self.images.as_ref() else { return parts };
        for (range, file) in images.files.within(range) {
            let path = path_of(file);
            match parts.last_mut().filter(|last| last.range.end() == range.start() && last.path == path) {
                Some(last) => last.range = AddressRange::new(last.range.start(), range.end()),
                None => parts.push(FromImage { range, path }),
            }
        }
        parts
    }
}

fn path_of(file: &ModuleFile) -> String {
    file.found.file.as_ref().map(|image| image.path().to_string_lossy().into_owned()).unwrap_or_default()
}

/// What is amiss: files that are not the ones, and files that nothing can be taken from. Files of this system at the paths
/// of another system's modules are no news, unless somebody wants to see just these addresses: `asked`.
fn warnings(process: &Process, files: &ImageMemory, asked: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    for file in files.files() {
        let Some(module) = process.modules.get(file.module) else { continue };
        let name = print::safe(module.name());
        let wanted = file.found.wanted.as_deref();
        for (path, identity) in file.found.mismatches().filter(|(path, _)| asked || !is_own(path, module)) {
            let path = print::safe(path.as_os_str().as_encoded_bytes());
            let wanted = wanted.unwrap_or("another");
            warnings.push(format!("{path} is not used: it has {identity}, and {name} was {wanted}"));
        }
        if let (Some(image), Some(unfit)) = (&file.found.file, file.unfit) {
            let path = print::safe(image.path().as_os_str().as_encoded_bytes());
            warnings.push(format!("{path} is not used: {unfit}"));
        }
        if asked && file.found.file.is_none() {
            warnings.push(match wanted {
                Some(wanted) => format!("no file of {name} with {wanted} was found; --image-path names more folders"),
                None => format!("nothing is known by which the file of {name} could be told from other versions"),
            });
        }
    }
    if warnings.len() > MOST_WARNINGS {
        let more = warnings.len() - MOST_WARNINGS;
        warnings.truncate(MOST_WARNINGS);
        warnings.push(format!("and {more} image files more that are not used"));
    }
    if files.is_cut() {
        warnings.push("the dump lists so many modules that not all their files were looked for".to_owned());
    }
    warnings
}

/// Whether a path is that of the module on this system.
fn is_own(path: &Path, module: &Module) -> bool {
    path.as_os_str().as_encoded_bytes() == module.path.as_slice()
}
