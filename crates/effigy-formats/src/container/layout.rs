//! Structures and numbers of the container.
//!
//! Sources: RFC 8878, sections 3.1.1 and 3.1.2 (frames); contrib/seekable_format/zstd_seekable_compression_format.md of
//! zstd, version 0.1.0 (the table).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes, before compression, of every frame that is written here but the last.
///
/// The price of reading one byte is decompressing one frame, some two milliseconds; smaller ones would compress worse.
pub const FRAME_SIZE: usize = 4 << 20;

/// First bytes of a frame.
pub(super) const FRAME_MAGIC: u32 = 0xfd2f_b528;
/// First bytes of the skippable frame that holds the table.
pub(super) const TABLE_MAGIC: u32 = 0x184d_2a5e;
/// Last bytes of the table, and of the file.
pub(super) const FOOTER_MAGIC: u32 = 0x8f92_eab1;
/// Bit of [`Footer::descriptor`]: entries carry a checksum behind their two lengths.
pub(super) const HAS_CHECKSUMS: u8 = 0x80;
/// Bits of [`Footer::descriptor`] that must be zero.
pub(super) const RESERVED: u8 = 0x7c;
/// Bytes of an entry's checksum: the low half of the contents' XXH64.
pub(super) const CHECKSUM_SIZE: usize = 4;

macro_rules! on_disk {
    ($($(#[$about:meta])* struct $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)* })*) => {
        $($(#[$about])*
        #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        #[repr(C)]
        pub(super) struct $name { $($(#[$doc])* pub(super) $field: $type,)* })*
    };
}

on_disk! {
    /// Head of a skippable frame.
    struct SkippableHeader {
        magic: U32,
        /// Bytes that follow.
        size: U32,
    }

    /// One frame in the table.
    struct Entry {
        /// Bytes in the file.
        compressed: U32,
        /// Bytes of contents.
        contents: U32,
    }

    /// End of the table.
    struct Footer {
        /// Number of entries.
        frames: U32,
        descriptor: u8,
        magic: U32,
    }
}
