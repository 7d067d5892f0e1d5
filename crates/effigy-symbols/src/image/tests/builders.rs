//! Makes small images.

use effigy_process::{ByteOrder, Guid};

/// What is in `.text` of ELF files, and around it.
pub(super) const TEXT: [u8; 16] = *b"\x55\x48\x89\xe5made by test";
pub(super) const PADDING: u8 = 0xcc;

/// An ELF file: code at 0x401000, data at 0x403020, and whatever sections are wanted.
#[derive(Clone)]
pub(crate) struct Elf {
    pub(crate) id: Option<Vec<u8>>,
    pub(crate) is_64: bool,
    pub(crate) order: ByteOrder,
    pub(crate) debug_only: bool,
    /// Name, flags, contents.
    pub(crate) sections: Vec<(String, u64, Vec<u8>)>,
    /// Tags and values of the dynamic section, which lies in the data where there is any.
    pub(crate) dynamic: Vec<(u64, u64)>,
}

impl Default for Elf {
    fn default() -> Self {
        Self {
            id: None,
            is_64: true,
            order: ByteOrder::Little,
            debug_only: false,
            sections: Vec::new(),
            dynamic: Vec::new(),
        }
    }
}

/// Writes numbers.
pub(crate) struct Out {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_64: bool,
    pub(crate) order: ByteOrder,
}

impl Out {
    pub(crate) fn number(&mut self, value: u64, size: usize) -> &mut Self {
        let bytes = value.to_le_bytes();
        match self.order {
            ByteOrder::Little => self.bytes.extend(&bytes[..size]),
            ByteOrder::Big => self.bytes.extend(bytes[..size].iter().rev()),
        }
        self
    }

    pub(crate) fn half(&mut self, value: u64) -> &mut Self {
        self.number(value, 4)
    }

    pub(crate) fn short(&mut self, value: u64) -> &mut Self {
        self.number(value, 2)
    }

    pub(crate) fn word(&mut self, value: u64) -> &mut Self {
        let size = if self.is_64 { 8 } else { 4 };
        self.number(value, size)
    }

    pub(crate) fn at(&mut self, offset: usize, fill: u8) -> &mut Self {
        assert!(self.bytes.len() <= offset);
        self.bytes.resize(offset, fill);
        self
    }
}

/// A section as its header describes it.
struct Header {
    name: String,
    kind: u64,
    flags: u64,
    address: u64,
    offset: u64,
    size: u64,
}

impl Elf {
    /// One with a build id.
    pub(crate) fn new(id: &[u8]) -> Self {
        Self { id: Some(id.to_vec()), ..Self::default() }
    }

    pub(crate) fn debug_only(self) -> Self {
        Self { debug_only: true, ..self }
    }

    pub(crate) fn section(mut self, name: &str, contents: &[u8]) -> Self {
        self.sections.push((name.to_owned(), 0, contents.to_vec()));
        self
    }

    /// A section with a compression header.
    pub(crate) fn compressed(mut self, name: &str, kind: u64, size: usize, packed: &[u8]) -> Self {
        let mut out = Out { bytes: Vec::new(), is_64: self.is_64, order: self.order };
        out.half(kind);
        if self.is_64 {
            out.half(0);
        }
        out.word(size as u64).word(1);
        self.sections.push((name.to_owned(), 0x800, [out.bytes, packed.to_vec()].concat()));
        self
    }

