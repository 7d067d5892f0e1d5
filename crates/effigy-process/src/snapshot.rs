//! A frozen process whose memory can be listed and read: what a dump is written from.

use std::io::{self, Read};

use crate::{Address, Gap, Module, NotRead, PageRun, Process, Region};

/// A process at one instant together with its memory.
///
/// A stopped process is one, a clone will be one, an opened dump can be one: whoever writes a dump sees no difference.
pub trait Snapshot: Send + Sync {
    /// Everything but the memory.
    fn process(&self) -> &Process;

    /// Calls `visit` with the runs of pages of `region` that hold something, in rising order, without touching pages
    /// that do not. Gives gaps for what holds something and is out of reach as a whole.
    ///
    /// # Errors
    /// When the region cannot be looked at at all.
    fn scan(&self, region: &Region, visit: &mut dyn FnMut(PageRun)) -> io::Result<Vec<Gap>>;

    /// Reads memory of `region`, in which `address` lies; gives the number of bytes read, at least one, fewer than the
    /// buffer holds where what follows cannot be read.
    ///
    /// # Errors
    /// Why not even one byte could be read.
    fn read(&self, region: &Region, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead>;

    /// Opens the image file of a module: the very file that is mapped, also when its name is gone or leads elsewhere
    /// now.
    ///
    /// # Errors
    /// As `open(2)`.
    fn open_image(&self, module: &Module) -> io::Result<Box<dyn Read + Send>>;
}
