//! What holds of every batch.

use cresset_wire::batch::{BatchError, Boundary, read, write};
use proptest::prelude::*;

use super::parts;
use super::readers::{READERS, answer};

/// What a writer chose for one part.
#[derive(Clone, Debug)]
struct Written {
    target: String,
    version: &'static str,
    authorization: Option<String>,
    content_id: Option<String>,
    body: Vec<u8>,
}

fn written() -> impl Strategy<Value = Written> {
    (
        "(https://[a-z.]{1,9})?/[a-z/:]{0,20}(\\?[a-z=&]{0,9})?",
        prop_oneof![Just(""), Just(" HTTP/1.1")],
        proptest::option::of("Bearer [a-zA-Z0-9._-]{1,40}"),
        proptest::option::of("[0-9]{1,3}|<[a-f0-9-]{1,36} \\+ [0-9]{1,3}>"),
        proptest::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(|(target, version, authorization, content_id, body)| Written {
            target,
            version,
            authorization,
            content_id,
            body,
        })
}

fn batch(parts: &[Written], end: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        let header = |name: &str, value: &Option<String>| {
            value.as_ref().map_or(String::new(), |value| format!("{name}: {value}{end}"))
        };
        out.extend_from_slice(
            [
                &format!("--a=b{end}Content-Type: application/http{end}"),
                &*header("content-ID", &part.content_id),
                end,
                &format!("POST {}{}{end}", part.target, part.version),
                &*header("AUTHORIZATION", &part.authorization),
                &*format!("Content-Length: 1{end}{end}"),
            ]
            .concat()
            .as_bytes(),
        );
        out.extend_from_slice(&part.body);
        out.extend_from_slice(end.as_bytes());
    }
    out.extend_from_slice(format!("--a=b--{end}").as_bytes());
    out
}

/// What the fuzz target does as well: whatever is read can be answered, and the answers can be read.
fn read_and_answer(content_type: &str, body: &[u8]) {
    let Ok(parts) = parts(content_type, body) else { return };
    let answers: Vec<_> =
        parts.iter().map(|part| answer(part.content_id.as_deref(), 404, part.path)).collect();
    let response = write(&answers);
    for (sdk, read) in READERS.iter().filter(|(sdk, _)| *sdk != "Python") {
        assert_eq!(read(&response).len(), parts.len(), "{sdk}");
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        written in proptest::collection::vec(written(), 1..8),
        crlf: bool,
    ) {
        let end = if crlf { "\r\n" } else { "\n" };
        let bytes = batch(&written, end);
        let parts = parts("multipart/mixed; boundary=\"a=b\"", &bytes).unwrap();
        prop_assert_eq!(parts.len(), written.len());
        for (part, written) in parts.iter().zip(&written) {
            let target = format!("{}{}{}", part.path, if part.query.is_empty() { "" } else { "?" }, part.query);
            prop_assert!(written.target.trim_end_matches('?').ends_with(&target), "{:?} of {:?}", target, written);
            prop_assert_eq!(&part.authorization, &written.authorization);
            prop_assert_eq!(&part.content_id, &written.content_id);
            // A line end before the boundary is the boundary's, of which LF takes a CR with it.
            let mut body = &*written.body;
            if !crlf { body = body.strip_suffix(b"\r").unwrap_or(body) }
            prop_assert_eq!(part.body, body);
        }
        read_and_answer("multipart/mixed; boundary=\"a=b\"", &bytes);
    }

    #[test]
    fn any_bytes_are_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        read_and_answer("multipart/mixed; boundary=b", &body);
    }

    #[test]
    fn nearly_batches_are_read_without_panic(
        body in "(--b|--|Content-Type: application/http|Content-ID: <a \\+ 1>|POST /x|: |\r|\n|\n\n| |é|\\{\\}){0,60}",
    ) {
        read_and_answer("multipart/mixed; boundary=b", body.as_bytes());
    }

    #[test]
    fn any_content_type_is_read_without_panic(content_type in "(multipart/mixed)?[;= \"a-bé]{0,30}(boundary)?[;= \"a-b]{0,20}") {
        read_and_answer(&content_type, b"--b\n--b--");
    }

    #[test]
    fn damaged_batches_are_read_without_panic(
        written in proptest::collection::vec(written(), 1..4),
        at: prop::sample::Index,
        byte: u8,
    ) {
        let mut bytes = batch(&written, "\r\n");
        let at = at.index(bytes.len());
        bytes[at] = byte;
        read_and_answer("multipart/mixed; boundary=a=b", &bytes);
        read_and_answer("multipart/mixed; boundary=a=b", &bytes[..at]);
    }
}

/// Quadratic time in any of these would be hours.
#[test]
fn megabytes_of_anything_are_gone_through_once() {
    let boundary = Boundary::of("multipart/mixed; boundary=b").unwrap();
    let head = "--b\nContent-Type: application/http\n\nPOST /x\n";
    for filler in ["\n", "--b", "--b x\n", "\n--", "a", "A: b\n", " \n", "\r"] {
        for start in ["", "--b\n", head, &format!("{head}\n")] {
            let batch = format!("{start}{}", filler.repeat((1 << 20) / filler.len()));
            assert!(read(&boundary, batch.as_bytes()).is_err(), "{filler:?}");
        }
    }
    assert_eq!(read(&boundary, &b"--b\n".repeat(1 << 18)), Err(BatchError::NotHttp(1)));
    let echo: String = (0..100_000).map(|number| format!("batch_{number:08}")).collect();
    let response = write(&[answer(None, 400, &echo)]);
    assert!(response.content_type.ends_with("=batch_00100000"));
}
