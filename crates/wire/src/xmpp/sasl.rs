//! SASL PLAIN (RFC 4616) as app servers use it (`protocol/xmpp.md` §2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Sasl;

/// A host's name (RFC 1035 §3.1), with a port.
const MAX_DOMAIN: usize = 261;

/// Who wants in. Printing it does not show the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Plain {
    /// A sender id, as a JID or bare.
    pub user: String,
    /// A server key.
    pub key: String,
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plain({}, ..)", self.user)
    }
}

impl Plain {
    /// The text of `auth` or `response`. For whom to act (authzid) is ignored: it is empty, or the user.
    pub fn parse(text: &str) -> Result<Self, Sasl> {
        // A single = is how nothing is said (RFC 6120 §6.4.2).
        let bytes = STANDARD.decode(text.trim()).map_err(|_| Sasl::IncorrectEncoding)?;
        let text = String::from_utf8(bytes).map_err(|_| Sasl::MalformedRequest)?;
        let mut parts = text.split('\0');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(_), Some(user), Some(key), None) if !user.is_empty() && !key.is_empty() => {
                Ok(Self { user: user.to_owned(), key: key.to_owned() })
            }
            _ => Err(Sasl::MalformedRequest),
        }
    }

    /// The part before `@`.
    pub fn sender(&self) -> &str {
        self.user.split_once('@').map_or(&self.user, |(sender, _)| sender)
    }

    /// The part after it, if it looks like a host.
    pub fn domain(&self) -> Option<&str> {
        let is_host = |text: &str| {
            let of_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
            (1..=MAX_DOMAIN).contains(&text.len()) && text.chars().all(of_host)
        };
        self.user.split_once('@').map(|(_, domain)| domain).filter(|domain| is_host(domain))
    }
}
