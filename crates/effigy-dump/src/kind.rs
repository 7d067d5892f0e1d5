//! Kinds of dumps, and the MINIDUMP_TYPE bits that they stand for.

use std::fmt;

use bitflags::bitflags;

bitflags! {
    /// MINIDUMP_TYPE of minidumpapiset.h (learn.microsoft.com, win32/api/minidumpapiset), with what each bit means for
    /// a Linux process. Bits without a meaning there are accepted and have no effect.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct MinidumpType: u64 {
        /// Writable mappings of program images, and their uninitialised data.
        const DATA_SEGS = 0x1;
        /// Every page that is present.
        const FULL_MEMORY = 0x2;
        /// Open file descriptors.
        const HANDLE_DATA = 0x4;
        /// Stack words that are no pointers are defaced.
        const FILTER_MEMORY = 0x8;
        /// Only modules that the stacks refer to. No effect: all modules are always listed.
        const SCAN_MEMORY = 0x10;
        /// Unloaded modules. Linux keeps no list of them.
        const UNLOADED_MODULES = 0x20;
        /// Memory that words on the stacks and registers point at.
        const INDIRECTLY_REFERENCED = 0x40;
        /// File names without their directories.
        const FILTER_MODULE_PATHS = 0x80;
        /// Thread-local storage and the dynamic linker's list of modules.
        const PROCESS_THREAD_DATA = 0x100;
        /// Private anonymous memory.
        const PRIVATE_READ_WRITE = 0x200;
        /// No memory but what is asked for by other bits.
        const WITHOUT_OPTIONAL_DATA = 0x400;
        /// Facts about all regions. Always present.
        const FULL_MEMORY_INFO = 0x800;
        /// Times and states of threads. Always present.
        const THREAD_INFO = 0x1000;
        /// Executable mappings of program images.
        const CODE_SEGS = 0x2000;
        /// No auxiliary data. No effect on Linux.
        const WITHOUT_AUXILIARY_STATE = 0x4000;
        /// All auxiliary data. No effect on Linux.
        const FULL_AUXILIARY_STATE = 0x8000;
        /// Pages of private file mappings that were written to.
        const PRIVATE_WRITE_COPY = 0x1_0000;
        /// Memory that cannot be read is no error. Always so.
        const IGNORE_INACCESSIBLE = 0x2_0000;
        /// Users, groups and capabilities. Always present.
        const TOKEN_INFORMATION = 0x4_0000;
        /// First pages of program images.
        const MODULE_HEADERS = 0x8_0000;
        /// No secrets: no environment, no arguments, no paths, defaced stacks.
        const FILTER_TRIAGE = 0x10_0000;
        /// Vector registers. Always present but in triage dumps.
        const AVX_XSTATE_CONTEXT = 0x20_0000;
        /// Intel PT. No effect.
        const IPT_TRACE = 0x40_0000;
        /// Pages around unreadable ones. Always so.
        const SCAN_INACCESSIBLE_PARTIAL_PAGES = 0x80_0000;
        /// No effect on Linux.
        const FILTER_WRITE_COMBINED = 0x100_0000;
    }
}

/// What a dump holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Stacks with defaced words, and no secrets.
    Triage,
    /// Stacks and what they point at.
    Mini,
    /// Everything private or written, without program images.
    MiniPlus,
    /// What the bits say.
    Custom(MinidumpType),
    /// Every present page.
    Full,
}

impl MinidumpType {
    /// What is wrong with a mask that somebody chose; `None` for one that can be done.
    ///
    /// Filters are all or nothing here: a mask that asks for some of them must not give a dump that looks filtered and
    /// is not, and one that asks for a triage dump must not ask for memory that a triage dump would have to wipe.
    #[must_use]
    pub fn objection(self) -> Option<&'static str> {
        let memory = Self::DATA_SEGS
            | Self::FULL_MEMORY
            | Self::INDIRECTLY_REFERENCED
            | Self::PRIVATE_READ_WRITE
            | Self::CODE_SEGS
            | Self::PRIVATE_WRITE_COPY
            | Self::MODULE_HEADERS;
        if self.contains(Self::FILTER_TRIAGE) && self.intersects(memory) {
            Some("FilterTriage (0x100000) goes with stacks only: leave out the bits that ask for other memory")
        } else if self.intersects(Self::FILTER_MEMORY | Self::FILTER_MODULE_PATHS)
            && !self.contains(Self::FILTER_TRIAGE)
        {
            Some("FilterMemory (0x8) and FilterModulePaths (0x80) are only done together, as FilterTriage (0x100000)")
        } else {
            None
        }
    }
}

impl Kind {
    /// The bits that stand for the kind. ProcDump does not publish its own; these are the ones that effigy writes into
    /// the header of each kind.
    #[must_use]
    pub fn mask(self) -> MinidumpType {
        use MinidumpType as T;
        let facts = T::HANDLE_DATA | T::UNLOADED_MODULES | T::FULL_MEMORY_INFO | T::THREAD_INFO | T::TOKEN_INFORMATION;
        match self {
            Self::Triage => {
                T::FILTER_TRIAGE
                    | T::IGNORE_INACCESSIBLE
                    | T::WITHOUT_OPTIONAL_DATA
                    | T::PROCESS_THREAD_DATA
                    | T::FILTER_MODULE_PATHS
                    | T::UNLOADED_MODULES
                    | T::FILTER_MEMORY
                    | T::HANDLE_DATA
            }
            Self::Mini => facts | T::INDIRECTLY_REFERENCED,
            Self::MiniPlus => facts | T::PRIVATE_READ_WRITE | T::PRIVATE_WRITE_COPY,
            Self::Full => facts | T::FULL_MEMORY | T::IGNORE_INACCESSIBLE,
            Self::Custom(mask) => mask,
        }
    }

    /// Whether it must hold no secrets.
    #[must_use]
    pub fn is_triage(self) -> bool {
        self.mask().contains(MinidumpType::FILTER_TRIAGE)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Triage => "triage",
            Self::Mini => "mini",
            Self::MiniPlus => "miniplus",
            Self::Custom(_) => "custom",
            Self::Full => "full",
        }
    }

    /// A number that rises with the size that dumps of the kind have: several dumps are written smallest first.
    #[must_use]
    pub fn size_order(self) -> u8 {
        match self {
            Self::Triage => 0,
            Self::Mini => 1,
            Self::Custom(mask) if mask.contains(MinidumpType::FULL_MEMORY) => 5,
            Self::Custom(mask)
                if mask.intersects(MinidumpType::PRIVATE_READ_WRITE | MinidumpType::PRIVATE_WRITE_COPY) =>
            {
                3
            }
            Self::Custom(_) => 2,
            Self::MiniPlus => 4,
            Self::Full => 6,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Custom(mask) => write!(f, "custom {:#x}", mask.bits()),
            kind => f.write_str(kind.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_masks() {
        assert_eq!(Kind::Mini.mask().bits(), 0x41864);
        assert_eq!(Kind::MiniPlus.mask().bits(), 0x51a24);
        assert_eq!(Kind::Full.mask().bits(), 0x61826);
        assert_eq!(Kind::Triage.mask().bits(), 0x1205ac);
        for kind in [Kind::Mini, Kind::MiniPlus, Kind::Full, Kind::Triage] {
            assert_eq!(kind.mask().objection(), None);
        }
        assert!(MinidumpType::FILTER_MEMORY.objection().is_some());
        assert!((MinidumpType::FILTER_TRIAGE | MinidumpType::FULL_MEMORY).objection().is_some());
    }
}
