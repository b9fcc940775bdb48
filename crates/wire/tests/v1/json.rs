//! Leniencies and syntax errors of the front end (`protocol/http-v1.md` §3, §3.1).

use cresset_message::{Rejection, Target};
use cresset_wire::v1::parse_send_request;

use super::{parsed, violations};

#[test]
fn what_strict_json_forbids_and_google_takes() {
    for body in [
        r#"{"message": {"topic": "a",},}"#,
        r#"{'message': {'topic': 'a'}}"#,
        r#"{message: {topic: "a"}}"#,
        r#"{"message": {"topic": "a", "android": {"notification": {"body_loc_args": ["x",]}}}}"#,
        r#"{"message": {"topic": "\u0061"}}"#,
        r#"{"message": {"topic": '\a'}}"#,
        "\u{b}{\"message\"\u{c}:{\"topic\":\"a\"}}\r\n",
        r#"{"message": {"topic": "a", "android": {"notification": {"notification_count": 1.}}}}"#,
        r#"{"message": {"topic": "a", "apns": {"payload": {nullable: 1., "falsey": -0, "t": 1e3}}}}"#,
    ] {
        assert_eq!(parsed(body).target, Target::Topic("a".to_owned()), "{body}");
    }
}

#[test]
fn an_empty_body_is_an_empty_message() {
    for body in ["", "{}", r#"{"message": null}"#, r#"{"message": {}}"#, r#"{"message": {"topic": null}}"#] {
        assert_eq!(parse_send_request(body.as_bytes()), Err(Rejection::NoTarget), "{body}");
    }
}

#[test]
fn a_syntax_error_shows_where_and_is_told_alone() {
    const ROWS: &[(&str, &str)] = &[
        ("{\"a\": }", "Unexpected token.\n{\"a\": }\n      ^"),
        ("{\"a\": x}", "Unexpected token.\n{\"a\": x}\n      ^"),
        ("{\"a\": @}", "Expected a value.\n{\"a\": @}\n      ^"),
        (" ", "Unexpected end of string. Expected a value.\n \n ^"),
        ("{\"a\":", "Unexpected end of string. Expected a value.\n{\"a\":\n     ^"),
        ("{,}", "Expected an object key or }.\n{,}\n ^"),
        ("{1: 2}", "Expected an object key or }.\n{1: 2}\n ^"),
        ("{true: 2}", "Expected an object key or }.\n{true: 2}\n     ^"),
        ("{", "Unexpected end of string. Expected an object key or }.\n{\n ^"),
        ("{\"a\" 1}", "Expected : between key:value pair.\n{\"a\" 1}\n     ^"),
        ("{\"a\"", "Unexpected end of string. Expected : between key:value pair.\n{\"a\"\n    ^"),
        ("{\"a\": 1 \"b\"}", "Expected , or } after key:value pair.\n{\"a\": 1 \"b\"}\n        ^"),
        ("{\"a\": 1", "Unexpected end of string. Expected , or } after key:value pair.\n{\"a\": 1\n       ^"),
        ("[", "Unexpected end of string. Expected a value or ] within an array.\n[\n ^"),
        ("[@", "Expected a value or ] within an array.\n[@\n ^"),
        ("[,]", "Unexpected token.\n[,]\n ^"),
        ("[1 2]", "Expected , or ] after array value.\n[1 2]\n   ^"),
        ("[1", "Unexpected end of string. Expected , or ] after array value.\n[1\n  ^"),
        ("\"abc", "Closing quote expected in string.\n\"abc\n    ^"),
        ("\"a\\", "Closing quote expected in string.\n\"a\\\n  ^"),
        ("\"\\u12x4\"", "Invalid escape sequence.\n\"\\u12x4\"\n ^"),
        ("\"\\u12", "Illegal hex string.\n\"\\u12\n ^"),
        ("\"\\ud83d!\"", "Missing low surrogate.\n\"\\ud83d!\"\n ^"),
        ("\"\\ud83d\\u0041\"", "Invalid low surrogate.\n\"\\ud83d\\u0041\"\n ^"),
        ("\"\\udc00\"", "Invalid unicode code point.\n\"\\udc00\"\n ^"),
        ("012", "Octal/hex numbers are not valid JSON values.\n012\n^"),
        ("-0x1f", "Octal/hex numbers are not valid JSON values.\n-0x1f\n^"),
        ("1-2", "Unable to parse number.\n1-2\n^"),
        ("-", "Unable to parse number.\n-\n^"),
        ("1e999", "Number exceeds the range of double.\n1e999\n^"),
        ("{} {}", "Parsing terminated before end of input.\n{} {}\n   ^"),
        // Found after an unknown name, and told in its stead; twenty bytes on either side.
        (
            "{\"unknown\": 1, \"message\": {\"topic\" \"abcdefghijklmnopqrstuvwxyz\"}}",
            "Expected : between key:value pair.\n\"message\": {\"topic\" \"abcdefghijklmnopqrs\n                    ^",
        ),
    ];
    for (body, text) in ROWS {
        assert_eq!(violations(body), [format!(" | Invalid JSON payload received. {text}")], "{body}");
    }
}

#[test]
fn a_body_must_be_utf_8() {
    let Err(Rejection::Unparsable(told)) = parse_send_request(b"{\"message\": \"\xff\"}") else {
        panic!("not refused")
    };
    assert!(told[0].description.contains("Encountered non UTF-8 code points.\n"), "{told:?}");
}

#[test]
fn nesting_ends_at_a_hundred() {
    let nested = |depth: usize| {
        // The root, `message`, `apns` and `payload` are the first four.
        let (open, close) = ("{\"k\":".repeat(depth - 4), "}".repeat(depth - 4));
        format!(r#"{{"message": {{"topic": "a", "apns": {{"payload": {{"k": {open}1{close}}}}}}}}}"#)
    };
    parsed(&nested(100));
    let text = " | Invalid JSON payload received. Message too deep. Max recursion depth reached for key 'k'";
    assert_eq!(violations(&nested(101)), [text]);
    assert_eq!(violations(&"[".repeat(100_000)).len(), 1);
}

/// Each of these took quadratic time in some parser. A minute is far more than linear work needs.
#[test]
fn large_bodies_of_every_shape_are_read_to_their_end() {
    let keys: String = (0..20_000).map(|i| format!("\"k{i}\":\"v\",")).collect();
    let same: String = "\"k\":\"v\",".repeat(20_000);
    for inside in [
        format!("\"data\": {{{keys}}}"),
        format!("\"data\": {{{same}}}"),
        format!("\"apns\": {{\"payload\": {{{keys}}}}}"),
        format!("\"apns\": {{\"payload\": {{\"n\": {}}}}}", "9".repeat(300)),
        format!("\"apns\": {{\"payload\": {{\"n\": 0.{}}}}}", "9".repeat(100_000)),
        format!("\"apns\": {{\"payload\": {{\"n\": [{}]}}}}", "1,".repeat(50_000)),
        format!("\"data\": {{\"{}\": \"v\"}}", "k".repeat(200_000)),
        format!("\"data\": {{\"k\": \"{}\"}}", "\\n".repeat(100_000)),
    ] {
        parsed(&format!("{{\"message\": {{\"topic\": \"a\", {inside}}}}}"));
    }
}
