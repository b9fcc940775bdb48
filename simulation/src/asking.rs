//! What devices and their apps ask of the server, as its APIs would.

use std::sync::Arc;

use cresset_identity::{Credentials, Project, Register3, Subscription};
use cresset_message::{DeviceId, ProjectNumber, Timestamp};

use crate::life::Parts;
use crate::model::Kind;

/// A point of P-256 and a secret (RFC 8291 §5): every page of the world has the same.
const P256DH: &str =
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
/// The Web Push key of every project (RFC 8291 §5), and what it is of.
pub(crate) const WEB_PUSH_KEY: &str = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw";
const PUBLIC_KEY: &str =
    "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8";
const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

/// Why something was not done. Nobody knows then whether it was.
pub(crate) type Failure = String;

/// An app as the server's APIs are told of it.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) app: usize,
    pub(crate) kind: Kind,
    pub(crate) device: DeviceId,
    pub(crate) project: ProjectNumber,
    pub(crate) web_app: String,
    /// Of who is behind a push service, the subscription there.
    pub(crate) outside: Option<u64>,
}

/// Where a push service is asked to carry to an app.
pub(crate) fn endpoint(app: usize, generation: u64) -> String {
    format!("https://push.example/{app}/{generation}")
}

/// The app, and which of its subscriptions.
pub(crate) fn app_at(endpoint: &str) -> Option<(usize, u64)> {
    let (app, generation) = endpoint.strip_prefix("https://push.example/")?.split_once('/')?;
    Some((app.parse().ok()?, generation.parse().ok()?))
}

pub(crate) fn project_id(project: usize) -> String {
    format!("project-{project}")
}

/// The app of a stanza, by its category or its subtype.
pub(crate) fn app_of(category: &str, subtype: Option<&str>) -> Option<usize> {
    match subtype {
        Some(subtype) => subtype.strip_prefix("wp:https://app-")?.split('.').next()?.parse().ok(),
        None => category.strip_prefix("com.example.app")?.parse().ok(),
    }
}

pub(crate) async fn check_in(parts: &Parts, now: Timestamp) -> Result<(DeviceId, u64), Failure> {
    let made = parts.identity.check_in(Credentials::default(), now).await.map_err(|e| e.to_string())?;
    Ok((made.device, made.security_token))
}

impl Asker {
    fn form(&self) -> Register3 {
        match self.kind {
            Kind::Android => Register3 {
                app: format!("com.example.app{}", self.app),
                sender: self.project.to_string(),
                ..Register3::default()
            },
            Kind::Web => Register3 {
                app: "org.chromium.linux".into(),
                subtype: format!("wp:https://app-{}.example/", self.app),
                sender: P256DH.into(),
                ..Register3::default()
            },
        }
    }

    /// The installation of a page: the same whenever it asks.
    async fn installation(&self, parts: &Parts, now: Timestamp) -> Result<(Arc<Project>, String), Failure> {
        let project = parts.identity.project(&self.project.to_string()).ok_or("no such project")?;
        let fid = match self.outside {
            None => format!("cAAAAAAAAAAAAAAAAA{:04}", self.app),
            Some(generation) => format!("dAAAAAAAAAAAAA{generation:04}{:04}", self.app),
        };
        let made = parts.identity.create_installation(&project, &self.web_app, Some(&fid), now).await;
        Ok((project, made.map_err(|e| e.to_string())?.auth_token))
    }

    /// Registers, or points a registration that is there at this device; gives the token.
    pub(crate) async fn register(&self, parts: &Parts, now: Timestamp) -> Result<String, Failure> {
        if let Some(generation) = self.outside {
            let (project, auth_token) = self.installation(parts, now).await?;
            let subscription = Subscription {
                endpoint: endpoint(self.app, generation),
                p256dh: P256DH.into(),
                auth: AUTH.into(),
                application_pub_key: PUBLIC_KEY.into(),
                ..Subscription::default()
            };
            let made = parts.identity.register_web(&project, &auth_token, &subscription, now).await;
            return made.map(|made| made.token).map_err(|e| e.to_string());
        }
        let token = parts.identity.register3(self.device, &self.form(), now).await;
        let token = token.map_err(|e| e.to_string())?;
        if self.kind == Kind::Android {
            return Ok(token);
        }
        let (project, auth_token) = self.installation(parts, now).await?;
        let subscription = Subscription {
            endpoint: format!("https://fcm.googleapis.com/fcm/send/{token}"),
            p256dh: P256DH.into(),
            auth: AUTH.into(),
            ..Subscription::default()
        };
        let made = parts.identity.register_web(&project, &auth_token, &subscription, now).await;
        made.map(|made| made.token).map_err(|e| e.to_string())
    }

    pub(crate) async fn unregister(&self, parts: &Parts, token: &str, now: Timestamp) -> Result<(), Failure> {
        if self.kind == Kind::Android {
            let form = Register3 { sender: "*".into(), ..self.form() };
            let done = parts.identity.unregister3(self.device, &form, now).await;
            return done.map(drop).map_err(|e| e.to_string());
        }
        let (project, auth_token) = self.installation(parts, now).await?;
        match parts.identity.unregister_web(&project, &auth_token, token, now).await {
            Ok(()) | Err(cresset_identity::RegistrationRefusal::NotFound) => Ok(()),
            Err(e) => Err(e.to_string()),
        }
    }
}
