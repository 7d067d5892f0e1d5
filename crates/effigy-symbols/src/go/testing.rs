//! Makes tables of functions as Go's linker does, of all versions, and images with them.

use effigy_process::ByteOrder;

use crate::image::tests::Out;

/// Where the images have their code, the table, and data.
pub(crate) const BASE: u64 = 0x40_0000;
pub(crate) const TEXT: u64 = BASE + 0x1000;
pub(crate) const TABLE: u64 = BASE + 0x2000;
pub(crate) const DATA: u64 = BASE + 0x8000;
/// Bytes from the base to the end.
pub(crate) const SIZE: usize = 0x9000;

/// Numbers by address: for so many bytes of code, this one.
pub(crate) type Numbers = Vec<(u32, i32)>;

/// A function; what is empty is not there.
#[derive(Clone, Default)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) size: u32,
    pub(crate) flags: u8,
    pub(crate) depths: Numbers,
    pub(crate) files: Numbers,
    pub(crate) lines: Numbers,
    /// Which inlined call an instruction is of, and these: name, and how far in the function the call is.
    pub(crate) inlined: Numbers,
    pub(crate) calls: Vec<(&'static str, u32)>,
}

/// Where the table is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// In a section of its name.
    Named,
    /// In one without a name.
    Nameless,
    /// Amid another section.
    Joined,
    /// There are no sections.
    Searched,
}

/// A program.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) magic: u32,
    pub(crate) machine: u16,
    pub(crate) is_64: bool,
    pub(crate) order: ByteOrder,
    pub(crate) quantum: u8,
    /// The header does not say where the code is, as from Go 1.26 on.
    pub(crate) hides_text: bool,
    /// Addresses are only in relocations.
    pub(crate) relocated: bool,
    /// How far above its image addresses it lies in memory.
    pub(crate) slide: u64,
    pub(crate) found: Found,
    pub(crate) files: Vec<&'static str>,
    /// One behind the other.
    pub(crate) functions: Vec<Function>,
}

impl Default for Program {
    fn default() -> Self {
        Self {
            magic: 0xffff_fff1,
            machine: 62,
            is_64: true,
            order: ByteOrder::Little,
            quantum: 1,
            hides_text: false,
            relocated: false,
            slide: 0,
            found: Found::Named,
            files: vec!["/src/main.go", "/src/other.go"],
            functions: Vec::new(),
        }
    }
}

/// Parts of the table, before it is known where they come to lie.
#[derive(Default)]
struct Parts {
    names: Vec<u8>,
    files: Vec<u8>,
    file_places: Vec<u64>,
    values: Vec<u8>,
}

/// Where they lie in the table.
struct Places {
    names: u64,
    units: u64,
    files: u64,
    values: u64,
    list: u64,
}

impl Parts {
    fn text(list: &mut Vec<u8>, text: &str) -> u64 {
        let place = list.len() as u64;
        list.extend(text.bytes().chain([0]));
        place
    }

    /// Zero for numbers that are not there.
    fn numbers(&mut self, numbers: &Numbers, quantum: u8) -> u64 {
        if numbers.is_empty() {
            return 0;
        }
        let place = self.values.len() as u64;
        let mut before = -1;
        for (length, value) in numbers {
            let change = value - before;
            before = *value;
            self.number(((change << 1) ^ (change >> 31)).cast_unsigned());
            self.number(length / u32::from(quantum));
        }
        self.values.push(0);
        place
    }

    fn number(&mut self, mut number: u32) {
        while number >= 0x80 {
            self.values.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.values.push(number.to_le_bytes()[0]);
    }
}

impl Program {
    fn out(&self) -> Out {
        Out { bytes: Vec::new(), is_64: self.is_64, order: self.order }
    }

    fn word(&self) -> u64 {
        if self.is_64 { 8 } else { 4 }
    }

    fn is_old(&self) -> bool {
        self.magic == 0xffff_fffb
    }

