//! Before the login.

use cresset_message::ProjectNumber;
use cresset_wire::xmpp::{self, Element, Plain, Sasl, StreamError, namespace};

use super::{Action, Reason};

/// Failed tries on one connection (RFC 6120 §6.4.5: 2 to 5 may be allowed). A wrong key is the last.
const MOST_TRIES: u8 = 3;

#[derive(Debug)]
pub(super) struct Login {
    state: State,
    failed: u8,
}

#[derive(Debug)]
enum State {
    /// `auth` is next.
    Begin,
    /// A mechanism was named, and the rest is asked for.
    Asked,
    /// Somebody finds out who it is.
    Checked(User),
}

#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) sender: ProjectNumber,
    pub(super) domain: Option<String>,
}

impl Login {
    pub(super) fn new() -> Self {
        Self { state: State::Begin, failed: 0 }
    }

    pub(super) fn is_checked(&self) -> bool {
        matches!(self.state, State::Checked(_))
    }

    /// Who is being checked; that is over.
    pub(super) fn checked(&mut self) -> Option<User> {
        match std::mem::replace(&mut self.state, State::Begin) {
            State::Checked(user) => Some(user),
            other => {
                self.state = other;
                None
            }
        }
    }

    pub(super) fn received(
        &mut self,
        stanza: &Element,
        actions: &mut Vec<Action>,
    ) -> Result<(), (StreamError, Reason)> {
        if stanza.namespace != namespace::SASL {
            // Nothing else is allowed before the login (RFC 6120 §4.9.3.12).
            return Err((StreamError::NotAuthorized, Reason::LoginRefused));
        }
        let outcome = match (stanza.name.as_str(), &self.state) {
            ("auth", State::Begin) => self.auth(stanza, actions),
            ("response", State::Asked) => self.plain(&stanza.text, actions),
            ("abort", _) => Err(Sasl::Aborted),
            _ => Err(Sasl::MalformedRequest),
        };
        let Err(failure) = outcome else { return Ok(()) };
        self.state = State::Begin;
        self.failed += 1;
        actions.push(Action::Write(xmpp::sasl_failure(failure)));
        if self.failed >= MOST_TRIES {
            return Err((StreamError::PolicyViolation, Reason::LoginRefused));
        }
        Ok(())
    }

    fn auth(&mut self, stanza: &Element, actions: &mut Vec<Action>) -> Result<(), Sasl> {
        if stanza.attribute("mechanism") != Some("PLAIN") {
            return Err(Sasl::InvalidMechanism);
        }
        if stanza.text.trim().is_empty() {
            self.state = State::Asked;
            actions.push(Action::Write(xmpp::sasl_challenge()));
            return Ok(());
        }
        self.plain(&stanza.text, actions)
    }

    fn plain(&mut self, text: &str, actions: &mut Vec<Action>) -> Result<(), Sasl> {
        let plain = Plain::parse(text)?;
        // Who is nobody's sender id is checked like all others, and is not known.
        let sender = plain.sender().parse().unwrap_or(ProjectNumber::SYSTEM);
        let domain = plain.domain().map(str::to_owned);
        self.state = State::Checked(User { sender, domain });
        actions.push(Action::Authenticate { sender, key: plain.key });
        Ok(())
    }
}
