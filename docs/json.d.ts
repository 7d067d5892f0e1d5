// What the commands that read print with --json, as types. docs/json.md says what the fields mean.
//
// A test holds every answer against these: no field is printed that is not here, none is missing, and null stands only where
// it is allowed. A field with "?" is only there in the cases that docs/json.md names. Fields are added, never changed; a
// program should ignore those that it does not know, and expect new values where a text has only certain ones.

/** "0x" and hexadecimal digits without leading zeros: JSON's numbers are too short for addresses in many programs. */
export type Address = string;
/** Two hexadecimal digits a byte. */
export type Digits = string;
/** The same, with "??" for a byte that is not there. */
export type DigitsWithGaps = string;
/** A number without a fraction, from 0 on: how many, bytes, or an id. */
export type Count = number;
/** A number without a fraction. */
export type Integer = number;

export interface Range { start: Address; end: Address }

// What is looked at

export interface Source {
  kind: "minidump" | "core" | "reflection_pair" | "live";
  path?: string;
  pid: Count | null;
  compression?: Compression;
  full: boolean | null;
  full_reason?: string;
  pause_us?: Count;
  image_bytes?: Count;
  warnings: Warning[];
}
export type Compression = "zstd, seekable" | "zstd" | "gzip" | "xz";
export interface Warning { offset: Count | null; text: string }

/** Why a dump lacks something. */
export type GapReason = "dontdump" | "secret_memory" | "device_memory" | "kernel_data" | "guard_page" | "past_end_of_file"
  | "size_limit" | "largest_area" | "redacted" | "unreadable" | "not_permitted" | "uninterruptible_sleep" | "already_traced"
  | "not_frozen" | "ended" | "unsupported" | "not_in_dump" | "damaged";
/** Why memory cannot be read. */
export type NotRead = "unmapped" | "not_captured" | "unreadable" | "redacted" | "ended";

// info

export interface Info {
  source: Source;
  banner: string;
  minidump_type?: Address;
  architecture: string;
  byte_order: "little" | "big";
  system: System;
  process: Process;
  captured_unix: number | null;
  comment: string;
  journal?: Journal;
  fault: Fault | null;
  further_faults: Fault[];
  selected_thread: Count | null;
  counts: Counts;
  memory: Memory | null;
  page_faults: PageFaults | null;
  credentials: Credentials | null;
  missing: Missing[];
  images: Images | null;
  attachments: Attachment[];
}
export interface System {
  platform: string;
  numbers?: Version;
  service_pack?: string;
  build?: string;
  product_type?: Count;
  suite_mask?: Count;
  name: string;
  release: string;
  version: string;
  host: string;
  processors: Count | null;
  page_size: Count;
  uptime: number | null;
  cpu: Cpu;
}
export interface Version { major: Count; minor: Count; build: Count }
export interface Cpu {
  vendor: string; model_name: string; family: Count; model: Count; stepping: Count; signature: Count; features: Count;
  mhz: Count;
}
export interface Process {
  pid: Count | null;
  namespace_pids: Count[];
  parent: Count | null;
  group: Count | null;
  session: Count | null;
  name: string;
  executable: string;
  executable_deleted: boolean;
  build_id: Digits | null;
  command_line: string;
  started_unix: number | null;
  uptime_seconds: number | null;
  user_seconds: number | null;
  kernel_seconds: number | null;
}
export interface Journal { trigger: string; series: Series[] }
export interface Series { name: string; unit: string; threshold: number | null; times: number[]; values: (number | null)[] }
export interface Fault {
  thread: Count;
  name: string | null;
  detail: string | null;
  signal?: Integer;
  code?: Integer;
  exception?: Count;
  flags?: Count;
  address: Address | null;
  parameters?: Count[];
}
export interface Counts {
  threads: Count; modules: Count; unloaded_modules: Count; regions: Count; handles: Count; mapped_bytes: Count;
  captured_bytes: Count | null; captured_ranges: Count | null;
}
export interface Memory {
  size: Count; peak_size: Count; resident: Count; peak_resident: Count; resident_anonymous: Count; resident_file: Count;
  resident_shared: Count; swapped: Count; locked: Count; page_tables: Count; data: Count;
}
export interface PageFaults { minor: Count; major: Count }
export interface Credentials {
  uid: Count[]; gid: Count[]; groups: Count[]; capabilities: { [name: string]: Count }; no_new_privileges: boolean;
  seccomp: Count; seccomp_filters: Count; security_label: string;
}
export interface Missing { reason: GapReason; loss: boolean; ranges: Count; bytes: Count; registers: Count; facts: string[] }
export interface Images { bytes: Count; files: string[]; not_found: NotFound[] }
export interface NotFound { module: string; wanted: string | null }
export interface Attachment { name: string; length: Count; offset: Count }

