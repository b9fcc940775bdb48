//! Thousands of subscribers on one thread, over TLS: an epoll loop by hand, because the generator
//! shares the machine with what it measures.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cresset_e2e::Outcome;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use socket2::{Domain, Socket, Type};

/// Handshakes at a time: fewer than any peer's backlog of connections.
pub(crate) const TOGETHER: usize = 64;

/// Events taken from the kernel at a time.
const EVENTS: usize = 1_024;

/// Decrypted at a time: a TLS record has no more.
const RECORD: usize = 16_384;

/// For whatever the peer has to do next; it is given up after so much silence.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connections of one source address: Linux has 28,232 ports for them unless told otherwise.
const PER_SOURCE: usize = 20_000;

/// Source addresses are taken in turn, the first being 127.0.1.1.
const SOURCES: usize = 200;

/// Connections that crowds of this process have opened.
static OPENED: AtomicUsize = AtomicUsize::new(0);

/// Where a peer listens.
#[derive(Clone)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    /// What its certificate is for.
    pub(crate) name: &'static str,
    pub(crate) tls: Arc<ClientConfig>,
}

/// What a subscriber says and hears: bytes in, bytes out.
pub(crate) trait Protocol {
    /// What it says first.
    fn hello(&mut self, say: &mut Vec<u8>);

    /// Takes one whole frame from the front of `heard`, and gives its length and what it was; `None`
    /// while it is not all there. What is to be answered goes to `say`.
    fn next(&mut self, heard: &[u8], say: &mut Vec<u8>) -> Outcome<Option<(usize, Heard)>>;

    /// What it says when it is prompted, if there is anything.
    fn prompted(&mut self, _prompt: Prompt, _say: &mut Vec<u8>) {}
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// Ask the server for a sign of life.
    Heartbeat,
    /// Acknowledge what has not been acknowledged yet.
    Acknowledge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// From now on messages may come.
    Subscribed,
    Message,
    /// The answer to a heartbeat.
    Alive,
    Other,
}

/// Subscribers of one peer, each in its place; a place may be empty.
pub(crate) struct Crowd {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    places: Vec<Option<Link>>,
    scratch: Scratch,
    opened: usize,
    total: Count,
}

/// What all connections use in turn.
struct Scratch {
    record: Box<[u8]>,
    say: Vec<u8>,
}

