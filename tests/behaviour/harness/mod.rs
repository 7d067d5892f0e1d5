//! What every behaviour test stands on: targets, effigy runs, dumps read without effigy's own code, oracles, and the
//! one check that no test leaves out: the target was not harmed.

mod backtrace;
mod compile;
mod dump;
mod elf;
mod elsewhere;
mod heartbeat;
mod mappings;
mod marker;
mod oracle;
mod run;
mod state;
mod system;
mod target;

pub(crate) use backtrace::{
    Backtraces, Frame, compare_exactly, compare_places, eu_stack, eu_stack_live, gdb_commands, gdb_core, gdb_live,
    lldb, run_gdb_live, stackwalk, stackwalk_with_symbols,
};
pub(crate) use compile::{compile, compile_go, source_dir};
pub(crate) use dump::{Dump, Registers, disk_bytes, dump_core, dump_minidump, dump_with, file_contains};
pub(crate) use elf::{Core, NT_PRSTATUS};
pub(crate) use elsewhere::{Elsewhere, NOBODY};
pub(crate) use heartbeat::Heartbeat;
pub(crate) use mappings::{Mappings, watched};
pub(crate) use marker::{Marker, MarkerKind, verify, verify_absent};
pub(crate) use oracle::{heavy, oracle, skip};
pub(crate) use run::{Effigy, Run, Running, effigy};
#[cfg(feature = "fault-injection")]
pub(crate) use state::children_of;
pub(crate) use state::{Likeness, State, Tolerance, alive, status_field, thread_states, twins_of};
pub(crate) use system::{Cgroup, MachineLock, Mounted, Setting, Swap, is_root, scratch};
pub(crate) use target::{Plan, Target};
