//! Pushes to others' services: what sealing and signing cost, and how many a second two fakes take.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use bytes::Bytes;
use clap::Args;
use cresset_e2e::fakes::{Apns, ApnsConfig, Clock, PushService, PushServiceConfig, Style, Subscription};
use cresset_e2e::{Outcome, now};
use cresset_outbound::apns::{self, Credential, Credentials, Environment};
use cresset_outbound::webpush::{self, Push};
use cresset_outbound::{HostPattern, Outcome as Pushed, Resolve};
use cresset_wire::es256::SigningKey;
use cresset_wire::webpush::KeyReuse;
use cresset_wire::webpush::vapid::VapidKey;
use futures_util::StreamExt as _;
use futures_util::stream;

use crate::direct::at_least_one;
use crate::figures::Spread;
use crate::process::{load, own_cpu};

/// Of a message as people send them (`protocol` notes measure the same).
const PLAINTEXT: [u8; 240] = [b'x'; 240];

const HOST: &str = "push.example.com";

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Messages that are sealed in one round
    #[arg(long, default_value_t = 5_000, value_parser = at_least_one)]
    seals: usize,
    /// Pushes of one run to each service
    #[arg(long, default_value_t = 50_000, value_parser = at_least_one)]
    pushes: usize,
    /// Pushes without an answer, at a time
    #[arg(long, default_value_t = 400, value_parser = at_least_one)]
    at_once: usize,
    #[arg(long, default_value_t = 5, value_parser = at_least_one)]
    rounds: usize,
}

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let options = options.clone();
    // Client and fake have two threads, as they would have two cores.
    let run = move || -> Outcome<()> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            sealing(&options)?;
            web_push(&options).await?;
            apple(&options).await
        })
    };
    tokio::task::spawn_blocking(run).await?
}

/// The client's whole request beside the cryptography alone, in turns.
fn sealing(options: &Options) -> Outcome<()> {
    let (fresh, cached) = (client(KeyReuse::Never)?, client(rotating())?);
    let receiver = receiver()?;
    let push = push_to(&receiver)?;
    let (mut bare_times, mut whole_times, mut cached_times) = (vec![], vec![], vec![]);
    for _ in 0..options.rounds {
        bare_times.push(micros(options.seals, || bare(&receiver).map_err(|_| "cannot seal".into()))?);
        let whole = |client: &webpush::Client| {
            micros(options.seals, || {
                client.request(&push, now()).map(drop).map_err(|told| format!("{told:?}").into())
            })
        };
        whole_times.push(whole(&fresh)?);
        cached_times.push(whole(&cached)?);
    }
    let share: Vec<f64> =
        bare_times.iter().zip(&whole_times).map(|(bare, whole)| bare / whole * 100.0).collect();
    println!("outbound: sealing 240 bytes, µs of one core: median (least to most)   (load {})", load());
    println!("  the cryptography alone:            {}", Spread::of(bare_times));
    println!("  the request, sealed and signed:    {}", Spread::of(whole_times));
    println!("  so many per cent of it are cryptography: {}", Spread::of(share));
    println!("  with a pair that is kept:          {}", Spread::of(cached_times));
    Ok(())
}

fn rotating() -> KeyReuse {
    KeyReuse::Rotating { period: Duration::from_secs(600), capacity: 10_000 }
}

fn micros(count: usize, mut work: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    let spent = || nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    let begun = spent()?;
    for _ in 0..count {
        work()?;
    }
    Ok((spent()? - begun).as_secs_f64() * 1e6 / count as f64)
}

/// RFC 8291 straight on the library: a pair, its agreement, five HMACs, one AES-GCM.
fn bare(receiver: &Subscription) -> Result<(), Unspecified> {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    fn derive<const N: usize>(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> Result<[u8; N], Unspecified> {
        let mut out = [0; N];
        Salt::new(HKDF_SHA256, salt).extract(secret).expand(info, Length(N))?.fill(&mut out)?;
        Ok(out)
    }
    let pair = PrivateKey::generate(&ECDH_P256)?;
    let public = pair.compute_public_key()?;
    let peer = UnparsedPublicKey::new(&ECDH_P256, &receiver.keys.p256dh);
    let shared: Vec<u8> = agree(&pair, peer, Unspecified, |secret| Ok(secret.to_vec()))?;
    let mut salt = [0; 16];
    SystemRandom::new().fill(&mut salt)?;
    let info: [&[u8]; 3] = [b"WebPush: info\0", &receiver.keys.p256dh, public.as_ref()];
    let secret: [u8; 32] = derive(&receiver.keys.auth, &shared, &info)?;
    let key: [u8; 16] = derive(&salt, &secret, &[b"Content-Encoding: aes128gcm\0"])?;
    let nonce: [u8; 12] = derive(&salt, &secret, &[b"Content-Encoding: nonce\0"])?;
    let mut body = Vec::with_capacity(PLAINTEXT.len() + 103);
    body.extend_from_slice(&PLAINTEXT);
    body.push(2);
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key)?);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut body)?;
    std::hint::black_box(body);
    Ok(())
}

