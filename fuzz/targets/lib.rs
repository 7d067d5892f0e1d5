//! What all fuzz targets do with a dump once it is open: everything that a command would.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use effigy_analysis::address_space::{AddressSpace, SpaceOptions};
use effigy_analysis::compare::Comparison;
use effigy_formats::source::SharedSource;
use effigy_formats::{OpenedDump, Surroundings, open};
use effigy_process::{Address, CapturedMemory, Memory};

/// Ranges of memory that are read; the others have nothing that these have not.
const MOST_RANGES: usize = 2000;

/// Streams and notes that are decoded.
const MOST_PARTS: usize = 2000;

/// Files beside the dump, by name.
#[derive(Default)]
pub struct Beside(pub Vec<(PathBuf, Arc<Vec<u8>>)>);

impl Surroundings for Beside {
    fn open(&mut self, path: &Path) -> io::Result<SharedSource> {
        let found = self.0.iter().find(|(name, _)| name == path);
        found.map(|(_, bytes)| -> SharedSource { bytes.clone() }).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn scratch(&mut self) -> io::Result<File> {
        let file = temporary_file()?;
        Ok(file)
    }

    /// A bomb is to be noticed, not to fill the disk.
    fn unpacked_limit(&self) -> u64 {
        16 << 20
    }
}

/// A file without a name.
pub fn temporary_file() -> io::Result<File> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!("effigy-fuzz-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

/// Opens a file and looks at all of it.
pub fn look(bytes: Vec<u8>, beside: &mut Beside) {
    match open(Arc::new(bytes), beside) {
        Ok(dump) => use_up(&dump),
        // What is shown to people must not fail either.
        Err(error) => drop(error.to_string()),
    }
}

fn use_up(dump: &OpenedDump) {
    drop(format!("{dump:?}"));
    let process = &dump.process;
    for thread in &process.threads {
        if let Ok(registers) = &thread.registers {
            let _ = effigy_formats::elf_core::vector_registers(registers);
        }
        if let Ok(registers) = &thread.registers
            && let Some(general) = registers.general()
        {
            if let Some(pointer) = general.stack_pointer() {
                let _ = dump.memory.read(pointer, &mut [0; 64]);
            }
            if let Some(pointer) = general.instruction_pointer() {
                let _ = process.module_at(pointer);
            }
        }
    }
    for part in dump.parts.iter().take(MOST_PARTS) {
        let _ = dump.fields_of(part);
    }
    let mut before = Address(0);
    let mut buffer = [0; 256];
    for captured in dump.memory.captured().iter().take(MOST_RANGES) {
        assert!(!captured.range.is_empty() && captured.range.start() >= before, "captured ranges rise");
        before = captured.range.end();
        let count = dump.memory.read(captured.range.start(), &mut buffer);
        assert!(count.is_ok_and(|count| count > 0), "what is captured can be read: {}", captured.range);
        let _ = dump.memory.read(captured.range.end().saturating_sub(8), &mut buffer);
        let _ = dump.memory.read(captured.range.end(), &mut buffer);
    }
    for lists_all in [false, true] {
        drop(AddressSpace::of(process, SpaceOptions { memory: Some(&dump.memory), lists_all }));
    }
    drop(Comparison::of(process, process));
}
