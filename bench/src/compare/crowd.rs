//! Thousands of subscribers on one thread, over TLS: an epoll loop by hand, because the generator
//! shares the machine with what it measures.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cresset_e2e::Outcome;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

/// Handshakes at a time: fewer than any peer's backlog of connections.
const TOGETHER: usize = 64;

/// Events taken from the kernel at a time.
const EVENTS: usize = 1_024;

/// Decrypted at a time: a TLS record has no more.
const RECORD: usize = 16_384;

/// For whatever the peer has to do next; it is given up after so much silence.
const PATIENCE: Duration = Duration::from_secs(30);

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// From now on messages may come.
    Subscribed,
    Message,
    Other,
}

/// Subscribers of one peer, all of them connected.
pub(crate) struct Crowd {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    links: Vec<Link>,
    scratch: Scratch,
    subscribed: usize,
    messages: usize,
}

/// What all connections use in turn.
struct Scratch {
    record: Box<[u8]>,
    say: Vec<u8>,
}

impl Crowd {
    /// Connects all of them, and waits until each is subscribed.
    pub(crate) fn connect(listener: &Listener, subscribers: Vec<Box<dyn Protocol>>) -> Outcome<Self> {
        let mut crowd = Self {
            epoll: Epoll::new(EpollCreateFlags::empty())?,
            events: vec![EpollEvent::empty(); EVENTS],
            links: Vec::with_capacity(subscribers.len()),
            scratch: Scratch { record: vec![0; RECORD].into(), say: Vec::new() },
            subscribed: 0,
            messages: 0,
        };
        for subscriber in subscribers {
            crowd.wait_for("logins", |crowd| crowd.links.len() - crowd.subscribed < TOGETHER)?;
            crowd.open(listener, subscriber)?;
        }
        crowd.wait_for("logins", |crowd| crowd.links.len() == crowd.subscribed)?;
        Ok(crowd)
    }

    /// TLS version and cipher of the first.
    pub(crate) fn secured_by(&self) -> String {
        let suite = self.links.first().and_then(|link| link.tls.negotiated_cipher_suite());
        suite.map_or_else(|| "nothing".into(), |suite| format!("{:?}", suite.suite()))
    }

    /// Waits until each has received a message more than before, and nobody two.
    pub(crate) fn receive_one_each(&mut self) -> Outcome<()> {
        let wanted = self.messages + self.links.len();
        self.wait_for("messages", |crowd| crowd.messages >= wanted)?;
        let each = (wanted / self.links.len()) as u64;
        match self.links.iter().find(|link| link.messages != each) {
            None => Ok(()),
            Some(link) => {
                Err(format!("a subscriber has {} messages instead of {each}", link.messages).into())
            }
        }
    }

    /// Answers pings for a while, in which no message may come.
    pub(crate) fn be_quiet(&mut self, time: Duration) -> Outcome<()> {
        let (messages, until) = (self.messages, Instant::now() + time);
        while Instant::now() < until {
            self.turn(until.saturating_duration_since(Instant::now()))?;
        }
        if self.messages == messages { Ok(()) } else { Err("a message came that nobody has sent".into()) }
    }

    fn open(&mut self, listener: &Listener, subscriber: Box<dyn Protocol>) -> Outcome<()> {
        let socket = TcpStream::connect(listener.address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let tls = ClientConnection::new(listener.tls.clone(), ServerName::try_from(listener.name)?)?;
        let index = self.links.len();
        self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        let mut link =
            Link { socket, tls, subscriber, partial: Vec::new(), messages: 0, waits_to_write: false };
        self.scratch.say.clear();
        link.subscriber.hello(&mut self.scratch.say);
        link.say(&self.scratch.say)?;
        self.links.push(link);
        self.ask_for_room(index)
    }

    fn wait_for(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Outcome<()> {
        while !done(self) {
            if !self.turn(PATIENCE)? {
                let (messages, of) = (self.messages, self.links.len());
                return Err(format!("{what} do not come: {of} connected, {messages} messages in all").into());
            }
        }
        Ok(())
    }

    /// Waits for events and handles them; whether there were any.
    fn turn(&mut self, patience: Duration) -> Outcome<bool> {
        let patience = EpollTimeout::try_from(patience)?;
        let count = match self.epoll.wait(&mut self.events, patience) {
            Err(Errno::EINTR) => 0,
            count => count?,
        };
        for n in 0..count {
            let event = self.events[n];
            let index = usize::try_from(event.data())?;
            self.handle(index)?;
        }
        Ok(count > 0)
    }

    fn handle(&mut self, index: usize) -> Outcome<()> {
        let link = &mut self.links[index];
        let heard = link.hear(&mut self.scratch)?;
        self.messages += heard.messages;
        self.subscribed += heard.subscribed;
        self.ask_for_room(index)
    }

    /// Has the kernel say when a connection can be written to, if it is waited for.
    fn ask_for_room(&mut self, index: usize) -> Outcome<()> {
        let link = &mut self.links[index];
        let waits = link.tls.wants_write();
        if waits != link.waits_to_write {
            link.waits_to_write = waits;
            let flags = if waits { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            self.epoll.modify(&link.socket, &mut EpollEvent::new(flags, index as u64))?;
        }
        Ok(())
    }
}

/// One subscriber's connection.
struct Link {
    socket: TcpStream,
    tls: ClientConnection,
    subscriber: Box<dyn Protocol>,
    /// A frame that has begun and not ended; empty most of the time.
    partial: Vec<u8>,
    messages: u64,
    waits_to_write: bool,
}

/// How many of what were heard.
#[derive(Default)]
struct Count {
    messages: usize,
    subscribed: usize,
}

impl Link {
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
            Heard::Other => {}
        }
    }
    Ok(heard)
}
