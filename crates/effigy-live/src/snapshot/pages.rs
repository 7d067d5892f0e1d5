//! Copies of pages, made as they are asked for, so that what is found in them is of one instant.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::time::Instant;

use effigy_process::{Address, Memory, NotRead};

/// Pages that are copied at once: what belongs together mostly lies together, and a call of the kernel costs as much as
/// some ten pages do.
const AT_ONCE: usize = 16;
/// Most bytes that are kept.
const MOST: usize = 32 << 20;
/// Bytes of those that are had from the kernel at the beginning, so that this takes no time later.
const READY: usize = 8 << 20;

/// Where [`PageCopies`] puts what it copies. Made before a process is stopped, it saves the time that this takes.
#[derive(Debug)]
pub struct PageRoom(Vec<u8>);

impl Default for PageRoom {
    fn default() -> Self {
        // The kernel gives a page when something is written to it, which has to be something else than what is there.
        let mut bytes = vec![0; MOST];
        bytes[..READY].fill(1);
        Self(bytes)
    }
}

/// Memory that is read a page at a time, each page once, until an instant.
///
/// For a process that stands still no longer than until then: what is read later is not of the same moment, and so is
/// refused.
#[derive(Debug)]
pub struct PageCopies<'a, M: ?Sized> {
    memory: &'a M,
    page_size: u64,
    until: Instant,
    kept: RefCell<Kept>,
}

#[derive(Debug)]
struct Kept {
    room: PageRoom,
    /// Bytes of the room that are taken.
    taken: usize,
    /// Where in the room they lie, by the address of their first byte.
    pages: HashMap<Address, Range<usize>>,
    is_over: bool,
}

impl<'a, M: Memory + ?Sized> PageCopies<'a, M> {
    /// Of `memory`, whose pages have `page_size` bytes.
    #[must_use]
    pub fn new(memory: &'a M, page_size: u64, until: Instant, room: PageRoom) -> Self {
        let kept = Kept { room, taken: 0, pages: HashMap::new(), is_over: false };
        Self { memory, page_size: page_size.max(1), until, kept: RefCell::new(kept) }
    }

    /// Whether something was refused because the time was over, or because there were too many pages.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.kept.borrow().is_over
    }

    /// Pages that were copied.
    #[must_use]
    pub fn count(&self) -> usize {
        self.kept.borrow().pages.len()
    }

    fn copy(&self, page: Address, kept: &mut Kept) -> Result<(), NotRead> {
        let size = usize::try_from(self.page_size).unwrap_or(usize::MAX);
        // A page that was copied before stays as it was.
        let next = |number: &usize| page.saturating_add(self.page_size.saturating_mul(*number as u64));
        let count = (1..AT_ONCE).find(|number| kept.pages.contains_key(&next(number))).unwrap_or(AT_ONCE);
        let begin = kept.taken;
        let rest = kept.room.0.get_mut(begin..).unwrap_or_default();
        if rest.len() < size || Instant::now() >= self.until {
            kept.is_over = true;
            return Err(NotRead::Unreadable);
        }
        let wanted = size.saturating_mul(count.min(rest.len() / size));
        let read = self.memory.read(page, &mut rest[..wanted])?.min(wanted);
        // Reading may have taken that long.
        if Instant::now() >= self.until {
            kept.is_over = true;
            return Err(NotRead::Unreadable);
        }
        for number in 0..read.div_ceil(size) {
            let piece = number * size..read.min((number + 1) * size);
            kept.pages.insert(next(&number), begin + piece.start..begin + piece.end);
        }
        kept.taken = begin + read;
        Ok(())
    }
}

impl<M: Memory + ?Sized> Memory for PageCopies<'_, M> {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
        let page = address.page_floor(self.page_size);
        let mut kept = self.kept.borrow_mut();
        if !kept.pages.contains_key(&page) {
            self.copy(page, &mut kept)?;
        }
        let from = usize::try_from(address.0 - page.0).unwrap_or(usize::MAX);
        let bytes = kept.pages.get(&page).and_then(|place| kept.room.0.get(place.clone()));
        let rest = bytes.and_then(|bytes| bytes.get(from..)).filter(|rest| !rest.is_empty());
        let rest = rest.ok_or(NotRead::Unreadable)?;
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    /// Two mapped pieces, whose bytes are another at each read.
    struct Changing(Cell<u8>);

    impl Memory for Changing {
        fn read(&self, address: Address, buffer: &mut [u8]) -> Result<usize, NotRead> {
            let end = match address.0 {
                0x1000..0x4000 => 0x4000,
                0x9000..0x9800 => 0x9800,
                _ => return Err(NotRead::Unmapped),
            };
            self.0.set(self.0.get() + 1);
            let count = buffer.len().min(usize::try_from(end - address.0).unwrap());
            buffer[..count].fill(self.0.get());
            Ok(count)
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_page_stays_as_it_was_first() {
        let memory = Changing(Cell::new(0));
        let pages = PageCopies::new(&memory, 0x1000, soon(), PageRoom::default());
        let mut bytes = [0; 0x1800];
        pages.read_exact(Address(0x1800), &mut bytes).unwrap();
        assert_eq!(bytes, [1; 0x1800], "what belongs together is of one read");
        pages.read_exact(Address(0x1ff0), &mut bytes).unwrap();
        assert_eq!((bytes, pages.count()), ([1; 0x1800], 3));
        assert_eq!(pages.read(Address(0x4000), &mut bytes), Err(NotRead::Unmapped));
        assert_eq!(pages.read(Address(0x97ff), &mut bytes), Ok(1));
        assert_eq!(pages.read(Address(0x9800), &mut bytes), Err(NotRead::Unreadable));
        assert!(!pages.is_over());
    }

    #[test]
    fn what_was_copied_before_is_not_copied_again() {
        let memory = Changing(Cell::new(0));
        let pages = PageCopies::new(&memory, 0x1000, soon(), PageRoom::default());
        let first = |at: u64| {
            let mut byte = [0];
            pages.read(Address(at), &mut byte).map(|_| byte[0])
        };
        assert_eq!((first(0x3000), first(0x1000), first(0x2000), first(0x3fff)), (Ok(1), Ok(2), Ok(2), Ok(1)));
        assert_eq!(pages.count(), 3);
    }

    #[test]
    fn what_comes_too_late_is_refused() {
        let memory = Changing(Cell::new(0));
        let pages = PageCopies::new(&memory, 0x1000, Instant::now(), PageRoom::default());
        assert_eq!(pages.read(Address(0x1000), &mut [0]), Err(NotRead::Unreadable));
        assert!(pages.is_over());
    }
}
