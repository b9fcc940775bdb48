//! MCS from the device's side (`protocol/mcs.md`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use cresset_wire::mcs::{
    self, AppData, DataMessageStanza, Decoder, Frame, HeartbeatAck, HeartbeatPing, HeartbeatStat, Incoming,
    IqStanza, LoginRequest, Role, STREAM_ACK, SelectiveAck,
};
use futures_util::Stream;
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::http::server_name;
use crate::{Credentials, Error};

/// As Chromium allows for the answer to a login.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// For an answer to our ping, as Chromium's.
const PING_TIMEOUT: Duration = Duration::from_secs(60);
/// Read at a time. Small, because a load generator has ten thousand of them.
const READ: usize = 2048;

/// When a message is acknowledged to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Acks {
    /// By [`Connection::acknowledge`].
    #[default]
    Manual,
    /// When it is read, before it is handed out.
    Automatic,
}

#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    pub acks: Acks,
    /// Persistent ids received earlier; the server does not send them again.
    pub received: Vec<String>,
    /// Ping the server after so much silence, and give the connection up when it stays silent for a
    /// minute, or so long again if that is less.
    pub ping_after: Option<Duration>,
    /// Ask the server to ping so often (at least 10 s).
    pub server_pings_after: Option<Duration>,
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    pub stanza: DataMessageStanza,
}

impl Received {
    /// Names the message for acknowledgements, and to tell duplicates.
    pub fn persistent_id(&self) -> &str {
        self.stanza.persistent_id.as_deref().unwrap_or_default()
    }

    /// The pairs of its payload, in order.
    pub fn data(&self) -> impl Iterator<Item = (&str, &str)> {
        self.stanza.app_data.iter().map(|pair| (pair.key.as_str(), pair.value.as_str()))
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.stanza.get(key)
    }
}

/// What an app instance has to say to the app servers of its project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// The project's number.
    pub sender_id: String,
    /// The app that it is of: as it registered.
    pub category: String,
    /// Its registration token.
    pub token: String,
    /// Tells it from others of the same app instance.
    pub message_id: String,
    /// By which the server tells a message that is sent again.
    pub persistent_id: String,
    pub data: Vec<(String, String)>,
    /// How long it may wait for an app server: 86,400 at most.
    pub ttl_seconds: u32,
}

/// One device, logged in.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    decoder: Decoder,
    buffer: Box<[u8]>,
    /// Decrypted and not decoded: `buffer[start..end]`.
    unread: std::ops::Range<usize>,
    /// Encoded and not written. Kept here so that a cancelled call loses no half of a frame.
    unwritten: VecDeque<u8>,
    /// Written, but perhaps not past TLS.
    unflushed: bool,
    /// Frames of the server, its LoginResponse included.
    frames_received: i32,
    /// Our frames, the LoginRequest included.
    frames_sent: u32,
    /// How many of those the server has said to have.
    frames_had: u32,
    /// Messages that came while something else was waited for.
    early: VecDeque<Received>,
    acks: Acks,
    ping_after: Option<Duration>,
    /// When the server was last heard, or asked for a sign of life.
    quiet_since: Instant,
    /// It was asked, and has said nothing since.
    pinged: bool,
}

impl Connection {
    pub(crate) async fn open(
        address: &str,
        name: &str,
        tls: Arc<ClientConfig>,
        device: &Credentials,
        options: ConnectOptions,
    ) -> Result<Self, Error> {
        let name = server_name(name)?;
        let connect = |source| Error::Connect { address: address.to_owned(), source };
        let socket = TcpStream::connect(address).await.map_err(connect)?;
        socket.set_nodelay(true).map_err(connect)?;
        // Boxed: the handshake's state must not stay part of a future that lives for days.
        let handshake = Box::pin(TlsConnector::from(tls).connect(name, socket)).await;
        let stream = handshake.map_err(|source| Error::Tls { address: address.to_owned(), source })?;
        let mut connection = Self {
            stream,
            decoder: Decoder::new(Role::Client),
            buffer: vec![0; READ].into(),
            unread: 0..0,
            unwritten: VecDeque::new(),
            unflushed: false,
            frames_received: 0,
            frames_sent: 0,
            frames_had: 0,
            early: VecDeque::new(),
            acks: options.acks,
            ping_after: options.ping_after,
            quiet_since: Instant::now(),
            pinged: false,
        };
        timeout(LOGIN_TIMEOUT, connection.log_in(device, options))
            .await
            .map_err(|_| Error::LoginUnanswered)??;
        Ok(connection)
    }

