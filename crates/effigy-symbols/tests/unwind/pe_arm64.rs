//! PE images of arm64: functions (`arm64/seh.s`) are gone through instruction by instruction, and at each the caller has to
//! have the registers with which the function was entered. No other tool unwinds these.

use std::path::Path;
use std::sync::Arc;

use effigy_process::{
    Address, AddressRange, Architecture, CompactBytes, Memory, Module, NotRead, PeIdentity, Process, RegisterSet,
    Registers, note,
};
use effigy_symbols::image::Image;
use effigy_symbols::unwind::{BreakpadUnwind, Trust, UnwindImages, Unwinder};

const BASE: u64 = 0x7ff6_0000_0000;
const STACK: u64 = 0x10_0000;
const SIZE: usize = 0x2000;
const RETURN: u64 = 0x5000_0000_1000;
const SP: usize = 31;
const LINK: usize = 30;
/// Entries of `.pdata` are two words: where a function begins, and how it is unwound or where that stands.
const ENTRY: usize = 8;

/// A stack.
#[derive(Clone)]
struct Stack(Vec<u8>);

impl Stack {
    fn at(&self, address: u64) -> Option<usize> {
        usize::try_from(address.checked_sub(STACK)?).ok().filter(|at| *at < self.0.len())
    }

    fn load(&self, address: u64) -> u64 {
        let at = self.at(address).unwrap();
        u64::from_le_bytes(self.0[at..at + 8].try_into().unwrap())
    }

