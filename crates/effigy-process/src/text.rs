//! How values without a form of their own are written into JSON: bytes from outside as text, with what is not UTF-8
//! replaced; times as seconds.

use std::time::{SystemTime, UNIX_EPOCH};

use bstr::{BString, ByteSlice};
use serde::Serializer;

/// For `#[serde(serialize_with = …)]`.
///
/// # Errors
/// Those of the serializer.
pub fn lossy<S: Serializer>(bytes: &BString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&bytes.to_str_lossy())
}

/// The same for bytes that may be missing.
///
/// # Errors
/// Those of the serializer.
pub fn lossy_option<S: Serializer>(bytes: &Option<BString>, serializer: S) -> Result<S::Ok, S::Error> {
    match bytes {
        Some(bytes) => lossy(bytes, serializer),
        None => serializer.serialize_none(),
    }
}

/// A time as seconds since 1970 with their fraction; one before that is given as 0.
///
/// # Errors
/// Those of the serializer.
pub fn unix_seconds<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()))
}

/// The same for a time that may not be known.
///
/// # Errors
/// Those of the serializer.
pub fn unix_seconds_option<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => unix_seconds(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// The same both ways, for `#[serde(with = …)]`.
pub mod seconds_since_1970 {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use serde::{Deserialize, Deserializer};

    pub use super::unix_seconds_option as serialize;

    /// A time from seconds since 1970; what is no time is not known.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
        let seconds = Option::<f64>::deserialize(deserializer)?;
        let since = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(since.and_then(|since| UNIX_EPOCH.checked_add(since)))
    }
}
