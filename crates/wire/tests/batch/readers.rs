//! Our answers, read as each SDK reads them: a few lines each, of the rules of
//! `protocol/topics-and-batch.md` §1.3, strict where the SDK is.

use cresset_wire::batch::{Answer, Response, write};

/// A part as an SDK understands it: status, body.
pub(super) type Heard = Vec<(u16, String)>;

pub(super) const READERS: [(&str, fn(&Response) -> Heard); 5] =
    [("Node", node), ("Python", python), ("Go", go), ("Java", java), (".NET", dotnet)];

pub(super) fn answer(content_id: Option<&str>, status: u16, body: &str) -> Answer {
    Answer {
        content_id: content_id.map(str::to_owned),
        status,
        headers: vec![("content-type".to_owned(), "application/json; charset=UTF-8".to_owned())],
        body: body.to_owned(),
    }
}

#[test]
fn every_sdk_hears_what_was_said() {
    let answers = [
        answer(Some("<u-u-i-d + 1>"), 200, "{\n  \"name\": \"projects/demo/messages/0:1%2\"\n}\n"),
        answer(Some("<u-u-i-d + 2>"), 400, "{\n  \"error\": \"ü €\"\n}\n"),
        answer(Some("<u-u-i-d + 3>"), 503, "{}"),
    ];
    let response = write(&answers);
    for (sdk, read) in READERS {
        let heard = read(&response);
        let expected = answers.iter().map(|a| (a.status, a.body.trim_end().to_owned()));
        let heard: Vec<_> =
            heard.into_iter().map(|(status, body)| (status, body.trim_end().to_owned())).collect();
        assert_eq!(heard, expected.collect::<Vec<_>>(), "{sdk}");
    }
}

#[test]
fn the_form_of_an_answer() {
    let mut refused = answer(Some("1"), 503, "{}\n");
    refused.headers.push(("retry-after".into(), "5".into()));
    let response = write(&[refused, answer(None, 200, "{}")]);
    assert_eq!(response.content_type, "multipart/mixed; boundary=batch_00000000");
    let expected = [
        "--batch_00000000",
        "Content-Type: application/http",
        "Content-ID: response-1",
        "",
        "HTTP/1.1 503 Service Unavailable",
        "Content-Type: application/json; charset=UTF-8",
        "Retry-After: 5",
        "",
        "{}\n",
        "--batch_00000000",
        "Content-Type: application/http",
        "",
        "HTTP/1.1 200 OK",
        "Content-Type: application/json; charset=UTF-8",
        "",
        "{}",
        "--batch_00000000--",
        "",
    ];
    assert_eq!(response.body, expected.join("\r\n"));
}

#[test]
fn the_boundary_is_in_no_answer() {
    let body = "{\"error\": \"--batch_00000000 --batch_00000001batch_00000003\"}";
    let response = write(&[answer(Some("batch_00000002"), 400, body)]);
    assert_eq!(response.content_type, "multipart/mixed; boundary=batch_00000004");
    assert_eq!(dotnet(&response), [(400, body.to_owned())]);
}

/// The boundary, as Node finds it: pieces between semicolons, each split at its equals signs.
fn node(response: &Response) -> Heard {
    assert!(response.content_type.starts_with("multipart/"));
    let pieces = response.content_type.split(';').map(|piece| piece.trim().split('=').collect::<Vec<_>>());
    let boundary = pieces.into_iter().find(|piece| piece[0] == "boundary").unwrap()[1].to_owned();
    // Then a MIME library cuts at CRLF and boundary, and the SDK reads the rest by hand.
    let read = |part: &str| {
        let (_, http) = part.split_once("\r\n\r\n").expect("part headers end");
        let (head, body) = http.split_once("\r\n\r\n").expect("HTTP headers end");
        let status = head.lines().next().unwrap().split_whitespace().nth(1).unwrap();
        (status.parse().unwrap(), body.to_owned())
    };
    mime_parts(response, &boundary).iter().map(|part| read(part)).collect()
}