    fn is_relative(&self) -> bool {
        self.magic & 0xff < 0xf2
    }

    /// An address as it stands in the image.
    fn address(&self, address: u64) -> u64 {
        if self.relocated { 0 } else { address + self.slide }
    }

    /// Bytes of the header, with the list of functions where that is part of it.
    fn head(&self) -> u64 {
        let list = (2 * self.functions.len() as u64 + 1) * self.word();
        match self.magic {
            0xffff_fffb => 8 + self.word() + list + 4,
            0xffff_fffa => 8 + 7 * self.word(),
            _ => 8 + 8 * self.word(),
        }
    }

    /// The table and the inlined calls behind it, and where the latter are, relative to the table.
    pub(crate) fn table(&self) -> (Vec<u8>, u64) {
        let mut parts = Parts { values: vec![0], ..Parts::default() };
        parts.file_places = self.files.iter().map(|file| Parts::text(&mut parts.files, file)).collect();
        let names: Vec<u64> =
            self.functions.iter().map(|function| Parts::text(&mut parts.names, function.name)).collect();
        let calls = self.calls(&mut parts);
        let lists: Vec<[u64; 4]> = self
            .functions
            .iter()
            .map(|function| {
                [&function.depths, &function.files, &function.lines, &function.inlined]
                    .map(|numbers| parts.numbers(numbers, self.quantum))
            })
            .collect();
        let places = self.places(&parts);
        let mut records = self.out();
        let mut record_places = Vec::new();
        let before = if self.is_old() { places.list } else { self.list_size() };
        for (index, function) in self.functions.iter().enumerate() {
            record_places.push(before + records.bytes.len() as u64);
            self.record(&mut records, index, function, names[index], lists[index], &places);
        }
        let mut out = self.out();
        self.header(&mut out, &places, &record_places);
        out.bytes.extend(&parts.names);
        out.at(usize::try_from(places.units).unwrap(), 0);
        self.units(&mut out, &parts, &places);
        out.at(usize::try_from(places.files).unwrap(), 0).bytes.extend(&parts.files);
        out.bytes.extend(&parts.values);
        out.at(usize::try_from(places.list).unwrap(), 0);
        if !self.is_old() {
            self.list(&mut out, &record_places);
        }
        out.bytes.extend(&records.bytes);
        out.at(out.bytes.len().next_multiple_of(8), 0);
        let calls_at = out.bytes.len() as u64;
        out.bytes.extend(calls);
        (out.bytes, calls_at)
    }

    fn list_size(&self) -> u64 {
        (2 * self.functions.len() as u64 + 1) * if self.is_relative() { 4 } else { self.word() }
    }

    fn places(&self, parts: &Parts) -> Places {
        let names = self.head();
        let units = (names + parts.names.len() as u64).next_multiple_of(4);
        let files = units + 4 * (parts.file_places.len() as u64 + 1);
        let values = files + parts.files.len() as u64;
        let list = (values + parts.values.len() as u64).next_multiple_of(8);
        Places { names, units, files, values, list }
    }

    /// Where the names of files are. There is one unit, and before it a place that is nobody's.
    fn units(&self, out: &mut Out, parts: &Parts, places: &Places) {
        let relative = if self.is_old() { places.files } else { 0 };
        out.half(if self.is_old() { parts.file_places.len() as u64 + 1 } else { u32::MAX.into() });
        parts.file_places.iter().for_each(|place| _ = out.half(relative + place));
    }

    fn header(&self, out: &mut Out, places: &Places, records: &[u64]) {
        out.half(self.magic.into()).short(0).number(self.quantum.into(), 1).number(self.word(), 1);
        out.word(self.functions.len() as u64);
        if self.is_old() {
            self.list(out, records);
            out.half(places.units);
            return;
        }
        out.word(self.files.len() as u64);
        if self.is_relative() {
            let hidden = if self.hides_text { 0 } else { self.address(TEXT) };
            out.word(hidden);
        }
        out.word(places.names).word(places.units).word(places.files).word(places.values).word(places.list);
    }

