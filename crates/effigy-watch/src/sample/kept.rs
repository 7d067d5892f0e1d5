//! A file that stays open and is read from its start again and again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a file that are read. Longer ones are cut: numbers stand at their beginning.
const MOST: usize = 16 << 10;

/// The file and where it is read to.
#[derive(Debug)]
pub(crate) struct KeptFile {
    file: File,
    room: Box<[u8]>,
}

impl KeptFile {
    pub(crate) fn new(file: File) -> Self {
        // Most files need one page; more is made when it turns out to be needed.
        Self { file, room: vec![0; 4096].into_boxed_slice() }
    }

    /// Its text now.
    pub(crate) fn read(&mut self) -> io::Result<&[u8]> {
        let mut length = 0;
        loop {
            if length == self.room.len() {
                if length >= MOST {
                    break;
                }
                let mut longer = vec![0; length * 2].into_boxed_slice();
                longer[..length].copy_from_slice(&self.room);
                self.room = longer;
            }
            match self.file.read_at(&mut self.room[length..], length as u64) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&self.room[..length])
    }
}