async fn web_push(options: &Options) -> Outcome<()> {
    let config = PushServiceConfig { keep: 0, ..PushServiceConfig::new(Style::Mozilla, HOST, clock()) };
    let service = PushService::start(config).await?;
    let mut config = webpush::Config::new(service.authority().roots()?);
    config.private = vec![HostPattern::new(HOST)];
    let names = Arc::new(Names([(HOST.to_owned(), service.address())].into()));
    let client = webpush::Client::new(config, names, Arc::new(SystemRandom::new()))?;
    let push = push_to(&service.subscribe(None)?)?;
    let mut rates = Vec::new();
    for _ in 0..options.rounds {
        rates.push(rate(options, |_| client.send(&push, now())).await?);
    }
    report("Web Push", rates, service.taken(), service.counts().connections, options)
}

async fn apple(options: &Options) -> Outcome<()> {
    const TOPIC: &str = "com.example.app";
    let fake = Apns::start(ApnsConfig { keep: 0, ..ApnsConfig::new(clock()) }).await?;
    let pem = rcgen::KeyPair::generate()?.serialize_pem();
    fake.add_key("ABC123DEFG", "DEF123GHIJ", *SigningKey::from_pem(&pem)?.public(), &[TOPIC]);
    let token = "ab".repeat(32);
    fake.add_device(&token, TOPIC);
    let mut config = apns::Config::new(fake.authority().roots()?);
    config.production.port = fake.address().port();
    // So that four connections are needed.
    config.streams = (options.at_once / 4).max(1);
    let names = Arc::new(Names([(config.production.name.clone(), fake.address())].into()));
    let client = apns::Client::new(config, names, Arc::new(SystemRandom::new()));
    let key = Arc::new(Credential::key(&pem, "ABC123DEFG", "DEF123GHIJ")?);
    let headers = [("apns-topic", TOPIC), ("apns-push-type", "alert"), ("apns-priority", "10")];
    let push = apns::Push {
        credentials: Arc::new(Credentials { production: vec![key], sandbox: Vec::new() }),
        environment: Environment::Production,
        token,
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        payload: Bytes::from(format!(r#"{{"aps":{{"alert":"{}"}}}}"#, "x".repeat(200))),
    };
    let mut rates = Vec::new();
    for _ in 0..options.rounds {
        rates.push(rate(options, |_| client.send(&push, now())).await?);
    }
    report("APNs", rates, fake.taken(), fake.counts().connections, options)
}

fn report(
    name: &str,
    rates: Vec<(f64, f64)>,
    taken: u64,
    connections: u64,
    options: &Options,
) -> Outcome<()> {
    let wanted = (options.pushes * options.rounds) as u64;
    if taken != wanted {
        return Err(format!("{name}: {taken} of {wanted} arrived").into());
    }
    let (rates, cpu): (Vec<f64>, Vec<f64>) = rates.into_iter().unzip();
    println!(
        "outbound: {name}, {} pushes a run over {connections} connections   (load {})",
        options.pushes,
        load()
    );
    println!("  pushes a second:                     {}", Spread::of(rates));
    println!("  µs of CPU a push, the fake's with it: {}", Spread::of(cpu));
    Ok(())
}

/// Pushes a second, and microseconds of CPU time for each.
async fn rate<F: Future<Output = Pushed>>(
    options: &Options,
    send: impl Fn(usize) -> F,
) -> Outcome<(f64, f64)> {
    let (begun, spent) = (Instant::now(), own_cpu()?);
    let mut outcomes = stream::iter(0..options.pushes).map(send).buffer_unordered(options.at_once);
    while let Some(outcome) = outcomes.next().await {
        if !matches!(outcome, Pushed::Accepted { .. }) {
            return Err(format!("a push was not accepted: {outcome:?}").into());
        }
    }
    let cpu = (own_cpu()? - spent).as_secs_f64() * 1e6 / options.pushes as f64;
    Ok((options.pushes as f64 / begun.elapsed().as_secs_f64(), cpu))
}

fn client(reuse: KeyReuse) -> Outcome<webpush::Client> {
    let mut config = webpush::Config::new(rustls::RootCertStore::empty());
    config.key_reuse = reuse;
    Ok(webpush::Client::new(config, Arc::new(Names::default()), Arc::new(SystemRandom::new()))?)
}

/// A subscription that nobody listens to.
fn receiver() -> Outcome<Subscription> {
    let pair = cresset_wire::webpush::KeyPair::generate(&SystemRandom::new())?;
    let keys = cresset_message::WebKeys { p256dh: *pair.public(), auth: [7; 16] };
    Ok(Subscription::of(&format!("https://{HOST}/wpush/v2/x"), keys))
}

fn push_to(subscription: &Subscription) -> Outcome<Push> {
    let key = SigningKey::from_scalar(&[3; 32])?;
    Ok(Push {
        endpoint: subscription.endpoint.parse()?,
        keys: subscription.keys.clone(),
        vapid: Arc::new(VapidKey { key, subject: "mailto:push@example.com".into() }),
        ttl: Duration::from_secs(3_600),
        urgency: None,
        topic: None,
        plaintext: Bytes::from_static(&PLAINTEXT),
    })
}

fn clock() -> Clock {
    Arc::new(now)
}

#[derive(Default)]
struct Names(HashMap<String, SocketAddr>);

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
