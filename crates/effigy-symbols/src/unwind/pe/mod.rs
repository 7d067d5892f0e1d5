//! The unwind tables of PE images, x64 and arm64: the exception directory and what its entries lead to.
//!
//! Source: Microsoft's "x64 exception handling" and "ARM64 exception handling".

mod arm64;
mod arm64_codes;
mod arm64_packed;
mod epilogue;
mod image;
#[cfg(test)]
mod tests;
mod x64;

use super::Frame;
use super::step::{Caller, Failure};
use super::walk::Walk;

pub(super) use image::PeImage;

impl Walk<'_, '_> {
    /// By the tables of the PE image that the frame is in.
    pub(super) fn by_pe(&mut self, module: usize, frame: &Frame) -> Result<Caller, Failure> {
        let unwinder = self.unwinder;
        let image = unwinder.modules.pe(module, unwinder.memory).ok_or(Failure::Nothing)?;
        if image.is_arm64() { self.by_pe_arm64(image, frame) } else { self.by_pe_x64(image, frame) }
    }
}
