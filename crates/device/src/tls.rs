//! TLS over bytes in memory. Whoever reads and writes the socket sees this interface only, so
//! that rustls can give way to a record layer of our own once the handshake is done.
//!
//! rustls' unbuffered connection is driven by hand because the buffered one never gives back its
//! 4 KiB read buffer, and most of our connections are silent.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, ResolvesServerCert, UnbufferedServerConnection,
};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};
use rustls::{HandshakeKind, ServerConfig};

/// More than header, nonce, content type and tag add to a record, in TLS 1.2 or 1.3.
const RECORD_OVERHEAD: usize = 64;
/// The most plaintext a record holds (RFC 8446 §5.1).
const MAX_FRAGMENT: usize = 16 * 1024;

/// TLS 1.2 and 1.3 with the certificates of `resolver`, which must have one for clients without
/// SNI: Node's receivers send none (`protocol/mcs.md` §1).
///
/// With `tickets`, a device that comes back takes up its session again, which spares both sides a
/// signature: what is needed for that stands in the ticket, sealed, and nothing of it is kept here.
/// Devices that all come back at once are let in the sooner. There is no session cache: the memory
/// per connection is what counts.
pub fn server_config(
    resolver: Arc<dyn ResolvesServerCert>,
    tickets: Option<Arc<dyn ProducesTickets>>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    // One: a device has one connection, and is given another ticket by the next.
    config.send_tls13_tickets = usize::from(tickets.is_some());
    if let Some(tickets) = tickets {
        config.ticketer = tickets;
    }
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    Encode(#[from] EncodeError),
    #[error("{0}")]
    Encrypt(#[from] EncryptError),
    #[error("the handshake is not done")]
    NotEstablished,
}

/// What a piece of input came to.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Bytes that are done with; the others are to be presented again, followed by more.
    pub(crate) used: usize,
    pub(crate) established: bool,
    /// The peer will send no more.
    pub(crate) closed: bool,
}

/// The server's half of one TLS connection.
pub(crate) struct Tls(Box<UnbufferedServerConnection>);

impl Tls {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        Ok(Self(Box::new(UnbufferedServerConnection::new(config)?)))
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.0.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Works through the records in `incoming`. Appends what they held to `plaintext`, and what
    /// is to be sent to `outgoing`, also when it fails: the alert that says why.
    pub(crate) fn receive(
        &mut self,
        incoming: &mut [u8],
        plaintext: &mut Vec<u8>,
        outgoing: &mut Vec<u8>,
    ) -> Result<Progress, TlsError> {
        let result = self.process(incoming, plaintext, outgoing);
        if result.is_err() {
            // Once more: after an error rustls hands out its alert and nothing else.
            let _ = self.process(&mut [], plaintext, outgoing);
        }
        result
    }

    fn process(
        &mut self,
        incoming: &mut [u8],
        plaintext: &mut Vec<u8>,
        outgoing: &mut Vec<u8>,
    ) -> Result<Progress, TlsError> {
        let mut progress = Progress::default();
        loop {
            let UnbufferedStatus { mut discard, state, .. } =
                self.0.process_tls_records(&mut incoming[progress.used..]);
            let mut waits = false;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plaintext.extend_from_slice(record.payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, outgoing)?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(_) => {
                    progress.established = true;
                    waits = true;
                }
                ConnectionState::PeerClosed => progress.closed = true,
                ConnectionState::Closed => {
                    progress.closed = true;
                    waits = true;
                }
                // Early data is not allowed by any ticket.
                _ => waits = true,
            }
            progress.used += discard;
            if waits {
                return Ok(progress);
            }
        }
    }

    /// Appends `plaintext` as one record (several, if it exceeds what a record holds).
    pub(crate) fn seal(&mut self, plaintext: &[u8], outgoing: &mut Vec<u8>) -> Result<(), TlsError> {
        loop {
            match self.0.process_tls_records(&mut []).state? {
                // A key update that is due goes first.
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, outgoing)?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(mut traffic) => {
                    let records = plaintext.len().div_ceil(MAX_FRAGMENT).max(1);
                    return append(outgoing, plaintext.len() + records * RECORD_OVERHEAD, |space| {
                        traffic.encrypt(plaintext, space)
                    });
                }
                ConnectionState::PeerClosed => {}
                _ => return Err(TlsError::NotEstablished),
            }
        }
    }

    /// Appends the alert that ends our half in an orderly way.
    pub(crate) fn close(&mut self, outgoing: &mut Vec<u8>) -> Result<(), TlsError> {
        match self.0.process_tls_records(&mut []).state? {
            ConnectionState::WriteTraffic(mut traffic) => {
                append(outgoing, RECORD_OVERHEAD, |space| traffic.queue_close_notify(space))
            }
            _ => Err(TlsError::NotEstablished),
        }
    }
}

fn encode<D>(data: &mut EncodeTlsData<'_, D>, outgoing: &mut Vec<u8>) -> Result<(), TlsError> {
    // Handshake messages are of unknown size: the first try only asks for it.
    let size = match data.encode(&mut []) {
        Ok(_) => return Ok(()),
        Err(EncodeError::InsufficientSize(error)) => error.required_size,
        Err(error) => return Err(error.into()),
    };
    append(outgoing, size, |space| data.encode(space))
}

/// Grows `outgoing` by what `write` puts into at most `size` new bytes.
fn append<E>(
    outgoing: &mut Vec<u8>,
    size: usize,
    write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
) -> Result<(), TlsError>
where
    TlsError: From<E>,
{
    let start = outgoing.len();
    outgoing.resize(start + size, 0);
    let written = write(&mut outgoing[start..]);
    outgoing.truncate(start + *written.as_ref().unwrap_or(&0));
    written?;
    Ok(())
}
