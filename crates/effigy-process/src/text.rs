//! How bytes from outside are written into JSON: as text, with what is not UTF-8 replaced.

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
