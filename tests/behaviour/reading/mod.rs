//! Commands that read: on other people's dumps, on effigy's own, and on running processes.

mod agreement;
mod answers;
mod changes;
mod documents;
mod images;
mod live;
mod memory;
mod oracles;
mod refusals;
mod views;
mod working_set;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Run, effigy, skip};

/// The folder with other people's dumps; without it a test counts as skipped.
pub(crate) fn corpus() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let path = std::env::var_os("EFFIGY_CORPUS").map_or_else(beside, PathBuf::from);
    if !path.is_dir() {
        skip("no corpus of dumps");
        return None;
    }
    Some(path)
}

/// Runs effigy, which is to answer.
#[track_caller]
fn read<I>(arguments: I) -> Run
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    effigy(arguments).within(60).run().expect(0)
}

/// What it prints.
#[track_caller]
fn text<I>(arguments: I) -> String
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    String::from_utf8(read(arguments).stdout).unwrap()
}

/// Its answer as JSON.
#[track_caller]
fn json<I>(arguments: I) -> Value
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    read(arguments).json()
}

/// A number that is written as `0x…`.
#[track_caller]
fn number(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_else(|| panic!("no address: {value}"));
    u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap()
}

/// The elements of a list.
#[track_caller]
fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}
