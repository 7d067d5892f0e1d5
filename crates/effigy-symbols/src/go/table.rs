//! From an address to its function, and to what the table tells of the address.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bstr::BString;
use effigy_process::Protection;

use super::bytes::Bytes;
use super::layout::{
    ASSEMBLY, Field, INLINED_CALLS, INLINED_INDEX, Layout, MODULE_CALLS_118, MODULE_CALLS_120, MODULE_CALLS_SEARCHED,
    MODULE_NAMES, MODULE_TEXT, SETS_STACK, TOP, Version,
};
use super::locate;
use super::pointers::Pointers;
use crate::image::Image;
use crate::name::SourceLine;

/// Most stretches of code that are passed to find the one with an address.
const MOST_STEPS: usize = 1 << 20;
/// The same for all addresses together: a dump may have 10,000 threads at the end of as many stretches, and real functions
/// have some hundred.
const MOST_STEPS_IN_ALL: usize = 1 << 28;

/// The table of functions of an image that Go's linker made.
#[derive(Debug)]
pub struct GoTable {
    pub(super) bytes: Bytes,
    pub(super) layout: Layout,
    pointers: Pointers,
    /// The image address of the code, to which functions are relative from Go 1.18 on.
    text: u64,
    module: OnceLock<Option<u64>>,
    calls: OnceLock<Option<u64>>,
    /// Stretches that may still be passed.
    steps: AtomicUsize,
}

/// A function of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// The image address where it begins, and the one where the next one does.
    pub(super) start: u64,
    pub(super) end: u64,
    /// The offset of its record.
    record: u64,
}

/// A stretch of a function's code with one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) value: i32,
    /// Image addresses.
    pub(super) start: u64,
    pub(super) end: u64,
}

/// What the table tells of a frame's stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GoFrame {
    /// Bytes by which the stack pointer is below where it was when the function had been called.
    pub(crate) depth: u64,
    /// Whether a stack ends with it.
    pub(crate) is_first: bool,
    /// Whether it sets the stack pointer to something of which the table tells nothing, as what goes from one stack to
    /// another does.
    pub(crate) sets_stack: bool,
    /// Whether it is the compiler's, and so keeps a frame pointer wherever it has a frame.
    pub(crate) keeps_pointer: bool,
}

impl GoTable {
    /// The table of an image, found by its section or by what it begins with; `None` where there is none. Only its header
    /// is read.
    #[must_use]
    pub fn of_image(image: &Arc<Image>) -> Option<Self> {
        let (bytes, layout) = locate::table(image)?;
        let pointers = Pointers::new(image);
        let (module, calls, steps) = (OnceLock::new(), OnceLock::new(), AtomicUsize::new(MOST_STEPS_IN_ALL));
        let mut table = Self { bytes, layout, pointers, text: 0, module, calls, steps };
        if layout.version.is_relative() {
            table.text = table.find_text()?;
        }
        Some(table)
    }

    /// Where the code is: in the header up to Go 1.25, in the module's data in all versions.
    fn find_text(&self) -> Option<u64> {
        let is_code = |address: &u64| {
            let segment = self.bytes.image().segment_at(*address);
            segment.is_some_and(|segment| segment.protection.contains(Protection::EXECUTE))
        };
        let in_header = self.text_in_header().filter(is_code);
        in_header.or_else(|| self.module_word(MODULE_TEXT).filter(is_code))
    }

    fn text_in_header(&self) -> Option<u64> {
        self.pointers.at(self.bytes.start().checked_add(self.layout.text_field()?)?)
    }

    /// The data of the module that the table belongs to (`runtime.firstmoduledata`), by the address of the table at its
    /// beginning, and that of the names behind it.
    fn module(&self) -> Option<u64> {
        let names = self.bytes.start().wrapping_add(self.layout.names);
        let find = || {
            self.pointers.find(self.bytes.start(), &|place| {
                let second = place.checked_add(MODULE_NAMES * self.layout.word as u64);
                second.and_then(|second| self.pointers.at(second)) == Some(names)
            })
        };
        *self.module.get_or_init(find)
    }

    fn module_word(&self, index: u64) -> Option<u64> {
        self.pointers.at(self.module()?.checked_add(index * self.layout.word as u64)?)
    }

