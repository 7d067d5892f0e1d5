//! Our stacks beside those that other people's tools see, frame by frame: in other people's dumps, and in cores of
//! programs that are built for it.

#![allow(clippy::unwrap_used, reason = "in a test a panic is how a failure is told")]
#![allow(clippy::print_stdout, reason = "tests tell the figures that they do not assert")]

mod arm;
mod beside;
mod dumps;
mod pe;
mod pe_arm64;
mod programs;
