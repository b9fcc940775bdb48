//! XMPP streams: what is read of them, and what is written.

use cresset_wire::xmpp::{self, Incoming, MAX_PIECE, Reader, StanzaError, StreamError};
use proptest::prelude::*;

const HEADER: &str = "<stream:stream to='gcm.googleapis.com' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

fn read(stream: &str, cuts: &[usize]) -> (Vec<Incoming>, Option<StreamError>) {
    let mut reader = Reader::new();
    let (mut all, mut bytes) = (Vec::new(), stream.as_bytes());
    let mut cuts = cuts.iter().cycle();
    while !bytes.is_empty() {
        let cut = cuts.next().map_or(bytes.len(), |cut| (*cut).clamp(1, bytes.len()));
        let (piece, rest) = bytes.split_at(cut);
        bytes = rest;
        reader.push(piece);
        loop {
            match reader.take() {
                Ok(Some(incoming)) => all.push(incoming),
                Ok(None) => break,
                Err(error) => return (all, Some(error)),
            }
        }
    }
    (all, None)
}

/// What a message with this in it comes to.
fn text_of(inner: &str) -> Result<String, StreamError> {
    match read(&format!("{HEADER}<message>{inner}</message>"), &[]) {
        (mut all, None) => match all.pop() {
            Some(Incoming::Stanza(message)) => {
                Ok(message.children.into_iter().next().map_or(message.text, |gcm| gcm.text))
            }
            other => panic!("{inner}: {other:?}"),
        },
        (_, Some(error)) => Err(error),
    }
}

#[test]
fn text_is_what_it_stands_for() {
    let rows = [
        ("<gcm>{&quot;a&quot;:&apos;&lt;&amp;&gt;&apos;}</gcm>", "{\"a\":'<&>'}"),
        ("<gcm>&#65;&#x1F600;</gcm>", "A\u{1f600}"),
        ("<gcm><![CDATA[{\"a\":\"<&]]>]]&gt;</gcm>", "{\"a\":\"<&]]>"),
        ("<gcm>a\r\nb\rc</gcm>", "a\nb\nc"),
        ("<d:gcm xmlns:d='google:mobile:data'>x</d:gcm>", "x"),
        ("<gcm/>", ""),
    ];
    for (inner, expected) in rows {
        assert_eq!(text_of(inner).as_deref(), Ok(expected), "{inner}");
    }
}

#[test]
fn what_is_no_stream_is_named() {
    use StreamError::*;
    let stanza = |inner: &str| format!("{HEADER}<message>{inner}</message>");
    let rows = [
        (stanza("<gcm>{\"a\":\"<b\"}</gcm>"), InvalidXml),
        (stanza("<gcm>&nbsp;</gcm>"), RestrictedXml),
        (stanza("<gcm>a & b</gcm>"), InvalidXml),
        (stanza("<gcm a='1' a='2'/>"), InvalidXml),
        (stanza("<gcm>&#0;</gcm>"), InvalidXml),
        (stanza("<gcm>\u{1}</gcm>"), InvalidXml),
        (stanza("<d:gcm/>"), BadNamespacePrefix),
        (stanza("<!-- c -->"), RestrictedXml),
        (stanza("<?php x?>"), RestrictedXml),
        (format!("<!DOCTYPE a [<!ENTITY b 'c'>]>{HEADER}"), RestrictedXml),
        (format!("<?xml version='1.0' encoding='latin1'?>{HEADER}"), UnsupportedEncoding),
        (format!("{HEADER}text"), InvalidXml),
        (format!("{HEADER}<message></gcm>"), InvalidXml),
        ("<stream xmlns='jabber:client'>".to_owned(), InvalidNamespace),
        ("GET / HTTP/1.1\r\n".to_owned(), InvalidXml),
        (stanza(&"<a>".repeat(20)), PolicyViolation),
        (
            format!("{HEADER}<message {}", (0..40).map(|n| format!("a{n}='' ")).collect::<String>() + "/>"),
            PolicyViolation,
        ),
        (stanza(&"x".repeat(MAX_PIECE)), PolicyViolation),
    ];
    for (stream, expected) in rows {
        let shown: String = stream.chars().rev().take(80).collect();
        assert_eq!(read(&stream, &[]).1, Some(expected), "{shown}");
    }
}