    /// To what the addresses of inlined calls are relative.
    fn calls(&self) -> Option<u64> {
        let find = || match self.layout.version {
            Version::Go118 => self.module_word(MODULE_CALLS_118),
            Version::Go120 if self.text_in_header().is_some() => self.module_word(MODULE_CALLS_120),
            Version::Go120 => {
                let end = self.bytes.start().checked_add(self.bytes.size());
                let mut words = MODULE_CALLS_SEARCHED;
                let last = words.find(|index| self.module_word(*index) == end)?;
                self.module_word(last - 1)
            }
            Version::Go12 | Version::Go116 => None,
        };
        *self.calls.get_or_init(find)
    }

    /// Where the function of an index begins, or for the index behind the last one, where that ends.
    fn start_of(&self, index: u64) -> Option<u64> {
        let width = self.layout.list_width();
        let at = self.layout.list.checked_add(index * 2 * width as u64)?;
        if self.layout.version.is_relative() {
            self.text.checked_add(self.bytes.number(at, width)?)
        } else {
            self.pointers.at(self.bytes.start().checked_add(at)?)
        }
    }

    /// The function of an index.
    pub(super) fn function(&self, index: u64) -> Option<Function> {
        let width = self.layout.list_width();
        let at = self.layout.list.checked_add((index * 2 + 1) * width as u64)?;
        let record = self.layout.records.checked_add(self.bytes.number(at, width)?)?;
        let (start, end) = (self.start_of(index)?, self.start_of(index + 1)?);
        (start < end && record < self.bytes.size()).then_some(Function { start, end, record })
    }

