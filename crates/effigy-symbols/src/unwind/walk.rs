//! The walk from frame to frame: which way is taken, whether its answer can be true, and when to stop.

use std::sync::Arc;

use effigy_process::{Address, Architecture, Registers, note};
use gimli::UnwindContext;

use super::dwarf::{self, Row};
use super::places::{PlaceId, Places, looked_up};
use super::registers::FrameRegisters;
use super::step::{Caller, Failure};
use super::window::Window;
use super::{Frame, Stack, Stop, Trust, Unwinder};

/// How far above the stack pointer what cannot be read is a gap in this stack, rather than a wrong turn.
const NEAR: u64 = 1 << 20;

/// The lowest address that code may have where nothing is known of what is mapped.
const LOWEST_CODE: u64 = 4096;

/// Bits of an address of arm64 that no authentication code lies in, where the kernel has not told: with 48 bits of
/// addresses, as nearly all systems are set up.
const UNSIGNED: u64 = (1 << 48) - 1;
/// The same with 52 bits.
const UNSIGNED_WIDE: u64 = (1 << 52) - 1;

/// A walk over one thread's stack, and over the next thread's with what was learned.
pub(super) struct Walk<'u, 'a> {
    pub(super) unwinder: &'u Unwinder<'a>,
    pub(super) window: Window<'a>,
    pub(super) context: UnwindContext<usize>,
    pub(super) places: Places,
    /// Bits of return addresses that hold an authentication code, as the kernel tells for this thread.
    signature: Option<u64>,
    /// Bytes of parameters that the last frame's function pops from its caller's stack (x86 of Windows).
    pub(super) parameters: u64,
    /// The same for the frame that is being looked at.
    pub(super) next_parameters: u64,
}

/// What else is known of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nature {
    /// Whether it made no call: it is a thread's innermost frame, or was interrupted by a signal.
    pub(super) interrupted: bool,
    /// Whether its stack pointer is exact.
    pub(super) exact: bool,
}

/// A way to find a frame's caller.
type Way<'u, 'a> = fn(&mut Walk<'u, 'a>, &Frame, Nature) -> Result<Caller, Failure>;

/// What the step to its caller told of a frame.
fn finish(frame: &mut Frame, caller: &Caller) {
    frame.cfa = caller.cfa.map(Address);
    if caller.signal {
        frame.signal = true;
        // It was returned to, but nothing called from it.
        frame.lookup = frame.address;
    }
}

impl<'u, 'a> Walk<'u, 'a> {
    pub(super) fn new(unwinder: &'u Unwinder<'a>) -> Self {
        Self {
            unwinder,
            window: Window::new(unwinder.memory, unwinder.process.byte_order),
            context: UnwindContext::new(),
            places: Places::default(),
            signature: None,
            parameters: 0,
            next_parameters: 0,
        }
    }

    /// Makes ready for a thread. What was read of memory is read again: a process that runs may have changed it.
    fn begin(&mut self, registers: &Registers) {
        let mask = registers.set(note::ARM_PAC_MASK);
        // struct user_pac_mask: data_mask, insn_mask.
        self.signature = mask.and_then(|mask| Some(registers.byte_order.number(mask.get(8..16)?)));
        self.window.forget();
        (self.parameters, self.next_parameters) = (0, 0);
    }

    /// Walks a stack.
    pub(super) fn walk(&mut self, registers: &Registers, limit: usize) -> Stack {
        let Some(first) = FrameRegisters::of_thread(registers) else {
            return Stack { frames: Vec::new(), stop: Stop::NoRegisters };
        };
        self.begin(registers);
        let mut next = Caller { registers: first, cfa: None, trust: Trust::Context, signal: true, exact: true };
        let mut frames: Vec<Frame> = Vec::new();
        let mut cycle = Cycle::default();
        let mut place = None;
        let stop = loop {
            if frames.len() >= limit {
                break Stop::Limit;
            }
            let nature = Nature { interrupted: next.signal, exact: next.exact };
            let address = next.registers.instruction_pointer().unwrap_or_default();
            place = self.place(address, nature.interrupted, place);
            let frame = self.frame(next, address, nature, place);
            let outcome = self.caller_from(&frame, nature, place);
            let repeats = cycle.repeats(&frame);
            frames.push(frame);
            match outcome {
                Err(stop) => break stop,
                Ok(caller) => {
                    if let Some(frame) = frames.last_mut() {
                        finish(frame, &caller);
                    }
                    if repeats {
                        break Stop::Loop;
                    }
                    next = caller;
                }
            }
        };
        Stack { frames, stop }
    }

