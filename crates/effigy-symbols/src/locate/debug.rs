//! Separate files with symbols: debug files of ELF images, what several of them share, and dSYM bundles.

use std::path::{Path, PathBuf};

use effigy_process::{BuildId, Module};

use super::candidates::{Candidates, below, by_build_id, plain};
use super::identity::{describe, mismatch};
use super::{Found, Locator, Outcome, Search, wanted};
use crate::image::{Image, ImageKind};

/// Bytes that are read at a time for a checksum.
const CHUNK: usize = 64 << 10;

pub(super) fn find(locator: &Locator, module: &Module) -> Found<Image> {
    let image = locator.image(module);
    let image = image.file.as_ref();
    let mut search = Search::new(wanted(module).or_else(|| image.and_then(|image| describe(image.identity()))));
    if module.pe.is_some() {
        return Search::new(None).found();
    }
    if let Some(image) = image.filter(|image| has_lines(image)) {
        search.found.file = Some(image.clone());
        search.record(image.path(), Outcome::Match);
        return search.found();
    }
    let judge = |debug: &Image| judge(debug, module, image.map(|image| &**image));
    for path in of_module(locator, module, image.map(|image| &**image)) {
        search.try_image(&path, judge);
    }
    let download = locator.download.as_ref().filter(|_| search.wants_more());
    if let Some(path) = download.and_then(|download| download.debug(module)) {
        search.try_image(&path, judge);
    }
    // All symbols without lines are better than nothing, and so is what the loader needs.
    if search.found.file.is_none()
        && let Some(image) = image
    {
        search.found.file = Some(image.clone());
    }
    search.found()
}

/// Whether an image was not stripped of what a debug file would have.
fn has_lines(image: &Image) -> bool {
    [".debug_info", ".debug_line"].iter().any(|name| image.section(name).is_some_and(|section| section.size > 0))
}

/// Whether a file has the symbols of a module: by identity, else by the checksum that the image's link to it has.
fn judge(debug: &Image, module: &Module, image: Option<&Image>) -> Outcome {
    let by_image = || image.and_then(|image| image.identity().build_id.as_ref()) == debug.identity().build_id.as_ref();
    match mismatch(debug, module) {
        None => Outcome::Match,
        Some(_) if wanted(module).is_none() && debug.identity().build_id.is_some() && by_image() => Outcome::Match,
        Some(other) => {
            let link = image.filter(|_| debug.identity().build_id.is_none()).and_then(Image::debug_link);
            match link.is_some_and(|(_, checksum)| checksum_of(debug.path()) == Some(checksum)) {
                true => Outcome::Match,
                false => Outcome::Other(other),
            }
        }
    }
}

/// The CRC-32 of a file, as `.gnu_debuglink` has it.
fn checksum_of(path: &Path) -> Option<u32> {
    let source = super::pdb::open(path).ok()?;
    let (mut sum, mut at, mut chunk) = (flate2::Crc::new(), 0, vec![0; CHUNK]);
    while at < source.size() {
        let count = source.read_at(at, &mut chunk).ok().filter(|count| *count > 0)?;
        sum.update(&chunk[..count]);
        at += count as u64;
    }
    Some(sum.sum())
}

/// Where a module's debug file may be, the likeliest first.
fn of_module(locator: &Locator, module: &Module, image: Option<&Image>) -> Vec<PathBuf> {
    let candidates = Candidates::new(locator.paths(), module);
    let folders: Vec<&Path> = candidates.folders().collect();
    let roots = locator.paths().debug_folders.iter().map(PathBuf::as_path);
    let id = module.build_id.as_ref().or_else(|| image.and_then(|image| image.identity().build_id.as_ref()));
    let mut paths = Vec::new();
    for root in folders.iter().copied().chain(roots.clone()) {
        paths.extend(id.and_then(|id| by_build_id(root, id, ".debug")));
        // A folder with debug files of another system may be laid out as that one's own folder for them.
        let debug_root = root.join("usr/lib/debug");
        paths.extend(id.and_then(|id| by_build_id(&debug_root, id, ".debug")));
    }
    let name = plain(module.name());
    let with_ending = |ending: &str| {
        let mut text = name.clone()?.into_os_string();
        text.push(ending);
        Some(PathBuf::from(text))
    };
    for folder in &folders {
        paths.extend(with_ending(".debug").map(|name| folder.join(name)));
        paths.extend(candidates.relative().map(|path| folder.join("usr/lib/debug").join(path)));
        paths.extend(bundle(folder, module));
    }
    paths.extend(roots.filter_map(|root| Some(appended(&root.join(candidates.relative()?), ".debug"))));
    if let Some(image) = image {
        let path = image.path();
        paths.extend(linked(locator, image));
        let is_bundled = image.kind() == ImageKind::MachO;
        paths.extend(path.parent().filter(|_| is_bundled).and_then(|folder| bundle(folder, module)));
    }
    // An image file of another name, or stripped of its code, may lie in a folder itself.
    if wanted(module).is_some() {
        paths.extend(candidates.images());
    }
    paths
}

