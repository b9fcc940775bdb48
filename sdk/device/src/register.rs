//! register3, where tokens come from (`protocol/device-registration.md` §2).

use crate::http::{Body, Http};
use crate::{Credentials, Error};

/// The key that web clients without their own register under; its private half is Google's.
pub const DEFAULT_VAPID_KEY: &str =
    "BDOU99-h67HcA6JeFXHbSNMu7e2yNNu3RzoMj8TM4W88jITfq7ZmPvIM1Iv-4_l2LxQcYwhqby2xGpWwzjfAnG4";

const PATH: &str = "/c2dm/register3";

/// A register3 form without `device`, which the caller's identity adds.
#[derive(Clone, Debug)]
pub struct Register3 {
    fields: Vec<(String, String)>,
}

impl Register3 {
    /// As Android's SDK and raw receivers register: messages come in clear.
    pub fn android(package: &str, sender: &str) -> Self {
        Self { fields: Vec::new() }
            .with("app", package)
            .with("X-subtype", sender)
            .with("sender", sender)
            .with("X-scope", "*")
    }

    /// As browsers and web receivers register: a subscription whose messages come sealed.
    /// `subtype` names it (`wp:<origin>#<uuid>`), `vapid_key` is unpadded base64url.
    pub fn web(subtype: &str, vapid_key: &str) -> Self {
        Self { fields: Vec::new() }
            .with("app", "org.chromium.linux")
            .with("X-subtype", subtype)
            .with("sender", vapid_key)
    }

    /// Adds a field, or replaces it.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(known, _)| known != name);
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same form, asking to unregister.
    #[must_use]
    pub fn delete(self) -> Self {
        self.with("delete", "true")
    }

    pub(crate) async fn send(&self, http: &Http, device: &Credentials) -> Result<String, Error> {
        let Credentials { android_id, security_token } = device;
        let authorization = format!("AidLogin {android_id}:{security_token}");
        let body = Body::new("application/x-www-form-urlencoded", self.encode(*android_id));
        let answer = match http.post(PATH, &[("authorization", &authorization)], body).await {
            Ok(answer) => String::from_utf8_lossy(&answer).into_owned(),
            // The code stands in the body whatever the status is.
            Err(Error::Refused { body, .. }) if body.starts_with("Error=") => body,
            Err(error) => return Err(error),
        };
        if let Some(code) = answer.strip_prefix("Error=") {
            return Err(Error::Register(code.to_owned()));
        }
        let token = answer.strip_prefix("token=").or_else(|| answer.strip_prefix("deleted="));
        match token {
            Some(token) => Ok(token.to_owned()),
            None => Err(Error::Answer { path: PATH.into(), body: answer }),
        }
    }

    fn encode(&self, device: u64) -> String {
        let device = ("device".to_owned(), device.to_string());
        let pairs = self.fields.iter().chain([&device]);
        let pairs: Vec<_> =
            pairs.map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
        pairs.join("&")
    }
}

pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_escaped() {
        let form = Register3::web("wp:https://a.test/#1 ü", "BD").with("sender", "B_-");
        let expected =
            "app=org.chromium.linux&X-subtype=wp%3Ahttps%3A%2F%2Fa.test%2F%231%20%C3%BC&sender=B_-&device=7";
        assert_eq!(form.encode(7), expected);
    }
}
