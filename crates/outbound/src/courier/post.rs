//! From a delivery to the request of its push service, with the keys of its project.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cresset_delivery::{Content, Delivery};
use cresset_identity::{ApnsCredential, ApnsSecret, Identity};
use cresset_message::{ApnsError, Layout, ProjectNumber, Recipient, Rejection, Timestamp};
use cresset_wire::es256::SigningKey;
use cresset_wire::payload::{self, apns as apns_payload};
use cresset_wire::webpush::vapid::VapidKey;

use super::books::Lane;
use crate::apns::{Credential, Credentials, Environment, apns_id};
use crate::webpush::{Endpoint, Headers};
use crate::{Blame, Outcome, Scope, Told, apns, webpush};

/// Keys that are kept ready.
const MAX_KEPT: usize = 4_096;

/// An app, or a Web Push key.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Who {
    Apns { project: ProjectNumber, bundle_id: String, sandbox: bool },
    Web { project: ProjectNumber, key: String },
}

pub(super) struct Post {
    identity: Arc<Identity>,
    webpush: Option<webpush::Client>,
    apns: Option<apns::Client>,
    contact: String,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    vapid: HashMap<[u8; 32], Arc<VapidKey>>,
    /// With what it was made of: another one takes its place.
    apns: HashMap<(ProjectNumber, String), (Vec<ApnsCredential>, Arc<Credentials>)>,
    /// What a service said of a credential, and until when it is believed.
    distrusted: HashMap<Who, (Rejection, Timestamp)>,
}

