//! `/proc/PID/smaps`: the regions with their counters and flags, proc_pid_smaps(5).

use std::io::{BufRead, BufReader};

use bstr::ByteSlice;
use effigy_process::{Address, AddressRange, Region, RegionFlags, RegionUsage};

use super::ProcDir;
use crate::LiveError;

/// Reads all regions, in rising order.
///
/// # Errors
/// When the file cannot be read, or has a form that this version does not understand.
pub fn read_regions(dir: &ProcDir) -> Result<Vec<Region>, LiveError> {
    let file = dir.open_file("smaps").map_err(|source| dir.error("smaps", source))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut regions: Vec<Region> = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = reader.read_until(b'\n', &mut line).map_err(|source| dir.error("smaps", source))?;
        if count == 0 {
            return Ok(disjoint(regions));
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        // A counter's name begins with a capital letter, a region's line with a hexadecimal digit in lower case.
        if text.first().is_some_and(u8::is_ascii_uppercase) {
            if let Some(region) = regions.last_mut() {
                add_counter(region, text);
            }
        } else {
            let region = Region::from_maps_line(text)
                .ok_or_else(|| dir.form("smaps", String::from_utf8_lossy(text).into_owned()))?;
            regions.push(region);
        }
    }
}

/// Reads all regions from `/proc/PID/maps`, with flags and counters from `known`, which were read before. The kernel
/// walks all page tables for `smaps`, 30 ms for a GiB, and none for `maps`. A region that is not among the known ones gets
/// the flags of a known one of the same kind that it overlaps (it has grown, or was split), or none; `None` when a new
/// one maps a device, of which more has to be known. Parts of one that was split have its counters, and are marked as cut.
///
/// # Errors
/// When the file cannot be read.
pub fn read_known_regions(dir: &ProcDir, known: &[Region]) -> Result<Option<Vec<Region>>, LiveError> {
    let mut regions = parse_maps(dir)?;
    let mut at = 0;
    for region in &mut regions {
        while known.get(at).is_some_and(|before| before.range.end() <= region.range.start()) {
            at += 1;
        }
        let alike = |before: &&Region| {
            before.sharing == region.sharing
                && (before.device, before.inode) == (region.device, region.inode)
                && (before.range.start() == region.range.start() || before.range.end() == region.range.end())
        };
        match known.get(at).filter(alike) {
            Some(before) => {
                region.flags |= before.flags;
                let whole = region.range.start() <= before.range.start() && before.range.end() <= region.range.end();
                region.flags.set(RegionFlags::CUT, !whole);
                region.resident = before.resident;
                region.swapped = before.swapped;
                region.mapped_elsewhere = before.mapped_elsewhere;
                region.anonymous = before.anonymous;
            }
            None if region.name.starts_with(b"/dev/") && region.usage() == RegionUsage::File => return Ok(None),
            None => {}
        }
    }
    Ok(Some(regions))
}

/// Reads all regions from `/proc/PID/maps`, without counters and flags.
///
/// # Errors
/// When the file cannot be read.
pub fn parse_maps(dir: &ProcDir) -> Result<Vec<Region>, LiveError> {
    let maps = dir.require("maps")?;
    let regions: Result<Vec<Region>, LiveError> = ByteSlice::lines(maps.as_slice())
        .map(|line| {
            Region::from_maps_line(line).ok_or_else(|| dir.form("maps", String::from_utf8_lossy(line).into_owned()))
        })
        .collect();
    Ok(disjoint(regions?))
}

/// Takes what a running process has changed while the list was read: the kernel gives it out a page at a time, and goes on
/// at the mapping that holds the address which it had come to, which may have grown downwards or become one with the last.
fn disjoint(mut regions: Vec<Region>) -> Vec<Region> {
    let mut end = Address(0);
    regions.retain_mut(|region| {
        let range = region.range;
        if range.start() < end {
            if region.inode != 0 {
                region.offset = region.offset.saturating_add(end.0 - range.start().0);
            }
            region.range = AddressRange::new(end, range.end());
        }
        end = end.max(range.end());
        !region.range.is_empty()
    });
    regions
}

