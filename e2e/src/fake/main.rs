//! A push service that is a fake, as a program: for clients in other languages.
//!
//! `cresset-fake web-push google` and `cresset-fake apns`. It prints where it is and whom to trust, as a line
//! of JSON; each line of JSON that it reads is a command, and has a line for an answer. It ends with its input.

use std::collections::HashMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use cresset_e2e::Outcome;
use cresset_e2e::fakes::{
    Apns, ApnsConfig, Clock, Protocols, PushService, PushServiceConfig, Style, Subscription,
};
use cresset_message::Timestamp;
use cresset_wire::es256::SigningKey;
use cresset_wire::webpush::{decode_base64, encode_base64};
use serde_json::{Value, json};
use tokio::sync::mpsc;

const USAGE: &str = "usage: cresset-fake web-push mozilla|google|apple|microsoft [http1] | apns";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("cresset-fake: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &[String]) -> Outcome<()> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["web-push", style, rest @ ..] => {
            let mut config = PushServiceConfig::new(read_style(style)?, "localhost", clock());
            if rest == ["http1"] {
                config.protocols = Protocols::Http1;
            }
            let mut fake =
                WebPush { service: PushService::start(config).await?, subscriptions: HashMap::new() };
            say(&json!({ "origin": fake.service.origin(), "ca": fake.service.authority().pem() }))?;
            answer_all(|command| fake.answer(command)).await
        }
        ["apns"] => {
            let apns = Apns::start(ApnsConfig::new(clock())).await?;
            say(&json!({ "port": apns.address().port(), "ca": apns.authority().pem() }))?;
            answer_all(|command| answer_apns(&apns, command)).await
        }
        _ => Err(USAGE.into()),
    }
}

#[expect(clippy::disallowed_methods, reason = "a tool, which is in the time of its clients")]
fn clock() -> Clock {
    Arc::new(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(now.as_micros() as u64)
    })
}

fn read_style(name: &str) -> Outcome<Style> {
    Ok(match name {
        "mozilla" => Style::Mozilla,
        "google" => Style::Google,
        "apple" => Style::Apple,
        "microsoft" => Style::Microsoft,
        _ => return Err(USAGE.into()),
    })
}

async fn answer_all(mut answer: impl FnMut(&Value) -> Outcome<Value>) -> Outcome<()> {
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        say(&answer(&serde_json::from_str(&line?)?)?)?;
    }
    Ok(())
}

/// Of the input, which a thread waits for.
fn lines() -> mpsc::Receiver<std::io::Result<String>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn say(value: &Value) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}

struct WebPush {
    service: PushService,
    subscriptions: HashMap<String, Subscription>,
}

impl WebPush {
    fn answer(&mut self, command: &Value) -> Outcome<Value> {
        match command["do"].as_str() {
            Some("subscribe") => {
                let key = command["key"].as_str().and_then(decode_base64);
                let subscription = self.service.subscribe(key.and_then(|key| key.try_into().ok()))?;
                let keys = &subscription.keys;
                let answer = json!({
                    "endpoint": subscription.endpoint,
                    "keys": { "p256dh": encode_base64(keys.p256dh), "auth": encode_base64(keys.auth) },
                });
                self.subscriptions.insert(subscription.endpoint.clone(), subscription);
                Ok(answer)
            }
            Some("unsubscribe") => {
                let subscription = self.subscriptions.get(text(command, "endpoint")?);
                self.service.unsubscribe(subscription.ok_or("there is no such subscription")?);
                Ok(json!({}))
            }
            Some("arrivals") => Ok(self
                .service
                .arrivals()
                .into_iter()
                .map(|arrival| {
                    json!({
                        "endpoint": arrival.endpoint,
                        "text": String::from_utf8_lossy(&arrival.plaintext),
                        "ttl": arrival.ttl,
                        "urgency": arrival.urgency,
                        "topic": arrival.topic,
                    })
                })
                .collect()),
            _ => Err("unknown command".into()),
        }
    }
}

fn answer_apns(apns: &Apns, command: &Value) -> Outcome<Value> {
    match command["do"].as_str() {
        Some("key") => {
            let pem = rcgen::KeyPair::generate()?.serialize_pem();
            let public = *SigningKey::from_pem(&pem)?.public();
            apns.add_key(
                text(command, "key_id")?,
                text(command, "team_id")?,
                public,
                &[text(command, "topic")?],
            );
            Ok(json!({ "pem": pem }))
        }
        Some("certificate") => {
            let bundle_id = text(command, "topic")?;
            let shown = apns.authority().client(bundle_id)?;
            apns.add_certificate(&shown.der, bundle_id);
            Ok(json!({ "certificate": shown.certificate_pem, "key": shown.key_pem }))
        }
        Some("device") => {
            apns.add_device(text(command, "token")?, text(command, "topic")?);
            Ok(json!({}))
        }
        Some("end") => {
            let since = command["since"].as_u64().ok_or("since is not given")?;
            apns.end_device(text(command, "token")?, "Unregistered", Timestamp::from_millis(since));
            Ok(json!({}))
        }
        Some("notifications") => Ok(apns
            .notifications()
            .into_iter()
            .map(|taken| json!({ "token": taken.token, "headers": taken.headers, "payload": taken.payload }))
            .collect()),
        _ => Err("unknown command".into()),
    }
}

fn text<'a>(command: &'a Value, name: &str) -> Outcome<&'a str> {
    Ok(command[name].as_str().ok_or_else(|| format!("{name} is not given"))?)
}