#[test]
fn headers_are_taken_as_clients_write_them() {
    let rows = [
        HEADER.to_owned(),
        format!("<?xml version=\"1.0\" encoding='UTF-8'?>\n{HEADER}"),
        HEADER.replace('\'', "\"").replace("version", "xml:lang=\"en\" version"),
        HEADER.replace('>', "/>"),
        HEADER.replace("gcm.googleapis.com", "FCM XMPP Client Connection Server"),
    ];
    for header in rows {
        let (all, error) = read(&header, &[]);
        assert!(matches!(all[..], [Incoming::Opened { .. }]) && error.is_none(), "{header}: {error:?}");
    }
}

/// To the byte: clients branch on these (`protocol/xmpp.md` §3).
#[test]
fn stanzas_have_googles_form() {
    let rows = [
        (
            xmpp::header("gcm.googleapis.com", 0x3F0A_91C2_7BD4_E586),
            "<stream:stream from=\"gcm.googleapis.com\" id=\"3F0A91C27BD4E586\" version=\"1.0\" xmlns:stream=\"http://etherx.jabber.org/streams\" xmlns=\"jabber:client\">",
        ),
        (
            xmpp::bare("{\"a\":\"<&>\"}"),
            "<message><data:gcm xmlns:data=\"google:mobile:data\">{\"a\":\"&lt;&amp;&gt;\"}</data:gcm></message>",
        ),
        (
            xmpp::to_app_server(7, "{}"),
            "<message to=\"7@gcm.googleapis.com\" from=\"devices@gcm.googleapis.com\" type=\"normal\"><gcm xmlns=\"google:mobile:data\">{}</gcm></message>",
        ),
        (
            xmpp::stanza_error("3", "7@g/r", Some("x"), StanzaError::BadRequest, "why"),
            "<message id=\"3\" type=\"error\" to=\"7@g/r\"><gcm xmlns=\"google:mobile:data\">x</gcm><error code=\"400\" type=\"modify\"><bad-request xmlns=\"urn:ietf:params:xml:ns:xmpp-stanzas\"/><text xmlns=\"urn:ietf:params:xml:ns:xmpp-stanzas\">why</text></error></message>",
        ),
        (
            xmpp::stream_error(StreamError::InvalidXml),
            "<stream:error><invalid-xml xmlns=\"urn:ietf:params:xml:ns:xmpp-streams\"/></stream:error></stream:stream>",
        ),
        (
            xmpp::nack("m-1", Some("tokA"), "BAD_REGISTRATION", "why"),
            "{\"message_type\":\"nack\",\"message_id\":\"m-1\",\"from\":\"tokA\",\"error\":\"BAD_REGISTRATION\",\"error_description\":\"why\"}",
        ),
        (
            xmpp::group_ack("K", "m-1", 1, &["regB".to_owned(), "regC".to_owned()]),
            "{\"from\":\"K\",\"message_type\":\"ack\",\"success\":1,\"failure\":2,\"failed_registration_ids\":[\"regB\",\"regC\"],\"message_id\":\"m-1\"}",
        ),
        (
            xmpp::nack("\u{0}\u{fffe}", None, "X", "y"),
            "{\"message_type\":\"nack\",\"message_id\":\"\\u0000\\ufffe\",\"error\":\"X\",\"error_description\":\"y\"}",
        ),
        (xmpp::control_draining(), "{\"message_type\":\"control\",\"control_type\":\"CONNECTION_DRAINING\"}"),
    ];
    for (written, expected) in rows {
        assert_eq!(written, expected);
    }
}

proptest! {
    #[test]
    fn cuts_make_no_difference(
        pieces in proptest::collection::vec("(<message>|</message>|<gcm a=\"'>\">|</gcm>|<gcm/>|\\{\"k\":1\\}|&lt;|<!\\[CDATA\\[<\\]\\]>| |é|</stream:stream>|<|&){1,4}", 0..8),
        cuts in proptest::collection::vec(1usize..9, 1..6),
    ) {
        let stream = format!("{HEADER}{}", pieces.concat());
        prop_assert_eq!(read(&stream, &cuts), read(&stream, &[]));
    }

    #[test]
    fn any_text_comes_back(text in "[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\u{fffe}\u{ffff}]{0,40}") {
        let (all, error) = read(&format!("{HEADER}{}", xmpp::to_app_server(1, &text)), &[]);
        prop_assert_eq!(error, None);
        let Some(Incoming::Stanza(message)) = all.last() else { return Err(TestCaseError::fail("no stanza")) };
        prop_assert_eq!(&message.children[0].text, &text);
    }
}
