//! `effigy modules`: program images, with what tells each from other builds of itself.

use effigy_dump::sink::size;
use effigy_process::{FileVersion, Module, PeIdentity, Platform, Process, UnloadedModule};
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::ModulesArgs;
use crate::exit::Exit;
use crate::print::{self, Page};
use crate::subject::{Look, Refused, Subject, matches_pattern};
use crate::table::{Align, Table};
use crate::words;

/// Runs the command.
pub(crate) fn run(args: &ModulesArgs) -> Exit {
    super::tell(answer(args))
}

fn answer(args: &ModulesArgs) -> Result<Exit, Refused> {
    let subject = Subject::open(&args.target.target, Look::Passing)?;
    let process = subject.process();
    let fits = |name: &[u8]| {
        args.name.as_deref().is_none_or(|pattern| matches_pattern(pattern, &String::from_utf8_lossy(name)))
    };
    let modules: Vec<&Module> = process.modules.iter().filter(|module| fits(module.name())).collect();
    let unloaded: Vec<&UnloadedModule> = process.unloaded_modules.iter().filter(|module| fits(&module.name)).collect();
    let mut page = Page::begin();
    if args.target.json {
        page.json(&subject.document(Answer::of(&modules, unloaded)));
        return Ok(page.finish());
    }
    subject.say_warnings();
    if args.verbose {
        modules.iter().for_each(|module| verbose(process, module, &mut page));
    } else {
        table(process, &modules).print(&mut page);
    }
    if !unloaded.is_empty() {
        page.line("");
        page.line("Unloaded modules:");
        unloaded_table(process, &unloaded).print(&mut page);
    }
    if modules.is_empty() && unloaded.is_empty() {
        page.line(if args.name.is_some() { "no module has such a name" } else { "no modules are known" });
    }
    Ok(page.finish())
}

/// The answer as JSON; docs/json.md describes it.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    modules: Vec<Row<'a>>,
    unloaded_modules: Vec<&'a UnloadedModule>,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    name: String,
    #[serde(flatten)]
    module: &'a Module,
}

impl<'a> Answer<'a> {
    fn of(modules: &[&'a Module], unloaded_modules: Vec<&'a UnloadedModule>) -> Self {
        let row = |module: &&'a Module| Row { name: String::from_utf8_lossy(module.name()).into_owned(), module };
        Self { modules: modules.iter().map(row).collect(), unloaded_modules }
    }
}

/// What tells a module from other builds: build id, UUID, PDB, else time stamp and size of a PE image.
fn identity(process: &Process, module: &Module) -> String {
    let apple = matches!(process.system.platform, Platform::MacOs | Platform::Ios);
    match (&module.build_id, &module.uuid, &module.pdb, &module.pe) {
        (Some(id), ..) => id.to_string(),
        (_, Some(uuid), ..) if apple => uuid.to_string(),
        (_, Some(uuid), ..) => uuid.windows(),
        (_, _, Some(pdb), _) => format!("{}-{:x}", pdb.guid.windows(), pdb.age),
        (.., Some(pe)) => format!("{:08X}{:x}", pe.time_stamp, pe.size_of_image),
        _ => String::new(),
    }
}

fn version(module: &Module) -> String {
    let text = |version: &FileVersion| version.file.map(|number| number.to_string()).join(".");
    module.version.as_ref().filter(|version| version.file != [0; 4]).map(text).unwrap_or_default()
}

fn table(process: &Process, modules: &[&Module]) -> Table {
    let mut table = Table::new(&[
        ("start", Align::Left),
        ("end", Align::Left),
        ("module name", Align::Left),
        ("version", Align::Left),
        ("identity", Align::Left),
        ("path", Align::Left),
    ]);
    for module in modules {
        let deleted = if module.deleted { " (deleted)" } else { "" };
        table.row([
            words::address(process, module.range.start()),
            words::address(process, module.range.end()),
            print::safe(module.name()),
            version(module),
            identity(process, module),
            format!("{}{deleted}", print::safe(&module.path)),
        ]);
    }
    table
}

fn unloaded_table(process: &Process, modules: &[&UnloadedModule]) -> Table {
    let mut table = Table::new(&[
        ("start", Align::Left),
        ("end", Align::Left),
        ("module name", Align::Left),
        ("timestamp", Align::Left),
    ]);
    for module in modules {
        table.row([
            words::address(process, module.range.start()),
            words::address(process, module.range.end()),
            print::safe(&module.name),
            time_stamp(&module.pe),
        ]);
    }
    table
}

/// `Sun Apr 29 13:52:53 2018 (5AE55DB5)`.
fn time_stamp(pe: &PeIdentity) -> String {
    match Timestamp::from_second(i64::from(pe.time_stamp)) {
        Ok(stamp) if pe.time_stamp != 0 => {
            format!("{} ({:08X})", stamp.strftime("%a %b %e %H:%M:%S %Y"), pe.time_stamp)
        }
        _ => String::new(),
    }
}

/// All that is known of a module, a line each.
fn verbose(process: &Process, module: &Module, page: &mut Page) {
    page.line(format!("{}   {}", words::range(process, module.range), print::safe(module.name())));
    let mut say = |name: &str, value: String| {
        if !value.is_empty() {
            page.line(format!("    {name:<18}{value}"));
        }
    };
    say("Image path:", print::safe(&module.path));
    say("Soname:", module.soname.as_ref().map(|name| print::safe(name)).unwrap_or_default());
    say("Main program:", if module.is_main { "yes".into() } else { String::new() });
    say("Deleted:", if module.deleted { "the file was deleted or replaced since".into() } else { String::new() });
    say("Build id:", module.build_id.as_ref().map(ToString::to_string).unwrap_or_default());
    say("UUID:", module.uuid.map(|uuid| uuid.to_string()).unwrap_or_default());
    if let Some(pdb) = &module.pdb {
        say("PDB:", format!("{} age {} {}", pdb.guid.windows(), pdb.age, print::safe(&pdb.path)));
    }
    if let Some(pe) = &module.pe {
        say("Timestamp:", time_stamp(pe));
        say("CheckSum:", format!("{:08X}", pe.checksum));
    }
    say("ImageSize:", format!("{:08X} ({})", module.range.size(), size(module.range.size())));
    say("File version:", version(module));
    let product = module.version.map(|version| version.product).filter(|product| *product != [0; 4]);
    say("Product version:", product.map(|product| product.map(|n| n.to_string()).join(".")).unwrap_or_default());
    let flags = module.version.map(|version| version.flags).filter(|flags| *flags != 0);
    say("File flags:", flags.map(|flags| format!("{flags:X}")).unwrap_or_default());
    say("File size:", module.file_size.map(size).unwrap_or_default());
}
