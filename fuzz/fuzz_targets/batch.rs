//! Any body of `/batch` is read and answered without panic, with an answer for each of its parts. The
//! first line is the `Content-Type`.
#![no_main]

use cresset_wire::batch::{Answer, Boundary, read, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(content_type) = str::from_utf8(&input[..end]) else { return };
    let Ok(boundary) = Boundary::of(content_type) else { return };
    let Ok(parts) = read(&boundary, &input[end + 1..]) else { return };
    let answer =
        |content_id, path: &str| Answer { content_id, status: 404, headers: vec![], body: path.into() };
    let answers: Vec<_> = parts.into_iter().map(|part| answer(part.content_id, part.path)).collect();
    let response = write(&answers);
    let delimiter = format!("--{}", response.content_type.rsplit_once('=').unwrap().1);
    assert_eq!(response.body.matches(&delimiter).count(), answers.len() + 1);
});
