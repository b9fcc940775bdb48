//! HTTP/2 frames between a client and the server library, so that frames can be sent which the library
//! does not let us send: SETTINGS at any time, GOAWAY with words in it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;

const PREFACE: usize = 24;
const HEADER: usize = 9;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// Frames that wait to be written.
const QUEUE: usize = 256;

/// Says things in the server's name.
#[derive(Clone)]
pub(super) struct Tongue(mpsc::Sender<Outgoing>);

enum Outgoing {
    Frame { bytes: Vec<u8>, ours: bool },
    Cut,
    Freeze,
}

impl Tongue {
    pub(super) async fn streams(&self, most: u32) {
        self.say(frame(SETTINGS, &setting(most))).await;
    }

    pub(super) async fn go_away(&self, last: u32, text: &str) {
        let no_error = 0_u32;
        let payload = [&last.to_be_bytes(), &no_error.to_be_bytes(), text.as_bytes()].concat();
        self.say(frame(GOAWAY, &payload)).await;
    }

    /// Nothing more is said or heard.
    pub(super) async fn cut(&self) {
        drop(self.0.send(Outgoing::Cut).await);
    }

    /// Nothing more is said, but the connection stays.
    pub(super) async fn freeze(&self) {
        drop(self.0.send(Outgoing::Freeze).await);
    }

    async fn say(&self, bytes: Vec<u8>) {
        drop(self.0.send(Outgoing::Frame { bytes, ours: true }).await);
    }
}

/// Between `client` and what is given to the library. The future must be polled until it ends, which is
/// when the client is gone or cut off.
pub(super) fn between<T>(
    client: T,
    first_streams: Option<u32>,
) -> (DuplexStream, Tongue, impl Future<Output = ()>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (library, here) = tokio::io::duplex(256 * 1_024);
    let (sender, receiver) = mpsc::channel(QUEUE);
    let tongue = Tongue(sender.clone());
    let (from_library, to_library) = tokio::io::split(here);
    let (from_client, to_client) = tokio::io::split(client);
    // Whether each SETTINGS that was sent is ours; their ACKs come in the same order.
    let sent: Arc<Mutex<VecDeque<bool>>> = Arc::default();
    let pump = async move {
        let hear = hear(from_client, to_library, Arc::clone(&sent));
        let collect = collect(from_library, sender, first_streams);
        let write = write(receiver, to_client, sent);
        tokio::select! {
            _ = hear => {}
            _ = write => {}
            // The library has ended: what it said last is still to be written.
            _ = async { drop(collect.await); std::future::pending::<()>().await } => {}
        }
    };
    (library, tongue, pump)
}

async fn hear(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    sent: Arc<Mutex<VecDeque<bool>>>,
) -> io::Result<()> {
    let mut preface = [0; PREFACE];
    from.read_exact(&mut preface).await?;
    to.write_all(&preface).await?;
    loop {
        let frame = read(&mut from).await?;
        let acknowledges = frame[3] == SETTINGS && frame[4] & ACK != 0;
        let ours = || sent.lock().unwrap_or_else(PoisonError::into_inner).pop_front() == Some(true);
        if !(acknowledges && ours()) {
            to.write_all(&frame).await?;
        }
    }
}

async fn collect(
    mut from: impl AsyncRead + Unpin,
    to: mpsc::Sender<Outgoing>,
    mut first_streams: Option<u32>,
) -> io::Result<()> {
    loop {
        let mut bytes = read(&mut from).await?;
        if bytes[3] == SETTINGS
            && bytes[4] & ACK == 0
            && let Some(most) = first_streams.take()
        {
            let payload = [&bytes[HEADER..], &setting(most)].concat();
            bytes = frame(SETTINGS, &payload);
        }
        if to.send(Outgoing::Frame { bytes, ours: false }).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(
    mut from: mpsc::Receiver<Outgoing>,
    mut to: impl AsyncWrite + Unpin,
    sent: Arc<Mutex<VecDeque<bool>>>,
) -> io::Result<()> {
    while let Some(outgoing) = from.recv().await {
        let (bytes, ours) = match outgoing {
            Outgoing::Frame { bytes, ours } => (bytes, ours),
            Outgoing::Cut => return Ok(()),
            Outgoing::Freeze => return std::future::pending().await,
        };
        if bytes[3] == SETTINGS && bytes[4] & ACK == 0 {
            sent.lock().unwrap_or_else(PoisonError::into_inner).push_back(ours);
        }
        to.write_all(&bytes).await?;
        if from.is_empty() {
            to.flush().await?;
        }
    }
    to.shutdown().await
}

async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; HEADER];
    from.read_exact(&mut frame).await?;
    let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]) as usize;
    frame.resize(HEADER + length, 0);
    from.read_exact(&mut frame[HEADER..]).await?;
    Ok(frame)
}

/// On the connection itself, without flags.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length[1..], &[kind, 0, 0, 0, 0, 0], payload].concat()
}

fn setting(most: u32) -> Vec<u8> {
    [MAX_CONCURRENT_STREAMS.to_be_bytes().as_slice(), &most.to_be_bytes()].concat()
}