    /// The function that holds an image address.
    pub(super) fn function_at(&self, address: u64) -> Option<Function> {
        let (mut low, mut high) = (0, self.layout.functions);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.start_of(middle)? <= address { low = middle + 1 } else { high = middle }
        }
        let function = self.function(low.checked_sub(1)?)?;
        (function.start..function.end).contains(&address).then_some(function)
    }

    fn field(&self, function: &Function, field: Field) -> Option<u32> {
        self.bytes.half(function.record.checked_add(self.layout.field(field))?)
    }

    fn byte(&self, function: &Function, field: Field) -> Option<u8> {
        u8::try_from(self.bytes.number(function.record.checked_add(self.layout.field(field))?, 1)?).ok()
    }

    /// A function's name.
    pub(super) fn name(&self, function: &Function) -> Option<BString> {
        self.name_at(self.field(function, Field::Name)?)
    }

    pub(super) fn name_at(&self, place: u32) -> Option<BString> {
        let name = self.bytes.text(self.layout.names.checked_add(place.into())?)?;
        (!name.is_empty()).then_some(name)
    }

    /// What a list of numbers by address has for an address of a function.
    fn stretch(&self, list: u32, function: &Function, address: u64) -> Option<Stretch> {
        // No list is at the beginning.
        let at = self.layout.values.checked_add(list.into()).filter(|_| list != 0)?;
        let mut numbers = self.bytes.cursor(at);
        let (mut end, mut value) = (function.start, -1i32);
        for _ in 0..MOST_STEPS {
            let spend = |left: usize| left.checked_sub(1);
            self.steps.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).ok()?;
            let start = end;
            let change = numbers.number()?;
            if change == 0 && start != function.start {
                return None;
            }
            // The lowest bit is the sign.
            let change = if change & 1 == 0 { change >> 1 } else { !(change >> 1) };
            value = value.wrapping_add(change.cast_signed());
            end = start.checked_add(u64::from(numbers.number()?) * u64::from(self.layout.quantum))?;
            if address < end {
                return Some(Stretch { value, start, end });
            }
        }
        None
    }

    /// The source line of an address of a function.
    pub(super) fn line_at(&self, function: &Function, address: u64) -> Option<SourceLine> {
        let line = self.stretch(self.field(function, Field::Lines)?, function, address)?;
        let number = self.stretch(self.field(function, Field::Files)?, function, address)?;
        let line = u32::try_from(line.value).ok().filter(|line| *line > 0)?;
        let file = self.file(function, u32::try_from(number.value).ok()?)?;
        Some(SourceLine { file, line, column: 0 })
    }

    /// The name of a file by the number that a function has for it.
    fn file(&self, function: &Function, number: u32) -> Option<BString> {
        let listed = |list: u64, index: u64| self.bytes.half(list.checked_add(index * 4)?);
        let place = match self.layout.version {
            Version::Go12 => u64::from(listed(self.layout.files, number.into()).filter(|_| number > 0)?),
            _ => {
                let index = u64::from(self.field(function, Field::Unit)?) + u64::from(number);
                let place = listed(self.layout.units, index).filter(|place| *place != u32::MAX)?;
                self.layout.files.checked_add(place.into())?
            }
        };
        self.bytes.text(place).filter(|file| !file.is_empty())
    }

    /// The call that was inlined around an address of a function, and the stretch of code that it became.
    pub(super) fn inlined_at(&self, function: &Function, address: u64) -> Option<(InlinedCall, Stretch)> {
        let data_count = self.byte(function, Field::DataCount)?;
        let value_count = self.field(function, Field::ValueCount)?;
        if u64::from(value_count) <= INLINED_INDEX || u64::from(data_count) <= INLINED_CALLS {
            return None;
        }
        let values = function.record.checked_add(self.layout.field(Field::Values))?;
        let list = self.bytes.half(values.checked_add(4 * INLINED_INDEX)?)?;
        let stretch = self.stretch(list, function, address)?;
        let index = u64::try_from(stretch.value).ok()?;
        let calls = self.bytes.half(values.checked_add(4 * (u64::from(value_count) + INLINED_CALLS))?)?;
        let calls = self.calls().filter(|_| calls != u32::MAX)?.checked_add(calls.into())?;
        let inlined = self.layout.inlined();
        let call = calls.checked_add(index * inlined.size)?;
        let half = |place: u64| {
            let mut bytes = [0; 4];
            let count = self.bytes.image().read(call.checked_add(place)?, &mut bytes)?;
            self.bytes.image().byte_order().half(&bytes).filter(|_| count == bytes.len())
        };
        let parent = function.start.checked_add(half(inlined.parent)?.into())?;
        Some((InlinedCall { name: half(inlined.name)?, parent }, stretch))
    }

    /// What is known of the stack where a function goes on at an offset into the module.
    pub(crate) fn frame_at(&self, offset: u64) -> Option<GoFrame> {
        let address = self.bytes.image().base().checked_add(offset)?;
        let function = self.function_at(address)?;
        let depth = self.stretch(self.field(&function, Field::Depths)?, &function, address)?;
        let depth = u64::try_from(depth.value).ok().filter(|depth| depth.is_multiple_of(self.layout.word as u64))?;
        let (is_first, sets_stack) = self.nature(&function)?;
        let keeps_pointer = self.layout.version.is_relative() && self.byte(&function, Field::Flags)? & ASSEMBLY == 0;
        Some(GoFrame { depth, is_first, sets_stack, keeps_pointer })
    }

    /// Whether a stack ends with a function, and whether it goes over to another stack. Versions before 1.17 know that by
    /// name (`topofstack` in src/runtime/traceback.go of Go 1.16).
    fn nature(&self, function: &Function) -> Option<(bool, bool)> {
        let flags = if self.layout.version == Version::Go12 { 0 } else { self.byte(function, Field::Flags)? };
        let (is_top, sets_stack) = (flags & TOP != 0, flags & SETS_STACK != 0);
        if self.layout.version.is_relative() && !sets_stack {
            return Some((is_top, false));
        }
        let name = self.name(function).unwrap_or_default();
        Some(match name.strip_prefix(b"runtime.").unwrap_or_default() {
            b"goexit" | b"mstart" | b"rt0_go" => (true, sets_stack),
            // It never returns: it leaves a goroutine, which may run elsewhere by now, for the next one.
            b"mcall" => (true, true),
            // It changes stacks, but leaves its own frame on both of them (src/runtime/traceback.go of Go 1.19).
            b"cgocallback" => (is_top, false),
            b"morestack" | b"systemstack" | b"asmcgocall" | b"gogo" => (is_top, true),
            _ => (is_top, sets_stack),
        })
    }
}

/// A call that was inlined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InlinedCall {
    /// Where the name of what was called is.
    pub(super) name: u32,
    /// The image address of an instruction of what called it.
    pub(super) parent: u64,
}