impl Crowd {
    /// With nobody in it yet.
    pub(crate) fn new() -> Outcome<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::empty())?,
            events: vec![EpollEvent::empty(); EVENTS],
            places: Vec::new(),
            scratch: Scratch { record: vec![0; RECORD].into(), say: Vec::new() },
            opened: 0,
            total: Count::default(),
        })
    }

    /// Connects all of them, and waits until each is subscribed.
    pub(crate) fn connect(listener: &Listener, subscribers: Vec<Box<dyn Protocol>>) -> Outcome<Self> {
        let mut crowd = Self::new()?;
        for (place, subscriber) in subscribers.into_iter().enumerate() {
            crowd.come(place, listener, subscriber)?;
        }
        crowd.wait_for_logins(0)?;
        Ok(crowd)
    }

    /// Connects one, when few enough others are on their way. Who had the place has left.
    pub(crate) fn come(
        &mut self,
        place: usize,
        listener: &Listener,
        subscriber: Box<dyn Protocol>,
    ) -> Outcome<()> {
        self.wait_for_logins(TOGETHER - 1)?;
        self.leave(place)?;
        self.open(place, listener, subscriber)
    }

    /// Ends a connection, as if the device had lost its network: without a word.
    pub(crate) fn leave(&mut self, place: usize) -> Outcome<()> {
        if self.places.get(place).is_some_and(Option::is_some) {
            self.wait_for("a login", |crowd| crowd.link(place).is_none_or(|link| link.subscribed))?;
            self.places[place] = None;
        }
        Ok(())
    }

    /// Has one say something; who is not there stays silent.
    pub(crate) fn prompt(&mut self, place: usize, prompt: Prompt) -> Outcome<()> {
        let Some(link) = self.places.get_mut(place).and_then(Option::as_mut) else { return Ok(()) };
        self.scratch.say.clear();
        link.subscriber.prompted(prompt, &mut self.scratch.say);
        link.say(&self.scratch.say)?;
        self.ask_for_room(place)
    }

    /// What all of them have heard.
    pub(crate) fn total(&self) -> Count {
        self.total
    }

    /// TLS version and cipher of the first.
    pub(crate) fn secured_by(&self) -> String {
        let suite = self.link(0).and_then(|link| link.tls.negotiated_cipher_suite());
        suite.map_or_else(|| "nothing".into(), |suite| format!("{:?}", suite.suite()))
    }

    /// Waits until each has received a message more than before, and nobody two.
    pub(crate) fn receive_one_each(&mut self) -> Outcome<()> {
        let wanted = self.total.messages + self.places.len();
        self.wait_for("messages", |crowd| crowd.total.messages >= wanted)?;
        let each = (wanted / self.places.len()) as u64;
        match self.places.iter().flatten().find(|link| link.messages != each) {
            None => Ok(()),
            Some(link) => {
                Err(format!("a subscriber has {} messages instead of {each}", link.messages).into())
            }
        }
    }

    /// Answers pings for a while, in which no message may come.
    pub(crate) fn be_quiet(&mut self, time: Duration) -> Outcome<()> {
        let messages = self.total.messages;
        self.listen(time)?;
        if self.total.messages == messages {
            Ok(())
        } else {
            Err("a message came that nobody has sent".into())
        }
    }

    /// Takes what comes for a while.
    pub(crate) fn listen(&mut self, time: Duration) -> Outcome<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.turn(until.saturating_duration_since(Instant::now()))?;
        }
        Ok(())
    }

    /// Waits until no more than so many are on their way.
    pub(crate) fn wait_for_logins(&mut self, left: usize) -> Outcome<()> {
        self.wait_for("logins", |crowd| crowd.opened - crowd.total.subscribed <= left)
    }

    fn link(&self, place: usize) -> Option<&Link> {
        self.places.get(place)?.as_ref()
    }

    fn open(&mut self, place: usize, listener: &Listener, subscriber: Box<dyn Protocol>) -> Outcome<()> {
        let socket = connect(listener.address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let tls = ClientConnection::new(listener.tls.clone(), ServerName::try_from(listener.name)?)?;
        self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, place as u64))?;
        let mut link = Link::new(socket, tls, subscriber);
        self.scratch.say.clear();
        link.subscriber.hello(&mut self.scratch.say);
        link.say(&self.scratch.say)?;
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        self.places[place] = Some(link);
        self.opened += 1;
        self.ask_for_room(place)
    }

    fn wait_for(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Outcome<()> {
        while !done(self) {
            if !self.turn(PATIENCE)? {
                let (messages, of) = (self.total.messages, self.opened);
                return Err(format!("{what} do not come: {of} connected, {messages} messages in all").into());
            }
        }
        Ok(())
    }

    /// Waits for events and handles them; whether there were any.
    fn turn(&mut self, patience: Duration) -> Outcome<bool> {
        // The kernel counts milliseconds; none would be no patience at all.
        let patience = EpollTimeout::try_from(patience.max(Duration::from_millis(1)))?;
        let count = match self.epoll.wait(&mut self.events, patience) {
            Err(Errno::EINTR) => 0,
            count => count?,
        };
        for n in 0..count {
            let event = self.events[n];
            self.handle(usize::try_from(event.data())?)?;
        }
        Ok(count > 0)
    }

    fn handle(&mut self, place: usize) -> Outcome<()> {
        let Some(link) = &mut self.places[place] else { return Ok(()) };
        let heard = link.hear(&mut self.scratch)?;
        self.total.add(heard);
        self.ask_for_room(place)
    }

    /// Has the kernel say when a connection can be written to, if it is waited for.
    fn ask_for_room(&mut self, place: usize) -> Outcome<()> {
        let Some(link) = &mut self.places[place] else { return Ok(()) };
        let waits = link.tls.wants_write();
        if waits != link.waits_to_write {
            link.waits_to_write = waits;
            let flags = if waits { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            self.epoll.modify(&link.socket, &mut EpollEvent::new(flags, place as u64))?;
        }
        Ok(())
    }
}

/// A connection to `address`; on this machine from one of several source addresses, so that there are
/// ports for all, also while the kernel remembers those that have ended.
fn connect(address: SocketAddr) -> Outcome<TcpStream> {
    if address.ip() != Ipv4Addr::LOCALHOST {
        return Ok(TcpStream::connect(address)?);
    }
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    for _ in 0..SOURCES {
        let n = OPENED.fetch_add(1, Ordering::Relaxed);
        let source = Ipv4Addr::new(127, 0, 1, u8::try_from(1 + n / PER_SOURCE % SOURCES)?);
        match socket.bind(&SocketAddr::from((source, 0)).into()) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
                OPENED.fetch_add(PER_SOURCE, Ordering::Relaxed);
            }
            bound => {
                bound?;
                socket.connect(&address.into())?;
                return Ok(socket.into());
            }
        }
    }
    Err("no address of this machine has a port left".into())
}