    fn list(&self, out: &mut Out, records: &[u64]) {
        let mut start = 0;
        let width = if self.is_relative() { 4 } else { usize::try_from(self.word()).unwrap() };
        let address = |start| if self.is_relative() { start } else { self.address(TEXT + start) };
        for (function, record) in self.functions.iter().zip(records) {
            out.number(address(start), width).number(*record, width);
            start += u64::from(function.size);
        }
        out.number(address(start), width);
    }

    fn record(&self, out: &mut Out, index: usize, function: &Function, name: u64, lists: [u64; 4], places: &Places) {
        let start: u64 = self.functions[..index].iter().map(|function| u64::from(function.size)).sum();
        let (name, lists) = if self.is_old() {
            let moved = |list: u64| if list == 0 { 0 } else { list + places.values };
            (name + places.names, lists.map(moved))
        } else {
            (name, lists)
        };
        if self.is_relative() {
            out.half(start)
        } else {
            out.word(self.address(TEXT + start))
        };
        let [depths, files, lines, inlined] = lists;
        let (values, data) = if function.calls.is_empty() { (0, 0) } else { (3, 4) };
        out.half(name).half(0).half(0).half(depths).half(files).half(lines).half(values);
        if !self.is_old() {
            // The first of the unit's files is behind the place that is nobody's.
            out.half(1);
        }
        if self.magic == 0xffff_fff1 {
            out.half(1);
        }
        out.number(0, 1).number(function.flags.into(), 1).number(0, 1).number(data, 1);
        if values > 0 {
            let calls: u64 = self.functions[..index].iter().map(|function| self.calls_size(function)).sum();
            out.half(0)
                .half(0)
                .half(inlined)
                .half(u32::MAX.into())
                .half(u32::MAX.into())
                .half(u32::MAX.into())
                .half(calls);
        }
        out.at(out.bytes.len().next_multiple_of(8), 0);
    }

    fn calls_size(&self, function: &Function) -> u64 {
        function.calls.len() as u64 * if self.magic == 0xffff_fff1 { 16 } else { 20 }
    }

    fn calls(&self, parts: &mut Parts) -> Vec<u8> {
        let mut out = self.out();
        for (name, parent) in self.functions.iter().flat_map(|function| &function.calls) {
            let name = Parts::text(&mut parts.names, name);
            if self.magic == 0xffff_fff1 {
                out.half(0).half(name).half((*parent).into()).half(1);
            } else {
                out.half(0).half(0).half(0).half(name).half((*parent).into());
            }
        }
        out.bytes
    }

    /// `moduledata`, and where in it are addresses, with these.
    fn module(&self, table: &[u8], calls: u64) -> Vec<(usize, u64)> {
        let mut words = vec![(0, TABLE), (1, TABLE + self.head()), (22, TEXT)];
        if self.hides_text {
            words.extend([(41, TABLE + calls), (42, TABLE + table.len() as u64)]);
        } else {
            words.push((if self.magic == 0xffff_fff1 { 40 } else { 38 }, TABLE + calls));
        }
        words
    }

    /// What lies in memory from the base on, without headers.
    fn contents(&self) -> Vec<u8> {
        let (table, calls) = self.table();
        let mut out = self.out();
        out.at(0x1000, 0).at(0x2000, 0x90).bytes.extend(&table);
        out.at(0x8000, 0);
        let module = self.module(&table, calls);
        for index in 0..64 {
            let word = module.iter().find(|(place, _)| *place == index);
            out.word(word.map_or(0, |(_, address)| self.address(*address)));
        }
        out.at(SIZE, 0);
        out.bytes
    }

