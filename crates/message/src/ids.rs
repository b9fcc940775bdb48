//! The names of things. Each is parsed once, at the edge; whoever holds one holds a valid one.

use std::fmt;
use std::str::FromStr;

/// Why a text is not the identifier it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct IdError {
    pub what: &'static str,
    pub problem: &'static str,
}

/// A project's id, the tenant's name: 4 to 30 lower-case letters, digits and hyphens, beginning
/// with a letter and not ending with a hyphen (Google's rule says 6; Cresset allows `demo`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectId(Box<str>);

impl ProjectId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProjectId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let bad = |problem| Err(IdError { what: "project id", problem });
        if !(4..=30).contains(&text.len()) {
            return bad("must have 4 to 30 characters");
        }
        if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return bad("may hold lower-case letters, digits and hyphens only");
        }
        if !text.as_bytes()[0].is_ascii_lowercase() || text.ends_with('-') {
            return bad("must begin with a letter and must not end with a hyphen");
        }
        Ok(Self(text.into()))
    }
}

/// A project's number, which is also its sender id. Zero is the system project, which owns the
/// Web Push subscriptions that browsers make without naming any project.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProjectNumber(pub u64);

impl ProjectNumber {
    pub const SYSTEM: Self = Self(0);
}

impl FromStr for ProjectNumber {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && number != 0 && !text.starts_with('0') => Ok(Self(number)),
            _ => Err(IdError { what: "project number", problem: "must be a positive decimal number" }),
        }
    }
}

/// A Firebase app id, `1:<project number>:<android|ios|web>:<hex>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppId(Box<str>);

impl AppId {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn project_number(&self) -> Option<ProjectNumber> {
        self.0.split(':').nth(1)?.parse().ok()
    }
}

impl FromStr for AppId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let bad = Err(IdError { what: "app id", problem: "must look like 1:<number>:<platform>:<hex>" });
        let parts: Vec<&str> = text.split(':').collect();
        if text.len() > 200 || parts.len() != 4 || parts.iter().any(|p| p.is_empty()) {
            return bad;
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b':') {
            return bad;
        }
        Ok(Self(text.into()))
    }
}

/// A check-in identity: the `android_id`. Below 2^63, because clients treat it as signed
/// (`protocol/device-registration.md` §1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(u64);

impl DeviceId {
    pub const fn new(id: u64) -> Option<Self> {
        if id == 0 || id > i64::MAX as u64 { None } else { Some(Self(id)) }
    }

    /// What stands in the place of a device for a registration that a push service carries: an id that no
    /// device can have.
    pub const fn outside(random: u64) -> Self {
        Self(random | OUTSIDE)
    }

    /// As rows have it: of a device, or of a registration that a push service carries.
    pub const fn stored(id: u64) -> Option<Self> {
        if id == 0 { None } else { Some(Self(id)) }
    }

    /// Whether a push service carries what is for it, and no device of ours.
    pub const fn is_outside(self) -> bool {
        self.0 & OUTSIDE != 0
    }

    pub const fn get(self) -> u64 {
        self.0
    }
}

const OUTSIDE: u64 = 1 << 63;

impl FromStr for DeviceId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let id = text.parse().ok().and_then(Self::new);
        id.ok_or(IdError { what: "device id", problem: "must be a decimal number below 2^63" })
    }
}

/// A Firebase installation id: 22 characters of base64url, the first `c` to `f`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fid(Box<str>);

impl Fid {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes a FID of 17 random bytes: the first half byte becomes 0111, as in Firebase's SDKs.
    pub fn from_random(mut bytes: [u8; 17]) -> Self {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        bytes[0] = 0b0111_0000 | (bytes[0] & 0x0f);
        let sextet = |i: usize| {
            let bit = i * 6;
            let pair = u16::from_be_bytes([bytes[bit / 8], *bytes.get(bit / 8 + 1).unwrap_or(&0)]);
            ALPHABET[usize::from(pair >> (10 - bit % 8)) & 63] as char
        };
        Self((0..22).map(sextet).collect::<String>().into())
    }
}