    fn store(&mut self, address: u64, value: u64) {
        let at = self.at(address).unwrap();
        self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
}

impl Memory for Stack {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        let rest = &self.0[self.at(address.0).ok_or(NotRead::NotCaptured)?..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

struct One(Arc<Image>);

impl UnwindImages for One {
    fn image(&self, _: usize) -> Option<Arc<Image>> {
        Some(Arc::clone(&self.0))
    }

    fn debug(&self, _: usize) -> Option<Arc<Image>> {
        None
    }

    fn breakpad(&self, _: usize) -> Option<Arc<BreakpadUnwind>> {
        None
    }
}

/// A processor that knows what compilers put into the beginning and the end of functions.
#[derive(Clone)]
struct Machine {
    /// x0 to x30, and the stack pointer.
    general: [u64; 32],
    vectors: [u64; 32],
    stack: Stack,
}

impl Machine {
    fn new() -> Self {
        let mut general: [u64; 32] = std::array::from_fn(|number| 0x1_0000 * (number as u64 + 1));
        (general[SP], general[LINK]) = (STACK + 0x1800, RETURN);
        // The caller has a frame of its own.
        general[29] = STACK + 0x1900;
        Self { general, vectors: [7; 32], stack: Stack(vec![0xaa; SIZE]) }
    }

    /// Executes an instruction at an address; false once the function returns.
    fn step(&mut self, word: u32, pc: u64) -> bool {
        let field = |lowest: u32, count: u32| word as usize >> lowest & ((1 << count) - 1);
        let signed = |lowest: u32, count: u32| (word << (32 - lowest - count)).cast_signed() >> (32 - count);
        let (first, base) = (field(0, 5), field(5, 5));
        match word {
            0xd503_201f => {}
            0xd65f_03c0 => return false,
            // BL: what the called function may use is something else then.
            _ if word >> 26 == 0b10_0101 => {
                self.general[..19].fill(0xbad);
                self.general[LINK] = pc + 4;
            }
            // ADD and SUB of a number
            _ if word & 0xbf80_0000 == 0x9100_0000 => {
                let amount = (field(10, 12) as u64) << (12 * field(22, 1));
                let value = self.general[base];
                self.general[first] = if field(30, 1) == 1 { value - amount } else { value + amount };
            }
            // MOV between registers
            _ if word & 0xffe0_ffe0 == 0xaa00_03e0 => self.general[first] = self.general[field(16, 5)],
            // STP and LDP of x and d registers: behind, at, before
            _ if word & 0x3a00_0000 == 0x2800_0000 => {
                let at = self.moved(base, i64::from(signed(15, 7)) * 8, field(23, 2));
                self.transfer(word, first, at);
                self.transfer(word, field(10, 5), at + 8);
            }
            // STR and LDR at a place
            _ if word & 0xfb00_0000 == 0xf900_0000 => {
                self.transfer(word, first, self.general[base] + 8 * field(10, 12) as u64);
            }
            // STR and LDR before and behind
            _ if word & 0xfb20_0400 == 0xf800_0400 => {
                let at = self.moved(base, signed(12, 9).into(), field(10, 2));
                self.transfer(word, first, at);
            }
            _ => panic!("{pc:#x}: the instruction {word:#010x} is not known"),
        }
        true
    }

    /// The address that is meant; 1 moves the base afterwards, 3 before.
    fn moved(&mut self, base: usize, offset: i64, mode: usize) -> u64 {
        let old = self.general[base];
        let new = old.wrapping_add_signed(offset);
        if mode != 2 {
            self.general[base] = new;
        }
        if mode == 1 { old } else { new }
    }

    fn transfer(&mut self, word: u32, register: usize, at: u64) {
        let file = if word >> 26 & 1 == 1 { &mut self.vectors } else { &mut self.general };
        if word >> 22 & 1 == 1 {
            file[register] = self.stack.load(at);
        } else {
            self.stack.store(at, file[register]);
        }
    }

    fn registers(&self, pc: u64) -> Registers {
        // struct user_pt_regs: x0 to x30, sp, pc, pstate.
        let words = self.general.iter().copied().chain([pc, 0]);
        let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        let sets = vec![RegisterSet { note: note::PRSTATUS, bytes: CompactBytes::new(&bytes) }];
        Registers { architecture: Architecture::Aarch64, sets, ..Registers::default() }
    }
}

/// Goes through a function; gives how many instructions that were.
fn go_through(process: &Process, image: &Arc<Image>, function: u64) -> usize {
    let entered = Machine::new();
    let mut machine = entered.clone();
    let images = One(Arc::clone(image));
    for index in 0.. {
        let offset = function + 4 * index;
        let mut word = [0; 4];
        assert_eq!(image.read(image.base() + offset, &mut word), Some(4), "{offset:#x}");
        let pc = BASE + offset;
        let unwinder = Unwinder::new(process, &machine.stack, &images);
        let stack = unwinder.unwind(&machine.registers(pc), 2);
        let caller = stack.frames.get(1).unwrap_or_else(|| panic!("{offset:#x}: {stack:?}"));
        assert_eq!((caller.address, caller.trust), (Address(RETURN), Trust::Pe), "{offset:#x}: {stack:?}");
        assert_eq!(caller.registers.by_name("sp"), Some(entered.general[SP]), "sp at {offset:#x}");
        for number in 19..30 {
            let own = caller.registers.by_name(&format!("x{number}"));
            assert_eq!(own, Some(entered.general[number]), "x{number} at {offset:#x}: {stack:?}");
        }
        if !machine.step(u32::from_le_bytes(word), pc) {
            assert_eq!(machine.general[19..], entered.general[19..], "the function is as it should be");
            return usize::try_from(index).unwrap() + 1;
        }
    }
    0
}

#[test]
fn every_instruction_of_functions_of_arm64() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/unwind/arm64/seh.exe");
    let image = Arc::new(Image::open(&path).unwrap());
    let module = Module {
        range: AddressRange::sized(Address(BASE), 0x10_0000),
        pe: Some(PeIdentity::default()),
        ..Module::default()
    };
    let process = Process { architecture: Architecture::Aarch64, modules: vec![module], ..Process::default() };
    let table = image.data(".pdata").unwrap();
    let starts: Vec<u64> = table
        .chunks_exact(ENTRY)
        .map(|entry| u32::from_le_bytes(entry[..4].try_into().unwrap()).into())
        .filter(|start| *start != 0)
        .collect();
    assert_eq!(starts.len(), 5);
    let count: usize = starts.into_iter().map(|start| go_through(&process, &image, start)).sum();
    assert!(count > 40, "{count} instructions");
}
