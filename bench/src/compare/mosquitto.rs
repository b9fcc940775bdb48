//! Mosquitto: MQTT 3.1.1, one topic at QoS 0, which has no acknowledgements and keeps nothing.

use std::path::Path;

use cresset_e2e::Outcome;

use super::peer::{Line, PAYLOAD, Peer, Process, Publisher, ask, find};
use crate::crowd::{Heard, Listener, Protocol};

const TOPIC: &str = "news";

/// First bytes of packets (MQTT 3.1.1, §2.2).
const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;

pub(crate) struct Mosquitto {
    process: Process,
    listener: Listener,
    version: String,
}

impl Mosquitto {
    pub(crate) fn start() -> Outcome<Self> {
        let program = find("mosquitto")?;
        let said = ask(&program, "-h")?;
        let first = said.lines().next().unwrap_or_default();
        let version = first.rsplit(' ').next().unwrap_or("?").to_owned();
        let process = Process::start(&program, &["-c"], configuration)?;
        let listener = process.listener()?;
        Ok(Self { process, listener, version })
    }
}

/// `user root` keeps a root that starts it from losing sight of the folder; others ignore it.
/// Without `set_tcp_nodelay` the kernel would hold back messages.
fn configuration(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "user root\npersistence false\nset_tcp_nodelay true\nsys_interval 0\n\
         log_type error\nlog_type warning\nconnection_messages false\n\
         listener {port} 127.0.0.1\nallow_anonymous true\nmax_connections -1\n\
         certfile {folder}/cert.pem\nkeyfile {folder}/key.pem\nrequire_certificate false\n"
    )
}

impl Peer for Mosquitto {
    fn title(&self) -> String {
        format!("Mosquitto {} (QoS 0)", self.version)
    }

    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn listener(&self) -> Listener {
        self.listener.clone()
    }

    fn subscribers(&self, count: usize) -> Vec<Box<dyn Protocol>> {
        (0..count).map(|number| Box::new(Subscriber { number }) as Box<dyn Protocol>).collect()
    }

    fn publisher(&self, _: usize) -> Outcome<Box<dyn Publisher>> {
        let mut line = Line::connect(&self.listener)?;
        let mut words = Vec::new();
        connect("publisher", &mut words);
        line.say(&words)?;
        let answer = line.answer(|read| Ok(read.len() >= 4))?;
        check_connack(answer)?;
        let mut publish = Vec::new();
        packet(PUBLISH, &[&text(TOPIC), &[b'x'; PAYLOAD]], &mut publish);
        Ok(Box::new(Sender { line, publish }))
    }
}

struct Sender {
    line: Line,
    publish: Vec<u8>,
}

impl Publisher for Sender {
    fn publish(&mut self) -> Outcome<()> {
        self.line.say(&self.publish)
    }

    fn confirm(&mut self) -> Outcome<()> {
        Ok(())
    }
}

struct Subscriber {
    number: usize,
}

impl Protocol for Subscriber {
    /// A client may go on before its CONNECT is answered (§3.1.4).
    fn hello(&mut self, say: &mut Vec<u8>) {
        connect(&format!("subscriber-{}", self.number), say);
        packet(SUBSCRIBE, &[&[0, 1], &text(TOPIC), &[0]], say);
    }

    fn next(&mut self, heard: &[u8], _: &mut Vec<u8>) -> Outcome<Option<(usize, Heard)>> {
        let Some((begin, end)) = extent(heard)? else { return Ok(None) };
        let Some(packet) = heard.get(..end) else { return Ok(None) };
        let content = end - begin;
        match packet[0] {
            CONNACK => check_connack(packet).map(|()| Some((end, Heard::Other))),
            SUBACK if packet.ends_with(&[0]) => Ok(Some((end, Heard::Subscribed))),
            PUBLISH if content == 2 + TOPIC.len() + PAYLOAD => Ok(Some((end, Heard::Message))),
            other => Err(format!("Mosquitto sent a packet {other:#x} of {content} bytes").into()),
        }
    }
}

/// With a clean session and without a keep-alive.
fn connect(client: &str, say: &mut Vec<u8>) {
    packet(CONNECT, &[&text("MQTT"), &[4, 2, 0, 0], &text(client)], say);
}

fn check_connack(packet: &[u8]) -> Outcome<()> {
    if packet == [CONNACK, 2, 0, 0] { Ok(()) } else { Err("Mosquitto refused a connection".into()) }
}

/// A string with its length before it.
fn text(words: &str) -> Vec<u8> {
    let length = u16::try_from(words.len()).expect("the strings here are short");
    [&length.to_be_bytes(), words.as_bytes()].concat()
}

fn packet(first: u8, parts: &[&[u8]], say: &mut Vec<u8>) {
    say.push(first);
    let mut length: usize = parts.iter().map(|part| part.len()).sum();
    while length >= 0x80 {
        say.push((length % 0x80) as u8 | 0x80);
        length /= 0x80;
    }
    say.push(length as u8);
    parts.iter().for_each(|part| say.extend_from_slice(part));
}

/// Where the content of the first packet begins and ends (§2.2.3).
fn extent(heard: &[u8]) -> Outcome<Option<(usize, usize)>> {
    let mut length = 0;
    for (n, byte) in heard.iter().skip(1).enumerate() {
        if n == 4 {
            return Err("Mosquitto sent a length of more than four bytes".into());
        }
        length |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Ok(Some((n + 2, n + 2 + length)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_taken_whole_and_counted_exactly() {
        let mut subscriber = Subscriber { number: 7 };
        let mut next = |bytes: &[u8]| subscriber.next(bytes, &mut Vec::new());
        assert_eq!(next(&[CONNACK, 2, 0, 0, 1]).unwrap(), Some((4, Heard::Other)));
        assert!(next(&[CONNACK, 2, 0, 5]).is_err());
        assert_eq!(next(&[SUBACK, 3, 0, 1, 0]).unwrap(), Some((5, Heard::Subscribed)));
        assert!(next(&[SUBACK, 3, 0, 1, 0x80]).is_err());
        let mut message = Vec::new();
        packet(PUBLISH, &[&text(TOPIC), &[b'x'; PAYLOAD]], &mut message);
        for end in 0..message.len() {
            assert_eq!(next(&message[..end]).unwrap(), None);
        }
        assert_eq!(next(&message).unwrap(), Some((message.len(), Heard::Message)));
    }
}
