//! What a receiver keeps between its runs, and how it is written down.

use std::collections::BTreeSet;

use cresset_wire::webpush::{KeyPair, decode_base64, encode_base64};
use serde_json::{Value, json};

use super::ids::Handled;
use crate::web::SubscriptionKeys;
use crate::{Credentials, Error, Installation};

/// Written into every state; a later one may be something that this cannot read.
const VERSION: u64 = 1;

#[derive(Default)]
pub(super) struct State {
    pub(super) device: Option<Credentials>,
    pub(super) registration: Option<Registration>,
    /// The app wants to be in these.
    pub(super) topics: BTreeSet<String>,
    /// The token that is in all of them.
    pub(super) in_topics: Option<String>,
    pub(super) handled: Handled,
}

/// What the app is known by.
pub(super) struct Registration {
    /// Whose it is: another app gets another one.
    pub(super) app: String,
    pub(super) token: String,
    /// Seconds since 1970 of when the server was last shown it.
    pub(super) shown: u64,
    pub(super) installation: Option<Installation>,
    pub(super) web: Option<WebSubscription>,
}

pub(super) struct WebSubscription {
    pub(super) subtype: String,
    pub(super) keys: SubscriptionKeys,
}

impl State {
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let device = self.device.map(|device| {
            // As text: many a reader of JSON takes numbers for floating ones.
            json!({ "android_id": device.android_id.to_string(), "security_token": device.security_token.to_string() })
        });
        let registration = self.registration.as_ref().map(Registration::to_json).transpose()?;
        let handled = |told: bool| {
            self.handled.iter().filter(|(_, t)| *t == told).map(|(id, _)| id).collect::<Vec<_>>()
        };
        let state = json!({
            "version": VERSION,
            "device": device,
            "registration": registration,
            "topics": self.topics,
            "in_topics": self.in_topics,
            "handled": handled(true),
            "handled_untold": handled(false),
        });
        Ok(format!("{state:#}\n").into_bytes())
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let state: Value = serde_json::from_slice(bytes).map_err(|error| Error::State(error.to_string()))?;
        if state["version"] != VERSION {
            return Err(Error::State(format!("it is of version {}, not {VERSION}", state["version"])));
        }
        let ids = |name: &str, told: bool| {
            Ok::<_, Error>(texts(&state, name)?.into_iter().map(move |id| (id, told)))
        };
        Ok(Self {
            device: some(&state, "device").map(device).transpose()?,
            registration: some(&state, "registration").map(Registration::from_json).transpose()?,
            topics: texts(&state, "topics")?.into_iter().collect(),
            in_topics: some(&state, "in_topics").map(|_| text(&state, "in_topics")).transpose()?,
            handled: Handled::restore(ids("handled", true)?.chain(ids("handled_untold", false)?)),
        })
    }
}

impl Registration {
    fn to_json(&self) -> Result<Value, Error> {
        let installation = self.installation.as_ref().map(|made| {
            json!({ "fid": made.fid, "auth_token": made.auth_token, "refresh_token": made.refresh_token })
        });
        let web = self.web.as_ref().map(|web| {
            let private = encode_base64(web.keys.pair.scalar()?);
            Ok::<_, Error>(json!({ "subtype": web.subtype, "private_key": private, "auth": encode_base64(web.keys.auth) }))
        });
        Ok(json!({
            "app": self.app,
            "token": self.token,
            "shown": self.shown,
            "installation": installation,
            "web": web.transpose()?,
        }))
    }

    fn from_json(value: &Value) -> Result<Self, Error> {
        let installation = some(value, "installation").map(|made| {
            let (fid, auth_token) = (text(made, "fid")?, text(made, "auth_token")?);
            Ok::<_, Error>(Installation { fid, auth_token, refresh_token: text(made, "refresh_token")? })
        });
        let web = some(value, "web").map(|web| {
            let pair = KeyPair::from_scalar(&secret(web, "private_key")?)?;
            let keys = SubscriptionKeys { pair, auth: secret(web, "auth")? };
            Ok::<_, Error>(WebSubscription { subtype: text(web, "subtype")?, keys })
        });
        Ok(Self {
            app: text(value, "app")?,
            token: text(value, "token")?,
            shown: value["shown"].as_u64().ok_or_else(|| bad("shown"))?,
            installation: installation.transpose()?,
            web: web.transpose()?,
        })
    }
}

fn device(value: &Value) -> Result<Credentials, Error> {
    let number = |name: &str| text(value, name)?.parse().map_err(|_| bad(name));
    Ok(Credentials { android_id: number("android_id")?, security_token: number("security_token")? })
}

fn some<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).filter(|value| !value.is_null())
}

fn text(value: &Value, name: &str) -> Result<String, Error> {
    value[name].as_str().map(str::to_owned).ok_or_else(|| bad(name))
}

fn texts(value: &Value, name: &str) -> Result<Vec<String>, Error> {
    let Some(list) = some(value, name) else { return Ok(Vec::new()) };
    let texts = list.as_array().ok_or_else(|| bad(name))?.iter();
    texts.map(|text| text.as_str().map(str::to_owned).ok_or_else(|| bad(name))).collect()
}

fn secret<const N: usize>(value: &Value, name: &str) -> Result<[u8; N], Error> {
    let bytes = decode_base64(&text(value, name)?).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| bad(name))
}

/// Says where, not what: it is secret.
fn bad(name: &str) -> Error {
    Error::State(format!("{name} is missing or malformed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let made = || "x".to_owned();
        let mut handled = Handled::restore([("a".to_owned(), true)]);
        handled.push("b".into());
        State {
            device: Some(Credentials { android_id: u64::MAX, security_token: 7 }),
            registration: Some(Registration {
                app: "web demo".into(),
                token: "t".into(),
                shown: 9,
                installation: Some(Installation { fid: made(), auth_token: made(), refresh_token: made() }),
                web: Some(WebSubscription {
                    subtype: "wp:1".into(),
                    keys: SubscriptionKeys::generate().unwrap(),
                }),
            }),
            topics: BTreeSet::from(["news".to_owned()]),
            in_topics: Some("t".into()),
            handled,
        }
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        for state in [state(), State::default()] {
            let bytes = state.to_bytes().unwrap();
            let read = State::from_bytes(&bytes).unwrap();
            assert_eq!(String::from_utf8(read.to_bytes().unwrap()), String::from_utf8(bytes));
            assert_eq!(read.handled, state.handled);
        }
    }

    #[test]
    fn damage_is_told_by_its_place_and_not_by_the_secret() {
        let good: Value = serde_json::from_slice(&state().to_bytes().unwrap()).unwrap();
        let rows = [
            ("/version", json!(2), "version 2"),
            ("/device/android_id", json!("-1"), "android_id"),
            ("/registration/token", json!(null), "token"),
            ("/registration/web/auth", json!("c2VjcmV0"), "auth"),
            ("/topics", json!("news"), "topics"),
            ("/handled/0", json!(1), "handled"),
        ];
        for (pointer, value, expected) in rows {
            let mut damaged = good.clone();
            *damaged.pointer_mut(pointer).unwrap() = value;
            let error = State::from_bytes(damaged.to_string().as_bytes()).err().unwrap().to_string();
            assert!(error.contains(expected) && !error.contains("c2VjcmV0"), "{pointer}: {error}");
        }
        assert!(State::from_bytes(b"{").is_err());
    }
}
