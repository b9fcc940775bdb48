//! What is read (`protocol/topics-and-batch.md` §1.1, §1.2), and each reason to refuse.

use cresset_wire::batch::{BatchError, Boundary, MAX_PARTS, Part, is_multipart};

use super::parts;

const SEND: &str = "/v1/projects/demo/messages:send";
const FIRST: &str = r#"{"message":{"data":{"n":"0","ü":"€"},"token":"one"}}"#;
const SECOND: &str = r#"{"message":{"token":"two"},"validate_only":true}"#;

/// An SDK, its `Content-Type`, its bytes, its content ids, its inner credential.
type Written = (&'static str, &'static str, &'static [u8], [Option<&'static str>; 2], Option<&'static str>);

const NUMBERS: [Option<&str>; 2] = [Some("1"), Some("2")];
const UUIDS: [Option<&str>; 2] =
    [Some("<8b1b8c5a-3c3f-4d0f-9a07-3f2f6a2a7e11 + 1>"), Some("<8b1b8c5a-3c3f-4d0f-9a07-3f2f6a2a7e11 + 2>")];

const SDKS: [Written; 5] = [
    (
        "Node up to 12: line ends CRLF, lengths in UTF-16 units",
        "multipart/mixed; boundary=__END_OF_PART__",
        include_bytes!("node.http"),
        NUMBERS,
        None,
    ),
    (
        "Python up to 6: line ends LF, a boundary with =, a credential in each part",
        "multipart/mixed; boundary=\"===============7330845974216740156==\"",
        include_bytes!("python.http"),
        UUIDS,
        Some("Bearer ya29.c.inner"),
    ),
    (
        "Go: a path and a host",
        "multipart/mixed; boundary=__END_OF_PART__",
        include_bytes!("go.http"),
        NUMBERS,
        None,
    ),
    (
        "Java: a boundary of its own each time",
        "multipart/mixed; boundary=__END_OF_PART__3f0c2d9e-5e1b-4a77-9d55-0a4c2f7be0d6__",
        include_bytes!("java.http"),
        NUMBERS,
        None,
    ),
    (
        ".NET on Linux: no content id, no HTTP version, LF within a part",
        "multipart/mixed; boundary=\"5d3ad5b4-1d55-4c2b-b43f-3f4a7f7b1c4e\"",
        include_bytes!("dotnet.http"),
        [None, None],
        None,
    ),
];

#[test]
fn every_sdk_is_understood() {
    for (sdk, content_type, bytes, ids, authorization) in SDKS {
        let parts = parts(content_type, bytes).unwrap_or_else(|e| panic!("{sdk}: {e}"));
        assert_eq!(parts.len(), 2, "{sdk}");
        for ((part, id), body) in parts.iter().zip(ids).zip([FIRST, SECOND]) {
            assert_eq!((part.method, part.path, part.query), ("POST", SEND, ""), "{sdk}");
            assert_eq!(part.content_id.as_deref(), id, "{sdk}");
            assert_eq!(part.authorization.as_deref(), authorization, "{sdk}");
            assert_eq!(json(part.body), json(body.as_bytes()), "{sdk}");
        }
    }
}

/// Python escapes what is not ASCII; .NET leaves a line end behind.
fn json(body: &[u8]) -> serde_json::Value {
    serde_json::from_slice(body).unwrap()
}

#[test]
fn bodies_are_whole_whatever_their_length_says() {
    let (_, content_type, bytes, ..) = SDKS[0];
    let first = &parts(content_type, bytes).unwrap()[0];
    assert_eq!(first.body, FIRST.as_bytes(), "longer in bytes than Node says");
}

/// A batch of one part with the boundary `b`.
fn single(headers: &str, request: &str) -> String {
    format!("--b\r\n{headers}\r\n\r\n{request}\r\n--b--\r\n")
}

const HTTP: &str = "Content-Type: application/http";

fn read_one(batch: &str) -> Result<Part<'_>, BatchError> {
    parts("multipart/mixed; boundary=b", batch.as_bytes()).map(|mut parts| parts.remove(0))
}

#[test]
fn request_lines() {
    for (line, method, path, query) in [
        ("POST https://fcm.googleapis.com/v1/x HTTP/1.1", "POST", "/v1/x", ""),
        ("POST HTTP://h:80/v1/x HTTP/1.0", "POST", "/v1/x", ""),
        ("POST https://h", "POST", "/", ""),
        ("POST /v1/x", "POST", "/v1/x", ""),
        ("GET /v1/x?a=b?c HTTP/1.1", "GET", "/v1/x", "a=b?c"),
        ("POST /redirect?to=https://h/ HTTP/1.1", "POST", "/redirect", "to=https://h/"),
    ] {
        let batch = single(HTTP, &format!("{line}\r\n\r\n{{}}"));
        let part = read_one(&batch).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!((part.method, part.path, part.query), (method, path, query), "{line}");
        assert_eq!(part.body, b"{}");
    }
    for line in ["", "POST", "POST /a /b HTTP/1.1", "POST ftp://h/a", "POST a HTTP/1.1", "POST /a SPDY/1"] {
        let batch = single(HTTP, &format!("{line}\r\n\r\n{{}}"));
        assert_eq!(read_one(&batch), Err(BatchError::RequestLine(1)), "{line}");
    }
}

