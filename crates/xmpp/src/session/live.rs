//! A session that is logged in.

use cresset_delivery::Upstream;
use cresset_message::{MessageId, ProjectNumber, Timestamp};
use cresset_wire::legacy::{Downstream, LegacyError, Refused, Targets, read_json};
use cresset_wire::xmpp::{self, Element, StanzaError, StreamError, namespace};

use super::flight::Flight;
use super::upstream::{Given, stanza};
use super::{Action, Counted, Reason, Sent};

/// A message's own id, which is repeated in its ack and its receipt. Ours; Google's limit is not known.
const MAX_MESSAGE_ID: usize = 1_024;
/// A resource (RFC 7622 §3.4).
const MAX_RESOURCE: usize = 1_023;

#[derive(Debug)]
pub(super) struct Live {
    sender: ProjectNumber,
    domain: String,
    resource: u64,
    /// Set by `bind`.
    jid: Option<String>,
    flight: Flight,
    given: Given,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// It has been told, and takes no more messages.
    Draining,
    /// The app server has ended its stream; what it asked is still answered.
    Ending,
}

impl Live {
    pub(super) fn new(sender: ProjectNumber, domain: String, resource: u64) -> Self {
        Self {
            sender,
            domain,
            resource,
            jid: None,
            flight: Flight::default(),
            given: Given::default(),
            state: State::Open,
        }
    }

    pub(super) fn is_bound(&self) -> bool {
        self.jid.is_some()
    }

    pub(super) fn wants_input(&self) -> bool {
        matches!(self.state, State::Open | State::Draining) && self.flight.has_room()
    }

    pub(super) fn next_resend(&self) -> Option<Timestamp> {
        self.given.next_resend()
    }

    pub(super) fn unacknowledged(&self) -> Vec<MessageId> {
        self.given.ids()
    }

    /// Why it is over, if everything is done that had to be.
    pub(super) fn done(&self) -> Option<Reason> {
        match self.state {
            State::Draining if self.flight.is_empty() && self.given.is_empty() => Some(Reason::Drained),
            State::Ending if self.flight.is_empty() => Some(Reason::Ended),
            _ => None,
        }
    }

    /// What was pulled and will not be written any more.
    pub(super) fn keep(&mut self, pulled: &[Upstream], now: Timestamp) {
        pulled.iter().for_each(|upstream| self.given.add(upstream, now));
    }

    pub(super) fn drain(&mut self, actions: &mut Vec<Action>) {
        if self.state == State::Open {
            self.state = State::Draining;
            if self.is_bound() {
                actions.push(Action::Write(xmpp::bare(&xmpp::control_draining())));
            }
        }
    }

    pub(super) fn ended(&mut self) {
        self.state = State::Ending;
    }

    pub(super) fn received(
        &mut self,
        stanza: &Element,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) -> Result<(), StreamError> {
        let ours = stanza.namespace == namespace::CLIENT || stanza.namespace.is_empty();
        match stanza.name.as_str() {
            "iq" if ours => self.iq(stanza, actions),
            _ if ours && !self.is_bound() => return Err(StreamError::NotAuthorized),
            "message" if ours => self.message(stanza, now, actions),
            "presence" if ours => {}
            _ => return Err(StreamError::UnsupportedStanzaType),
        }
        Ok(())
    }

    fn iq(&mut self, iq: &Element, actions: &mut Vec<Action>) {
        let id = iq.attribute("id").unwrap_or_default();
        let answer = match iq.attribute("type") {
            Some("set") if iq.child("session", namespace::SESSION).is_some() => xmpp::iq_result(id),
            Some("set") if let Some(bind) = iq.child("bind", namespace::BIND) => {
                let first = self.jid.is_none();
                let jid = xmpp::bind_result(id, self.bind(bind));
                actions.push(Action::Write(jid));
                if first {
                    actions.push(Action::Attach);
                    self.pull(actions);
                }
                return;
            }
            Some("get") if iq.child("ping", namespace::PING).is_some() => xmpp::iq_result(id),
            Some("get" | "set") => xmpp::iq_unavailable(id),
            // Answers to what was not asked.
            _ => return,
        };
        actions.push(Action::Write(answer));
    }

    fn bind(&mut self, bind: &Element) -> &str {
        let asked = bind.child("resource", namespace::BIND).map(|resource| resource.text.as_str());
        let asked = asked.filter(|text| !text.is_empty() && text.len() <= MAX_RESOURCE);
        self.jid.get_or_insert_with(|| {
            let made = format!("{:016X}", self.resource);
            format!("{}@{}/{}", self.sender.0, self.domain, asked.unwrap_or(&made))
        })
    }

