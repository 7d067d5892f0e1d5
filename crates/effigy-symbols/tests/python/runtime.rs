//! Where an interpreter's runtime is.

use bstr::ByteSlice;
use effigy_process::{Address, Memory, Process};
use effigy_symbols::python::{Version, version_of};
use object::{Object, ObjectSegment, ObjectSymbol};

/// The address of `_PyRuntime`, and the version of the module that has it.
pub(crate) fn runtime_of(process: &Process, memory: &dyn Memory) -> Option<(Address, Version)> {
    process.modules.iter().filter(|module| module.name().contains_str("python")).find_map(|module| {
        let bytes = std::fs::read(module.path.to_path().ok()?).ok()?;
        let file = object::File::parse(&*bytes).ok()?;
        let lowest = file.segments().map(|segment| segment.address()).min()?;
        let bias = module.range.start().0.wrapping_sub(lowest & !0xfff);
        let find = |name| {
            let symbol = file.dynamic_symbols().find(|symbol| symbol.name() == Ok(name) && symbol.is_definition())?;
            Some(Address(symbol.address().wrapping_add(bias)))
        };
        let runtime = find("_PyRuntime")?;
        let hex = find("Py_Version").and_then(|address| {
            let mut bytes = [0; 4];
            memory.read_exact(address, &mut bytes).ok()?;
            Some(u32::from_le_bytes(bytes))
        });
        let version = version_of(module, hex)?;
        // The symbol, where there is one, and the name agree.
        assert!(hex.is_none() || version_of(module, None).is_none_or(|named| named == version));
        Some((runtime, version))
    })
}