    fn frame(&self, found: Caller, address: Address, nature: Nature, place: Option<PlaceId>) -> Frame {
        let (lookup, module) = match place.and_then(|place| self.places.get(place)) {
            Some(place) => (place.lookup, place.module),
            None => {
                let lookup = looked_up(address, nature.interrupted);
                (lookup, self.unwinder.modules.at(lookup))
            }
        };
        Frame { registers: found.registers, address, lookup, cfa: None, trust: found.trust, module, signal: false }
    }

    /// The caller of a frame, by what is known of its place where that leads to one, else by all ways there are.
    fn caller_from(&mut self, frame: &Frame, nature: Nature, place: Option<PlaceId>) -> Result<Caller, Stop> {
        self.parameters = std::mem::take(&mut self.next_parameters);
        match place.filter(|_| nature.exact).and_then(|place| self.by_place(frame, place)) {
            Some(caller) => Ok(caller),
            None => self.caller(frame, nature),
        }
    }

    /// The caller by the call frame information of a place. This is the first way that `caller` would take, and the
    /// first whose answer it would believe: where either is not so, there is no answer here.
    fn by_place(&mut self, frame: &Frame, id: PlaceId) -> Option<Caller> {
        let Self { places, window, unwinder, .. } = self;
        let row = places.get(id)?.row.as_deref()?;
        let mut caller = dwarf::caller(row, &frame.registers, window, unwinder.process.byte_order).ok()?;
        let signed = caller.registers.instruction_pointer().unwrap_or_default();
        let pc = self.unsigned(signed);
        // A place is met only once its address was found to be code, or where nobody asks.
        let is_known = self.places.find(pc, caller.signal, Some(id)).is_some();
        self.check(frame, &mut caller, is_known).ok()?;
        Some(caller)
    }

    /// The caller of a frame by the first way that leads to one that can be true.
    fn caller(&mut self, frame: &Frame, nature: Nature) -> Result<Caller, Stop> {
        /// Whether the end is the end, and what is missing is a gap, for a way that goes by tables.
        const SURE: bool = true;
        let ways: [(Way<'u, 'a>, bool); 6] = [
            (Self::trampoline_of_the_kernel, SURE),
            (Self::by_tables, SURE),
            (Self::trampoline, SURE),
            (Self::after_bad_call, !SURE),
            (Self::by_frame_pointer, !SURE),
            (Self::by_scan, !SURE),
        ];
        let mut reason = None;
        for (way, is_sure) in ways {
            match way(self, frame, nature) {
                Ok(mut caller) => match self.check(frame, &mut caller, false) {
                    Ok(()) => return Ok(caller),
                    Err(Stop::End) => return Err(Stop::End),
                    Err(stop) => {
                        self.next_parameters = 0;
                        reason = reason.or(Some(stop));
                    }
                },
                Err(Failure::End) if is_sure => return Err(Stop::End),
                Err(Failure::Missing((address, why))) if is_sure && is_near(frame, address) => {
                    return Err(Stop::Gap(address, why));
                }
                Err(failure) => reason = reason.or(failure.stop()),
            }
        }
        Err(reason.unwrap_or_else(|| nothing_known(frame)))
    }

    /// Whether this can be the caller of a frame, where its address `is_known` to be code without looking; brings its
    /// program counter into shape.
    fn check(&self, frame: &Frame, caller: &mut Caller, is_known: bool) -> Result<(), Stop> {
        let signed = caller.registers.instruction_pointer().unwrap_or_default();
        let pc = self.unsigned(signed);
        caller.registers.set_pc(pc.0);
        let sp = caller.registers.stack_pointer().ok_or_else(|| corrupt("the caller's stack pointer is lost"))?;
        if !caller.signal {
            if pc.0 == 0 {
                return Err(Stop::End);
            }
            let is_code = is_known || self.unwinder.is_code(pc.saturating_sub(1)).unwrap_or(pc.0 >= LOWEST_CODE);
            if !is_code {
                return Err(corrupt(format!("the return address {pc} leads to no code")));
            }
        }
        let before = frame.registers.stack_pointer().unwrap_or_default();
        if pc == frame.address && sp == before {
            return Err(Stop::NoProgress);
        }
        let pushes = frame.registers.abi().link.is_none();
        let behind = sp < before || sp == before && pushes;
        // A signal handler may have had a stack of its own, and so may what a function was called on.
        if behind && !caller.signal && self.same_stack(sp, before) {
            return Err(corrupt(format!("the caller's stack pointer {sp} is below that of what it called, {before}")));
        }
        Ok(())
    }