impl FromStr for Fid {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let shape = text.len() == 22
            && matches!(text.as_bytes()[0], b'c'..=b'f')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if shape {
            Ok(Self(text.into()))
        } else {
            Err(IdError { what: "FID", problem: "must have 22 base64url characters, the first c to f" })
        }
    }
}

/// Where a registration lives: 65,536 slots to a bucket, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RegistrationId {
    pub project: ProjectNumber,
    pub bucket: u32,
    pub slot: u16,
}

/// A device group: a notification key says which. A group is made once, and never again under the
/// same id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupId {
    pub project: ProjectNumber,
    pub unique: [u8; 32],
}

/// A message's id, as senders and devices see it: `0:<µs since 1970>%<16 hex digits>`.
///
/// The microseconds are the sequence of the inbox: strictly rising on a node, so that the order of
/// ids is the order of acceptance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    pub micros: u64,
    pub unique: u64,
}

impl MessageId {
    /// Sorts as the id does; the sort key of an inbox row.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.micros.to_be_bytes());
        bytes[8..].copy_from_slice(&self.unique.to_be_bytes());
        bytes
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let half = |range: std::ops::Range<usize>| {
            bytes[range].iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte))
        };
        Self { micros: half(0..8), unique: half(8..16) }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0:{}%{:016x}", self.micros, self.unique)
    }
}

impl FromStr for MessageId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let parse = || {
            let (micros, unique) = text.strip_prefix("0:")?.split_once('%')?;
            let plain = micros.bytes().all(|b| b.is_ascii_digit())
                && unique.len() == 16
                && unique.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            let id = Self { micros: micros.parse().ok()?, unique: u64::from_str_radix(unique, 16).ok()? };
            plain.then_some(id)
        };
        parse()
            .ok_or(IdError { what: "message id", problem: "must look like 0:<microseconds>%<16 hex digits>" })
    }
}

macro_rules! display_as_text {
    ($($name:ident => $text:expr),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text: fn(&$name, &mut fmt::Formatter<'_>) -> fmt::Result = $text;
                text(self, f)
            }
        }
    )*};
}
display_as_text! {
    ProjectId => |id, f| f.write_str(&id.0),
    ProjectNumber => |id, f| write!(f, "{}", id.0),
    AppId => |id, f| f.write_str(&id.0),
    DeviceId => |id, f| write!(f, "{}", id.0),
    Fid => |id, f| f.write_str(&id.0)
}

macro_rules! debug_as_display {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}
debug_as_display!(ProjectId, AppId, DeviceId, Fid, MessageId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fid_made_of_random_bytes_has_the_shape_clients_check() {
        for fill in [0u8, 0x5a, 0xff] {
            let fid = Fid::from_random([fill; 17]);
            assert_eq!(fid.as_str().parse::<Fid>().as_ref(), Ok(&fid));
        }
        assert_eq!(Fid::from_random([0; 17]).as_str(), "cAAAAAAAAAAAAAAAAAAAAA");
    }

    #[test]
    fn message_ids_survive_text_and_bytes_and_keep_their_order() {
        let id = MessageId { micros: 1_500_415_314_455_276, unique: 0x31bd_1c96_31bd_1c96 };
        assert_eq!(id.to_string(), "0:1500415314455276%31bd1c9631bd1c96");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(MessageId::from_bytes(id.to_bytes()), id);
        let later = MessageId { micros: id.micros + 1, unique: 0 };
        assert!(later > id && later.to_bytes() > id.to_bytes());
        for bad in
            ["", "0:1", "0:1%1", "1:1%31bd1c9631bd1c96", "0:+1%31bd1c9631bd1c96", "0:1%31BD1c9631bd1c96"]
        {
            assert!(bad.parse::<MessageId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn device_ids_stay_below_two_to_the_63() {
        assert!(DeviceId::new(0).is_none());
        assert!(DeviceId::new(1 << 63).is_none());
        assert!("-3".parse::<DeviceId>().is_err());
        assert_eq!("9223372036854775807".parse::<DeviceId>().unwrap().get(), i64::MAX as u64);
    }
}
