//! What messages in JSON look like: names, kinds and meaning, as data. [`read`](super::read) walks
//! it; the lowerCamel spelling of a name, the discovery document and the reference page are derived
//! from it.

mod messages;

pub(super) use messages::SEND_REQUEST;

pub(super) struct MessageType {
    /// Full name, as shown after `type.googleapis.com/`.
    pub(super) name: &'static str,
    /// What it is, for people.
    pub(super) doc: &'static str,
    pub(super) fields: &'static [Field],
}

pub(super) struct Field {
    /// The proto name; paths of violations are made of these.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) repeated: bool,
    /// The oneof it is a member of.
    pub(super) oneof: Option<&'static str>,
    /// What it means, and the rules for it, for people.
    pub(super) doc: &'static str,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    String,
    Bool,
    Int32,
    Float,
    /// `google.protobuf.FloatValue`: a bare number in JSON.
    FloatValue,
    Duration,
    Timestamp,
    Struct,
    /// `map<string, string>`, the only map there is.
    Map,
    Enum(&'static EnumType),
    Message(&'static MessageType),
}

pub(super) struct EnumType {
    /// Full name, as shown after `type.googleapis.com/` (inferred, `protocol/http-v1.md` §3.1).
    pub(super) name: &'static str,
    /// By number, from 0 on, in the order of §2. The numbers are inferred: nobody sends them.
    pub(super) values: &'static [Choice],
}

pub(super) struct Choice {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
}

/// Every message there is, each once, the request first.
pub(super) fn every_message() -> Vec<&'static MessageType> {
    let mut found = vec![&SEND_REQUEST];
    let mut at = 0;
    while let Some(message) = found.get(at) {
        let inner = message.fields.iter().filter_map(|field| match field.kind {
            Kind::Message(inner) => Some(inner),
            _ => None,
        });
        for inner in inner.collect::<Vec<_>>() {
            if !found.iter().any(|known| known.name == inner.name) {
                found.push(inner);
            }
        }
        at += 1;
    }
    found
}

impl MessageType {
    /// The name without its package.
    pub(super) fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// The field of a key as a client wrote it: proto name or lowerCamel, nothing else.
    pub(super) fn find(&self, key: &str) -> Option<usize> {
        // Both spellings begin alike, which sorts most fields out at once.
        let first = key.as_bytes().first()?;
        let is_it = |field: &Field| field.name == key || is_lower_camel_of(key, field.name);
        self.fields.iter().position(|field| field.name.as_bytes().first() == Some(first) && is_it(field))
    }
}

impl Field {
    pub(super) fn lower_camel(&self) -> String {
        let mut words = self.name.split('_');
        let mut name = words.next().unwrap_or_default().to_owned();
        for word in words {
            name.extend(word.chars().take(1).map(|c| c.to_ascii_uppercase()));
            name.extend(word.chars().skip(1));
        }
        name
    }
}

fn is_lower_camel_of(key: &str, name: &str) -> bool {
    let mut key = key.bytes();
    let mut raise = false;
    for byte in name.bytes() {
        if byte == b'_' {
            raise = true;
            continue;
        }
        let expected = if std::mem::take(&mut raise) { byte.to_ascii_uppercase() } else { byte };
        if key.next() != Some(expected) {
            return false;
        }
    }
    key.next().is_none()
}