// threads

export interface Threads { source: Source; threads: Thread[] }
export interface Thread {
  tid: Count;
  inner_tid: Count | null;
  name: string | null;
  state: string | null;
  selected: boolean;
  fault: boolean;
  instruction_pointer: Address | null;
  location: string | null;
  stack_pointer: Address | null;
  stack: Range | null;
  user_seconds: number | null;
  kernel_seconds: number | null;
  started_seconds: number | null;
  system_call: string | null;
  wait_channel: string | null;
  windows?: WindowsThread;
  registers_missing: GapReason | null;
  registers?: { [name: string]: Address };
  vector_registers?: { [name: string]: string };
  register_sets?: RegisterSet[];
}
export interface WindowsThread {
  environment_block: Address | null;
  suspend_count: Count;
  priority_class: Count;
  priority: Count;
  start_address: Address | null;
  created: number | null;
  exited: number | null;
  exit_status: Count | null;
  dump_flags: Count | null;
  dump_error: Count | null;
}
export interface RegisterSet { note: Count; name: string | null; bytes: Digits }

// modules

export interface Modules { source: Source; modules: NamedModule[]; unloaded_modules: UnloadedModule[] }
export interface NamedModule extends Module { name: string }
export interface Module {
  path: string;
  range: Range;
  build_id: Digits | null;
  uuid?: string;
  pdb?: Pdb;
  pe?: Pe;
  version?: FileVersion;
  soname: string | null;
  is_main: boolean;
  deleted: boolean;
  file_size: Count | null;
}
export interface Pdb { guid: string; age: Count; path: string }
export interface Pe { time_stamp: Count; checksum: Count; size_of_image: Count }
export interface FileVersion { file: Count[]; product: Count[]; flags: Count }
export interface UnloadedModule { name: string; range: Range; pe: Pe }

// regions

export interface Regions { source: Source; listed: boolean; counted: Counted | null; regions: Region[] }
export interface Counted { unix: number | null; while_stopped: boolean }
export interface Region extends Range {
  usage: Usage;
  kind: Kind | null;
  state: State;
  protection: string | null;
  module: Count | null;
  name: string;
  threads?: Count[];
  resident: Count | null;
  swapped: Count | null;
  shared: Count | null;
  module_name: string | null;
  locked: boolean;
  copied_on_write: Count | null;
  in_dump: Count | null;
  from_images: Count | null;
}
export type Usage = "free" | "not_listed" | "image" | "heap" | "stack" | "teb" | "peb" | "mapped_file" | "shared" | "kernel"
  | "private";
export type Kind = "image" | "mapped" | "private";
export type State = "commit" | "reserve" | "free" | "not_listed";