    fn message(&mut self, message: &Element, now: Timestamp, actions: &mut Vec<Action>) {
        // An error is an answer to one of ours, and must not be answered.
        if message.attribute("type") == Some("error") {
            return;
        }
        // A copy of FCM's own guide has another namespace, and people paste it.
        let Some(gcm) = message.children.iter().find(|child| child.name == "gcm") else {
            let error = LegacyError::MissingField("gcm");
            return self.refuse_stanza(message, None, StanzaError::BadRequest, &description(&error), actions);
        };
        match read_json(gcm.text.as_bytes(), now) {
            Ok(downstream) if downstream.message_type.as_deref() == Some("ack") => {
                self.ack(message, &gcm.text, &downstream.targets, downstream.message_id.as_deref(), actions);
            }
            Err(refused) if refused.message_type.as_deref() == Some("ack") => {
                self.bad_ack(message, &gcm.text, &refused, actions);
            }
            Ok(downstream) => self.downstream(message, &gcm.text, downstream, actions),
            Err(refused) => self.refuse(message, &gcm.text, refused, actions),
        }
    }

    fn downstream(
        &mut self,
        message: &Element,
        text: &str,
        downstream: Downstream,
        actions: &mut Vec<Action>,
    ) {
        let from = downstream.targets.text();
        let Some(message_id) = downstream.message_id.clone().filter(|id| !id.is_empty()) else {
            return self.refuse_without_id(message, text, actions);
        };
        if self.state == State::Draining {
            let why = "The connection is draining: send on another";
            return nack(&message_id, Some(&from), "CONNECTION_DRAINING", why, actions);
        }
        if let Some((code, why)) = self.why_not(&downstream, &message_id) {
            return nack(&message_id, Some(&from), code, &why, actions);
        }
        let mut downstream = Box::new(downstream);
        if downstream.delivery_receipt_requested && matches!(downstream.targets, Targets::To(_)) {
            downstream.message.receipt_id = Some(message_id.clone());
        }
        if let Some((number, downstream)) = self.flight.take(message_id, downstream, text.len()) {
            actions.push(Action::Send(number, downstream));
        }
    }

    /// What only XMPP does not allow.
    fn why_not(&mut self, downstream: &Downstream, message_id: &str) -> Option<(&'static str, String)> {
        const INVALID: &str = "INVALID_JSON";
        if matches!(downstream.targets, Targets::Tokens(_)) {
            return Some((
                INVALID,
                "InvalidJson: \"registration_ids\" is not supported over XMPP".to_owned(),
            ));
        }
        if let Some(kind) = &downstream.message_type {
            let kind: String = kind.chars().take(100).collect();
            return Some((INVALID, format!("InvalidJson: Invalid \"message_type\": {kind}")));
        }
        if message_id.len() > MAX_MESSAGE_ID {
            let why = format!("InvalidJson: \"message_id\" is longer than {MAX_MESSAGE_ID} bytes");
            return Some((INVALID, why));
        }
        if !self.flight.is_new(message_id) {
            return Some((INVALID, "Message with the same id has been received before".to_owned()));
        }
        None
    }

    /// It has an id, and then a nack; or has none, and then the stanza itself is sent back.
    fn refuse(&mut self, message: &Element, text: &str, refused: Refused, actions: &mut Vec<Action>) {
        let from = refused.targets.map(|targets| targets.text());
        match refused.message_id.filter(|id| !id.is_empty()) {
            Some(id) => {
                let told = refused.error.nack(from.as_deref().unwrap_or_default());
                nack(&id, from.as_deref(), told.code, &told.description, actions);
            }
            None => {
                let error = match refused.error {
                    error @ LegacyError::Syntax { .. } => error,
                    _ => LegacyError::MissingField("message_id"),
                };
                self.refuse_stanza(
                    message,
                    Some(text),
                    StanzaError::BadRequest,
                    &description(&error),
                    actions,
                );
            }
        }
    }

    fn ack(
        &mut self,
        message: &Element,
        text: &str,
        targets: &Targets,
        message_id: Option<&str>,
        actions: &mut Vec<Action>,
    ) {
        let Some(message_id) = message_id.filter(|id| !id.is_empty()) else {
            return self.refuse_without_id(message, text, actions);
        };
        match self.given.acknowledged(&targets.text(), message_id) {
            Some(id) => {
                actions.push(Action::Acknowledge(id));
                self.pull(actions);
            }
            // Clients do so by mistake, so that the stream goes on (`protocol/xmpp.md` §5).
            None => self.refuse_stanza(
                message,
                Some(text),
                StanzaError::NotAcceptable,
                "Received acks for messages not sent over this connection",
                actions,
            ),
        }
    }

