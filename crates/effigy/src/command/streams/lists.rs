//! What is in the lists of a minidump: its threads, modules and ranges of memory, as dumpchk shows them.

use effigy_formats::{OpenedDump, Part};
use effigy_process::CapturedMemory;

use crate::print::{self, Page};
use crate::words;

/// Numbers of streams, `MINIDUMP_STREAM_TYPE` of minidumpapiset.h.
mod number {
    pub(super) const THREAD_LIST: u32 = 3;
    pub(super) const MODULE_LIST: u32 = 4;
    pub(super) const MEMORY_LIST: u32 = 5;
    pub(super) const MEMORY64_LIST: u32 = 9;
    pub(super) const HANDLE_DATA: u32 = 12;
    pub(super) const UNLOADED_MODULE_LIST: u32 = 14;
    pub(super) const MEMORY_INFO_LIST: u32 = 16;
}

/// Prints what a stream lists.
pub(super) fn print(dump: &OpenedDump, part: &Part, page: &mut Page) {
    let process = &dump.process;
    match part.number {
        number::THREAD_LIST => {
            page.line(format!("  {}", words::count(process.threads.len() as u64, "thread")));
            for thread in &process.threads {
                let block = thread.windows.as_ref().and_then(|windows| windows.environment_block);
                let block = block.map(|block| format!(", Teb: {}", words::address(process, block))).unwrap_or_default();
                page.line(format!("  ID {:X} ({}){block}", thread.id.0, thread.id));
            }
        }
        number::MODULE_LIST => {
            page.line(format!("  {}", words::count(process.modules.len() as u64, "module")));
            for module in &process.modules {
                page.line(format!("  {}: '{}'", words::range(process, module.range), print::safe(&module.path)));
            }
        }
        number::UNLOADED_MODULE_LIST => {
            page.line(format!("  {}", words::count(process.unloaded_modules.len() as u64, "unloaded module")));
            for module in &process.unloaded_modules {
                page.line(format!("  {}: '{}'", words::range(process, module.range), print::safe(&module.name)));
            }
        }
        number::MEMORY_LIST | number::MEMORY64_LIST => ranges(dump, page),
        number::MEMORY_INFO_LIST => page.line(format!("  {}", words::count(process.regions.len() as u64, "region"))),
        number::HANDLE_DATA => page.line(format!("  {}", words::count(process.handles.len() as u64, "handle"))),
        _ => {}
    }
}

fn ranges(dump: &OpenedDump, page: &mut Page) {
    let captured = dump.memory.captured();
    page.line(format!("  {}", words::count(captured.len() as u64, "memory range")));
    page.line("  range#    RVA      Address               Size");
    for (index, captured) in captured.iter().enumerate() {
        if page.is_closed() {
            return;
        }
        let address = words::address(&dump.process, captured.range.start());
        let offset = captured.offset.map(|offset| format!("{offset:08x}")).unwrap_or_default();
        page.line(format!("  {index:6} {offset:>10}   {address:<17}   {}", words::short_number(captured.range.size())));
    }
}
