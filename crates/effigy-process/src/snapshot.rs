//! A frozen process whose memory can be listed and read: what a dump is written from.

use std::io::{self, Read};

use crate::{Address, Gap, Module, NotRead, PageRun, Process, Region};

/// A process at one instant together with its memory.
///
/// A stopped process is one, a clone of it, an opened dump: whoever writes a dump sees next to no difference.
pub trait Snapshot: Send + Sync {
    /// Everything but the memory.
    fn process(&self) -> &Process;

    /// Every range of memory that [`scan`](Self::scan) gives begins and ends at a multiple of this many bytes, a power of
    /// two: of a page, but in dumps, which may hold any bytes.
    fn grain(&self) -> u64 {
        self.process().system.page_size
    }

    /// Whether there is nothing but what [`scan`](Self::scan) gives, and that there is has been decided: so it is with
    /// dumps. Of a process, more may be read, and something else is to be left alone.
    fn is_dump(&self) -> bool {
        false
    }

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

    /// Where to try again after a read at `address` has failed, as [`Memory::try_again_at`](crate::Memory::try_again_at).
    fn try_again_at(&self, address: Address) -> Option<Address> {
        let _ = address;
        None
    }

    /// Opens the image file of a module: the very file that is mapped, also when its name is gone or leads elsewhere
    /// now.
    ///
    /// # Errors
    /// As `open(2)`.
    fn open_image(&self, module: &Module) -> io::Result<Box<dyn Read + Send>>;
}
