//! Every instruction of a PE image of x64: our caller's registers beside those of the `pe-unwind-info` crate.

use std::path::Path;
use std::sync::Arc;

use effigy_process::{
    Address, AddressRange, Architecture, CompactBytes, Memory, Module, NotRead, PeIdentity, Process, RegisterSet,
    Registers, note,
};
use effigy_symbols::image::Image;
use effigy_symbols::unwind::{BreakpadUnwind, UnwindImages, Unwinder};
use iced_x86::{Decoder, DecoderOptions};
use pe_unwind_info::x86_64::{FunctionTableEntries, Register, UnwindState, XmmRegister};

use crate::beside::corpus;

const BASE: u64 = 0x7ff6_0000_0000;
const STACK: u64 = 0x10_0000;
const WORDS: u64 = 1024;
/// Registers in the order of the processor's numbers.
const NAMES: [&str; 16] =
    ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
/// Those that functions of x64 keep on Windows.
const KEPT: [usize; 9] = [3, 4, 5, 6, 7, 12, 13, 14, 15];

/// A stack each of whose words names its place, as an address outside of all modules.
fn word(address: u64) -> Option<u64> {
    let inside = address.checked_sub(STACK).is_some_and(|offset| offset / 8 < WORDS);
    (inside && address.is_multiple_of(8)).then_some(0x5000_0000_0000 + address)
}

struct Words;

impl Memory for Words {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        let mut done = 0;
        for (index, place) in buffer.iter_mut().enumerate() {
            let at = address.0 + index as u64;
            let Some(word) = word(at & !7) else { break };
            *place = word.to_le_bytes()[usize::try_from(at % 8).unwrap()];
            done += 1;
        }
        if done == 0 { Err(NotRead::NotCaptured) } else { Ok(done) }
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

/// Registers by the processor's numbers, as the other crate changes them.
struct State([u64; 16]);

impl UnwindState for State {
    fn read_register(&mut self, register: Register) -> u64 {
        self.0[usize::from(register as u8)]
    }

    fn read_stack(&mut self, address: u64) -> Option<u64> {
        word(address)
    }

    fn write_register(&mut self, register: Register, value: u64) {
        self.0[usize::from(register as u8)] = value;
    }

    fn write_xmm_register(&mut self, _: XmmRegister, _: u128) {}
}

fn start() -> [u64; 16] {
    let mut values: [u64; 16] = std::array::from_fn(|number| STACK + 0x400 + 16 * number as u64);
    values[4] = STACK + 0x200;
    values
}

fn registers(values: &[u64; 16], pc: u64) -> Registers {
    let mut bytes = vec![0; Architecture::X86_64.general_size()];
    // The order of `struct user_regs_struct`.
    let order = [15, 14, 13, 12, 5, 3, 11, 10, 9, 8, 0, 1, 2, 6, 7];
    for (index, number) in order.into_iter().enumerate() {
        bytes[8 * index..][..8].copy_from_slice(&values[number].to_le_bytes());
    }
    bytes[8 * 16..][..8].copy_from_slice(&pc.to_le_bytes());
    bytes[8 * 19..][..8].copy_from_slice(&values[4].to_le_bytes());
    Registers {
        architecture: Architecture::X86_64,
        sets: vec![RegisterSet { note: note::PRSTATUS, bytes: CompactBytes::new(&bytes) }],
        ..Registers::default()
    }
}

/// Checks the functions of an image; gives how many instructions were looked at.
fn check(path: &Path) -> usize {
    let image = Arc::new(Image::open(path).unwrap());
    let module = Module {
        range: AddressRange::sized(Address(BASE), 0x100_0000),
        pe: Some(PeIdentity::default()),
        ..Module::default()
    };
    let process = Process { architecture: Architecture::X86_64, modules: vec![module], ..Process::default() };
    let images = One(Arc::clone(&image));
    let unwinder = Unwinder::new(&process, &Words, &images);
    let file = std::fs::read(path).unwrap();
    let table = image.data(".pdata").unwrap();
    let functions = FunctionTableEntries::parse(table);
    let mut count = 0;
    for function in FunctionTableEntries::parse(table) {
        let (begin, end) = (function.begin_address.get(), function.end_address.get());
        let mut code = vec![0; (end - begin) as usize];
        let read = image.read(image.base() + u64::from(begin), &mut code);
        assert_eq!(read, Some(code.len()), "{begin:#x}");
        for instruction in &mut Decoder::with_ip(64, &code, u64::from(begin), DecoderOptions::NONE) {
            let pc = u32::try_from(instruction.ip()).unwrap();
            // The other takes a short jump inside of a function for the end of an epilogue.
            let target = instruction.near_branch_target();
            if target > u64::from(begin) && target < u64::from(end) {
                continue;
            }
            let mut state = State(start());
            let Some(back) = functions.unwind_frame_with_image(&mut state, &file, pc) else { continue };
            let stack = unwinder.unwind(&registers(&start(), BASE + u64::from(pc)), 2);
            let caller = stack.frames.get(1).unwrap_or_else(|| panic!("{pc:#x}: {stack:?}"));
            assert_eq!(caller.address, Address(back), "{pc:#x}");
            for number in KEPT {
                let own = caller.registers.by_name(NAMES[number]);
                assert_eq!(own, Some(state.0[number]), "{} at {pc:#x}", NAMES[number]);
            }
            count += 1;
        }
    }
    count
}

#[test]
fn every_instruction_of_the_images_of_the_collection() {
    let Some(corpus) = corpus() else { return };
    for name in ["windows_CrashWithException.exe", "windows_crash.exe"] {
        let path = corpus.join("symbolic/symbols").join(name);
        if Image::open(&path).unwrap().architecture() != Architecture::X86_64 {
            println!("{name} is not of x64");
            continue;
        }
        let count = check(&path);
        println!("{name}: {count} instructions");
        assert!(count > 100, "{name}");
    }
}
