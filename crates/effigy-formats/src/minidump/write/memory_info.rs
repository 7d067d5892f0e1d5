//! MemoryInfoList: the regions of the address space.

use effigy_process::{Address, Process, Protection, Region, RegionUsage, Sharing};

use super::Scene;
use super::output::{Output, size_of_u32};
use crate::WriteError;
use crate::minidump::layout::{MemoryInfo, MemoryInfoHeader, memory};

/// Writes the list.
pub(super) fn write(scene: &Scene<'_>, out: &mut Output<'_>) -> Result<Option<u64>, WriteError> {
    let regions = &scene.process.regions;
    let start = out.position();
    out.record(&MemoryInfoHeader {
        header_size: size_of_u32::<MemoryInfoHeader>().into(),
        entry_size: size_of_u32::<MemoryInfo>().into(),
        count: (regions.len() as u64).into(),
    })?;
    for region in regions {
        out.record_with(|| entry(region, image_base(scene.process, region)))?;
    }
    Ok(Some(out.position() - start))
}

fn entry(region: &Region, image: Option<Address>) -> MemoryInfo {
    let protection = protection(region);
    MemoryInfo {
        base: region.range.start().0.into(),
        allocation_base: image.unwrap_or(region.range.start()).0.into(),
        // Linux forgets what a region's protection was at first.
        allocation_protection: protection.into(),
        alignment: 0.into(),
        size: region.range.size().into(),
        state: memory::COMMIT.into(),
        protection: protection.into(),
        kind: kind(region, image.is_some()).into(),
        alignment2: 0.into(),
    }
}

/// The base of the program image that the region is a part of: Windows takes an image as one allocation.
fn image_base(process: &Process, region: &Region) -> Option<Address> {
    let at = region.range.start();
    let after = process.modules.partition_point(|module| module.range.end() <= at);
    process.modules.get(after).filter(|module| module.range.contains(at)).map(|module| module.range.start())
}

fn kind(region: &Region, in_image: bool) -> u32 {
    match region.usage() {
        _ if in_image => memory::IMAGE,
        RegionUsage::File | RegionUsage::SharedMemory => memory::MAPPED,
        _ if region.sharing == Sharing::Shared => memory::MAPPED,
        _ => memory::PRIVATE,
    }
}

/// `PAGE_*`. There is none for memory that can be written and not read; writable memory counts as readable, which it is
/// on every processor that we know.
fn protection(region: &Region) -> u32 {
    let (read, execute) =
        (region.protection.contains(Protection::READ), region.protection.contains(Protection::EXECUTE));
    let private_file = region.usage() == RegionUsage::File && region.sharing == Sharing::Private;
    match (region.protection.contains(Protection::WRITE), execute) {
        (true, false) if private_file => memory::WRITE_COPY,
        (true, true) if private_file => memory::EXECUTE_WRITE_COPY,
        (true, false) => memory::READ_WRITE,
        (true, true) => memory::EXECUTE_READ_WRITE,
        (false, true) if read => memory::EXECUTE_READ,
        (false, true) => memory::EXECUTE,
        (false, false) if read => memory::READ_ONLY,
        (false, false) => memory::NO_ACCESS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::minidump::sample;

    #[test]
    fn protections() {
        let cases = [
            ("---", "", memory::NO_ACCESS),
            ("r--", "", memory::READ_ONLY),
            ("rw-", "", memory::READ_WRITE),
            ("-w-", "", memory::READ_WRITE),
            ("--x", "", memory::EXECUTE),
            ("r-x", "/bin/a", memory::EXECUTE_READ),
            ("rwx", "", memory::EXECUTE_READ_WRITE),
            ("rw-", "/bin/a", memory::WRITE_COPY),
            ("rwx", "/bin/a", memory::EXECUTE_WRITE_COPY),
        ];
        for (access, name, expected) in cases {
            assert_eq!(protection(&sample::region(0x1000, 0x2000, access, name)), expected, "{access} {name}");
        }
    }

    #[test]
    fn an_image_is_one_allocation() {
        let process = sample::process();
        let bss = process.regions.iter().find(|region| region.range.start() == sample::MAIN_BSS).unwrap();
        let info = entry(bss, image_base(&process, bss));
        assert_eq!(info.allocation_base.get(), sample::MAIN_BASE.0);
        assert_eq!(info.kind.get(), memory::IMAGE);
    }
}
