//! The compressed container: a file that any `zstd -d` takes apart, and of which any part can be read without the rest.
//!
//! What goes in is cut into pieces that are compressed by themselves, one zstd frame each, and a table behind them says
//! where each begins: the *seekable format* of zstd's contrib directory. Programs that do not know of it see frames and a
//! skippable frame, and get the whole. The container knows nothing of what it holds.

mod layout;
mod read;
mod write;

pub use layout::FRAME_SIZE;
pub use read::{ContainerError, SeekableReader};
pub use write::{Compressed, SeekableWriter};

#[cfg(test)]
mod tests;
