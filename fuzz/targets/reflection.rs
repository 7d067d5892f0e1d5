#![no_main]
//! A reflection pair: the configuration's text, then two minidumps, all in one.

use std::sync::Arc;

use effigy_fuzz::{Beside, look};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&[low, high, split], rest)) = bytes.split_first_chunk::<3>() else { return };
    let (text, dumps) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes([low, high])) % 512));
    let (first, second) = dumps.split_at(dumps.len() * usize::from(split) / 256);
    let mut beside =
        Beside(vec![("a.dmp".into(), Arc::new(first.to_vec())), ("b.dmp".into(), Arc::new(second.to_vec()))]);
    look([&b"[UserModeDump]\n"[..], text].concat(), &mut beside);
    look(b"[UserModeDump]\ndefault=a.dmp\nmemory=b.dmp\n".to_vec(), &mut beside);
});
