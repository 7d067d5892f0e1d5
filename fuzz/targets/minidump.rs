#![no_main]
//! A minidump, all of it hostile.

use effigy_fuzz::{Beside, look};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut file = bytes.to_vec();
    // What begins otherwise is refused at once.
    if let Some(start) = file.get_mut(..6) {
        start.copy_from_slice(b"MDMP\x93\xa7");
    }
    look(file, &mut Beside::default());
});