export interface RegionsSummary { source: Source; listed: boolean; counted: Counted | null; summary: Summary }
export interface Summary {
  total_bytes: Count;
  busy_bytes: Count;
  by_usage: UsageRow[];
  by_kind: KindRow[];
  by_state: StateRow[];
  by_protection: ProtectionRow[];
  working_set: WorkingSet | null;
  copied_on_write: Count | null;
  in_dump: Count | null;
  from_images: Count | null;
  memory: Memory | null;
  page_faults: PageFaults | null;
}
export interface UsageRow extends Row { key: Usage }
export interface KindRow extends Row { key: Kind }
export interface StateRow extends Row { key: State }
export interface ProtectionRow extends Row { key: string }
export interface Row {
  count: Count; bytes: Count; percent_of_busy: number | null; percent_of_total: number; resident: Count | null;
  swapped: Count | null; largest: Range;
}
export interface WorkingSet { resident: Count; shared: Count; private: Count; swapped: Count; unknown_regions: Count }

// memory

export interface MemoryRead extends Range {
  source: Source;
  bytes?: DigitsWithGaps;
  values?: (Address | null)[];
  locations?: (string | null)[];
  text?: string;
  missing: Unread[];
  from_images: FromImage[];
}
export interface Unread extends Range { reason: NotRead }
export interface FromImage extends Range { path: string }

export interface MemorySearch {
  source: Source;
  hits: Hit[];
  unread: Unread[];
  not_in_dump_bytes: Count;
  from_images_bytes: Count;
  report: SearchReport;
}
export interface Hit {
  address: Address;
  length: Count;
  pattern: Count;
  encoding?: "utf8" | "utf16";
  pointer?: Address;
  cut?: boolean;
  bytes: DigitsWithGaps;
  location: string | null;
  usage: Usage | null;
  region: string;
}
export interface SearchReport {
  outcome: "complete" | "limit" | "stopped"; hits: Count; searched_bytes: Count; unread_bytes: { [reason: string]: Count };
}

export interface MemoryWriteFile extends Range {
  source: Source; path: string; bytes: Count; filled_bytes: Count; missing: Unread[]; from_images: FromImage[];
}

// streams

export interface Streams {
  source: Source;
  minidump_type: Address | null;
  minidump_type_names: string[];
  header: { [name: string]: Count };
  parts: Part[];
}
export interface Part {
  number: Count;
  owner: string;
  name: string | null;
  offset: Count;
  size: Count;
  fields: Fields;
  error?: string;
}
/** By their names in the format's description; within one kind of part each has one type. */
export type Fields = { [name: string]: number | string | Fields[] };

// handles

export interface Handles { source: Source; handles: Handle[] }
export interface Handle {
  type_name: string;
  number: Count;
  kind: "file" | "directory" | "pipe" | "socket" | "device" | "memfd" | "eventfd" | "epoll" | "timerfd" | "signalfd"
    | "notify" | "pidfd" | "io_uring" | "other";
  target: string;
  offset: Count | null;
  flags: Count | null;
  inode: Count | null;
  socket: Socket | null;
  windows?: WindowsHandle;
}
export interface Socket { protocol: string; local: string; remote: string; state: string }
export interface WindowsHandle {
  type_name: string; attributes: Count; granted_access: Count; handle_count: Count; pointer_count: Count;
}

// compare

