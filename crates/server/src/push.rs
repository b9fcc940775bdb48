//! Web Push in: the origins under which this server is a push service.

use std::net::SocketAddr;

use cresset_wire::webpush::{Origins, check_origin};

use crate::config::{Config, Listen};
use crate::{exec, names, pki};

/// The port that origins leave out, by which clients with Google's names in their code come.
const HTTPS: u16 = 443;

/// What is wrong with the configuration, if something is.
pub(crate) fn check(listen: &Listen) -> Result<(), String> {
    if listen.public.is_empty() {
        return Ok(());
    }
    check_origin(&listen.public).map_err(|what| format!("listen.public is `{}`; {what}", listen.public))
}

/// The names that lead here, by the ports that are listened on: the certificate's own, and Google's, which
/// clients may be led here by.
pub(crate) fn origins(
    config: &Config,
    certificate: &pki::Identity,
    https: SocketAddr,
    http: SocketAddr,
) -> Origins {
    let mut all: Vec<String> = ["localhost", "127.0.0.1", "::1", exec::ADDRESS].map(str::to_owned).to_vec();
    let own = config.tls.names.iter().cloned().chain(certificate.names());
    own.chain(names::HTTPS.map(str::to_owned)).for_each(|name| {
        if !all.contains(&name) {
            all.push(name);
        }
    });
    let public = Some(config.listen.public.as_str()).filter(|public| !public.is_empty());
    Origins::new(public, &all, &[https.port(), HTTPS], &[http.port()])
}

/// Whether an endpoint can only be of this server. Under Google's names there are others, unless they are led
/// here; what is ours under them is known by its token.
pub(crate) fn is_own(endpoint: &str, origins: &Origins) -> bool {
    let endpoint = endpoint.to_ascii_lowercase();
    let begins = |origin: &&str| endpoint.strip_prefix(*origin).is_some_and(|rest| rest.starts_with('/'));
    let googles = |origin: &str| {
        let name = origin.split_once("://").map_or(origin, |(_, host)| host);
        names::HTTPS.contains(&name.split(':').next().unwrap_or(name))
    };
    origins.all().into_iter().filter(begins).any(|origin| !googles(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_under_a_name_of_ours_is_nobody_elses() {
        let names = ["localhost", "fcm.googleapis.com"].map(str::to_owned);
        let origins = Origins::new(Some("https://push.example.org"), &names, &[8443, 443], &[8080]);
        for (endpoint, own) in [
            ("https://push.example.org/wpush/v2/x", true),
            ("https://PUSH.example.org/x", true),
            ("http://localhost:8080/wp/x", true),
            ("https://localhost:9/wp/x", false),
            ("https://push.example.org.evil.test/x", false),
            ("https://fcm.googleapis.com/fcm/send/x", false),
            ("https://updates.push.services.mozilla.com/wpush/v2/x", false),
        ] {
            assert_eq!(is_own(endpoint, &origins), own, "{endpoint}");
        }
    }

    #[test]
    fn a_public_origin_is_one() {
        assert!(Config::parse("[listen]\npublic = \"https://push.example.org\"").is_ok());
        let refused = Config::parse("[listen]\npublic = \"push.example.org\"").unwrap_err();
        assert!(refused.contains("listen.public"), "{refused}");
    }
}
