//! How a receiver gets an identity, a token and its topics, and gets them anew when they are lost.

use std::time::{Duration, UNIX_EPOCH};

use super::state::{Registration, State, WebSubscription};
use super::{Event, Receiver};
use crate::web::SubscriptionKeys;
use crate::{App, Client, Credentials, DEFAULT_VAPID_KEY, Error, Installation, Register3};

/// As often do Google's SDKs show a token again: by that the server sees that the app lives.
const SHOWN_EVERY: Duration = Duration::from_secs(7 * 24 * 3_600);

/// An app that registers as Android apps do.
#[derive(Clone, Debug)]
pub struct AndroidApp {
    package: String,
    sender_id: String,
    firebase: Option<App>,
    certificate: Option<String>,
}

impl AndroidApp {
    /// `sender_id` is the project's number.
    pub fn new(package: impl Into<String>, sender_id: impl Into<String>) -> Self {
        Self { package: package.into(), sender_id: sender_id.into(), firebase: None, certificate: None }
    }

    /// With an installation of this app, by whose FID it may be addressed as well. Google demands
    /// one; Cresset does not.
    #[must_use]
    pub fn firebase(mut self, app: App) -> Self {
        self.firebase = Some(app);
        self
    }

    /// The SHA-1 of the certificate that signed the app, in lower-case hex; Google may demand it.
    #[must_use]
    pub fn certificate(mut self, sha1: impl Into<String>) -> Self {
        self.certificate = Some(sha1.into());
        self
    }
}

/// An app that registers as web apps do.
#[derive(Clone, Debug)]
pub struct WebApp {
    app: App,
    vapid_key: String,
}

impl WebApp {
    /// With the key that all apps have who have none of their own.
    pub fn new(app: App) -> Self {
        Self { app, vapid_key: DEFAULT_VAPID_KEY.into() }
    }

    /// The project's own public key, in unpadded base64url.
    #[must_use]
    pub fn vapid_key(mut self, key: impl Into<String>) -> Self {
        self.vapid_key = key.into();
        self
    }
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Android(AndroidApp),
    Web(WebApp),
}

impl Kind {
    /// Says apart the apps that one state may have been kept for.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Android(app) => {
                let firebase = app.firebase.as_ref().map_or("", |app| &app.app_id);
                format!("android {} {} {firebase}", app.package, app.sender_id)
            }
            Self::Web(WebApp { app, vapid_key }) => {
                format!("web {} {} {vapid_key}", app.project_id, app.app_id)
            }
        }
    }

    fn firebase(&self) -> Option<&App> {
        match self {
            Self::Android(app) => app.firebase.as_ref(),
            Self::Web(app) => Some(&app.app),
        }
    }
}

impl Receiver {
    /// An identity that the server knows, a token, and the topics: whatever of it is missing.
    pub(super) async fn enrol(&mut self) -> Result<Credentials, Error> {
        let device = self.check_in().await?;
        if let Err(error) = self.register(&device).await {
            self.doubted |= error.doubts_device();
            return Err(error);
        }
        self.join_topics(&device).await?;
        Ok(device)
    }

    async fn check_in(&mut self) -> Result<Credentials, Error> {
        match self.state.device {
            Some(device) if !self.doubted => return Ok(device),
            Some(device) if self.client.knows(&device).await? => {}
            Some(_) => {
                // What was registered under it is gone, too. The topics that the app wants stay.
                let topics = std::mem::take(&mut self.state.topics);
                self.state = State { topics, ..State::default() };
            }
            None => {}
        }
        let device = match self.state.device {
            Some(device) => device,
            None => self.client.check_in(None).await?,
        };
        self.state.device = Some(device);
        self.doubted = false;
        self.save()?;
        Ok(device)
    }

    async fn register(&mut self, device: &Credentials) -> Result<(), Error> {
        let (app, now) = (self.kind.name(), self.seconds());
        let known = self.state.registration.as_ref().filter(|known| known.app == app);
        let is_fresh = |known: &&Registration| now.saturating_sub(known.shown) < SHOWN_EVERY.as_secs();
        if known.filter(is_fresh).is_some() {
            return Ok(());
        }
        let before = known.map(|known| known.token.clone());
        let made = enlist(&self.client, &self.kind, device, known).await?;
        let known = self.state.registration.take().filter(|known| known.app == app);
        let web = made.web.or_else(|| known?.web);
        let registration =
            Registration { app, token: made.token, shown: now, installation: made.installation, web };
        if before.as_ref() != Some(&registration.token) {
            self.events.push_back(Event::Token(registration.token.clone()));
        }
        self.state.registration = Some(registration);
        self.save()
    }

    /// A new token is in no topic.
    async fn join_topics(&mut self, device: &Credentials) -> Result<(), Error> {
        let Some(token) = self.state.registration.as_ref().map(|known| known.token.clone()) else {
            return Ok(());
        };
        if self.state.in_topics.as_ref() == Some(&token) {
            return Ok(());
        }
        for topic in self.state.topics.clone() {
            match self.tell_topic(device, &topic, true).await {
                // A topic that is refused must not keep the app from all else.
                Err(error) if !error.is_passing() => {
                    self.state.topics.remove(&topic);
                    self.events.push_back(Event::TopicRefused { topic, error });
                }
                joined => joined?,
            }
        }
        self.state.in_topics = Some(token);
        self.save()
    }