export interface Compare {
  before: Source;
  after: Source;
  threads: ThreadDifferences;
  modules: ModuleDifferences | null;
  regions: RegionDifferences | null;
  memory: MemoryComparison | null;
}
export interface ThreadDifferences { gone: ThreadFacts[]; new: ThreadFacts[]; changed: ThreadChange[]; unchanged: Count }
export interface ThreadFacts { id: Count; name: string | null; state: string | null }
export interface ThreadChange {
  before: ThreadFacts;
  after: ThreadFacts;
  registers: "same" | "different" | "not_compared";
  changed_registers: RegisterChange[];
  changed_sets: Count[];
}
export interface RegisterChange { name: string; before: Count; after: Count }
export interface ModuleDifferences { unloaded: Module[]; loaded: Module[]; changed: ModuleChange[]; unchanged: Count }
export interface ModuleChange { differences: ("moved" | "resized" | "replaced" | "deleted")[]; before: Module; after: Module }
export interface RegionDifferences { changes: RegionChange[]; unchanged_bytes: Count }
export interface RegionChange extends Range {
  change: "added" | "removed" | "grown" | "shrunk" | "changed";
  differences?: ("protection" | "content" | "state")[];
  before: RegionFacts | null;
  after: RegionFacts | null;
}
export interface RegionFacts extends Range { protection: string; name: string }
export interface MemoryComparison {
  complete: boolean;
  page_size: Count;
  equal: Pages;
  changed: Pages;
  changed_bytes: Count;
  changed_range_count: Count;
  only_before: { [reason: string]: Pages };
  only_after: { [reason: string]: Pages };
  neither: Pages;
  changed_ranges: ChangedRange[];
}
export interface Pages { pages: Count; bytes: Count }
export interface ChangedRange extends Range { difference: "changed"; changed_bytes: Count }

// convert

export interface Convert {
  path: string;
  format: "minidump" | "core";
  kind: "full" | "miniplus" | "mini" | "triage" | "custom";
  manner: "copied" | "carried" | "written";
  bytes: Count;
  disk_bytes: Count;
  memory_bytes: Count;
  threads: Count;
  modules: Count;
  lost: Loss[];
  gaps: Gap[];
  wall_us: Count;
  image_bytes?: Count;
  source: ConvertSource;
}
export interface Loss { what: string; detail: string; kept_for_effigy: boolean }
export interface Gap {
  subject: "memory" | "registers" | "fact";
  start?: Address;
  end?: Address;
  tid?: Count;
  fact?: string;
  reason: GapReason;
  loss: boolean;
  detail: string;
}
export interface ConvertSource {
  path: string;
  kind: "minidump" | "core" | "reflection_pair";
  compression: Compression | null;
  memory_bytes: Count;
  pid: Count | null;
  name: string;
  warnings: Warning[];
}

// verify

export interface Verify {
  path: string;
  kind: "minidump" | "core" | "reflection_pair";
  compression: Compression | null;
  whole: boolean;
  thorough: boolean;
  threads: Count;
  modules: Count;
  parts: Count;
  memory_bytes: Count;
  defects: Defect[];
  more_defects: Count;
}
export interface Defect { severity: "odd" | "broken"; offset: Count | null; file?: string; field: string; text: string }

// stacks

export interface Stacks {
  source: Source; threads: Stack[]; groups?: Count[][]; symbol_warnings: string[]; python_missing?: string;
}
export interface Stack {
  tid: Count;
  name: string | null;
  selected: boolean;
  fault: boolean;
  frames: Frame[];
  stop: "end" | "gap" | "loop" | "no_progress" | "corrupt" | "limit" | "no_registers";
  stop_reason: string;
}
export interface Frame {
  address: Address;
  cfa: Address | null;
  module: string | null;
  module_offset: Count | null;
  function: string | null;
  mangled?: string;
  function_offset: Count | null;
  inlined: boolean;
  file: string | null;
  line: Count | null;
  column?: Count;
  trust: "context" | "cfi" | "compact" | "pe" | "breakpad" | "go_table" | "frame_pointer" | "scan";
  signal: boolean;
  python: boolean;
}

// symbol, source, disassemble

export interface Symbols { source: Source; symbols: NamedPlace[] }
export interface NamedPlace {
  address: Address; module: string; name: string; mangled?: string; size: Count | null; code: boolean; displacement?: Count;
}

export interface Lines { source: Source; address: Address; lines: Line[] }
export interface Line { function: string; file: string; line: Count; column: Count | null; inlined: boolean }

export interface Disassembly { source: Source; instructions: Instruction[] }
export interface Instruction {
  address: Address; bytes: Digits; text: string; target: Address | null; target_name: string | null; function: string | null;
  current: boolean;
}
