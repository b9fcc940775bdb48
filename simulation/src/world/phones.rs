//! Phones: models written from what clients are known to do, good and bad. They share nothing with the
//! server but the frames.

use cresset_device::session::Reason;
use cresset_message::{MessageId, Timestamp};
use cresset_wire::mcs::{
    Close, DataMessageStanza, Decoder, Frame, HeartbeatAck, HeartbeatPing, Incoming, IqStanza, LoginRequest,
    Role, STREAM_ACK, SelectiveAck,
};

use super::{Acks, Connection, Event, World};
use crate::asking::app_of;
use crate::clock::{HOUR, SECOND};
use crate::journal::{Brought, Receipt};
use crate::line::Line;

impl World {
    /// A phone logs in. It may have another connection that it takes for dead, or not.
    pub(super) fn connect(&mut self, phone: usize) {
        let (Some(house), Some(life), Some(device)) = (&self.house, &self.life, self.phones[phone].device)
        else {
            return;
        };
        let number = self.connections.len();
        let line = Line::new(house.clone());
        life.spawn(line.clone().run());
        if let Some(old) = self.phones[phone].connection.replace(number) {
            self.connections[old].over = true;
        }
        let known = &self.phones[phone];
        let listed: Vec<String> = match known.lists {
            true => known.unknown.iter().map(MessageId::to_string).collect(),
            false => Vec::new(),
        };
        let connection = Connection {
            phone,
            line,
            decoder: Decoder::new(Role::Client),
            begun: self.clock.run(),
            life: self.lives,
            cut: false,
            over: false,
            stalled: false,
            listed: listed.len(),
            received: 0,
            unacked: 0,
            since_ack: Vec::new(),
            last_down: 0,
            last_up: 0,
        };
        let login = LoginRequest {
            id: "simulated".into(),
            domain: "mcs.android.com".into(),
            user: device.get().to_string(),
            resource: device.get().to_string(),
            auth_token: known.security_token.to_string(),
            // As microG lists them, or as Chromium does.
            received_persistent_id: if phone.is_multiple_of(2) { listed } else { vec![listed.join("|")] },
            ..LoginRequest::default()
        };
        self.connections.push(connection);
        self.open.push(number);
        self.say(|| format!("phone {phone} logs in by connection {number}"));
        self.send_up(number, Frame::LoginRequest(Box::new(login)));
    }

    /// A phone ends its connection: with a word, or without.
    pub(super) fn disconnect(&mut self, phone: usize, silently: bool) {
        let Some(connection) = self.phones[phone].connection.take() else { return };
        self.connections[connection].over = true;
        self.say(|| format!("phone {phone} is gone from connection {connection}"));
        if silently {
            self.connections[connection].cut = true;
            let after = self.dice.span(SECOND, HOUR);
            self.plan(after, Event::ServerNotices { connection });
        } else {
            self.send_up(connection, Frame::Close(Close {}));
        }
    }

    /// The network between them dies; both notice in their own time.
    pub(super) fn cut(&mut self, phone: usize) {
        let Some(connection) = self.phones[phone].connection else { return };
        self.say(|| format!("connection {connection} is cut"));
        self.connections[connection].cut = true;
        let (server, phone) = (self.dice.span(SECOND, HOUR), self.dice.span(SECOND, HOUR));
        self.plan(server, Event::ServerNotices { connection });
        self.plan(phone, Event::PhoneNotices { connection });
    }

    pub(super) fn phone_notices(&mut self, connection: usize) {
        let phone = self.connections[connection].phone;
        self.connections[connection].over = true;
        if self.phones[phone].connection == Some(connection) {
            self.phones[phone].connection = None;
            self.say(|| format!("phone {phone} has lost connection {connection}"));
        }
    }

    fn send_up(&mut self, connection: usize, frame: Frame) {
        let way = if self.calm { 1 } else { self.dice.span(1_000, self.nature.slowest_way) };
        let at = self.connections[connection].last_up.max(self.clock.run() + way);
        self.connections[connection].last_up = at;
        self.plan_at(at, Event::ToServer { connection, frame });
    }

    pub(super) fn arrive_at_phone(&mut self, connection: usize, bytes: &[u8], left: Timestamp) {
        let known = &mut self.connections[connection];
        if known.cut || known.over {
            return;
        }
        let mut rest = bytes;
        while let Ok(Some(incoming)) = self.connections[connection].decoder.next(&mut rest) {
            self.connections[connection].received += 1;
            let Incoming::Frame(frame) = incoming else { continue };
            match frame {
                Frame::LoginResponse(response) => self.logged_in(connection, response.error.is_none()),
                Frame::Data(stanza) => self.received(connection, &stanza, left),
                Frame::HeartbeatPing(_) if self.dice.percent(70) => {
                    let last = self.told(connection);
                    let ack = HeartbeatAck { last_stream_id_received: last, ..HeartbeatAck::default() };
                    self.send_up(connection, Frame::HeartbeatAck(ack));
                }
                Frame::Close(_) => self.phone_notices(connection),
                _ => {}
            }
        }
    }

