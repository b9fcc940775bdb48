//! Clients and fakes that know each other.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use bytes::Bytes;
use cresset_message::Timestamp;
use cresset_outbound::apns::{self, Credential, Credentials, Environment};
use cresset_outbound::webpush::{self, Urgency};
use cresset_outbound::{Blame, HostPattern, Outcome, Randomness, Resolve, Scope};
use cresset_wire::es256::SigningKey;
use cresset_wire::webpush::vapid::VapidKey;

use crate::fakes::{Apns, ApnsConfig, Clock, Protocols, PushService, PushServiceConfig, Style, Subscription};

pub(crate) const START: Timestamp = Timestamp::from_secs(1_700_000_000);

/// For anything that a test waits for: milliseconds, unless the machine is very busy.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn randomness() -> Randomness {
    Arc::new(SystemRandom::new())
}

/// A time that tests move.
#[derive(Clone, Default)]
pub(crate) struct Time(Arc<AtomicU64>);

impl Time {
    pub(crate) fn now(&self) -> Timestamp {
        START + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let time = self.clone();
        Arc::new(move || time.now())
    }
}

/// Names that lead to fakes.
#[derive(Clone, Default)]
pub(crate) struct Names(pub(crate) HashMap<String, SocketAddr>);

impl Resolve for Names {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        _port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        let found = self.0.get(host).copied();
        Box::pin(async move { found.map(|address| vec![address]).ok_or(io::ErrorKind::NotFound.into()) })
    }
}

pub(crate) async fn patiently<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: did not happen within {} s", PATIENCE.as_secs()),
    }
}

/// `accepted`, `gone`, `rejected Token`, `later 60 Recipient`: to compare with.
pub(crate) fn short(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted { .. } => "accepted".to_owned(),
        Outcome::Gone { .. } => "gone".to_owned(),
        Outcome::Rejected { blame, .. } => format!("rejected {blame:?}"),
        // A date is a whole second, and the moment to count from is none.
        Outcome::Later { after, scope, .. } => {
            format!("later {} {scope:?}", after.as_millis().div_ceil(1_000))
        }
    }
}

pub(crate) fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Accepted { .. } => "",
        Outcome::Gone { told, .. } | Outcome::Rejected { told, .. } | Outcome::Later { told, .. } => {
            &told.reason
        }
    }
}

pub(crate) fn is_later(outcome: &Outcome, scope: Scope) -> bool {
    matches!(outcome, Outcome::Later { scope: found, .. } if *found == scope)
}

pub(crate) fn is_rejected(outcome: &Outcome, blame: Blame) -> bool {
    matches!(outcome, Outcome::Rejected { blame: found, .. } if *found == blame)
}

/// A Web Push service and a client that may reach it.
pub(crate) struct Web {
    pub(crate) service: PushService,
    pub(crate) client: webpush::Client,
    pub(crate) vapid: Arc<VapidKey>,
    pub(crate) time: Time,
}

pub(crate) const HOSTS: [(Style, &str); 4] = [
    (Style::Mozilla, "updates.push.services.mozilla.com"),
    (Style::Google, "fcm.googleapis.com"),
    (Style::Apple, "web.push.apple.com"),
    (Style::Microsoft, "wns2-par02p.notify.windows.com"),
];

impl Web {
    pub(crate) async fn of(style: Style) -> Self {
        Self::with(style, Protocols::Both, |_| {}).await
    }

    pub(crate) async fn with(
        style: Style,
        protocols: Protocols,
        configure: impl FnOnce(&mut webpush::Config),
    ) -> Self {
        let time = Time::default();
        let host = HOSTS.iter().find(|(of, _)| *of == style).unwrap().1;
        let config = PushServiceConfig { protocols, ..PushServiceConfig::new(style, host, time.clock()) };
        let service = PushService::start(config).await.unwrap();
        let names = Names([(host.to_owned(), service.address())].into());
        let mut config = webpush::Config::new(service.authority().roots().unwrap());
        config.private = vec![HostPattern::new(host)];
        configure(&mut config);
        let client = webpush::Client::new(config, Arc::new(names), randomness()).unwrap();
        Self { service, client, vapid: vapid(3), time }
    }

