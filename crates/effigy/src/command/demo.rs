//! `effigy demo`: a first look. Starts a sample program with several threads, dumps it while it runs, and reads the dump
//! back.

use crate::exit::Exit;

pub(crate) fn run() -> Exit {
    Exit::Done
}
pub(crate) fn target() -> Exit {
    Exit::Done
}
