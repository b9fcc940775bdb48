//! Writing the answers of a batch. Each line is as it is because one of the SDKs reads it by hand (§1.3).

use std::collections::HashSet;
use std::fmt::Write as _;

/// What one part is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// As the part had it.
    pub content_id: Option<String>,
    pub status: u16,
    /// Names in any case; `Content-Length` is not for here.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// A whole answer, with status 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub content_type: String,
    pub body: String,
}

/// The answers, in the order of the parts: all SDKs but Python's know them by their place.
pub fn write(answers: &[Answer]) -> Response {
    let parts: Vec<String> = answers.iter().map(part).collect();
    let boundary = boundary(&parts);
    let mut body = String::with_capacity(parts.iter().map(|part| part.len() + 32).sum());
    for part in &parts {
        // No preamble (Java), and `--` with the boundary at the start of a line.
        body.push_str("--");
        body.push_str(&boundary);
        body.push_str("\r\n");
        body.push_str(part);
        body.push_str("\r\n");
    }
    body.push_str("--");
    body.push_str(&boundary);
    body.push_str("--\r\n");
    // .NET takes the rest of the header as the boundary, and Node splits it at `=` and `;`.
    Response { content_type: format!("multipart/mixed; boundary={boundary}"), body }
}

/// With no `Content-Length` inside: where there is one, Java and Go count by it.
fn part(answer: &Answer) -> String {
    let mut text = String::from("Content-Type: application/http\r\n");
    if let Some(id) = &answer.content_id {
        let _ = write!(text, "Content-ID: {}\r\n", response_id(id));
    }
    let _ = write!(text, "\r\nHTTP/1.1 {} {}\r\n", answer.status, reason(answer.status));
    for (name, value) in &answer.headers {
        // Java splits at a colon with one space.
        let _ = write!(text, "{}: {value}\r\n", capitalized(name));
    }
    text.push_str("\r\n");
    text.push_str(&answer.body);
    text
}

/// Python's ids stay in their angle brackets.
fn response_id(id: &str) -> String {
    match id.strip_prefix('<') {
        Some(inner) => format!("<response-{inner}"),
        None => format!("response-{id}"),
    }
}

/// Python splits the status line in three, so that there must be one.
const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}

/// `Content-Type`: .NET looks for it in this case.
fn capitalized(name: &str) -> String {
    let mut first = true;
    let capitalize = |c: char| {
        let c = if first { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        first = c == '-';
        c
    };
    name.chars().map(capitalize).collect()
}

/// One that no answer contains: .NET looks for it anywhere, and an answer may repeat what was asked.
/// There are fewer numbers in use than bytes, so that one is free.
fn boundary(parts: &[String]) -> String {
    const NAME: &str = "batch_";
    const DIGITS: usize = 8;
    let number_at = |part: &str, at: usize| part.get(at..at + DIGITS)?.parse::<u32>().ok();
    let used: HashSet<u32> = parts
        .iter()
        .flat_map(|part| part.match_indices(NAME).filter_map(|(at, _)| number_at(part, at + NAME.len())))
        .collect();
    let free = (0..).find(|number| !used.contains(number)).unwrap_or_default();
    format!("{NAME}{free:0DIGITS$}")
}
