//! The URL of a subscription. A client gave it, so it may lead anywhere.

use std::fmt;
use std::str::FromStr;

use http::uri::PathAndQuery;

/// Bytes of an endpoint; Google's, the longest known, have 250 (`protocol/web-push.md` §1.1).
const MAX_LENGTH: usize = 2_048;

/// Where a push service takes messages for one subscription: an `https` URL with the name of a host.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    host: String,
    port: u16,
    path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("the endpoint has more than 2048 bytes")]
    TooLong,
    #[error("the endpoint is no https URL")]
    NotHttps,
    #[error("the endpoint names a user")]
    UserInfo,
    #[error("the endpoint's host is not a name")]
    Host,
    #[error("the endpoint's port is not one")]
    Port,
    #[error("the endpoint's path holds what no path holds")]
    Path,
}

impl Endpoint {
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, as the client gave them.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Host, and port where it is not the scheme's own.
    pub fn authority(&self) -> String {
        if self.port == 443 { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// What a VAPID token is for (RFC 6454 §6.2).
    pub fn origin(&self) -> String {
        format!("https://{}", self.authority())
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text.len() > MAX_LENGTH {
            return Err(EndpointError::TooLong);
        }
        let scheme = text.get(..8).filter(|scheme| scheme.eq_ignore_ascii_case("https://"));
        let rest = scheme.map(|scheme| &text[scheme.len()..]).ok_or(EndpointError::NotHttps)?;
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(EndpointError::UserInfo);
        }
        if authority.starts_with('[') {
            return Err(EndpointError::Host);
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, read_port(port)?),
            None => (authority, 443),
        };
        let host = host.to_ascii_lowercase();
        if !is_name(&host) {
            return Err(EndpointError::Host);
        }
        Ok(Self { host, port, path: read_path(path)? })
    }
}

/// An empty one is the scheme's own (RFC 3986 §3.2.3).
fn read_port(text: &str) -> Result<u16, EndpointError> {
    if text.is_empty() {
        return Ok(443);
    }
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0).ok_or(EndpointError::Port)
}

/// A name of DNS. What ends in a number would be read as an address (`127.1`, `0x7f000001`).
fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
    host.len() <= 253 && host.split('.').all(is_label) && !number
}

fn read_path(text: &str) -> Result<String, EndpointError> {
    let path = if text.starts_with('/') { text.to_owned() } else { format!("/{text}") };
    let ok = path.bytes().all(|b| b.is_ascii_graphic() && !b"#\\\"<>^`{|}".contains(&b));
    let known = path.parse::<PathAndQuery>().is_ok_and(|parsed| parsed.as_str() == path);
    if ok && known { Ok(path) } else { Err(EndpointError::Path) }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.path)
    }
}

/// Who knows the path may push.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({}/…)", self.origin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_known_services_are_read() {
        for (text, authority, path) in [
            (
                "https://updates.push.services.mozilla.com/wpush/v2/gAAA-_",
                "updates.push.services.mozilla.com",
                "/wpush/v2/gAAA-_",
            ),
            (
                "https://fcm.googleapis.com/fcm/send/abc:APA91b%3A",
                "fcm.googleapis.com",
                "/fcm/send/abc:APA91b%3A",
            ),
            (
                "https://wns2-par02p.notify.windows.com/w/?token=BQYA%3d",
                "wns2-par02p.notify.windows.com",
                "/w/?token=BQYA%3d",
            ),
            ("HTTPS://Push.Example.com:443/x", "push.example.com", "/x"),
            ("https://push.example.com:8443/x?y=/z@w", "push.example.com:8443", "/x?y=/z@w"),
            ("https://push.example.com", "push.example.com", "/"),
            ("https://push.example.com?x", "push.example.com", "/?x"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((endpoint.authority().as_str(), endpoint.path()), (authority, path));
            assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let long = format!("https://a.test/{}", "x".repeat(2_048));
        let label = format!("https://{}.test/", "x".repeat(64));
        use EndpointError::*;
        for (text, error) in [
            ("", NotHttps),
            ("http://a.test/x", NotHttps),
            ("//a.test/x", NotHttps),
            ("httpsü://a", NotHttps),
            (&long, TooLong),
            ("https://user@a.test/x", UserInfo),
            ("https://user:p@ss@a.test/x", UserInfo),
            ("https:///x", Host),
            ("https://127.0.0.1/x", Host),
            ("https://[::1]/x", Host),
            ("https://[::1]:443/x", Host),
            ("https://2130706433/x", Host),
            ("https://127.1/x", Host),
            ("https://a.0x7f/x", Host),
            ("https://a..b/x", Host),
            ("https://a.test./x", Host),
            ("https://ä.test/x", Host),
            ("https://a b.test/x", Host),
            ("https://a.test%2f/x", Host),
            (&label, Host),
            ("https://a.test:0/x", Port),
            ("https://a.test:65536/x", Port),
            ("https://a.test:+80/x", Port),
            ("https://a.test:8a/x", Port),
            ("https://a.test/x#y", Path),
            ("https://a.test/x y", Path),
            ("https://a.test/x\r\nHost: b", Path),
            ("https://a.test\\@b.test/x", Path),
            ("https://a.test/ü", Path),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(error), "{text}");
        }
    }
}