    fn bad_ack(&mut self, message: &Element, text: &str, refused: &Refused, actions: &mut Vec<Action>) {
        let why = description(&refused.error);
        match refused.message_id.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => {
                let from = refused.targets.as_ref().map(Targets::text);
                nack(id, from.as_deref(), "BAD_ACK", &why, actions);
            }
            None => self.refuse_stanza(message, Some(text), StanzaError::BadRequest, &why, actions),
        }
    }

    /// A nack needs an id to speak of; without one it is the stanza that is wrong.
    fn refuse_without_id(&self, message: &Element, text: &str, actions: &mut Vec<Action>) {
        let why = description(&LegacyError::MissingField("message_id"));
        self.refuse_stanza(message, Some(text), StanzaError::BadRequest, &why, actions);
    }

    fn refuse_stanza(
        &self,
        message: &Element,
        text: Option<&str>,
        error: StanzaError,
        why: &str,
        actions: &mut Vec<Action>,
    ) {
        let id = message.attribute("id").unwrap_or_default();
        let jid = self.jid.as_deref().unwrap_or_default();
        actions.push(Action::Write(xmpp::stanza_error(id, jid, text, error, why)));
        actions.push(Action::Count(Counted::StanzaError));
    }

    pub(super) fn answered(
        &mut self,
        number: u64,
        outcome: Result<Sent, LegacyError>,
        actions: &mut Vec<Action>,
    ) {
        let Some((pending, next)) = self.flight.answered(number) else { return };
        if let Some((number, downstream)) = next {
            actions.push(Action::Send(number, downstream));
        }
        let (from, message_id) = (pending.from.as_str(), pending.message_id.as_str());
        let json = match outcome {
            Ok(Sent::One { canonical }) => {
                xmpp::ack(xmpp::Ack { from, message_id, registration_id: canonical.as_deref() })
            }
            Ok(Sent::Group { success, failed }) => xmpp::group_ack(from, message_id, success, &failed),
            Err(error) => {
                let told = error.nack(from);
                return nack(message_id, Some(from), told.code, &told.description, actions);
            }
        };
        actions.push(Action::Write(xmpp::bare(&json)));
        actions.push(Action::Count(Counted::Ack));
    }

    pub(super) fn woken(&mut self, actions: &mut Vec<Action>) {
        if self.given.pulling {
            // What woke us may have come after what is being read.
            self.given.woken = true;
        } else if self.may_pull() {
            self.pull(actions);
        } else {
            actions.push(Action::Pass);
        }
    }

    pub(super) fn pulled(&mut self, pulled: Vec<Upstream>, now: Timestamp, actions: &mut Vec<Action>) {
        self.given.pulling = false;
        for upstream in &pulled {
            self.given.add(upstream, now);
            actions.push(Action::Write(stanza(self.sender.0, upstream)));
        }
        if std::mem::take(&mut self.given.woken) || !pulled.is_empty() {
            self.pull(actions);
        }
    }

    /// Those that are no more make room.
    pub(super) fn again(&mut self, asked: &[MessageId], found: Vec<Upstream>, actions: &mut Vec<Action>) {
        for id in asked {
            match found.iter().find(|upstream| upstream.id == *id) {
                // It may have been acknowledged meanwhile.
                Some(upstream) if self.given.has(*id) => {
                    actions.push(Action::Write(stanza(self.sender.0, upstream)));
                }
                Some(_) => {}
                None => self.given.forget(*id),
            }
        }
        self.pull(actions);
    }

    pub(super) fn time_passed(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let overdue = self.given.overdue(now);
        if !overdue.is_empty() {
            actions.push(Action::Again(overdue));
        }
    }

    fn pull(&mut self, actions: &mut Vec<Action>) {
        if self.may_pull() {
            self.given.pulling = true;
            actions.push(Action::Pull(self.given.room()));
        }
    }

    /// One pull at a time. Who is about to go gets no more.
    fn may_pull(&self) -> bool {
        self.state == State::Open && self.is_bound() && !self.given.pulling && self.given.room() > 0
    }
}

fn nack(message_id: &str, from: Option<&str>, code: &'static str, why: &str, actions: &mut Vec<Action>) {
    actions.push(Action::Write(xmpp::bare(&xmpp::nack(message_id, from, code, why))));
    actions.push(Action::Count(Counted::Nack(code)));
}

/// A refusal's sentence, as nacks and stanza errors have it.
fn description(error: &LegacyError) -> String {
    error.nack("").description
}
