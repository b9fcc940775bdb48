//! A device that stays: it registers, connects, hands out messages, and comes back after everything
//! that ends a connection.

mod backoff;
mod enrol;
mod ids;
mod state;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;

use self::backoff::Backoff;
use self::enrol::Kind;
pub use self::enrol::{AndroidApp, WebApp};
use self::state::State;
use crate::message::deleted_messages;
use crate::surroundings::Machine;
use crate::{Client, ConnectOptions, Connection, Error, MemoryStore, Message, Received, Store, Surroundings};

/// Below the five minutes after which many a NAT forgets a connection.
const HEARTBEAT: Duration = Duration::from_secs(240);

/// A connection that ends sooner was none: the waits go on growing, as Chromium's do.
const SETTLED: Duration = Duration::from_secs(10);

/// So many acknowledgements that the server has said nothing of, and it is asked.
const ASK_AFTER: usize = 50;

/// For a connection, from the name to the answer to the login.
const CONNECT_PATIENCE: Duration = Duration::from_secs(60);

/// What happens to a receiver.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The app has a token, or another one than before: tell it to whoever sends.
    Token(String),
    /// A message. It is acknowledged when the next event is asked for: until then it is yours, and
    /// comes again if the process ends.
    Message(Message),
    /// Messages were dropped before they came; fetch what you need from your own server.
    DeletedMessages { total: Option<u64> },
    /// A message came that these keys do not open; it is dropped.
    Unreadable { id: String, error: Error },
    /// A topic did not take the new token; the app is in it no more.
    TopicRefused { topic: String, error: Error },
    /// Logged in: what waited comes next.
    Connected,
    /// Not connected. The next try is made after `retry_in`.
    Disconnected { error: Error, retry_in: Duration },
}

/// Receives messages for one app on a device of its own. See the [crate's page](crate) for how.
pub struct Receiver {
    client: Client,
    kind: Kind,
    store: Box<dyn Store>,
    surroundings: Arc<dyn Surroundings>,
    heartbeat: Duration,
    state: State,
    /// The server may not know the device any more.
    doubted: bool,
    link: Option<Link>,
    backoff: Backoff,
    /// On the clock of [`Surroundings::elapsed`].
    retry_at: Option<Duration>,
    /// To be handed out before anything else.
    events: VecDeque<Event>,
    /// The message that was handed out last: its handling ends when the next event is asked for.
    in_hand: Option<String>,
}

struct Link {
    connection: Connection,
    since: Duration,
}

/// How a receiver is made.
pub struct Builder {
    client: Client,
    kind: Kind,
    store: Box<dyn Store>,
    surroundings: Arc<dyn Surroundings>,
    heartbeat: Duration,
}

impl Builder {
    fn new(client: Client, kind: Kind) -> Self {
        let surroundings = Arc::new(Machine::new());
        Self { client, kind, store: Box::new(MemoryStore::default()), surroundings, heartbeat: HEARTBEAT }
    }

    /// Where it keeps its identity and token; in memory by default.
    #[must_use]
    pub fn store(mut self, store: impl Store + 'static) -> Self {
        self.store = Box::new(store);
        self
    }

    /// After so much silence the server is asked for a sign of life; four minutes by default.
    #[must_use]
    pub fn heartbeat(mut self, after: Duration) -> Self {
        self.heartbeat = after;
        self
    }

    /// Another clock and other dice than the machine's.
    #[must_use]
    pub fn surroundings(mut self, surroundings: Arc<dyn Surroundings>) -> Self {
        self.surroundings = surroundings;
        self
    }

    /// Reads the state. Nothing is asked of the server yet.
    pub fn open(self) -> Result<Receiver, Error> {
        let Self { client, kind, store, surroundings, heartbeat } = self;
        let state = match store.load().map_err(Error::Store)? {
            Some(bytes) => State::from_bytes(&bytes)?,
            None => State::default(),
        };
        Ok(Receiver {
            client,
            kind,
            store,
            surroundings,
            heartbeat,
            state,
            doubted: false,
            link: None,
            backoff: Backoff::new(),
            retry_at: None,
            events: VecDeque::new(),
            in_hand: None,
        })
    }
}

impl Receiver {
    /// Of an app that registers as Android apps do: its messages come in clear within TLS.
    pub fn android(client: Client, app: AndroidApp) -> Builder {
        Builder::new(client, Kind::Android(app))
    }

    /// Of an app that registers as web apps do: its messages come sealed for keys that it makes.
    pub fn web(client: Client, app: WebApp) -> Builder {
        Builder::new(client, Kind::Web(app))
    }

