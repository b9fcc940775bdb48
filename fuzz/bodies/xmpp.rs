//! XMPP streams, as the server reads them. The first byte says how many bytes come at a time.

use cresset_wire::xmpp::{
    Element, Incoming, MAX_PIECE, Reader, StanzaError, StreamError, header, stanza_error, to_app_server,
};

/// Any bytes are a stream or an error; pieces make no difference, nothing large is held, and what is sent
/// back is read the same.
pub(crate) fn xmpp(input: &[u8]) {
    let Some((first, stream)) = input.split_first() else { return };
    let piece = usize::from(*first).max(1);
    let whole = read(stream, usize::MAX);
    assert_eq!(read(stream, piece), whole);
    for incoming in &whole.0 {
        match incoming {
            Incoming::Opened { to } => is_header(to.as_deref().unwrap_or_default()),
            Incoming::Stanza(stanza) => is_sent_back(stanza),
            Incoming::Closed => {}
        }
    }
}

fn read(stream: &[u8], piece: usize) -> (Vec<Incoming>, Result<(), StreamError>) {
    let mut reader = Reader::new();
    let mut all = Vec::new();
    for bytes in stream.chunks(piece) {
        reader.push(bytes);
        loop {
            match reader.take() {
                Ok(Some(incoming)) => {
                    // As after each end of a stream; and a login is as good as one.
                    if incoming == Incoming::Closed {
                        reader.restart();
                    }
                    all.push(incoming);
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.take(), Err(error), "there is nothing after it");
                    return (all, Err(error));
                }
            }
        }
        assert!(reader.buffered() <= MAX_PIECE);
    }
    (all, Ok(()))
}

fn is_header(to: &str) {
    let mut reader = Reader::new();
    reader.push(header(to, 7).as_bytes());
    assert!(matches!(reader.take(), Ok(Some(Incoming::Opened { .. }))));
}

/// What a message held, in an error and in a message of a device.
fn is_sent_back(stanza: &Element) {
    let id = stanza.attribute("id").unwrap_or_default();
    let text = stanza.children.first().map_or(stanza.text.as_str(), |child| &child.text);
    let error = stanza_error(id, "1@gcm.googleapis.com/r", Some(text), StanzaError::BadRequest, text);
    for written in [error, to_app_server(1, text)] {
        let mut reader = Reader::new();
        reader.push(header("gcm.googleapis.com", 7).as_bytes());
        reader.push(written.as_bytes());
        assert!(matches!(reader.take(), Ok(Some(Incoming::Opened { .. }))));
        let Ok(Some(Incoming::Stanza(again))) = reader.take() else { panic!("{written}") };
        assert_eq!(again.children[0].text, text);
        assert!(again.attribute("id").is_none_or(|again| again == id));
    }
}
