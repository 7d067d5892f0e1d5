//! Seekable zstd.
