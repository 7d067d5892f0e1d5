//! Where an address is: in which image, which function, which line of which source, and what called it.
//!
//! Image files and symbols are found by identity (build id, GUID and age, time stamp and size), never by name alone, and
//! are read as untrusted bytes.
#![forbid(unsafe_code)]

pub mod python;
