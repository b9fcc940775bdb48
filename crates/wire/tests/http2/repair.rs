use cresset_wire::http2::{Repair, RepairError};

use super::{
    CONTINUATION, Client, END_HEADERS, END_STREAM, HEADERS, fed, frame, frames, list, lists, repaired,
    request,
};

const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

#[test]
fn every_request_of_a_connection_loses_its_colon() {
    let mut client = Client::new();
    for stream in [1, 3, 5] {
        client.request(stream, &request("https:", "/v1/projects/demo/messages:send"), b"{}");
    }
    let out = repaired(&client.bytes);
    assert_eq!(lists(&out), vec![request("https", "/v1/projects/demo/messages:send"); 3]);
    let kinds: Vec<_> = frames(&out).iter().map(|f| (f.kind, f.flags, f.stream)).collect();
    assert_eq!(kinds, [(4, 0, 0), (1, 4, 1), (0, 1, 1), (1, 4, 3), (0, 1, 3), (1, 4, 5), (0, 1, 5)]);
}

#[test]
fn a_well_formed_connection_goes_through_byte_by_byte() {
    for scheme in ["https", "http", "https::", "ftp:", ":", ""] {
        let mut client = Client::new();
        client.request(1, &request(scheme, "/"), b"{}");
        client.request(3, &request("https:", "/"), b"{}");
        let (out, result, transparent) = fed(&client.bytes, &[7]);
        assert_eq!((out, result, transparent), (client.bytes, Ok(()), true), "{scheme}");
    }
}

#[test]
fn trailers_are_written_anew_and_later_schemes_that_are_right_stay() {
    let mut client = Client::new();
    let trailers = list(&[("x-checksum", "abc"), ("access_token_auth", "true")]);
    let head = client.block(&request("https:", "/a"));
    client.bytes.extend(frame(HEADERS, END_HEADERS, 1, &head));
    let end = client.block(&trailers);
    client.bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &end));
    client.request(3, &request("https", "/b"), b"");
    client.request(5, &request("http:", "/c"), b"");
    let out = repaired(&client.bytes);
    assert_eq!(
        lists(&out),
        [request("https", "/a"), trailers, request("https", "/b"), request("http", "/c")]
    );
    assert_eq!(frames(&out)[2].flags, END_HEADERS | END_STREAM);
}

#[test]
fn padding_goes_and_priority_stays() {
    let mut client = Client::new();
    let block = client.block(&request("https:", "/"));
    let payload = [&[4][..], &[0, 0, 0, 0, 200], &block, &[0; 4]].concat();
    client.bytes.extend(frame(HEADERS, PADDED | PRIORITY | END_HEADERS | END_STREAM, 1, &payload));
    let out = repaired(&client.bytes);
    let head = &frames(&out)[1];
    assert_eq!(head.flags, PRIORITY | END_HEADERS | END_STREAM);
    assert_eq!(head.payload[..5], [0, 0, 0, 0, 200]);
    let list = loona_hpack::Decoder::new().decode(&head.payload[5..]).unwrap();
    assert_eq!(list, request("https", "/"));
}

#[test]
fn blocks_in_many_frames_are_joined_and_split_again() {
    let mut client = Client::new();
    let mut fields = request("https:", "/");
    fields.push((b"x-large".to_vec(), vec![0xfe; 40_000]));
    let block = client.block(&fields);
    let parts: Vec<&[u8]> = block.chunks(10_000).collect();
    for (i, part) in parts.iter().enumerate() {
        let kind = if i == 0 { HEADERS } else { CONTINUATION };
        let end = if i + 1 == parts.len() { END_HEADERS } else { 0 };
        client.bytes.extend(frame(kind, end, 1, part));
    }
    let out = repaired(&client.bytes);
    fields[2].1.pop();
    assert_eq!(lists(&out), [fields]);
    let headers: Vec<_> = frames(&out).iter().filter(|f| f.stream == 1).map(|f| (f.kind, f.flags)).collect();
    assert_eq!(headers, [(HEADERS, 0), (CONTINUATION, 0), (CONTINUATION, END_HEADERS)]);
}

#[test]
fn data_is_not_held_back() {
    let mut repair = Repair::new();
    let mut out = Vec::new();
    let mut client = Client::new();
    client.request(1, &request("https:", "/"), b"");
    repair.feed(&client.bytes, &mut out).unwrap();
    let begun = out.len();
    repair.feed(&frame(0, 0, 1, &[1; 16_000])[..100], &mut out).unwrap();
    assert_eq!(out.len(), begun + 100);
}

/// What is wrong before anything was changed is shown to the HTTP/2 library as it is.
#[test]
fn a_connection_that_begins_wrong_is_left_to_the_library() {
    let block = Client::new().block(&request("https:", "/"));
    let endless = (0..9_000).fold(frame(HEADERS, 0, 1, &block), |mut bytes, _| {
        bytes.extend(frame(CONTINUATION, 0, 1, b""));
        bytes
    });
    for wrong in [
        frame(HEADERS, END_HEADERS, 1, &[0xff; 20]),
        frame(HEADERS, END_HEADERS, 1, &[0; 20_000]),
        frame(HEADERS, END_HEADERS | PADDED, 1, &[9, 1]),
        frame(HEADERS, END_HEADERS | PRIORITY, 1, &[9, 1]),
        frame(HEADERS, END_HEADERS | PADDED, 1, &[]),
        [frame(HEADERS, 0, 1, &block), frame(0, 0, 1, b"data between")].concat(),
        [frame(HEADERS, 0, 1, &block), frame(CONTINUATION, 4, 3, b"")].concat(),
        endless,
    ] {
        let bytes = [Client::new().bytes, wrong].concat();
        let (out, result, transparent) = fed(&bytes, &[usize::MAX]);
        assert!(out == bytes && result.is_ok() && transparent);
    }
    for other in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n more"] {
        assert_eq!(fed(other, &[3]), (other.to_vec(), Ok(()), true));
    }
}

#[test]
fn a_mended_connection_that_goes_wrong_must_be_closed() {
    let block = || Client::new().block(&request("https:", "/"));
    let endless = (0..9_000).fold(frame(HEADERS, 0, 3, b""), |mut bytes, _| {
        bytes.extend(frame(CONTINUATION, 0, 3, b""));
        bytes
    });
    for (wrong, error) in [
        (frame(HEADERS, END_HEADERS, 3, &[0xff; 20]), RepairError::HeaderBlock),
        (frame(HEADERS, END_HEADERS, 3, &[0; 20_000]), RepairError::Framing),
        (frame(HEADERS, END_HEADERS | PADDED, 3, &[9, 1]), RepairError::Framing),
        ([frame(HEADERS, 0, 3, &block()), frame(0, 0, 3, b"")].concat(), RepairError::Framing),
        (endless, RepairError::TooLarge),
    ] {
        let mut client = Client::new();
        client.request(1, &request("https:", "/"), b"");
        let (_, result, _) = fed(&[client.bytes, wrong].concat(), &[usize::MAX]);
        assert_eq!(result, Err(error));
    }
}
