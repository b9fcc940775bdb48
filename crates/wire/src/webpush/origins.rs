//! The origins under which a push service is reached: what the tokens of application servers must be
//! for (RFC 8292 §2), and what endpoints begin with.

/// A closed set: what a request says of its own host is believed only if it is one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins {
    /// The one that is given out, if the operator says one.
    public: Option<String>,
    /// The first is given out where nothing else is known.
    all: Vec<String>,
}

impl Origins {
    /// `public` is an origin, `https://push.example.org:8443`; the others are names, in the order of their
    /// rank, and ports of listeners with TLS and without.
    pub fn new(public: Option<&str>, names: &[String], secure: &[u16], plain: &[u16]) -> Self {
        let public = public.map(|origin| normal(origin.trim_end_matches('/')));
        let mut all: Vec<String> = public.iter().cloned().collect();
        let listeners = secure.iter().map(|port| ("https", *port));
        for (scheme, port) in listeners.chain(plain.iter().map(|port| ("http", *port))) {
            for name in names {
                let host = if name.contains(':') { format!("[{name}]") } else { name.clone() };
                let origin = normal(&format!("{scheme}://{host}:{port}"));
                if !all.contains(&origin) {
                    all.push(origin);
                }
            }
        }
        Self { public, all }
    }

    /// What a token may be for.
    pub fn all(&self) -> Vec<&str> {
        self.all.iter().map(String::as_str).collect()
    }

    /// The origin to give out to whoever came by `host`.
    pub fn for_host(&self, host: &str, secure: bool) -> &str {
        if let Some(public) = &self.public {
            return public;
        }
        let asked = normal(&format!("{}://{host}", if secure { "https" } else { "http" }));
        self.all.iter().find(|origin| **origin == asked).or(self.all.first()).map_or("", String::as_str)
    }
}

/// Lower case, without the port that its scheme has anyway (RFC 6454 §6.2).
fn normal(origin: &str) -> String {
    let origin = origin.to_ascii_lowercase();
    let usual = if origin.starts_with("https://") { ":443" } else { ":80" };
    origin.strip_suffix(usual).map(str::to_owned).unwrap_or(origin)
}

/// What is wrong with an origin that an operator wrote, if something is.
pub fn check_origin(origin: &str) -> Result<(), &'static str> {
    let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let rest = rest.ok_or("it begins with https:// or http://")?.trim_end_matches('/');
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:[]_".contains(&byte);
    match !rest.is_empty() && rest.bytes().all(fine) {
        true => Ok(()),
        false => Err("it is a scheme, a host and perhaps a port"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["localhost", "::1", "fcm.googleapis.com"].map(str::to_owned).to_vec()
    }

    #[test]
    fn names_and_ports_make_origins_as_browsers_write_them() {
        let origins = Origins::new(None, &names(), &[8443, 443], &[8080]);
        for origin in ["https://localhost:8443", "https://fcm.googleapis.com", "http://[::1]:8080"] {
            assert!(origins.all().contains(&origin), "{origin}");
        }
        assert_eq!(origins.all().len(), 9);
        for other in ["https://localhost:8080", "http://localhost", "https://fcm.googleapis.com:443"] {
            assert!(!origins.all().contains(&other), "{other}");
        }
    }

    #[test]
    fn a_host_is_believed_only_if_it_leads_here() {
        let origins = Origins::new(None, &names(), &[8443, 443], &[8080]);
        for (host, secure, given) in [
            ("LOCALHOST:8443", true, "https://localhost:8443"),
            ("fcm.googleapis.com:443", true, "https://fcm.googleapis.com"),
            ("localhost:8080", false, "http://localhost:8080"),
            ("evil.test", true, "https://localhost:8443"),
            ("", false, "https://localhost:8443"),
        ] {
            assert_eq!(origins.for_host(host, secure), given, "{host}");
        }
        let public = Origins::new(Some("https://Push.example.org:443/"), &names(), &[8443], &[]);
        assert_eq!(public.for_host("localhost:8443", true), "https://push.example.org");
        assert!(public.all().contains(&"https://localhost:8443"));
    }

    #[test]
    fn an_origin_is_no_url() {
        for good in ["https://push.example.org", "http://[::1]:8080/"] {
            assert_eq!(check_origin(good), Ok(()), "{good}");
        }
        for bad in ["push.example.org", "https://", "https://a/b", "https://u@a", "wss://a"] {
            assert!(check_origin(bad).is_err(), "{bad}");
        }
    }
}