    /// The next message; `None` when the server has ended the connection. Heartbeats are answered
    /// on the way, so somebody must be waiting here. May be cancelled.
    pub async fn next(&mut self) -> Result<Option<Received>, Error> {
        if let Some(message) = self.early.pop_front() {
            return Ok(Some(message));
        }
        self.read_message(None).await
    }

    /// Sends a message to the app servers of a project. It is theirs only when the server has it: see
    /// [`Connection::is_taken`]. Until then it is to be kept, and sent again on the next connection.
    /// Gives the number by which to ask.
    pub async fn upstream(&mut self, message: &Upstream) -> Result<u32, Error> {
        let pair = |(key, value): &(String, String)| AppData::new(key, value);
        let stanza = DataMessageStanza {
            id: Some(message.message_id.clone()),
            from: message.token.clone(),
            to: Some(format!("{}@gcm.googleapis.com", message.sender_id)),
            category: message.category.clone(),
            app_data: message.data.iter().map(pair).collect(),
            persistent_id: Some(message.persistent_id.clone()),
            last_stream_id_received: Some(self.frames_received),
            ttl: Some(i32::try_from(message.ttl_seconds).unwrap_or(i32::MAX)),
            immediate_ack: Some(true),
            ..DataMessageStanza::default()
        };
        self.queue(&Frame::Data(Box::new(stanza)));
        self.flush().await?;
        Ok(self.frames_sent)
    }

    /// Whether the server has said that it has this.
    pub fn is_taken(&self, number: u32) -> bool {
        self.frames_had >= number
    }

    /// Waits until it has; `false`: it ended the connection first. Messages that come meanwhile are given
    /// by the next calls of [`Connection::next`]. May be cancelled.
    pub async fn wait_until_taken(&mut self, number: u32) -> Result<bool, Error> {
        while !self.is_taken(number) {
            match self.read_message(Some(number)).await? {
                Some(message) => self.early.push_back(message),
                None => return Ok(self.is_taken(number)),
            }
        }
        Ok(true)
    }

    /// The next message; `None` at the end, or when the server has that frame of ours.
    async fn read_message(&mut self, until_taken: Option<u32>) -> Result<Option<Received>, Error> {
        loop {
            if until_taken.is_some_and(|number| self.is_taken(number)) {
                return Ok(None);
            }
            self.flush().await?;
            match self.frame().await? {
                None | Some(Incoming::Frame(Frame::Close(_))) => return Ok(None),
                Some(Incoming::Frame(Frame::Data(stanza))) => {
                    let message = Received { stanza: *stanza };
                    if self.acks == Acks::Automatic {
                        self.queue_ack(&[message.persistent_id()]);
                    }
                    return Ok(Some(message));
                }
                Some(Incoming::Frame(Frame::HeartbeatPing(_))) => self.answer_ping(),
                Some(_) => {}
            }
        }
    }

    /// Tells the server that the device has this message.
    pub async fn acknowledge(&mut self, message: &Received) -> Result<(), Error> {
        self.acknowledge_ids(&[message.persistent_id()]).await
    }

    /// The same for several, by their persistent ids.
    pub async fn acknowledge_ids(&mut self, ids: &[&str]) -> Result<(), Error> {
        self.queue_ack(ids);
        self.flush().await
    }

    /// Tells the server that everything up to here has been received, as Chromium does.
    pub async fn acknowledge_stream(&mut self) -> Result<(), Error> {
        let mut iq = IqStanza::carrying(STREAM_ACK, Vec::new());
        iq.last_stream_id_received = Some(self.frames_received);
        self.queue(&Frame::Iq(Box::new(iq)));
        self.flush().await
    }

    /// Sends a frame as it is, for tests of servers.
    pub async fn send(&mut self, frame: &Frame) -> Result<(), Error> {
        self.queue(frame);
        self.flush().await
    }

