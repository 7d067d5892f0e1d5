//! Call frame information: `.eh_frame` and `.debug_frame` (DWARF 5, section 6.4; LSB Core, chapter 10.6).

mod caller;
mod expression;
mod in_memory;
mod index;
mod row;
mod section;
#[cfg(test)]
mod tests;

pub(super) use caller::caller;
pub(super) use row::Row;
pub(super) use section::CfiSection;
