#![no_main]
//! A PDB, all of it hostile. What takes it apart is somebody else's, and runs in a thread of its own, in which it may fail: the
//! table then has no names. It must end, in bounded time and memory, and not take the program with it.

use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use effigy_fuzz::temporary_file;
use effigy_symbols::SymbolTable;
use effigy_symbols::pdb::PdbTable;
use libfuzzer_sys::fuzz_target;

const MAGIC: &[u8] = b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0";

fuzz_target!(init: let_the_thread_fail(), |bytes: &[u8]| {
    let mut file = bytes.to_vec();
    if let Some(start) = file.get_mut(..MAGIC.len()) {
        start.copy_from_slice(MAGIC);
    }
    let Ok(written) = written(&file) else { return };
    let path = PathBuf::from(format!("/proc/self/fd/{}", written.as_raw_fd()));
    let Ok(table) = PdbTable::open(&path) else { return };
    for offset in (0..0x4000).step_by(0x200).chain([u64::MAX]) {
        drop((table.names_at(offset), table.symbol_at(offset)));
    }
    table.find("*a*", &mut |_| ControlFlow::Continue(()));
});

fn written(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = temporary_file()?;
    file.write_all(bytes)?;
    Ok(file)
}

/// The fuzzer's own hook takes every panic for a finding.
fn let_the_thread_fail() {
    let finding = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |about| {
        if std::thread::current().name() != Some("pdb") {
            finding(about);
        }
    }));
}