    /// The messages as a stream, which ends after the first error. For [`Acks::Automatic`].
    pub fn into_stream(self) -> impl Stream<Item = Result<Received, Error>> + Send {
        futures_util::stream::unfold(Some(self), |connection| async {
            let mut connection = connection?;
            match connection.next().await {
                Ok(message) => message.map(|message| (Ok(message), Some(connection))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// Ends the connection.
    pub async fn close(mut self) -> Result<(), Error> {
        self.flush().await?;
        Ok(self.stream.shutdown().await?)
    }

    async fn log_in(&mut self, device: &Credentials, options: ConnectOptions) -> Result<(), Error> {
        self.unwritten.push_back(mcs::VERSION);
        self.queue(&Frame::LoginRequest(Box::new(login_request(device, options))));
        self.flush().await?;
        match self.frame().await? {
            Some(Incoming::Frame(Frame::LoginResponse(response))) => match response.error {
                None => Ok(()),
                Some(error) => {
                    Err(Error::LoginRefused { code: error.code, message: error.message.unwrap_or_default() })
                }
            },
            _ => Err(Error::LoginUnanswered),
        }
    }

    /// The next frame, counted. Pings the server when it is silent for too long.
    async fn frame(&mut self) -> Result<Option<Incoming>, Error> {
        loop {
            let mut input = &self.buffer[self.unread.clone()];
            let frame = self.decoder.next(&mut input)?;
            self.unread.start = self.unread.end - input.len();
            if frame.is_some() {
                self.frames_received = self.frames_received.saturating_add(1);
                if let Some(Incoming::Frame(frame)) = &frame {
                    self.frames_had = self.frames_had.max(frame.last_stream_id_received());
                }
                return Ok(frame);
            }
            let deadline = self.silence_ends();
            let silence = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // An app that was busy for long must not find the server silent that has spoken since.
                biased;
                read = self.stream.read(&mut self.buffer) => match read {
                    Ok(0) => return Ok(None),
                    Ok(read) => {
                        self.unread = 0..read;
                        (self.quiet_since, self.pinged) = (Instant::now(), false);
                    }
                    // A server that vanishes without an orderly end has ended, too.
                    Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
                    Err(error) => return Err(error.into()),
                },
                () = silence => {
                    if self.pinged {
                        return Err(Error::Silent);
                    }
                    (self.quiet_since, self.pinged) = (Instant::now(), true);
                    self.queue_ping();
                    self.flush().await?;
                }
            }
        }
    }

    /// When something is to be done about the server's silence.
    fn silence_ends(&self) -> Option<Instant> {
        let patience = self.ping_after?;
        let patience = if self.pinged { patience.min(PING_TIMEOUT) } else { patience };
        Some(self.quiet_since + patience)
    }

    /// How many of our frames the server has said to have.
    pub(crate) fn frames_had(&self) -> u32 {
        self.frames_had
    }

    /// Asks for a sign of life with the next write; the answer says which frames the server has.
    pub(crate) fn queue_ping(&mut self) {
        let last_stream_id_received = Some(self.frames_received);
        let ping = HeartbeatPing { last_stream_id_received, ..HeartbeatPing::default() };
        self.queue(&Frame::HeartbeatPing(ping));
    }

    fn answer_ping(&mut self) {
        let last_stream_id_received = Some(self.frames_received);
        let ack = HeartbeatAck { last_stream_id_received, ..HeartbeatAck::default() };
        self.queue(&Frame::HeartbeatAck(ack));
    }

    /// Acknowledges with the next write; the number of the frame that does.
    pub(crate) fn queue_ack(&mut self, ids: &[&str]) -> u32 {
        let id = ids.iter().map(|id| (*id).to_owned()).collect();
        self.queue(&Frame::Iq(Box::new(SelectiveAck { id }.into_iq())));
        self.frames_sent
    }

    fn queue(&mut self, frame: &Frame) {
        let mut bytes = Vec::new();
        mcs::encode(frame, &mut bytes);
        self.unwritten.extend(bytes);
        self.frames_sent = self.frames_sent.saturating_add(1);
    }

    async fn flush(&mut self) -> Result<(), Error> {
        while !self.unwritten.is_empty() {
            let written = self.stream.write(self.unwritten.as_slices().0).await?;
            self.unwritten.drain(..written);
            self.unflushed = true;
        }
        if self.unflushed {
            self.stream.flush().await?;
            self.unflushed = false;
            self.unwritten = VecDeque::new();
        }
        Ok(())
    }
}

fn login_request(device: &Credentials, options: ConnectOptions) -> LoginRequest {
    let Credentials { android_id, security_token } = device;
    let heartbeat_stat = options.server_pings_after.map(|interval| HeartbeatStat {
        ip: String::new(),
        timeout: true,
        interval_ms: i32::try_from(interval.as_millis()).unwrap_or(i32::MAX),
    });
    LoginRequest {
        id: "cresset".into(),
        domain: "mcs.android.com".into(),
        user: android_id.to_string(),
        resource: android_id.to_string(),
        auth_token: security_token.to_string(),
        device_id: Some(format!("android-{android_id:x}")),
        setting: vec![mcs::Setting { name: "new_vc".into(), value: "1".into() }],
        received_persistent_id: options.received,
        adaptive_heartbeat: Some(false),
        heartbeat_stat,
        use_rmq2: Some(true),
        auth_service: Some(2),
        network_type: Some(1),
        ..LoginRequest::default()
    }
}