    fn same_stack(&self, one: Address, other: Address) -> bool {
        match (self.unwinder.process.region_at(one), self.unwinder.process.region_at(other)) {
            (Some(one), Some(other)) => one.range == other.range,
            _ => true,
        }
    }

    /// A code address without what else its bits may hold: an authentication code, or the instruction set.
    pub(super) fn unsigned(&self, address: Address) -> Address {
        match self.unwinder.process.architecture {
            Architecture::Aarch64 => match self.signature {
                Some(mask) => Address(address.0 & !mask),
                None if address.0 <= UNSIGNED => address,
                None if self.unwinder.is_code(Address(address.0 & UNSIGNED_WIDE)) == Some(true) => {
                    Address(address.0 & UNSIGNED_WIDE)
                }
                None => Address(address.0 & UNSIGNED),
            },
            Architecture::Arm => Address(address.0 & !1),
            Architecture::S390x => Address(address.0 & !(1 << 63)),
            _ => address,
        }
    }

    /// By the tables of the module that the frame is in.
    fn by_tables(&mut self, frame: &Frame, nature: Nature) -> Result<Caller, Failure> {
        let module = frame.module.ok_or(Failure::Nothing)?;
        let first = if self.unwinder.modules.is_pe(module) {
            self.by_pe(module, frame)
        } else {
            self.by_dwarf(module, frame, nature)
        };
        let second = match first {
            Err(Failure::Nothing) if self.unwinder.process.architecture == Architecture::Arm => {
                self.by_index_table(module, frame)
            }
            Err(Failure::Nothing) => self.by_compact(module, frame, nature),
            other => other,
        };
        let third = match second {
            Err(Failure::Nothing) => self.by_breakpad(module, frame, nature),
            other => other,
        };
        match third {
            Err(Failure::Nothing) => self.by_go(module, frame, nature),
            other => other,
        }
    }

    fn by_dwarf(&mut self, module: usize, frame: &Frame, nature: Nature) -> Result<Caller, Failure> {
        let row: Arc<Row> = self
            .unwinder
            .modules
            .row(module, frame.lookup, self.unwinder.memory, &mut self.context)
            .ok_or(Failure::Nothing)?;
        if !nature.exact && row.rests_on(frame.registers.abi().sp) {
            return Err(Failure::Nothing);
        }
        dwarf::caller(&row, &frame.registers, &mut self.window, self.unwinder.process.byte_order)
    }
}

fn is_near(frame: &Frame, address: Address) -> bool {
    let sp = frame.registers.stack_pointer().unwrap_or_default();
    address >= sp.saturating_sub(LOWEST_CODE) && address <= sp.saturating_add(NEAR)
}

fn nothing_known(frame: &Frame) -> Stop {
    corrupt(format!("nothing tells what called {}, and nothing near on its stack looks like it", frame.address))
}

pub(super) fn corrupt(what: impl Into<String>) -> Stop {
    Stop::Corrupt(what.into())
}

/// Notices that frames repeat, by Brent's algorithm: the frame that is compared with moves on at powers of two.
#[derive(Default)]
struct Cycle {
    seen: Option<(Address, Address)>,
    steps: usize,
    until: usize,
}

impl Cycle {
    fn repeats(&mut self, frame: &Frame) -> bool {
        let now = (frame.address, frame.registers.stack_pointer().unwrap_or_default());
        if self.seen == Some(now) {
            return true;
        }
        if self.steps == self.until {
            self.seen = Some(now);
            self.until = (self.until * 2).max(1);
            self.steps = 0;
        }
        self.steps += 1;
        false
    }
}
