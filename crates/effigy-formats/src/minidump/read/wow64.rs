//! Dumps of 32-bit processes of 64-bit Windows, taken by a 64-bit program: the threads' CONTEXTs are those of the layer
//! that runs the process, and the process's own lie in its memory.
//!
//! The second slot of a thread's local storage, in its 64-bit environment block, leads to the layer's state of the
//! thread: `WOW64_CPURESERVED` of ntpsapi.h, two 16-bit numbers, then a CONTEXT.

use effigy_process::{Address, AddressRange, Memory, Module, Registers};

use super::context;
use crate::MemoryMap;
use crate::minidump::layout::context::{X86, flag};
use crate::minidump::layout::processor;

/// Where `TlsSlots[1]` lies in a 64-bit environment block.
const SLOT: u64 = 0x1480 + 8;
/// Bytes before the CONTEXT.
const HEAD: u64 = 4;
/// `IMAGE_FILE_MACHINE_AMD64`.
const MACHINE_AMD64: u16 = 0x8664;
/// Libraries of the layer, which are 64-bit ones.
const LAYER: [&[u8]; 4] = [b"wow64.dll", b"wow64win.dll", b"wow64cpu.dll", b"wow64base.dll"];

/// Whether the modules are those of a 32-bit process with the layer that runs it.
pub(super) fn is_wow64(modules: &[Module]) -> bool {
    modules.iter().any(|module| module.name().eq_ignore_ascii_case(LAYER[0]))
}

/// Where the layer keeps the state of a thread with its environment block at `environment`: first the slot that leads to
/// it, then the state, its CONTEXT included. Without these a dump does not show the process's own registers.
#[must_use]
pub fn layer_state(memory: &dyn Memory, environment: Address) -> Option<[AddressRange; 2]> {
    let at = environment.checked_add(SLOT)?;
    let mut slot = [0; 8];
    memory.read_exact(at, &mut slot).ok()?;
    let state = Address(u64::from_le_bytes(slot));
    Some([AddressRange::sized(at, 8), AddressRange::sized(state, HEAD + size_of::<X86>() as u64)])
}

/// The registers that the process itself had in a thread with its environment block at `environment`.
pub(super) fn registers(memory: &MemoryMap, environment: Address) -> Option<Registers> {
    let [_, state] = layer_state(memory, environment)?;
    let mut bytes = [0; size_of::<X86>()];
    memory.read_exact(state.start().checked_add(HEAD)?, &mut bytes).ok()?;
    let flags = u32::from_le_bytes(*bytes.first_chunk()?);
    (flags & flag::X86 != 0).then(|| context::registers(processor::X86, &bytes, None)).flatten()
}

/// Whether a module belongs to the layer and not to the process: its header in memory says so, or its name.
pub(super) fn belongs_to_layer(memory: &MemoryMap, module: &Module) -> bool {
    if LAYER.iter().any(|name| module.name().eq_ignore_ascii_case(name)) || module.range.start().0 > u64::from(u32::MAX)
    {
        return true;
    }
    machine(memory, module.range.start()) == Some(MACHINE_AMD64)
}

/// `Machine` of the PE image at an address.
fn machine(memory: &MemoryMap, base: Address) -> Option<u16> {
    let mut offset = [0; 4];
    memory.read_exact(base.checked_add(0x3c)?, &mut offset).ok()?;
    let mut header = [0; 6];
    memory.read_exact(base.checked_add(u32::from_le_bytes(offset).into())?, &mut header).ok()?;
    let [b'P', b'E', 0, 0, low, high] = header else { return None };
    Some(u16::from_le_bytes([low, high]))
}
