//! MCS frames, as either end reads them. The first byte says how many bytes come at a time, and its
//! highest bit whether they come to a client.

use cresset_wire::mcs::{Decoder, FrameError, Incoming, MAX_PAYLOAD, Role, VERSION, encode};

/// Any bytes are frames or an error; pieces make no difference, nothing large is held, and what was
/// read is read the same when it is written again.
pub(crate) fn mcs(input: &[u8]) {
    let Some((first, stream)) = input.split_first() else { return };
    let role = if first & 0x80 == 0 { Role::Server } else { Role::Client };
    let piece = usize::from(first & 0x7f).max(1);
    let whole = read(role, stream, usize::MAX);
    assert_eq!(read(role, stream, piece), whole);
    for frame in &whole.0 {
        let Incoming::Frame(frame) = frame else { continue };
        let mut written = vec![VERSION];
        encode(frame, &mut written);
        // Required fields that were absent, and numbers that were cut short, make it longer.
        if written.len() > MAX_PAYLOAD {
            continue;
        }
        let again = read(role, &written, usize::MAX);
        assert_eq!(again, (vec![Incoming::Frame(frame.clone())], Ok(())));
    }
}

fn read(role: Role, stream: &[u8], piece: usize) -> (Vec<Incoming>, Result<(), FrameError>) {
    let mut decoder = Decoder::new(role);
    let mut frames = Vec::new();
    for mut piece in stream.chunks(piece) {
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
        assert!(piece.is_empty());
        assert!(decoder.buffered() <= 2 * (MAX_PAYLOAD + 6));
    }
    (frames, Ok(()))
}
