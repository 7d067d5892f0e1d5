//! Which regions are asked for.

use effigy_analysis::address_space::{SpaceRegion, Usage};
use effigy_process::Address;

use crate::cli::{RegionsArgs, UsageArg};

/// What is asked for.
#[derive(Debug)]
pub(super) struct Filter {
    usages: Vec<Usage>,
    protection: Option<String>,
    at: Option<Address>,
}

impl Filter {
    /// From the arguments.
    pub(super) fn new(args: &RegionsArgs, at: Option<Address>) -> Self {
        let usages = args.usage.iter().map(|usage| usage_of(*usage)).collect();
        Self { usages, protection: args.protection.clone(), at }
    }

    /// Whether regions are to be shown in which nothing is.
    pub(super) fn wants_free(&self) -> bool {
        self.usages.contains(&Usage::Free)
    }

    /// Whether a region is asked for.
    pub(super) fn fits(&self, region: &SpaceRegion) -> bool {
        let usage = self.usages.is_empty()
            || self.usages.contains(&region.usage)
            || region.usage == Usage::NotListed && self.wants_free();
        let protection = self
            .protection
            .as_deref()
            .is_none_or(|wanted| region.protection.is_some_and(|rights| fits_protection(&rights.to_string(), wanted)));
        usage && protection && self.at.is_none_or(|at| region.range.contains(at))
    }
}

/// Whether a protection is the one that is asked for: as it is printed, or `r-x` for both `r-xp` and `r-xs`, or one of the
/// names of Windows.
fn fits_protection(printed: &str, wanted: &str) -> bool {
    let same = |one: &str| one.eq_ignore_ascii_case(wanted);
    same(printed) || printed.split(" | ").any(same) || printed.len() == 4 && printed.get(..3).is_some_and(same)
}

/// A usage as it is typed.
pub(in crate::command) fn usage_of(usage: UsageArg) -> Usage {
    match usage {
        UsageArg::Free => Usage::Free,
        UsageArg::Image => Usage::Image,
        UsageArg::Heap => Usage::Heap,
        UsageArg::Stack => Usage::Stack,
        UsageArg::Teb => Usage::Teb,
        UsageArg::Peb => Usage::Peb,
        UsageArg::MappedFile => Usage::MappedFile,
        UsageArg::Shared => Usage::Shared,
        UsageArg::Kernel => Usage::Kernel,
        UsageArg::Private => Usage::Private,
    }
}

#[cfg(test)]
mod tests {
    use super::fits_protection;

    #[test]
    fn protections() {
        assert!(fits_protection("r-xp", "r-x") && fits_protection("r-xp", "r-xp") && !fits_protection("r-xp", "r"));
        assert!(fits_protection("PAGE_READWRITE | PAGE_GUARD", "page_guard"));
        assert!(!fits_protection("PAGE_READWRITE | PAGE_GUARD", "PAGE_READ"));
    }
}
