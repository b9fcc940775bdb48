//! What goes out by itself: joins the courier, as the operator allows.

use std::sync::Arc;
use std::time::Duration;

use cresset_api::PushService;
use cresset_delivery::Dispatcher;
use cresset_outbound::apns::{self, Host};
use cresset_outbound::webpush::{self, Endpoint};
use cresset_outbound::{Courier, HostPattern, Limits, Parts, Proxy, SystemResolver};
use cresset_wire::webpush::{KeyReuse, vapid::is_subject};
use rustls::RootCertStore;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock;
use crate::config::Outgoing;
use crate::failure::Failure;
use crate::server::Core;

/// Subscriptions whose shared secrets are kept while a key pair is in use, some 150 bytes each.
const SHARED_SECRETS: usize = 1_000_000;

/// What is wrong with the configuration, if something is.
pub(crate) fn check(outgoing: &Outgoing) -> Result<(), String> {
    if outgoing.web_push && !is_subject(&outgoing.contact) {
        return Err(
            "outgoing.contact must be a mailto: or https: address that push services can turn to".into()
        );
    }
    proxy(&outgoing.proxy)?;
    for (name, text) in
        [("apns_host", &outgoing.apns_host), ("apns_sandbox_host", &outgoing.apns_sandbox_host)]
    {
        host(text, name)?;
    }
    Ok(())
}

/// Starts the courier. Without a permission it serves nobody, and whoever waits for it waits.
pub(crate) fn spawn(
    listeners: &mut JoinSet<()>,
    outgoing: &Outgoing,
    core: &Core,
    dispatcher: &Arc<Dispatcher>,
    own: Arc<PushService>,
    stop: watch::Receiver<bool>,
) -> Result<Courier, Failure> {
    let randomness: cresset_outbound::Randomness = Arc::new(aws_lc_rs::rand::SystemRandom::new());
    let webpush = web_config(outgoing)?;
    if let Some(config) = &webpush {
        let permits = config.clone();
        core.identity.set_foreign(Arc::new(move |endpoint| {
            if crate::push::is_own(endpoint, &own.origins) {
                return Err("it is this server's own, and no subscription has it".to_owned());
            }
            let endpoint: Endpoint = endpoint.parse().map_err(|e| format!("{e}"))?;
            match permits.permits(&endpoint) {
                true => Ok(()),
                false => Err("the operator does not permit its host (outgoing.hosts)".to_owned()),
            }
        }));
    }
    let webpush =
        webpush.map(|config| webpush::Client::new(config, Arc::new(SystemResolver), randomness.clone()));
    let webpush = webpush.transpose().map_err(|e| Failure::new(format!("outgoing.web_push: {e}")))?;
    let apns = apns_config(outgoing)?;
    let apns = apns.map(|config| apns::Client::new(config, Arc::new(SystemResolver), randomness.clone()));
    let courier = Courier::new(Parts {
        dispatcher: dispatcher.clone(),
        identity: core.identity.clone(),
        webpush,
        apns,
        contact: outgoing.contact.clone(),
        clock: clock::clock(),
        randomness,
        limits: Limits::default(),
    });
    dispatcher.set_courier(Arc::new(courier.clone()));
    if outgoing.web_push || outgoing.apns {
        listeners.spawn(courier.clone().run(stop));
    }
    Ok(courier)
}

fn web_config(outgoing: &Outgoing) -> Result<Option<webpush::Config>, Failure> {
    if !outgoing.web_push {
        return Ok(None);
    }
    let patterns = |texts: &[String]| texts.iter().map(|text| HostPattern::new(text)).collect();
    let mut config = webpush::Config::new(roots(outgoing)?);
    config.only = patterns(&outgoing.hosts);
    config.private = patterns(&outgoing.private_hosts);
    config.proxy = proxy(&outgoing.proxy).map_err(Failure::new)?;
    if outgoing.key_reuse_minutes > 0 {
        let period = Duration::from_secs(u64::from(outgoing.key_reuse_minutes) * 60);
        config.key_reuse = KeyReuse::Rotating { period, capacity: SHARED_SECRETS };
    }
    Ok(Some(config))
}

fn apns_config(outgoing: &Outgoing) -> Result<Option<apns::Config>, Failure> {
    if !outgoing.apns {
        return Ok(None);
    }
    let mut config = apns::Config::new(roots(outgoing)?);
    config.proxy = proxy(&outgoing.proxy).map_err(Failure::new)?;
    if let Some(own) = host(&outgoing.apns_host, "apns_host").map_err(Failure::new)? {
        config.production = own;
    }
    if let Some(own) = host(&outgoing.apns_sandbox_host, "apns_sandbox_host").map_err(Failure::new)? {
        config.sandbox = own;
    }
    Ok(Some(config))
}

/// The system's, and the operator's.
fn roots(outgoing: &Outgoing) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    let Some(file) = &outgoing.ca else {
        if roots.is_empty() {
            return Err(Failure::new("no CA is trusted: the system has none, and outgoing.ca is not set"));
        }
        return Ok(roots);
    };
    let failed = |e: &dyn std::fmt::Display| Failure::new(format!("outgoing.ca: {}: {e}", file.display()));
    let pem = std::fs::read(file).map_err(|e| failed(&e))?;
    cresset_outbound::tls::with_bundle(roots, &pem).map_err(|e| failed(&e))
}

/// `http://[user:password@]host:port`.
fn proxy(text: &str) -> Result<Option<Proxy>, String> {
    use base64::Engine as _;
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || format!("outgoing.proxy: `{text}` is not http://host:port");
    let rest = text.strip_prefix("http://").ok_or_else(wrong)?.trim_end_matches('/');
    let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
    let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    let authorization = user.map(|user| format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(user)));
    Ok(Some(Proxy { host: host.to_owned(), port, authorization }))
}

fn host(text: &str, key: &str) -> Result<Option<Host>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)));
    match parsed {
        Some((name, port)) if !name.is_empty() => Ok(Some(Host { name: name.to_owned(), port })),
        _ => Err(format!("outgoing.{key}: `{text}` is not host:port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_out_is_named_well_or_not_at_all() {
        let parse = |text: &str| crate::config::Config::parse(&format!("[outgoing]\n{text}\n"));
        assert!(parse("web_push = true\ncontact = \"mailto:ops@example.org\"").is_ok());
        for (text, key) in [
            ("web_push = true", "outgoing.contact"),
            ("proxy = \"socks5://proxy:1\"", "outgoing.proxy"),
            ("proxy = \"http://proxy\"", "outgoing.proxy"),
            ("apns_host = \"api.push.apple.com\"", "outgoing.apns_host"),
        ] {
            assert!(parse(text).unwrap_err().contains(key), "{text}");
        }
    }

    #[test]
    fn a_proxy_may_want_a_password() {
        let proxy = proxy("http://user:secret@proxy.example:3128/").unwrap().unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.example", 3_128));
        assert_eq!(proxy.authorization.as_deref(), Some("Basic dXNlcjpzZWNyZXQ="));
    }
}