    fn relocations(&self) -> Vec<u8> {
        let (table, calls) = self.table();
        let mut places: Vec<(u64, u64)> =
            self.module(&table, calls).iter().map(|(index, address)| (DATA + 8 * *index as u64, *address)).collect();
        if !self.hides_text {
            places.push((TABLE + 24, TEXT));
        }
        let mut out = self.out();
        places.iter().for_each(|(place, address)| _ = out.word(*place).word(8).word(*address));
        out.bytes
    }

    /// An ELF file.
    pub(crate) fn image(&self) -> Vec<u8> {
        let mut out = self.out();
        out.bytes = self.contents();
        let table = self.table().0.len() as u64;
        let mut sections = vec![("", 0, 0, 0, 0), (".text", 6, TEXT, 0x1000, 0x1000)];
        match self.found {
            Found::Named => sections.push((".gopclntab", 2, TABLE, 0x2000, table)),
            Found::Nameless => sections.push(("", 2, TABLE, 0x2000, table)),
            Found::Joined => {
                sections.push((".go.buildinfo", 3, DATA + 0x800, 0x8800, 0x10));
                sections.push((".data.rel.ro", 3, TABLE - 0x20, 0x1fe0, table + 0x20));
            }
            Found::Searched => sections.clear(),
        }
        if self.found != Found::Searched {
            sections.push((".noptrdata", 3, DATA, 0x8000, 0x200));
            if self.relocated {
                let relocations = self.relocations();
                sections.push((".rela.dyn", 2, 0, out.bytes.len() as u64, relocations.len() as u64));
                out.bytes.extend(relocations);
            }
        }
        let place = if sections.is_empty() { 0 } else { Self::section_headers(&mut out, &sections) };
        let head = self.file_header(sections.len() as u64 + u64::from(place > 0), place);
        out.bytes[..head.len()].copy_from_slice(&head);
        out.bytes
    }

    /// Name, flags, address, place in the file, size of each. Says where the headers are.
    fn section_headers(out: &mut Out, sections: &[(&str, u64, u64, u64, u64)]) -> u64 {
        let names_at = out.bytes.len() as u64;
        let mut names = vec![0];
        let all = sections.iter().map(|section| section.0).chain([".shstrtab"]);
        let places: Vec<u64> =
            all.map(|name| if name.is_empty() { 0 } else { Parts::text(&mut names, name) }).collect();
        out.bytes.extend(&names);
        let place = out.bytes.len().next_multiple_of(8);
        out.at(place, 0);
        let last = (".shstrtab", 0, 0, names_at, names.len() as u64);
        for ((_, flags, address, offset, size), name) in sections.iter().chain([&last]).zip(places) {
            let kind = u64::from(*size > 0);
            out.half(name).half(kind).word(*flags).word(*address).word(*offset).word(*size);
            out.half(0).half(0).word(1).word(0);
        }
        place as u64
    }

    fn file_header(&self, sections: u64, place: u64) -> Vec<u8> {
        let mut out = self.out();
        let class = if self.is_64 { 2 } else { 1 };
        let order = if self.order == ByteOrder::Big { 2 } else { 1 };
        out.bytes.extend([0x7f, b'E', b'L', b'F', class, order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let sizes = if self.is_64 { [64, 56, 64] } else { [52, 32, 40] };
        out.short(2).short(self.machine.into()).half(1).word(TEXT).word(sizes[0]).word(place).half(0);
        out.short(sizes[0]).short(sizes[1]).short(4).short(sizes[2]).short(sections).short(sections.saturating_sub(1));
        for (flags, start, end) in [(4, BASE, TEXT), (5, TEXT, TABLE), (4, TABLE, DATA), (6, DATA, BASE + SIZE as u64)]
        {
            out.half(1);
            if self.is_64 {
                out.half(flags);
            }
            out.word(start - BASE).word(start).word(start).word(end - start).word(end - start);
            if !self.is_64 {
                out.half(flags);
            }
            out.word(0x1000);
        }
        out.bytes
    }
}
