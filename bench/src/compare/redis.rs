//! Redis: SUBSCRIBE and PUBLISH of one channel. Nothing is kept for who is away.

use std::path::Path;

use cresset_e2e::Outcome;

use super::peer::{Line, PAYLOAD, Peer, Process, Publisher, ask, find};
use crate::crowd::{Heard, Listener, Protocol};

const CHANNEL: &str = "news";

pub(crate) struct Redis {
    process: Process,
    listener: Listener,
    version: String,
}

impl Redis {
    pub(crate) fn start(crowd: usize) -> Outcome<Self> {
        let program = find("redis-server")?;
        let said = ask(&program, "--version")?;
        let version =
            said.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("?").to_owned();
        let process = Process::start(&program, &[], |folder, port| configuration(folder, port, crowd))?;
        let listener = process.listener()?;
        Ok(Self { process, listener, version })
    }
}

fn configuration(folder: &Path, port: u16, crowd: usize) -> String {
    let folder = folder.display();
    format!(
        "bind 127.0.0.1\nprotected-mode no\nport 0\ntls-port {port}\n\
         tls-cert-file {folder}/cert.pem\ntls-key-file {folder}/key.pem\ntls-ca-cert-file {folder}/cert.pem\n\
         tls-auth-clients no\nsave \"\"\nappendonly no\nmaxclients {}\ndir {folder}\n",
        crowd + 100,
    )
}

impl Peer for Redis {
    fn title(&self) -> String {
        format!("Redis {}", self.version)
    }

    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn listener(&self) -> Listener {
        self.listener.clone()
    }

    fn subscribers(&self, count: usize) -> Vec<Box<dyn Protocol>> {
        (0..count).map(|_| Box::new(Subscriber) as Box<dyn Protocol>).collect()
    }

    fn publisher(&self, count: usize) -> Outcome<Box<dyn Publisher>> {
        let mut publish = Vec::new();
        command(&["PUBLISH", CHANNEL, &"x".repeat(PAYLOAD)], &mut publish);
        let expected = format!(":{count}\r\n");
        Ok(Box::new(Sender { line: Line::connect(&self.listener)?, publish, expected }))
    }
}

struct Sender {
    line: Line,
    publish: Vec<u8>,
    /// How many are subscribed.
    expected: String,
}

impl Publisher for Sender {
    fn publish(&mut self) -> Outcome<()> {
        self.line.say(&self.publish)
    }

    fn confirm(&mut self) -> Outcome<()> {
        let answer = self.line.answer(|read| Ok(read.ends_with(b"\r\n")))?;
        if answer == self.expected.as_bytes() {
            return Ok(());
        }
        Err(format!("PUBLISH was answered {}", String::from_utf8_lossy(answer).trim()).into())
    }
}

struct Subscriber;

impl Protocol for Subscriber {
    fn hello(&mut self, say: &mut Vec<u8>) {
        command(&["SUBSCRIBE", CHANNEL], say);
    }

    fn next(&mut self, heard: &[u8], _: &mut Vec<u8>) -> Outcome<Option<(usize, Heard)>> {
        let Some((count, mut at)) = number(heard, b'*')? else { return Ok(None) };
        if count != 3 {
            return Err(format!("Redis sent an array of {count}").into());
        }
        let Some((kind, end)) = bulk(heard, at)? else { return Ok(None) };
        let Some((_, end)) = bulk(heard, end)? else { return Ok(None) };
        at = end;
        match kind {
            b"subscribe" => {
                Ok(number(&heard[at..], b':')?.map(|(_, length)| (at + length, Heard::Subscribed)))
            }
            b"message" => match bulk(heard, at)? {
                Some((content, end)) if content.len() == PAYLOAD => Ok(Some((end, Heard::Message))),
                Some((content, _)) => Err(format!("Redis sent a message of {} bytes", content.len()).into()),
                None => Ok(None),
            },
            other => Err(format!("Redis sent {}", String::from_utf8_lossy(other)).into()),
        }
    }
}

/// Appends a command: an array of bulk strings.
fn command(words: &[&str], say: &mut Vec<u8>) {
    say.extend(format!("*{}\r\n", words.len()).into_bytes());
    for word in words {
        say.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
}

/// A line of a mark and a number: the number, and where the line ends.
fn number(heard: &[u8], mark: u8) -> Outcome<Option<(usize, usize)>> {
    let Some(end) = heard.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let line = heard[..end].strip_suffix(b"\r").unwrap_or(&heard[..end]);
    match line.split_first() {
        Some((first, digits)) if *first == mark => Ok(Some((std::str::from_utf8(digits)?.parse()?, end + 1))),
        _ => Err(format!("Redis sent {}", String::from_utf8_lossy(line)).into()),
    }
}

/// A bulk string that begins at `at`, and where it ends.
fn bulk(heard: &[u8], at: usize) -> Outcome<Option<(&[u8], usize)>> {
    let Some((length, begin)) = number(&heard[at..], b'$')? else { return Ok(None) };
    let begin = at + begin;
    let end = begin + length;
    Ok(heard.get(begin..end + 2).map(|bytes| (&bytes[..length], end + 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole_and_counted_exactly() {
        let mut bytes = b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n".to_vec();
        let subscribed = bytes.len();
        command(&["message", CHANNEL, &"x".repeat(PAYLOAD)], &mut bytes);
        let next = |bytes: &[u8]| Subscriber.next(bytes, &mut Vec::new()).unwrap();
        for end in 0..subscribed {
            assert_eq!(next(&bytes[..end]), None);
        }
        assert_eq!(next(&bytes), Some((subscribed, Heard::Subscribed)));
        let message = &bytes[subscribed..];
        for end in 0..message.len() {
            assert_eq!(next(&message[..end]), None);
        }
        assert_eq!(next(message), Some((message.len(), Heard::Message)));
        assert!(Subscriber.next(b"-ERR no\r\n", &mut Vec::new()).is_err());
    }
}
