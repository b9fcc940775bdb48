//! Any body of `messages:send` is read, checked and answered without panic.
#![no_main]

use cresset_wire::v1::{parse_send_request, render};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| match parse_send_request(body) {
    Ok(request) => drop(cresset_message::limits::check(&request.message)),
    Err(rejection) => assert_eq!(render(&rejection).status, 400),
});