    pub(crate) fn subscribe(&self) -> Subscription {
        self.service.subscribe(Some(*self.vapid.key.public())).unwrap()
    }

    pub(crate) fn push(&self, to: &Subscription, text: &str) -> webpush::Push {
        webpush::Push {
            endpoint: to.endpoint.parse().unwrap(),
            keys: to.keys.clone(),
            vapid: Arc::clone(&self.vapid),
            ttl: Duration::from_secs(3_600),
            urgency: Some(Urgency::High),
            topic: None,
            plaintext: Bytes::from(text.to_owned()),
        }
    }

    pub(crate) async fn send(&self, push: &webpush::Push) -> Outcome {
        patiently("an outcome", self.client.send(push, self.time.now())).await
    }
}

pub(crate) fn vapid(scalar: u8) -> Arc<VapidKey> {
    let key = SigningKey::from_scalar(&[scalar; 32]).unwrap();
    Arc::new(VapidKey { key, subject: "mailto:push@example.com".into() })
}

/// Both environments of APNs and a client that may reach them.
pub(crate) struct Apple {
    pub(crate) production: Apns,
    pub(crate) sandbox: Apns,
    pub(crate) client: apns::Client,
    pub(crate) key: Arc<Credential>,
    pub(crate) time: Time,
}

pub(crate) const BUNDLE: &str = "com.example.app";
pub(crate) const TEAM: &str = "DEF123GHIJ";
pub(crate) const KEY: &str = "ABC123DEFG";

/// A device of so many.
pub(crate) fn device(number: usize) -> String {
    format!("{number:064x}")
}

impl Apple {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}, |_| {}).await
    }

    pub(crate) async fn with(
        fake: impl Fn(&mut ApnsConfig),
        configure: impl FnOnce(&mut apns::Config),
    ) -> Self {
        let time = Time::default();
        let start = async || {
            let mut config = ApnsConfig::new(time.clock());
            fake(&mut config);
            Apns::start(config).await.unwrap()
        };
        let (production, sandbox) = (start().await, start().await);
        let bundle = [production.authority().pem(), sandbox.authority().pem()].concat();
        let roots = cresset_outbound::tls::with_bundle(rustls::RootCertStore::empty(), bundle.as_bytes());
        let mut config = apns::Config::new(roots.unwrap());
        config.production.port = production.address().port();
        config.sandbox.port = sandbox.address().port();
        configure(&mut config);
        let names = Names(
            [
                ("api.push.apple.com".to_owned(), production.address()),
                ("api.sandbox.push.apple.com".to_owned(), sandbox.address()),
            ]
            .into(),
        );
        let client = apns::Client::new(config, Arc::new(names), randomness());
        let (pem, public) = p8();
        for environment in [&production, &sandbox] {
            environment.add_key(KEY, TEAM, public, &[BUNDLE]);
        }
        let key = Arc::new(Credential::key(&pem, KEY, TEAM).unwrap());
        Self { production, sandbox, client, key, time }
    }

    /// The key for production alone.
    pub(crate) fn credentials(&self) -> Arc<Credentials> {
        Arc::new(Credentials { production: vec![Arc::clone(&self.key)], sandbox: Vec::new() })
    }

    pub(crate) fn push(&self, token: &str) -> apns::Push {
        let headers = [
            ("apns-topic", BUNDLE),
            ("apns-push-type", "alert"),
            ("apns-id", "eabeae54-14a8-4e5b-b60b-1697f925ec7b"),
            ("apns-expiration", "1700003600"),
            ("apns-priority", "10"),
        ];
        apns::Push {
            credentials: self.credentials(),
            environment: Environment::Production,
            token: token.to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            payload: Bytes::from_static(br#"{"aps":{"alert":{"title":"t"}}}"#),
        }
    }

    pub(crate) async fn send(&self, push: &apns::Push) -> Outcome {
        patiently("an outcome", self.client.send(push, self.time.now())).await
    }
}

/// A new key as Apple gives it out, and its public half.
pub(crate) fn p8() -> (String, [u8; 65]) {
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = key.serialize_pem();
    let public = *SigningKey::from_pem(&pem).unwrap().public();
    (pem, public)
}
