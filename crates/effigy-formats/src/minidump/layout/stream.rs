//! Numbers of streams (`MINIDUMP_STREAM_TYPE`).

/// `UnusedStream`: an entry to skip.
pub(crate) const UNUSED: u32 = 0;
/// `ThreadListStream`.
pub(crate) const THREAD_LIST: u32 = 3;
/// `ModuleListStream`.
pub(crate) const MODULE_LIST: u32 = 4;
/// `MemoryListStream`: memory within the file's first 4 GiB.
pub(crate) const MEMORY_LIST: u32 = 5;
/// `ExceptionStream`.
pub(crate) const EXCEPTION: u32 = 6;
/// `SystemInfoStream`.
pub(crate) const SYSTEM_INFO: u32 = 7;
/// `ThreadExListStream`: threads with a second stack (Itanium).
pub(crate) const THREAD_EX_LIST: u32 = 8;
/// `Memory64ListStream`: memory at the file's end.
pub(crate) const MEMORY64_LIST: u32 = 9;
/// `CommentStreamA`: text.
pub(crate) const COMMENT_A: u32 = 10;
/// `CommentStreamW`: text in UTF-16.
pub(crate) const COMMENT_W: u32 = 11;
/// `HandleDataStream`.
pub(crate) const HANDLE_DATA: u32 = 12;
/// `FunctionTableStream`: unwind information of code that was made at run time.
pub(crate) const FUNCTION_TABLE: u32 = 13;
/// `UnloadedModuleListStream`.
pub(crate) const UNLOADED_MODULE_LIST: u32 = 14;
/// `MiscInfoStream`.
pub(crate) const MISC_INFO: u32 = 15;
/// `MemoryInfoListStream`.
pub(crate) const MEMORY_INFO_LIST: u32 = 16;
/// `ThreadInfoListStream`.
pub(crate) const THREAD_INFO_LIST: u32 = 17;
/// `HandleOperationListStream`: who opened and closed handles.
pub(crate) const HANDLE_OPERATION_LIST: u32 = 18;
/// `TokenStream`: access tokens.
pub(crate) const TOKEN: u32 = 19;
/// `JavaScriptDataStream`: what a debugger's extension for Chakra keeps.
pub(crate) const JAVA_SCRIPT_DATA: u32 = 20;
/// `ProcessVmCountersStream`.
pub(crate) const PROCESS_VM_COUNTERS: u32 = 22;
/// `IptTraceStream`: traces of Intel Processor Trace.
pub(crate) const IPT_TRACE: u32 = 23;
/// `ThreadNamesStream`.
pub(crate) const THREAD_NAMES: u32 = 24;

/// `/proc/cpuinfo` (this and the following: Breakpad).
pub(crate) const LINUX_CPU_INFO: u32 = 0x4767_0003;
/// `/proc/PID/status`.
pub(crate) const LINUX_PROC_STATUS: u32 = 0x4767_0004;
/// `/etc/lsb-release`.
pub(crate) const LINUX_LSB_RELEASE: u32 = 0x4767_0005;
/// `/proc/PID/cmdline`.
pub(crate) const LINUX_CMD_LINE: u32 = 0x4767_0006;
/// `/proc/PID/environ`.
pub(crate) const LINUX_ENVIRON: u32 = 0x4767_0007;
/// `/proc/PID/auxv`.
pub(crate) const LINUX_AUXV: u32 = 0x4767_0008;
/// `/proc/PID/maps`.
pub(crate) const LINUX_MAPS: u32 = 0x4767_0009;
/// The dynamic linker's `r_debug` and the objects of its list.
pub(crate) const LINUX_DSO_DEBUG: u32 = 0x4767_000a;
/// `/proc/PID/stat` (this and the next: LLVM's MinidumpConstants.def).
pub(crate) const LINUX_PROC_STAT: u32 = 0x4767_000b;
/// `/proc/uptime`.
pub(crate) const LINUX_PROC_UPTIME: u32 = 0x4767_000c;
/// `MinidumpCrashpadInfo`.
pub(crate) const CRASHPAD_INFO: u32 = 0x4350_0001;
/// `StabilityReport` of Chromium, a protobuf message.
pub(crate) const STABILITY_REPORT: u32 = 0x4b6b_0002;
/// What macOS left for its crash reporter (Mozilla).
pub(crate) const MOZ_MACOS_CRASH_INFO: u32 = 0x4d7a_0001;
/// `/proc/PID/limits` (Mozilla).
pub(crate) const MOZ_LINUX_LIMITS: u32 = 0x4d7a_0003;
/// JSON array of what the writer could not do (Mozilla).
pub(crate) const MOZ_SOFT_ERRORS: u32 = 0x4d7a_0004;

/// effigy's own: what no other stream has a place for, as one JSON object in UTF-8 with a field `version`.
pub(crate) const EFFIGY_FACTS: u32 = 0x4546_4701;

/// effigy's own: every register set of every thread, as the kernel laid it out.
///
/// A CONTEXT has no room for AVX-512, protection keys, segment bases, SVE and whatever comes next; this has. The stream
/// is a [`NotesHeader`](super::context::NotesHeader), then for each thread a
/// [`ThreadNotes`](super::context::ThreadNotes) followed by that many notes, each a
/// [`NoteHeader`](super::context::NoteHeader) and its bytes, padded with zeros to a multiple of four.
pub(crate) const EFFIGY_REGISTER_NOTES: u32 = 0x4546_4702;

/// effigy's own: where the attached files lie, as a JSON array of objects with `name`, `build_id`, `offset` and `length`
/// (bytes from the start of the file), followed by any number of spaces.
pub(crate) const EFFIGY_ATTACHMENTS: u32 = 0x4546_4703;

/// effigy's own: what of each region was in memory, and when that was counted; see [`crate::working_set`].
pub(crate) const EFFIGY_WORKING_SETS: u32 = 0x4546_4704;