impl Post {
    pub(super) fn new(
        identity: Arc<Identity>,
        webpush: Option<webpush::Client>,
        apns: Option<apns::Client>,
        contact: String,
    ) -> Self {
        Self { identity, webpush, apns, contact, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a recipient is to be reached. `None`: the operator does not let anything out there, and it waits.
    pub(super) fn lane(&self, recipient: &Recipient) -> Option<Lane> {
        match &recipient.layout {
            Layout::WebService { endpoint, .. } => {
                let client = self.webpush.as_ref()?;
                let Ok(endpoint) = endpoint.parse::<Endpoint>() else { return Some(Lane::Web("".into())) };
                // What is permitted no more waits: it may be again, and the registration is not dead.
                client.permits(&endpoint).then(|| Lane::Web(endpoint.origin().into()))
            }
            Layout::Apns { sandbox, .. } if self.apns.is_some() => Some(Lane::Apns {
                project: recipient.registration.project.0,
                bundle_id: recipient.category.as_str().into(),
                sandbox: *sandbox,
            }),
            _ => None,
        }
    }

    /// Why its push service would not take a message, as far as is known.
    pub(super) fn refusal(&self, recipient: &Recipient, now: Timestamp) -> Option<Rejection> {
        let who = who(recipient)?;
        let known = match &who {
            Who::Web { key, .. } => self.vapid(recipient, key).is_some(),
            Who::Apns { sandbox, .. } => {
                self.credentials(recipient).is_some_and(|known| known.of(environment(*sandbox)).is_some())
            }
        };
        if !known {
            return Some(Rejection::ThirdPartyAuth(None));
        }
        let mut kept = self.kept();
        match kept.distrusted.get(&who) {
            Some((rejection, until)) if now < *until => Some(rejection.clone()),
            Some(_) => {
                kept.distrusted.remove(&who);
                None
            }
            None => None,
        }
    }

    /// Its credential is not accepted; senders are told so for a while.
    pub(super) fn distrust(&self, recipient: &Recipient, told: &str, until: Timestamp) {
        let Some(who) = who(recipient) else { return };
        let said = told.split_once(' ').and_then(|(status, reason)| {
            Some(ApnsError { status: status.parse().ok()?, reason: reason.to_owned() })
        });
        let apns = said.filter(|_| matches!(who, Who::Apns { .. }));
        let mut kept = self.kept();
        if kept.distrusted.len() >= MAX_KEPT {
            kept.distrusted.clear();
        }
        kept.distrusted.insert(who, (Rejection::ThirdPartyAuth(apns), until));
    }

    /// One attempt.
    pub(super) async fn send(&self, delivery: &Delivery, now: Timestamp) -> Outcome {
        let Content::Message(message) = &delivery.content else {
            return rejected(Blame::Us, "there is no form for it");
        };
        let recipient = &*delivery.recipient;
        match (&recipient.layout, &self.webpush, &self.apns) {
            (Layout::WebService { endpoint, keys, application_pub_key }, Some(client), _) => {
                let Ok(endpoint) = endpoint.parse() else {
                    return rejected(Blame::Token, "the endpoint is none");
                };
                let Some(vapid) = self.vapid(recipient, application_pub_key) else {
                    return rejected(Blame::Credential, "the project has no such Web Push key");
                };
                let headers = Headers::of(message);
                let plaintext = payload::web_app(message, recipient, delivery.id, delivery.priority);
                let push = webpush::Push {
                    endpoint,
                    keys: keys.clone(),
                    vapid,
                    // What is left of it.
                    ttl: if delivery.ttl.is_zero() { delivery.ttl } else { delivery.expires.since(now) },
                    urgency: headers.urgency,
                    topic: headers.topic,
                    plaintext: plaintext.into(),
                };
                client.send(&push, now).await
            }
            (Layout::Apns { token, sandbox }, _, Some(client)) => {
                let Some(credentials) = self.credentials(recipient) else {
                    return rejected(Blame::Credential, "no credential for APNs");
                };
                let apns_id = apns_id(delivery.id, recipient.registration);
                let request =
                    apns_payload::request(message, recipient, delivery.id, &apns_id, delivery.accepted());
                let push = apns::Push::new(request, credentials, environment(*sandbox), token.clone());
                client.send(&push, now).await
            }
            _ => Outcome::Later {
                after: std::time::Duration::from_secs(60),
                scope: Scope::Recipient,
                told: Told::new(None, "the operator does not let it out"),
            },
        }
    }

    fn vapid(&self, recipient: &Recipient, public: &str) -> Option<Arc<VapidKey>> {
        let project = self.identity.project(&recipient.registration.project.to_string())?;
        let known = project.web_push_key(public)?;
        let mut kept = self.kept();
        if let Some(key) = kept.vapid.get(&known.scalar) {
            return Some(key.clone());
        }
        let key = SigningKey::from_scalar(&known.scalar).ok()?;
        let key = Arc::new(VapidKey { key, subject: self.contact.clone() });
        if kept.vapid.len() >= MAX_KEPT {
            kept.vapid.clear();
        }
        kept.vapid.insert(known.scalar, key.clone());
        Some(key)
    }

    /// The credentials of an app. They are kept, for with them goes a signed token that Apple does not like
    /// to see renewed.
    fn credentials(&self, recipient: &Recipient) -> Option<Arc<Credentials>> {
        let number = recipient.registration.project;
        let project = self.identity.project(&number.to_string())?;
        let of_app = |known: &&ApnsCredential| known.bundle_id == recipient.category;
        let given: Vec<ApnsCredential> = project.apns.iter().filter(of_app).cloned().collect();
        if given.is_empty() {
            return None;
        }
        let place = (number, recipient.category.clone());
        let mut kept = self.kept();
        if let Some((of, made)) = kept.apns.get(&place)
            && *of == given
        {
            return Some(made.clone());
        }
        let mut made = Credentials::default();
        for known in &given {
            let credential = match &known.secret {
                ApnsSecret::Key { pem, key_id, team_id } => Credential::key(pem, key_id, team_id),
                ApnsSecret::Certificate { chain_pem, key_pem } => {
                    Credential::certificate(chain_pem.as_bytes(), key_pem.as_bytes())
                }
            };
            match credential.map(Arc::new) {
                Ok(credential) => {
                    made.production.extend(known.production.then(|| credential.clone()));
                    made.sandbox.extend(known.sandbox.then_some(credential));
                }
                Err(e) => tracing::error!(project = %number, ?known, "a credential is not usable: {e}"),
            }
        }
        let made = Arc::new(made);
        if kept.apns.len() >= MAX_KEPT {
            kept.apns.clear();
        }
        kept.apns.insert(place, (given, made.clone()));
        Some(made)
    }
}

fn who(recipient: &Recipient) -> Option<Who> {
    let project = recipient.registration.project;
    match &recipient.layout {
        Layout::WebService { application_pub_key, .. } => {
            Some(Who::Web { project, key: application_pub_key.clone() })
        }
        Layout::Apns { sandbox, .. } => {
            Some(Who::Apns { project, bundle_id: recipient.category.clone(), sandbox: *sandbox })
        }
        _ => None,
    }
}

fn environment(sandbox: bool) -> Environment {
    if sandbox { Environment::Sandbox } else { Environment::Production }
}

fn rejected(blame: Blame, why: &str) -> Outcome {
    Outcome::Rejected { blame, told: Told::new(None, why) }
}
