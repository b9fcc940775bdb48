//! Any bytes of a client go through the HPACK repair without panic, and how they are cut into
//! chunks makes no difference. The first byte is the size of the chunks.
#![no_main]

use cresset_wire::http2::{Repair, RepairError};
use libfuzzer_sys::fuzz_target;

fn fed(bytes: &[u8], chunk: usize) -> (Vec<u8>, Result<(), RepairError>, bool) {
    let mut repair = Repair::new();
    let mut out = Vec::new();
    let result = bytes.chunks(chunk).try_for_each(|chunk| repair.feed(chunk, &mut out));
    (out, result, result.is_ok() && repair.is_transparent())
}

fuzz_target!(|input: &[u8]| {
    let Some((chunk, bytes)) = input.split_first() else { return };
    // With the preface given, the fuzzer need not find it.
    let bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes].concat();
    assert_eq!(fed(&bytes, usize::from(*chunk).max(1)), fed(&bytes, usize::MAX));
});