fn add_counter(region: &mut Region, line: &[u8]) {
    let Some((name, value)) = line.split_once_str(":") else { return };
    let kilobytes =
        || value.to_str().ok().and_then(|text| text.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
    match name {
        b"Rss" => region.resident = Some(kilobytes() * 1024),
        b"Shared_Clean" | b"Shared_Dirty" => *region.mapped_elsewhere.get_or_insert(0) += kilobytes() * 1024,
        b"Anonymous" => region.anonymous = Some(kilobytes() * 1024),
        b"Swap" => region.swapped = Some(kilobytes() * 1024),
        b"VmFlags" => {
            for flag in value.split_str(" ") {
                region.flags |= region_flag(flag);
            }
        }
        _ => {}
    }
}

/// The two letters of `VmFlags` that bear on capturing (`show_smap_vma_flags`, fs/proc/task_mmu.c of Linux 6.18).
fn region_flag(letters: &[u8]) -> RegionFlags {
    match letters {
        b"dd" => RegionFlags::DONT_DUMP,
        b"io" => RegionFlags::IO,
        b"pf" => RegionFlags::PFN_MAP,
        b"ht" => RegionFlags::HUGETLB,
        b"lo" => RegionFlags::LOCKED,
        b"dc" => RegionFlags::DONT_FORK,
        b"wf" => RegionFlags::WIPE_ON_FORK,
        b"um" | b"uw" | b"ui" => RegionFlags::USERFAULTFD,
        b"gd" => RegionFlags::GROWS_DOWN,
        _ => RegionFlags::empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_prints_as_the_line_it_came_from() {
        for line in [
            "55d0c0a00000-55d0c0a02000 r--p 00000000 fe:00 1234                       /usr/bin/cat",
            "7ffd1b5e3000-7ffd1b604000 rw-p 00000000 00:00 0                          [stack]",
            "7f3c34000000-7f3c34021000 rw-p 00000000 00:00 0 ",
            "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]",
            "7f0000000000-7f0000001000 rw-s 00000000 00:01 5                          /memfd:a b (deleted)",
            "00400000-00401000 r-xp 00001000 103:02 18446744073709551615              /x\\012y",
        ] {
            let region = Region::from_maps_line(line.as_bytes()).unwrap();
            assert_eq!(region.to_string(), line);
        }
    }

    #[test]
    fn regions_that_changed_while_they_were_listed_do_not_overlap() {
        let lines =
            ["1000-3000 r--s 00000000 fe:00 7 /a", "2000-5000 r--s 00001000 fe:00 7 /a", "4000-4800 rw-p 0 00:00 0 "];
        let regions = lines.map(|line| Region::from_maps_line(line.as_bytes()).unwrap()).to_vec();
        let found: Vec<_> = disjoint(regions)
            .iter()
            .map(|region| (region.range.start().0, region.range.end().0, region.offset))
            .collect();
        assert_eq!(found, [(0x1000, 0x3000, 0), (0x3000, 0x5000, 0x2000)]);
    }

    #[test]
    fn part_of_what_was_counted_has_no_count() {
        let dir = ProcDir::open(effigy_process::ProcessId(std::process::id())).unwrap();
        let first = parse_maps(&dir).unwrap().remove(0);
        let counted = |range| {
            let known = Region { range, resident: Some(8192), ..first.clone() };
            let found = read_known_regions(&dir, &[known]).unwrap().unwrap().remove(0);
            (found.resident, found.counted(found.resident))
        };
        assert_eq!(counted(first.range), (Some(8192), Some(8192)));
        let larger = AddressRange::new(first.range.start(), first.range.end().saturating_add(4096));
        assert_eq!(counted(larger), (Some(8192), None));
    }

    #[test]
    fn flags_and_counters_are_added() {
        let mut region = Region::from_maps_line(b"1000-3000 rw-p 00000000 00:00 0 ").unwrap();
        add_counter(&mut region, b"Rss:                   8 kB");
        add_counter(&mut region, b"Anonymous:             4 kB");
        add_counter(&mut region, b"VmFlags: rd wr mr mw me ac dd sd ");
        assert_eq!((region.resident, region.anonymous), (Some(8192), Some(4096)));
        assert_eq!(region.flags, RegionFlags::DONT_DUMP);
    }
}
