#![no_main]
//! An ELF core, all of it hostile, of any class and byte order.

use effigy_fuzz::{Beside, look};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut file = bytes.to_vec();
    if file.len() > 18 {
        file[..4].copy_from_slice(b"\x7fELF");
        let big = file[5] == 2;
        file[16..18].copy_from_slice(if big { &[0, 4] } else { &[4, 0] });
    }
    look(file, &mut Beside::default());
});
