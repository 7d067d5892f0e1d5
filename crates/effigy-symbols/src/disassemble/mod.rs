//! Machine code as text, with where each instruction goes to. The names of those places are the business of whoever asks.

mod arm32;
mod arm64;
#[cfg(test)]
mod tests;
mod x86;

use effigy_process::Architecture;

/// Longest instruction of any processor that is known, in bytes.
pub const LONGEST_INSTRUCTION: usize = 15;

/// Most instructions that are given at once.
pub const MOST_INSTRUCTIONS: usize = 1 << 20;

/// An instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Where it lies, in the process.
    pub address: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The instruction as an assembler would have it: Intel's syntax for x86. `(bad)` for what is none.
    pub text: String,
    /// The address that it jumps to, calls or refers to, where it says so itself.
    pub target: Option<u64>,
    /// Whether it is an instruction at all.
    pub is_valid: bool,
}

impl Instruction {
    /// The address after it.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.address.saturating_add(self.bytes.len() as u64)
    }

    /// Bytes that are no instruction.
    fn bad(address: u64, bytes: &[u8]) -> Self {
        Self { address, bytes: bytes.to_vec(), text: "(bad)".to_owned(), target: None, is_valid: false }
    }
}

/// Why there is no disassembly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DisassembleError {
    /// The processor's instructions are not known.
    #[error("the instructions of {0} are not known")]
    Unknown(Architecture),
}

/// The decoder for a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decoder {
    X86(u32),
    Arm64,
    /// Whether it is Thumb code.
    Arm32 {
        thumb: bool,
    },
}

/// Reads the instructions of one processor.
#[derive(Clone, Copy, Debug)]
pub struct Disassembler {
    decoder: Decoder,
}

impl Disassembler {
    /// For x86, x86-64, and ARM of 64 and 32 bits; of the latter the instructions of four bytes each, see
    /// [`thumb`](Self::thumb).
    ///
    /// # Errors
    /// For any other processor.
    pub fn new(architecture: Architecture) -> Result<Self, DisassembleError> {
        let decoder = match architecture {
            Architecture::X86 => Decoder::X86(32),
            Architecture::X86_64 | Architecture::X32 => Decoder::X86(64),
            Architecture::Aarch64 => Decoder::Arm64,
            Architecture::Arm => Decoder::Arm32 { thumb: false },
            other => return Err(DisassembleError::Unknown(other)),
        };
        Ok(Self { decoder })
    }

    /// For Thumb code, where the processor is one of 32-bit ARM; any other stays as it is.
    #[must_use]
    pub fn thumb(self) -> Self {
        let decoder = match self.decoder {
            Decoder::Arm32 { .. } => Decoder::Arm32 { thumb: true },
            other => other,
        };
        Self { decoder }
    }

    /// At most `count` instructions of `code`, which lies at `address`. One that is cut off at the end of the code is
    /// not told.
    #[must_use]
    pub fn forwards(&self, code: &[u8], address: u64, count: usize) -> Vec<Instruction> {
        let count = count.min(MOST_INSTRUCTIONS);
        match self.decoder {
            Decoder::X86(bits) => x86::forwards(code, address, bits, count),
            Decoder::Arm64 => arm64::forwards(code, address, count),
            Decoder::Arm32 { thumb } => arm32::forwards(code, address, thumb, count),
        }
    }

    /// At most `count` instructions before the end of `code`, which lies at `address`; the last of them ends where the
    /// code does.
    ///
    /// Instructions of x86 and Thumb cannot be read backwards: those are taken that come out when reading begins as early
    /// as it can and meets the end. Give it [`window`](Self::window) bytes, or the code from the function's beginning on,
    /// which makes it sure.
    #[must_use]
    pub fn backwards(&self, code: &[u8], address: u64, count: usize) -> Vec<Instruction> {
        let skipped = match self.decoder {
            Decoder::X86(bits) => x86::beginning(code, address, bits),
            Decoder::Arm64 => code.len() % 4,
            Decoder::Arm32 { thumb } => arm32::beginning(code, thumb),
        };
        let address = address.saturating_add(skipped as u64);
        let mut instructions = self.forwards(code.get(skipped..).unwrap_or_default(), address, MOST_INSTRUCTIONS);
        let surplus = instructions.len().saturating_sub(count);
        instructions.drain(..surplus);
        instructions
    }

    /// Bytes before an address that [`backwards`](Self::backwards) wants for `count` instructions.
    #[must_use]
    pub fn window(&self, count: usize) -> usize {
        let count = count.min(MOST_INSTRUCTIONS);
        match self.decoder {
            // Some more, as the first few may be read wrongly.
            Decoder::X86(_) => (count + 8) * LONGEST_INSTRUCTION,
            Decoder::Arm64 | Decoder::Arm32 { thumb: false } => count * 4,
            Decoder::Arm32 { thumb: true } => (count + 8) * 4,
        }
    }
}
