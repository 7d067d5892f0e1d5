//! A running Linux process.
//!
//! [`procfs`] reads what `/proc` says of it, [`select`] finds it, [`stop`] stops and resumes it, [`snapshot`] puts the
//! two together into a process at one instant whose memory can be read, [`debug`] is there when something happens, [`spawn`]
//! starts programs beside the target. All `unsafe` code of effigy lives in this crate.
//!
//! The first rule is to harm no target. What follows from it, everywhere in this crate:
//! - ptrace calls are made on one thread that does nothing else ([`stop::Tracer`]); when that thread ends, however it
//!   ends, the kernel lets every thread of the target go.
//! - Pages that the target does not have are never touched: reading them would make it grow.
//! - Nothing waits without a deadline.

pub mod debug;
pub mod error;
mod haste;
pub mod headroom;
mod image;
pub mod inject;
mod memory;
mod pagemap;
pub mod permission;
pub mod procfs;
pub mod remote;
pub mod select;
pub mod snapshot;
pub mod spawn;
pub mod stop;
mod trace;

pub use error::LiveError;
pub use haste::{Haste, step_back};
pub use memory::LiveMemory;