/// One subscriber's connection.
struct Link {
    socket: TcpStream,
    tls: ClientConnection,
    subscriber: Box<dyn Protocol>,
    /// A frame that has begun and not ended; empty most of the time.
    partial: Vec<u8>,
    messages: u64,
    subscribed: bool,
    waits_to_write: bool,
}

/// How many of what were heard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) messages: usize,
    pub(crate) subscribed: usize,
    /// Of the subscribed, those whose TLS session was an earlier one's.
    pub(crate) resumed: usize,
    pub(crate) alive: usize,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.subscribed += other.subscribed;
        self.resumed += other.resumed;
        self.alive += other.alive;
    }
}

impl Link {
    fn new(socket: TcpStream, tls: ClientConnection, subscriber: Box<dyn Protocol>) -> Self {
        let (partial, messages) = (Vec::new(), 0);
        Self { socket, tls, subscriber, partial, messages, subscribed: false, waits_to_write: false }
    }

    fn say(&mut self, words: &[u8]) -> Outcome<()> {
        self.tls.writer().write_all(words)?;
        self.flush()
    }

    /// Writes what can be written now.
    fn flush(&mut self) -> Outcome<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Reads once: if there is more, the kernel says so again.
    fn hear(&mut self, scratch: &mut Scratch) -> Outcome<Count> {
        match self.tls.read_tls(&mut self.socket) {
            Ok(0) => return Err("the peer ended a connection".into()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e.into()),
        }
        self.tls.process_new_packets()?;
        let mut count = Count::default();
        scratch.say.clear();
        loop {
            match self.tls.reader().read(&mut scratch.record) {
                Ok(0) => return Err("the peer ended a connection".into()),
                Ok(read) => self.take(&scratch.record[..read], &mut scratch.say, &mut count)?,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e.into()),
            }
        }
        self.messages += count.messages as u64;
        if count.subscribed > 0 {
            self.subscribed = true;
            count.resumed = usize::from(self.tls.handshake_kind() == Some(HandshakeKind::Resumed));
        }
        self.say(&scratch.say)?;
        Ok(count)
    }

    fn take(&mut self, read: &[u8], say: &mut Vec<u8>, count: &mut Count) -> Outcome<()> {
        if self.partial.is_empty() {
            let rest = take_frames(&mut *self.subscriber, read, say, count)?;
            self.partial.extend_from_slice(rest);
            return Ok(());
        }
        self.partial.extend_from_slice(read);
        let whole = std::mem::take(&mut self.partial);
        let rest = take_frames(&mut *self.subscriber, &whole, say, count)?;
        self.partial = rest.to_vec();
        Ok(())
    }
}

/// Takes frames as long as there is a whole one; gives what is left.
fn take_frames<'a>(
    subscriber: &mut dyn Protocol,
    mut heard: &'a [u8],
    say: &mut Vec<u8>,
    count: &mut Count,
) -> Outcome<&'a [u8]> {
    while let Some((length, what)) = subscriber.next(heard, say)? {
        heard = &heard[length..];
        match what {
            Heard::Message => count.messages += 1,
            Heard::Subscribed => count.subscribed += 1,
            Heard::Alive => count.alive += 1,
            Heard::Other => {}
        }
    }
    Ok(heard)
}