#[test]
fn headers_come_in_any_case_and_may_be_folded() {
    let headers = "CONTENT-type:APPLICATION/HTTP; msgtype=request\nContent-ID:<long-long-id\n + 1>";
    let batch = single(headers, "POST /v1/x\nauthorization:  bearer abc\n\n{}");
    let part = read_one(&batch).unwrap();
    assert_eq!(part.content_id.as_deref(), Some("<long-long-id + 1>"));
    assert_eq!(part.authorization.as_deref(), Some("bearer abc"));
}

#[test]
fn a_part_may_have_no_body_and_a_batch_a_preamble() {
    let batch = format!("as MIME allows\r\n{}and an epilogue", single(HTTP, "GET /v1/x HTTP/1.1\r\nHost: h"));
    assert_eq!(read_one(&batch).unwrap().body, b"");
    let padded = single(HTTP, "GET /v1/x\n\n1\n--b2\n").replace("--b\r\n", "--b \t\r\n");
    assert_eq!(read_one(&padded).unwrap().body, b"1\n--b2\n", "another boundary is text");
}

#[test]
fn boundaries() {
    let boundary = |content_type: &str| Boundary::of(content_type).map(|boundary| format!("{boundary:?}"));
    let is = |text: &str| Ok(format!("Boundary({text:?})"));
    for (content_type, expected) in [
        ("multipart/mixed; boundary=b", is("b")),
        ("Multipart/MIXED ;charset=utf-8; Boundary=\"b c\" ; x=y", is("b c")),
        ("multipart/mixed;flag;boundary===b==;x=\"y;z\"", is("==b==")),
        ("multipart/mixed; x=\"boundary=no\"; boundary=yes", is("yes")),
        ("multipart/mixed; boundary=", Err(BatchError::Boundary)),
        ("multipart/mixed; boundary=\"b", Err(BatchError::Boundary)),
        ("multipart/mixed; boundary=ü", Err(BatchError::Boundary)),
        ("multipart/mixed", Err(BatchError::Boundary)),
        ("multipart/form-data; boundary=b", Err(BatchError::NotMultipart)),
        ("application/json", Err(BatchError::NotMultipart)),
        ("", Err(BatchError::NotMultipart)),
    ] {
        assert_eq!(boundary(content_type), expected, "{content_type}");
        assert_eq!(is_multipart(content_type), expected != Err(BatchError::NotMultipart));
    }
    let long = |length: usize| boundary(&format!("multipart/mixed; boundary={}", "b".repeat(length)));
    assert!(long(70).is_ok());
    assert_eq!(long(71), Err(BatchError::Boundary));
}

#[test]
fn what_is_malformed_is_named_with_its_part() {
    let http = |request: &str| single(HTTP, request);
    let many_headers = format!("POST /x\n{}\n{{}}", "A: b\n".repeat(33));
    let long_line = format!("POST /x\nA: {}\n\n{{}}", "b".repeat(8_192));
    let second = http("POST /x\n\n{}").replace("--b--", "--b\r\n\r\n--b--");
    for (batch, expected) in [
        ("--b--\r\n".to_owned(), BatchError::NoParts),
        (String::new(), BatchError::Unclosed),
        ("{}".to_owned(), BatchError::Unclosed),
        (http("POST /x\n\n{}").replace("--b--", ""), BatchError::Unclosed),
        (single("Content-Type: text/plain", "POST /x\n\n{}"), BatchError::NotHttp(1)),
        (second, BatchError::NotHttp(2)),
        (http("POST /x\nno colon\n\n{}"), BatchError::Header(1)),
        (single("\tfolded", "POST /x"), BatchError::Header(1)),
        (single(&format!("{HTTP}\nContent-ID: a\rb"), "POST /x\n\n{}"), BatchError::Header(1)),
        (http(&many_headers), BatchError::TooManyHeaders(1)),
        (http(&long_line), BatchError::LongLine(1)),
    ] {
        assert_eq!(read_one(&batch), Err(expected), "{batch}");
    }
}

#[test]
fn five_hundred_parts_are_read_and_one_more_is_not() {
    let part = format!("--b\r\n{HTTP}\r\n\r\nPOST /x\r\n\r\n{{}}\r\n");
    let of = |count: usize| format!("{}--b--", part.repeat(count));
    let count = |batch: &str| parts("multipart/mixed; boundary=b", batch.as_bytes()).map(|parts| parts.len());
    assert_eq!(count(&of(MAX_PARTS)), Ok(500));
    assert_eq!(count(&of(MAX_PARTS + 1)), Err(BatchError::TooManyParts));
}