    fn logged_in(&mut self, connection: usize, welcome: bool) {
        let phone = self.connections[connection].phone;
        if welcome {
            // The server knows what was listed.
            let listed = self.connections[connection].listed;
            self.phones[phone].unknown.drain(..listed);
            self.connections[connection].listed = 0;
        } else {
            self.say(|| format!("phone {phone} is refused"));
            self.phone_notices(connection);
        }
    }

    fn received(&mut self, connection: usize, stanza: &DataMessageStanza, left: Timestamp) {
        let Some(id) = stanza.persistent_id.as_deref().and_then(|id| id.parse::<MessageId>().ok()) else {
            return self.say(|| format!("connection {connection} brings a message without an id"));
        };
        let brought = match stanza.get("total_deleted") {
            Some(total) => Brought::Deleted(total.parse().unwrap_or(0)),
            None => Brought::Message(stanza.get("n").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX)),
        };
        let phone = self.connections[connection].phone;
        let app = app_of(&stanza.category, stanza.get("subtype")).filter(|app| *app < self.apps.len());
        let at = self.clock.run();
        self.say(|| format!("connection {connection} brings {brought:?} for app {app:?} as {id}"));
        self.journal.received(Receipt { at, connection, phone, app, brought, id, left });
        if !self.phones[phone].unknown.contains(&id) {
            self.phones[phone].unknown.push(id);
        }
        self.connections[connection].unacked += 1;
        self.connections[connection].since_ack.push(id);
        match self.phones[phone].acks {
            Acks::Stream(after) if self.connections[connection].unacked >= after => {
                self.acknowledge_stream(connection);
            }
            Acks::Selective => {
                let ack = SelectiveAck { id: vec![id.to_string()] };
                self.send_up(connection, Frame::Iq(Box::new(ack.into_iq())));
            }
            Acks::Later if self.connections[connection].unacked == 1 => {
                let after = self.dice.span(SECOND, 2 * HOUR);
                self.plan(after, Event::Acknowledge { connection });
            }
            _ => {}
        }
    }

    pub(super) fn acknowledge_stream(&mut self, connection: usize) {
        let known = &mut self.connections[connection];
        if known.over || known.unacked == 0 {
            return;
        }
        known.unacked = 0;
        known.since_ack.clear();
        let mut iq = IqStanza::carrying(STREAM_ACK, Vec::new());
        iq.last_stream_id_received = Some(known.received as i32);
        self.send_up(connection, Frame::Iq(Box::new(iq)));
    }

    /// What this phone says of how many frames it has, when it need not say anything.
    fn told(&self, connection: usize) -> Option<i32> {
        match self.phones[self.connections[connection].phone].acks {
            Acks::Stream(_) => Some(self.connections[connection].received as i32),
            _ => None,
        }
    }

    pub(super) fn ping(&mut self, phone: usize) {
        let Some(connection) = self.phones[phone].connection else { return };
        let ping =
            HeartbeatPing { last_stream_id_received: self.told(connection), ..HeartbeatPing::default() };
        self.send_up(connection, Frame::HeartbeatPing(ping));
    }

    /// A phone says that it has what it was never given.
    pub(super) fn lie(&mut self, phone: usize) {
        let Some(connection) = self.phones[phone].connection else { return };
        self.say(|| format!("phone {phone} lies"));
        let frame = if self.dice.percent(50) {
            let beyond = self.connections[connection].received as i32 + 1_000;
            let ping = HeartbeatPing { last_stream_id_received: Some(beyond), ..HeartbeatPing::default() };
            Frame::HeartbeatPing(ping)
        } else {
            let own = &self.phones[phone].unknown;
            let foreign = self.journal.any_id(&mut self.dice).filter(|id| !own.contains(id));
            let made_up = MessageId { micros: self.clock.wall().as_micros(), unique: self.dice.next() };
            let id = vec![foreign.unwrap_or(made_up).to_string(), "no id".into()];
            Frame::Iq(Box::new(SelectiveAck { id }.into_iq()))
        };
        self.send_up(connection, frame);
    }

    pub(super) fn stall(&mut self, phone: usize, stalled: bool) {
        if let Some(connection) = self.phones[phone].connection {
            self.connections[connection].stalled = stalled;
        }
    }

    /// Clocks of connections: pings are due, or a phone has not read for too long.
    pub(super) fn time_passed(&mut self) {
        for at in 0..self.open.len() {
            self.connections[self.open[at]].line.time_passed();
        }
    }

    pub(super) fn end_line(&self, connection: usize) {
        self.connections[connection].line.close(Reason::PeerClosed);
    }
}