/// By Python's library: ids in angle brackets with " + ", the status line in exactly three.
fn python(response: &Response) -> Heard {
    let boundary = response.content_type.rsplit_once("boundary=").unwrap().1;
    let read = |(place, part): (usize, &String)| {
        let (headers, http) = part.split_once("\r\n\r\n").unwrap();
        let id = headers.lines().find_map(|line| line.strip_prefix("Content-ID: ")).expect("an id");
        assert!(id.starts_with('<') && id.ends_with('>'), "{id}");
        let (base, id) = id[1..id.len() - 1].split_once(" + ").expect("two pieces");
        assert!(base.starts_with("response-"));
        assert_eq!(id, (place + 1).to_string());
        let (status_line, rest) = http.split_once('\n').unwrap();
        let [_, status, _] = status_line.trim_end().splitn(3, ' ').collect::<Vec<_>>()[..] else {
            panic!("not three pieces: {status_line}")
        };
        let (_, body) = rest.split_once("\r\n\r\n").expect("an empty line before the body");
        (status.parse().unwrap(), body.to_owned())
    };
    mime_parts(response, boundary).iter().enumerate().map(read).collect()
}

/// Go has a MIME reader and an HTTP reader, which take any name and either line end.
fn go(response: &Response) -> Heard {
    let boundary = response.content_type.rsplit_once("boundary=").unwrap().1;
    let read = |part: &String| {
        let (_, http) = part.split_once("\r\n\r\n").unwrap();
        assert!(http.starts_with("HTTP/1.1 "));
        let (head, body) = http.split_once("\r\n\r\n").unwrap();
        let lengths = head.lines().filter(|line| line.to_lowercase().starts_with("content-length"));
        assert_eq!(lengths.count(), 0, "it would be believed");
        (head[9..12].parse().unwrap(), body.to_owned())
    };
    mime_parts(response, boundary).iter().map(read).collect()
}

/// Java reads lines, from the very first on.
fn java(response: &Response) -> Heard {
    let boundary = format!("--{}", response.content_type.split_once("boundary=").unwrap().1);
    let mut lines = response.body.split_inclusive("\r\n").map(|line| line.trim_end_matches("\r\n"));
    let mut heard = Vec::new();
    let mut line = lines.next().unwrap();
    assert_eq!(line, boundary, "no preamble");
    while line != format!("{boundary}--") {
        assert!(lines.by_ref().take_while(|line| !line.is_empty()).count() > 0, "part headers");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        for header in lines.by_ref().take_while(|line| !line.is_empty()) {
            assert!(header.contains(": "), "{header}");
        }
        let mut body = Vec::new();
        line = lines.next().expect("the last boundary comes");
        while !line.starts_with(&boundary) {
            body.push(line);
            line = lines.next().expect("the last boundary comes");
        }
        heard.push((status.parse().unwrap(), body.join("\r\n")));
    }
    heard
}

/// .NET cuts wherever the boundary is, and wants `Content-Type` in this case.
fn dotnet(response: &Response) -> Heard {
    let boundary = format!("--{}", response.content_type.split_once("boundary=").unwrap().1);
    let pieces: Vec<&str> = response.body.split(&boundary).collect();
    let read = |piece: &&str| {
        let mut lines = piece.lines().skip_while(|line| line.is_empty()).skip_while(|line| !line.is_empty());
        assert_eq!(lines.next(), Some(""));
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers: Vec<&str> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        assert!(headers.iter().any(|header| header.starts_with("Content-Type:")), "{headers:?}");
        (status.parse().unwrap(), lines.collect::<Vec<_>>().join("\n"))
    };
    pieces[1..pieces.len() - 1].iter().map(read).collect()
}

/// As RFC 2046 has them.
fn mime_parts(response: &Response, boundary: &str) -> Vec<String> {
    let text = format!("\r\n{}", response.body);
    let pieces: Vec<&str> = text.split(&format!("\r\n--{boundary}")).collect();
    assert_eq!(*pieces.last().unwrap(), "--\r\n", "closed");
    let inner = &pieces[1..pieces.len() - 1];
    inner.iter().map(|piece| piece.strip_prefix("\r\n").expect("a line end").to_owned()).collect()
}