    /// x86_64 and aarch64 where the order is theirs, else s390 and big-endian ARM.
    pub(crate) fn machine(&self) -> u16 {
        match (self.is_64, self.order) {
            (true, ByteOrder::Little) => 62,
            (true, ByteOrder::Big) => 22,
            (false, ByteOrder::Little) => 3,
            (false, ByteOrder::Big) => 40,
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Out { bytes: Vec::new(), is_64: self.is_64, order: self.order };
        out.at(0x1000, PADDING).bytes.extend(TEXT);
        out.at(0x2020, PADDING).bytes.extend([1; 16]);
        out.at(0x2100, PADDING);
        for (tag, value) in &self.dynamic {
            out.word(*tag).word(*value);
        }
        out.at(0x3000, PADDING);
        let header = |name: &str, kind, flags, address, offset, size| Header {
            name: name.to_owned(),
            kind,
            flags,
            address,
            offset,
            size,
        };
        // Code that is left out has no bytes: SHT_NOBITS.
        let code = if self.debug_only { 8 } else { 1 };
        let mut headers = vec![
            header("", 0, 0, 0, 0, 0),
            header(".text", code, 6, 0x40_1000, 0x1000, 16),
            header(".data", code, 3, 0x40_3020, 0x2020, 16),
        ];
        if let Some(id) = &self.id {
            let offset = out.bytes.len() as u64;
            out.half(4).half(id.len() as u64).half(3).bytes.extend(b"GNU\0");
            out.bytes.extend(id);
            headers.push(header(".note.gnu.build-id", 7, 2, 0, offset, 16 + id.len() as u64));
        }
        for (name, flags, contents) in &self.sections {
            headers.push(header(name, 1, *flags, 0, out.bytes.len() as u64, contents.len() as u64));
            out.bytes.extend(contents);
        }
        let names = self.names(&mut headers, &mut out);
        let table = out.bytes.len().next_multiple_of(8);
        out.at(table, 0);
        for (header, name) in headers.iter().zip(names) {
            out.half(name).half(header.kind).word(header.flags).word(header.address).word(header.offset);
            out.word(header.size).half(0).half(0).word(1).word(0);
        }
        let start = self.start(headers.len() as u64, table as u64);
        out.bytes[..start.len()].copy_from_slice(&start);
        out.bytes
    }

    /// Adds the names of the sections, and says where each begins.
    fn names(&self, headers: &mut Vec<Header>, out: &mut Out) -> Vec<u64> {
        let offset = out.bytes.len() as u64;
        headers.push(Header { name: ".shstrtab".into(), kind: 3, flags: 0, address: 0, offset, size: 0 });
        let mut names = Vec::new();
        for header in headers.iter() {
            names.push(out.bytes.len() as u64 - offset);
            out.bytes.extend(header.name.bytes().chain([0]));
        }
        if let Some(last) = headers.last_mut() {
            last.size = out.bytes.len() as u64 - offset;
        }
        names
    }

    /// The ELF header and the program headers.
    fn start(&self, sections: u64, table: u64) -> Vec<u8> {
        let mut out = Out { bytes: Vec::new(), is_64: self.is_64, order: self.order };
        let class = if self.is_64 { 2 } else { 1 };
        let order = if self.order == ByteOrder::Big { 2 } else { 1 };
        out.bytes.extend([0x7f, b'E', b'L', b'F', class, order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let sizes = if self.is_64 { [64, 56, 64] } else { [52, 32, 40] };
        out.short(2).short(self.machine().into()).half(1).word(0x40_1000).word(sizes[0]).word(table).half(0);
        out.short(sizes[0]).short(sizes[1]).short(3).short(sizes[2]).short(sections).short(sections - 1);
        let dynamic = self.dynamic.len() as u64 * if self.is_64 { 16 } else { 8 };
        for (kind, flags, offset, address, file, memory) in [
            (1, 5, 0x1000, 0x40_1000, 16, 16),
            (1, 6, 0x2020, 0x40_3020, 16, 0x100),
            (2, 6, 0x2100, 0x40_3100, dynamic, dynamic),
        ] {
            out.half(kind);
            if self.is_64 {
                out.half(flags);
            }
            out.word(offset).word(address).word(address).word(file).word(memory);
            if !self.is_64 {
                out.half(flags);
            }
            out.word(0x1000);
        }
        out.bytes
    }
}

/// A PE file: `.text` at 0x1000, `.data` at 0x2000, `.reloc` at 0x3000.
#[derive(Clone)]
pub(crate) struct Pe {
    pub(crate) is_64: bool,
    pub(crate) base: u64,
    pub(crate) time_stamp: u32,
    pub(crate) guid: Guid,
    pub(crate) age: u32,
    pub(crate) text: Vec<u8>,
    /// Where in `.text` there are addresses that are relocated.
    pub(crate) relocated: Vec<u16>,
    /// The import address table: RVA and size.
    pub(crate) imports: (u64, u64),
    /// Numbers of the load configuration, and where in it they stand.
    pub(crate) configuration: Vec<(usize, u64)>,
    /// The kind of a dynamic relocation at 0x3080.
    pub(crate) dynamic: Option<u64>,
}

impl Default for Pe {
    fn default() -> Self {
        Self {
            is_64: true,
            base: 0x40_0000,
            time_stamp: 0x5AE5_5DB5,
            guid: Guid([4; 16]),
            age: 1,
            text: (0u8..=255).cycle().take(0x300).collect(),
            relocated: Vec::new(),
            imports: (0, 0),
            configuration: Vec::new(),
            dynamic: None,
        }
    }
}

impl Pe {
    pub(crate) fn size_of_image(&self) -> u32 {
        0x4000
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Out { bytes: b"MZ".to_vec(), is_64: self.is_64, order: ByteOrder::Little };
        out.at(0x3c, 0).half(0x40).at(0x40, 0).bytes.extend(b"PE\0\0");
        let optional = if self.is_64 { 112 + 128 } else { 96 + 128 };
        let machine = if self.is_64 { 0x8664 } else { 0x14c };
        out.short(machine).short(3).half(self.time_stamp.into()).half(0).half(0).short(optional).short(0x22);
        out.short(if self.is_64 { 0x20b } else { 0x10b }).short(0).half(0).half(0).half(0).half(0x1000).half(0x1000);
        if !self.is_64 {
            out.half(0x2000);
        }
        out.word(self.base).half(0x1000).half(0x200).number(6, 8).number(6, 8);
        out.half(self.size_of_image().into()).half(0x200).half(0).short(3).short(0x140);
        out.word(0).word(0).word(0).word(0).half(0).half(16);
        let relocations = self.relocations();
        for index in 0..16 {
            match index {
                5 if !self.relocated.is_empty() => out.half(0x3000).half(relocations.len() as u64),
                6 => out.half(0x2000).half(28),
                10 if !self.configuration.is_empty() => out.half(0x2100).half(0x100),
                12 => out.half(self.imports.0).half(self.imports.1),
                _ => out.number(0, 8),
            };
        }
        self.section(&mut out, b".text\0\0\0", 0x1000, self.text.len(), 0x200, 0x6000_0020);
        self.section(&mut out, b".data\0\0\0", 0x2000, 0x100, 0x600, 0xC000_0040);
        self.section(&mut out, b".reloc\0\0", 0x3000, 0x100, 0x800, 0x4200_0040);
        out.at(0x200, 0).bytes.extend(&self.text);
        let record = [b"RSDS", &self.guid.0[..], &self.age.to_le_bytes(), b"C:\\made.pdb\0"].concat();
        out.at(0x600, 0).half(0).half(0).half(0).half(2).half(record.len() as u64).half(0x2040).half(0x640);
        out.at(0x640, 0).bytes.extend(record);
        out.at(0x700, 0);
        let mut configuration = vec![0; 0x100];
        for (at, number) in &self.configuration {
            configuration[*at..*at + 8].copy_from_slice(&number.to_le_bytes());
        }
        out.bytes.extend(configuration);
        out.at(0x800, 0).bytes.extend(relocations);
        if let Some(kind) = self.dynamic {
            out.at(0x880, 0).half(1).half(12).number(kind, 8).half(0);
        }
        out.at(0xa00, 0).bytes.clone()
    }

    fn section(&self, out: &mut Out, name: &[u8; 8], address: u64, size: usize, at: u64, flags: u64) {
        out.bytes.extend(name);
        out.half(size as u64).half(address).half((size as u64).next_multiple_of(0x200)).half(at);
        out.half(0).half(0).half(0).half(flags);
    }

    fn relocations(&self) -> Vec<u8> {
        let kind = if self.is_64 { 10 } else { 3 };
        let mut out = Out { bytes: Vec::new(), is_64: self.is_64, order: ByteOrder::Little };
        let count = self.relocated.len().next_multiple_of(2) as u64;
        out.half(0x1000).half(8 + 2 * count);
        for place in &self.relocated {
            out.short(kind << 12 | u64::from(*place));
        }
        out.at(8 + 2 * usize::try_from(count).unwrap(), 0).bytes.clone()
    }
}

/// A Mach-O file with one segment and one section.
pub(super) fn mach_o() -> Vec<u8> {
    let mut out = Out { bytes: Vec::new(), is_64: true, order: ByteOrder::Little };
    out.half(0xfeed_facf).half(0x0100_0007).half(3).half(2).half(2).half(152 + 24).half(0).half(0);
    out.half(0x19).half(152).bytes.extend(b"__TEXT\0\0\0\0\0\0\0\0\0\0");
    out.word(0x1_0000_0000).word(0x1000).word(0).word(0x1000).half(5).half(5).half(1).half(0);
    out.bytes.extend(b"__text\0\0\0\0\0\0\0\0\0\0__TEXT\0\0\0\0\0\0\0\0\0\0");
    out.word(0x1_0000_0800).word(0x10).half(0x800).half(0).half(0).half(0).half(0x8000_0400).half(0).half(0).half(0);
    out.half(0x1b).half(24).bytes.extend([6; 16]);
    out.at(0x1000, 0x90).bytes.clone()
}

/// A PDB file with nothing in it but its identity: `age` as the linker gave it, and counted up since.
pub(crate) fn pdb(guid: Guid, age: u32) -> Vec<u8> {
    let mut out =
        Out { bytes: b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0".to_vec(), is_64: false, order: ByteOrder::Little };
    // Blocks of 512 bytes: 3 has the number of the directory's block, which is 4; the streams are in 5 and 6.
    let directory: [u32; 8] = [4, 0, 28, u32::MAX, 12, 5, 6, 0];
    out.half(512).half(1).half(7).half(4 * directory.len() as u64).half(0).half(3);
    out.at(3 * 512, 0).half(4).at(4 * 512, 0);
    directory.iter().for_each(|number| _ = out.half((*number).into()));
    out.at(5 * 512, 0).half(20_000_404).half(0).half((age + 100).into()).bytes.extend(guid.0);
    out.at(6 * 512, 0).half(u32::MAX.into()).half(19_990_903).half(age.into());
    out.at(7 * 512, 0).bytes.clone()
}