    pub(super) async fn change_topic(&mut self, topic: &str, join: bool) -> Result<(), Error> {
        let name: cresset_message::Topic =
            topic.parse().map_err(|error| Error::Topic(topic.to_owned(), error))?;
        let device = self.enrol().await?;
        if let Err(error) = self.tell_topic(&device, name.as_str(), join).await {
            self.doubted |= error.doubts_device();
            if let (Error::Refused { status: 401 | 404, .. }, Some(known)) =
                (&error, &mut self.state.registration)
            {
                // The installation may be forgotten: it is registered anew at the next try.
                known.shown = 0;
            }
            return Err(error);
        }
        match join {
            true => self.state.topics.insert(name.as_str().to_owned()),
            false => self.state.topics.remove(name.as_str()),
        };
        self.save()
    }

    async fn tell_topic(&mut self, device: &Credentials, topic: &str, join: bool) -> Result<(), Error> {
        let Some(registration) = &mut self.state.registration else { return Ok(()) };
        match (&self.kind, &mut registration.installation) {
            (Kind::Web(WebApp { app, .. }), Some(installation)) => {
                *installation = self.client.renew_installation(app, installation).await?;
                self.client.change_topic_by_fid(app, installation, topic, join).await
            }
            _ => {
                let Kind::Android(app) = &self.kind else { return Ok(()) };
                let form = topic_form(app, &registration.token, topic);
                let form = if join { form } else { form.delete() };
                self.client.register3(device, &form).await.map(drop)
            }
        }
    }

    fn seconds(&self) -> u64 {
        self.surroundings.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
    }
}

/// What registering gave; `web` where a new subscription was made.
struct Enlisted {
    token: String,
    installation: Option<Installation>,
    web: Option<WebSubscription>,
}

/// Registers, or shows what is registered already: the token then stays.
async fn enlist(
    client: &Client,
    kind: &Kind,
    device: &Credentials,
    known: Option<&Registration>,
) -> Result<Enlisted, Error> {
    let installation = match kind.firebase() {
        Some(app) => Some(installation(client, app, known).await?),
        None => None,
    };
    match kind {
        Kind::Android(app) => {
            let token = client.register3(device, &form(app, installation.as_ref())).await?;
            Ok(Enlisted { token, installation, web: None })
        }
        Kind::Web(WebApp { app, vapid_key }) => {
            let new = match known.and_then(|known| known.web.as_ref()) {
                Some(_) => None,
                None => Some(WebSubscription { subtype: subtype()?, keys: SubscriptionKeys::generate()? }),
            };
            let web = new.as_ref().or_else(|| known?.web.as_ref());
            let (Some(web), Some(installation)) = (web, installation) else {
                return Err(Error::State("there is no installation".into()));
            };
            let token =
                client.subscribe(device, app, vapid_key, &web.subtype, &installation, &web.keys).await?;
            Ok(Enlisted { token, installation: Some(installation), web: new })
        }
    }
}

/// The known one with a fresh auth token; another one if the server has forgotten it.
async fn installation(
    client: &Client,
    app: &App,
    known: Option<&Registration>,
) -> Result<Installation, Error> {
    if let Some(installation) = known.and_then(|known| known.installation.as_ref()) {
        match client.renew_installation(app, installation).await {
            Err(Error::Refused { status: 401 | 404, .. }) => {}
            renewed => return renewed,
        }
    }
    client.create_installation(app).await
}

fn form(app: &AndroidApp, installation: Option<&Installation>) -> Register3 {
    let mut form = Register3::android(&app.package, &app.sender_id);
    if let (Some(Installation { fid, auth_token, .. }), Some(firebase)) = (installation, &app.firebase) {
        form = form
            .with("X-appid", fid)
            .with("X-gmp_app_id", &firebase.app_id)
            .with("X-Goog-Firebase-Installations-Auth", auth_token);
    }
    if let Some(certificate) = &app.certificate {
        form = form.with("cert", certificate);
    }
    form
}

/// As Android's SDK up to 25.0 changes topics (`protocol/device-registration.md` §2).
fn topic_form(app: &AndroidApp, token: &str, topic: &str) -> Register3 {
    let topic = format!("/topics/{topic}");
    Register3::android(&app.package, token)
        .with("X-scope", &topic)
        .with("X-gcm.topic", &topic)
        .with("X-subscription", token)
}

/// As push receivers name theirs: another for each subscription.
fn subtype() -> Result<String, Error> {
    let random: [u8; 16] = cresset_wire::webpush::random(&aws_lc_rs::rand::SystemRandom::new())?;
    Ok(format!("wp:receiver.push.com#{}", cresset_wire::webpush::encode_base64(random)))
}

impl Client {
    /// Whether check-in still gives the device the identity that it has.
    async fn knows(&self, device: &Credentials) -> Result<bool, Error> {
        match self.check_in(Some(device)).await {
            Ok(identity) => Ok(identity == *device),
            Err(Error::Refused { status: 401, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