fn appended(path: &Path, ending: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(ending);
    text.into()
}

/// A Mach-O image's symbols: NAME.dSYM/Contents/Resources/DWARF/NAME.
fn bundle(folder: &Path, module: &Module) -> Option<PathBuf> {
    module.uuid?;
    let name = plain(module.name())?;
    Some(folder.join(appended(&name, ".dSYM")).join("Contents/Resources/DWARF").join(name))
}

/// Where the link in an image leads: beside it, to `.debug` beside it, and to its path below the folders of debug files
/// (GDB's manual, "Debugging Information in Separate Files").
fn linked(locator: &Locator, image: &Image) -> Vec<PathBuf> {
    let link = image.debug_link().and_then(|(name, _)| plain(name.as_bytes()));
    let Some((name, folder)) = link.zip(image.path().parent()) else { return Vec::new() };
    let mut paths = vec![folder.join(&name), folder.join(".debug").join(&name)];
    let full = folder.canonicalize().ok();
    for root in &locator.paths().debug_folders {
        for folder in [below(folder), full.as_deref().and_then(below)].into_iter().flatten() {
            paths.push(root.join(folder).join(&name));
        }
    }
    // The image itself is no debug file of its own.
    paths.retain(|path| path != image.path());
    paths
}

pub(super) fn find_shared(locator: &Locator, debug: &Image) -> Found<Image> {
    let Some((name, id)) = debug.debug_alt_link() else { return Search::new(None).found() };
    let mut search = Search::new(Some(format!("build id {id}")));
    let judge = |image: &Image| judge_shared(image, &id);
    for path in shared(locator, debug, &name, &id) {
        search.try_image(&path, judge);
    }
    let download = locator.download.as_ref().filter(|_| search.wants_more());
    if let Some(path) = download.and_then(|download| download.debug_by_id(&id)) {
        search.try_image(&path, judge);
    }
    search.found()
}

fn judge_shared(image: &Image, wanted: &BuildId) -> Outcome {
    if image.identity().build_id.as_ref() == Some(wanted) {
        return Outcome::Match;
    }
    Outcome::Other(describe(image.identity()).unwrap_or_else(|| "no identity".to_owned()))
}

/// Where a shared debug file may be: at the path in the link, which begins at the file with the link, and by its build id.
fn shared(locator: &Locator, debug: &Image, name: &str, id: &BuildId) -> Vec<PathBuf> {
    let link = Path::new(name);
    let roots = || locator.paths().folders.iter().chain(&locator.paths().beside);
    let debug_roots = || locator.paths().debug_folders.iter();
    let mut paths: Vec<PathBuf> = debug.path().parent().map(|folder| folder.join(link)).into_iter().collect();
    // A file that was found by its build id is often a link to one in another folder, to which the path belongs.
    let real = debug.path().canonicalize().ok();
    paths.extend(real.as_deref().and_then(Path::parent).map(|folder| folder.join(link)));
    paths.extend(roots().chain(debug_roots()).filter_map(|root| by_build_id(root, id, ".debug")));
    let file = link.file_name();
    paths.extend(roots().filter_map(|root| Some(root.join(below(link)?))));
    paths.extend(debug_roots().filter_map(|root| Some(root.join(".dwz").join(file?))));
    paths
}