    /// The next event. Waits, registers, connects and comes back for as long as that may help; an
    /// error is one that no waiting mends, and after it this may be called again. To ask is to say
    /// that the message handed out before has been handled. May be cancelled.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            self.settle()?;
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            match &mut self.link {
                None => self.come_back().await?,
                Some(link) => match link.connection.next().await {
                    Ok(Some(received)) => {
                        if let Some(event) = self.take(&received) {
                            return Ok(event);
                        }
                    }
                    Ok(None) => self.lost(Error::Ended)?,
                    Err(error) => self.lost(error)?,
                },
            }
        }
    }

    /// The events as a stream, which ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Event, Error>> + Send {
        futures_util::stream::unfold(Some(self), |receiver| async {
            let mut receiver = receiver?;
            match receiver.next().await {
                Ok(event) => Some((Ok(event), Some(receiver))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// Gives every event to `handle` until `stop` is done, then says goodbye. What is being handled
    /// when that happens is handled to its end, and acknowledged.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        mut handle: impl AsyncFnMut(Event),
    ) -> Result<(), Error> {
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                event = self.next() => handle(event?).await,
                () = &mut stop => return self.close().await,
            }
        }
    }

    /// Acknowledges what was handed out, and ends the connection. Without it, that comes again.
    pub async fn close(mut self) -> Result<(), Error> {
        self.settle()?;
        match self.link.take() {
            // What the server did not hear is kept, and told at the next login.
            Some(link) => link.connection.close().await.or_else(|_| Ok(())),
            None => Ok(()),
        }
    }

    /// The app's token. Registers if it has none; once, so that an error is told and not waited for.
    pub async fn token(&mut self) -> Result<&str, Error> {
        if self.current_token().is_none() {
            self.enrol().await?;
        }
        self.current_token().ok_or_else(|| Error::State("there is no token".into()))
    }

    /// The installation's id, which senders may address as well; `None` before there is one.
    pub fn fid(&self) -> Option<&str> {
        let installation = self.state.registration.as_ref()?.installation.as_ref()?;
        Some(&installation.fid)
    }

    /// Joins a topic, now; and again by itself whenever the token changes.
    pub async fn subscribe(&mut self, topic: &str) -> Result<(), Error> {
        self.change_topic(topic, true).await
    }

    /// Leaves a topic. Leaving one that it is not in is success.
    pub async fn unsubscribe(&mut self, topic: &str) -> Result<(), Error> {
        self.change_topic(topic, false).await
    }

    /// The topics it wants to be in.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.state.topics.iter().map(String::as_str)
    }

    fn current_token(&self) -> Option<&str> {
        let registration = self.state.registration.as_ref()?;
        (registration.app == self.kind.name()).then_some(registration.token.as_str())
    }

    /// What was handed out has been handled: that is kept first, then told the server, so that
    /// neither a crash here nor one there makes the app handle it twice.
    fn settle(&mut self) -> Result<(), Error> {
        let Some(id) = self.in_hand.clone() else { return Ok(()) };
        if !self.state.handled.contains(&id) {
            self.state.handled.push(id.clone());
        }
        self.save()?;
        self.in_hand = None;
        self.acknowledge(&id);
        Ok(())
    }

    /// With the next write. Without a connection, the next login says it.
    fn acknowledge(&mut self, id: &str) {
        let Some(Link { connection, .. }) = &mut self.link else { return };
        let frame = connection.queue_ack(&[id]);
        self.state.handled.said_in(id, frame);
        if self.state.handled.count_untold() % ASK_AFTER == ASK_AFTER - 1 {
            connection.queue_ping();
        }
    }

    /// What a message is to the app, in whose hand it then is; `None` when it has had it.
    fn take(&mut self, received: &Received) -> Option<Event> {
        if let Some(link) = &self.link {
            self.state.handled.server_has(link.connection.frames_had());
        }
        let id = received.persistent_id().to_owned();
        if self.state.handled.contains(&id) {
            self.acknowledge(&id);
            return None;
        }
        if !id.is_empty() {
            self.in_hand = Some(id);
        }
        self.read(received)
    }

    /// `None` for what is for nobody here: an app of this device that is no more.
    fn read(&self, received: &Received) -> Option<Event> {
        if let Some(total) = deleted_messages(received) {
            return Some(Event::DeletedMessages { total });
        }
        let web = self.state.registration.as_ref().and_then(|registration| registration.web.as_ref());
        let Some(web) = web else { return Some(Event::Message(Message::in_clear(received))) };
        if received.get("subtype") != Some(&web.subtype) {
            return None;
        }
        if received.stanza.raw_data.as_ref().is_none_or(Vec::is_empty) {
            // A push without content (`protocol/payload-layout.md` §4).
            return Some(Event::Message(Message::opened(received, Vec::new())));
        }
        Some(match web.keys.open(received) {
            Ok(plaintext) => Event::Message(Message::opened(received, plaintext)),
            Err(error) => Event::Unreadable { id: received.persistent_id().to_owned(), error },
        })
    }

    /// Waits as long as the last failure demands, then tries once.
    async fn come_back(&mut self) -> Result<(), Error> {
        if let Some(at) = self.retry_at {
            let wait = at.saturating_sub(self.surroundings.elapsed());
            self.surroundings.sleep(wait).await;
            self.retry_at = None;
        }
        match self.connect().await {
            Ok(()) => Ok(()),
            Err(error) => self.failed(error),
        }
    }

    async fn connect(&mut self) -> Result<(), Error> {
        let device = self.enrol().await?;
        let options = ConnectOptions {
            received: self.state.handled.untold(),
            ping_after: Some(self.heartbeat),
            ..ConnectOptions::default()
        };
        let connected = tokio::time::timeout(CONNECT_PATIENCE, self.client.connect(&device, options)).await;
        let connection = connected.unwrap_or(Err(Error::LoginUnanswered))?;
        self.state.handled.logged_in();
        self.link = Some(Link { connection, since: self.surroundings.elapsed() });
        self.events.push_back(Event::Connected);
        self.save()
    }

    /// The connection is gone.
    fn lost(&mut self, error: Error) -> Result<(), Error> {
        if let Some(link) = self.link.take()
            && self.surroundings.elapsed().saturating_sub(link.since) >= SETTLED
        {
            self.backoff.reset();
        }
        self.failed(error)
    }

    fn failed(&mut self, error: Error) -> Result<(), Error> {
        self.doubted |= error.doubts_device();
        if !error.is_passing() {
            return Err(error);
        }
        let retry_in = self.backoff.wait(self.surroundings.chance());
        self.retry_at = Some(self.surroundings.elapsed() + retry_in);
        self.events.push_back(Event::Disconnected { error, retry_in });
        Ok(())
    }

    fn save(&self) -> Result<(), Error> {
        self.store.save(&self.state.to_bytes()?).map_err(Error::Store)
    }
}
