//! Dumps with effigy's own streams, of which the corpus, which is other people's, has none.

/// Breakpad's streams that give their places to effigy's: `lsb-release`, `cmdline`, `environ`, and the linker's list.
const GIVEN_UP: [u32; 4] = [0x4767_0005, 0x4767_0006, 0x4767_0007, 0x4767_000a];
/// The list of mappings.
const MAPS: u32 = 0x4767_0009;
/// effigy's, see docs/formats.md.
const FACTS: u32 = 0x4546_4701;
const REGISTER_NOTES: u32 = 0x4546_4702;
const ATTACHMENTS: u32 = 0x4546_4703;
const WORKING_SETS: u32 = 0x4546_4704;

const FACTS_TEXT: &[u8] = br#"{"version":1,"minidump_type":2,"captured_unix":1700000000.5,"cgroup":"0::/","threads":
[{"tid":1,"name":"a","state":"S","registers_missing":["not_in_dump",""],"kernel":null}],"memory":{"resident":4096},
"page_faults":{"minor":1,"major":2},"limits":[{"name":"Max open files","soft":1,"hard":null,"units":"files"}]}"#;
const ATTACHMENTS_TEXT: &[u8] = br#"[{"name":"/bin/a","build_id":"00112233","offset":32,"length":16}]"#;

/// A minidump of Linux with effigy's streams in the places of others; `None` where the dump has not all of those.
pub(super) fn minidump(dump: &[u8]) -> Option<Vec<u8>> {
    let mut made = dump.to_vec();
    let payloads = [
        (FACTS, FACTS_TEXT.to_vec()),
        (REGISTER_NOTES, register_notes()),
        (ATTACHMENTS, ATTACHMENTS_TEXT.to_vec()),
        (WORKING_SETS, working_sets(stream(dump, MAPS)?.1)?),
    ];
    for (given_up, (own, payload)) in GIVEN_UP.into_iter().zip(payloads) {
        let (entry, _) = stream(dump, given_up)?;
        let at = u32::try_from(made.len()).ok()?;
        for (index, word) in [own, u32::try_from(payload.len()).ok()?, at].into_iter().enumerate() {
            made.get_mut(entry + index * 4..entry + index * 4 + 4)?.copy_from_slice(&word.to_le_bytes());
        }
        made.extend(payload);
    }
    Some(made)
}

/// Where a stream's entry is in the directory, and its bytes.
fn stream(dump: &[u8], kind: u32) -> Option<(usize, &[u8])> {
    let word = |at: usize| Some(u32::from_le_bytes(dump.get(at..at + 4)?.try_into().ok()?));
    let size = |at: usize| usize::try_from(word(at)?).ok();
    let directory = size(12)?;
    let mut entries = (0..size(8)?.min(100)).map(|index| directory + index * 12);
    let entry = entries.find(|entry| word(*entry) == Some(kind))?;
    let start = size(entry + 8)?;
    Some((entry, dump.get(start..start.checked_add(size(entry + 4)?)?)?))
}

/// One thread of x86-64 with the kernel's general registers.
fn register_notes() -> Vec<u8> {
    let head = [1u32, 1, 1, 62 | 1 << 16, 1, 27 * 8].map(u32::to_le_bytes).concat();
    [head, vec![7; 27 * 8]].concat()
}

/// The first mappings, each with counters.
fn working_sets(maps: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(maps);
    let ranges = text.lines().filter_map(|line| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        Some([u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?])
    });
    let entries: Vec<Vec<u8>> = ranges
        .take(5)
        .map(|[start, end]| [start, end, 4096, 0, 4096, 8192, 16 | 15 << 32].map(u64::to_le_bytes).concat())
        .collect();
    let head = [1u32, 32, 56, 0].map(u32::to_le_bytes).concat();
    let tail = [1_700_000_000_000_000_000u64, entries.len() as u64].map(u64::to_le_bytes).concat();
    (!entries.is_empty()).then(|| [head, tail, entries.concat()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_change_places() {
        let maps = b"1000-3000 r-xp 0 00:00 0\n";
        let kinds = [GIVEN_UP[0], GIVEN_UP[1], MAPS, GIVEN_UP[2], GIVEN_UP[3]];
        let mut dump = [&b"MDMP\x93\xa7\0\0"[..], &5u32.to_le_bytes(), &32u32.to_le_bytes(), &[0; 16]].concat();
        for kind in kinds {
            dump.extend([kind, maps.len().try_into().unwrap(), 32 + 60].map(u32::to_le_bytes).concat());
        }
        dump.extend(maps);
        let made = minidump(&dump).unwrap();
        assert_eq!(stream(&made, FACTS).unwrap().1, FACTS_TEXT);
        assert_eq!(stream(&made, MAPS).unwrap().1, maps);
        let table = stream(&made, WORKING_SETS).unwrap().1;
        assert_eq!((table.len(), &table[24..40]), (32 + 56, &[1u64, 0x1000].map(u64::to_le_bytes).concat()[..]));
        assert_eq!(minidump(&dump[..60]), None);
    }
}
