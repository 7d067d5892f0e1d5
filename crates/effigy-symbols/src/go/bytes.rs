//! The bytes of the table, read where they are wanted. Large programs have tables of some hundred MB, and a stack needs a
//! few hundred bytes of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bstr::BString;

use crate::image::Image;

/// Bytes that are read at once.
const PIECE: u64 = 4096;

/// Pieces that are kept. When there are more, all are forgotten.
const MOST_PIECES: usize = 2048;

/// Longest name that is read, in bytes. Names of closures in generic functions have some hundred.
pub(super) const LONGEST_TEXT: usize = 1 << 16;

/// Part of an image, by offset from its first byte.
#[derive(Debug)]
pub(super) struct Bytes {
    image: Arc<Image>,
    start: u64,
    size: u64,
    pieces: Mutex<HashMap<u64, Arc<[u8]>>>,
}

impl Bytes {
    /// `size` bytes from an image address on.
    pub(super) fn new(image: &Arc<Image>, start: u64, size: u64) -> Self {
        Self { image: image.clone(), start, size, pieces: Mutex::default() }
    }

    pub(super) fn image(&self) -> &Arc<Image> {
        &self.image
    }

    /// The image address of the first byte.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The number of `size` bytes, at most eight, at an offset.
    pub(super) fn number(&self, at: u64, size: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        let bytes = bytes.get_mut(..size)?;
        let mut done = 0;
        while done < bytes.len() {
            let (piece, from) = self.piece(at.checked_add(done as u64)?)?;
            let rest = &piece[from..];
            let count = rest.len().min(bytes.len() - done);
            bytes[done..done + count].copy_from_slice(&rest[..count]);
            done += count;
        }
        Some(self.image.byte_order().number(bytes))
    }

    /// The number of four bytes at an offset.
    pub(super) fn half(&self, at: u64) -> Option<u32> {
        u32::try_from(self.number(at, 4)?).ok()
    }

    /// The text at an offset, up to the zero byte that ends it.
    pub(super) fn text(&self, at: u64) -> Option<BString> {
        let mut text = Vec::new();
        while text.len() < LONGEST_TEXT {
            let (piece, from) = self.piece(at.checked_add(text.len() as u64)?)?;
            let rest = &piece[from..];
            match memchr::memchr(0, rest) {
                Some(end) => {
                    text.extend_from_slice(&rest[..end]);
                    return Some(text.into());
                }
                None => text.extend_from_slice(rest),
            }
        }
        None
    }

    /// Reads byte after byte from an offset on.
    pub(super) fn cursor(&self, at: u64) -> Cursor<'_> {
        Cursor { bytes: self, at, piece: None }
    }

    /// The piece that an offset is in, and where in it; a piece holds at least that byte.
    fn piece(&self, at: u64) -> Option<(Arc<[u8]>, usize)> {
        let number = at / PIECE;
        let from = usize::try_from(at % PIECE).ok()?;
        let known = self.pieces.lock().ok()?.get(&number).cloned();
        let piece = match known {
            Some(piece) => piece,
            None => self.keep(number, self.load(number)?)?,
        };
        (from < piece.len()).then_some((piece, from))
    }

    fn load(&self, number: u64) -> Option<Arc<[u8]>> {
        let begin = number * PIECE;
        let size = usize::try_from(self.size.checked_sub(begin)?.min(PIECE)).ok()?;
        let mut piece = vec![0; size];
        let mut done = 0;
        while done < size {
            let at = self.start.checked_add(begin)?.checked_add(done as u64)?;
            match self.image.read(at, &mut piece[done..]) {
                Some(count) if count > 0 => done += count,
                _ => break,
            }
        }
        piece.truncate(done);
        Some(piece.into())
    }

    fn keep(&self, number: u64, piece: Arc<[u8]>) -> Option<Arc<[u8]>> {
        let mut pieces = self.pieces.lock().ok()?;
        if pieces.len() >= MOST_PIECES {
            pieces.clear();
        }
        pieces.insert(number, piece.clone());
        Some(piece)
    }
}

/// Reads byte after byte.
pub(super) struct Cursor<'b> {
    bytes: &'b Bytes,
    at: u64,
    piece: Option<(Arc<[u8]>, usize)>,
}

impl Cursor<'_> {
    fn byte(&mut self) -> Option<u8> {
        if let Some((piece, from)) = &mut self.piece
            && let Some(byte) = piece.get(*from)
        {
            *from += 1;
            self.at += 1;
            return Some(*byte);
        }
        let (piece, from) = self.bytes.piece(self.at)?;
        let byte = *piece.get(from)?;
        self.at += 1;
        self.piece = Some((piece, from + 1));
        Some(byte)
    }

    /// A number of seven bits a byte, the lowest first; the highest bit says that more follow.
    pub(super) fn number(&mut self) -> Option<u32> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            number |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}
