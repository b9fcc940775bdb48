//! The courier: brings what waits for the registrations that push services carry, and tells what became
//! of it. The queues are `delivery`'s, durable; what is here is who is being served now.
//!
//! Each registration that has something waiting has a visit: its deliveries are read in their order and sent
//! one after the other, until none is left or the service asks to wait. Visits to one push service stand in
//! a lane of their own, so that one that is slow or gone delays only its own.

mod books;
mod counters;
mod errands;
mod post;

use std::sync::Arc;
use std::time::Duration;

use cresset_delivery::{Carrier, Content, Courier as Calls, Delivery, Dispatcher, Dropped, Handoff};
use cresset_identity::Identity;
use cresset_message::{
    DeviceId, Layout, ProjectNumber, Recipient, RegistrationId, Rejection, SlotSet, Timestamp,
};
use cresset_wire::webpush::random;
use tokio::sync::watch;

use self::books::{Books, Entered, Lane};
use self::counters::Counters;
pub use self::counters::{Snapshot, TOLD};
use self::errands::Errands;
use self::post::Post;
use crate::apns::Environment;
use crate::{Blame, Outcome, Randomness, Scope, apns, webpush};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The store could not be asked; nothing more is known here, and nothing more would help.
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What the courier may occupy.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Registrations that are visited at a time, those included that wait to be tried again; some 400 bytes
    /// each. Others stay in their queues until there is room.
    pub visits: usize,
    /// Visits to one push service at a time: requests on their way.
    pub in_lane: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { visits: 20_000, in_lane: 512 }
    }
}

/// Deliveries read from a queue at a time.
const READ: usize = 16;

/// The first pause after a failure; each further one may be twice as long (`protocol/web-push.md` §1.6).
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// What a service asks for is heeded up to this (the same).
const LONGEST_ASKED: Duration = Duration::from_secs(3_600);

/// For so long a credential that a service refused is not tried again: its project's senders are told.
const CREDENTIAL_PAUSE: Duration = Duration::from_secs(300);

#[derive(Clone)]
pub struct Courier {
    shared: Arc<Shared>,
}

/// What the courier stands on.
pub struct Parts {
    pub dispatcher: Arc<Dispatcher>,
    pub identity: Arc<Identity>,
    /// None: the operator does not let it out.
    pub webpush: Option<webpush::Client>,
    pub apns: Option<apns::Client>,
    /// `mailto:` or `https:`, for VAPID.
    pub contact: String,
    pub clock: Clock,
    pub randomness: Randomness,
    pub limits: Limits,
}

struct Shared {
    dispatcher: Arc<Dispatcher>,
    identity: Arc<Identity>,
    post: Post,
    clock: Clock,
    randomness: Randomness,
    books: Books,
    errands: Errands,
    counters: Counters,
}

impl Courier {
    pub fn new(parts: Parts) -> Self {
        let Parts { dispatcher, identity, webpush, apns, contact, clock, randomness, limits } = parts;
        let post = Post::new(identity.clone(), webpush, apns, contact);
        let (books, errands, counters) = (Books::new(limits), Errands::default(), Counters::default());
        let shared = Shared { dispatcher, identity, post, clock, randomness, books, errands, counters };
        Self { shared: Arc::new(shared) }
    }

    /// Serves until it is to stop: fetches what a former process left, carries out what is called out, and
    /// tries again what had to wait.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let stopped = async { drop(stop.wait_for(|stop| *stop).await) };
        tokio::select! {
            () = stopped => {}
            () = self.errands() => {}
            () = self.again() => {}
        }
        self.shared.books.close();
    }

    pub fn snapshot(&self) -> Snapshot {
        let (visits, in_flight, paused) = self.shared.books.count();
        self.shared.counters.snapshot(visits, in_flight, paused)
    }

    /// Visits a registration now, or when its lane lets it. Says whether there was room.
    fn visit(&self, recipient: &Recipient) -> bool {
        let Some(lane) = self.shared.post.lane(recipient) else { return true };
        match self.shared.books.enter(recipient.device, recipient.registration, lane.clone()) {
            Entered::There => true,
            Entered::Queued => {
                self.serve(&lane);
                true
            }
            Entered::Full => {
                self.shared.errands.missed();
                false
            }
        }
    }

    /// Begins as many visits of a lane as may be.
    fn serve(&self, lane: &Lane) {
        let now = (self.shared.clock)();
        while let Some((destination, registration)) = self.shared.books.begin(lane, now) {
            let (courier, lane) = (self.clone(), lane.clone());
            tokio::spawn(async move {
                let pause = courier.deliver(destination, registration, &lane).await;
                let again = courier.shared.books.end(destination, &lane, pause);
                if !again {
                    courier.shared.errands.room();
                }
                courier.serve(&lane);
            });
        }
    }

    /// Tries again whose pause is over.
    async fn again(&self) {
        loop {
            let now = (self.shared.clock)();
            for lane in self.shared.books.due(now) {
                self.serve(&lane);
            }
            let next = self.shared.books.next_due();
            let wait = next.map_or(Duration::from_secs(60), |next| next.since(now));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.shared.books.changed() => {}
            }
        }
    }

    /// Brings what waits for one registration. `Some`: the rest has to wait, until then.
    async fn deliver(
        &self,
        destination: DeviceId,
        registration: RegistrationId,
        lane: &Lane,
    ) -> Option<Timestamp> {
        let shared = &self.shared;
        loop {
            shared.books.fresh(destination);
            let now = (shared.clock)();
            let waiting = match shared.dispatcher.pending(destination, READ, &|_| false, now).await {
                Ok(waiting) => waiting,
                Err(e) => {
                    tracing::debug!(?registration, "a queue cannot be read: {e}");
                    return Some(now + self.pause(shared.books.failed(destination), Duration::ZERO));
                }
            };
            if waiting.is_empty() && shared.books.is_done(destination) {
                return None;
            }
            for delivery in waiting {
                if let Err(until) = self.bring(destination, &delivery, lane).await {
                    return Some(until);
                }
                if shared.books.is_closed() {
                    return None;
                }
            }
        }
    }

    /// One delivery, one attempt. `Err`: nothing more before then.
    async fn bring(&self, destination: DeviceId, delivery: &Delivery, lane: &Lane) -> Result<(), Timestamp> {
        let shared = &self.shared;
        let outcome = shared.post.send(delivery, (shared.clock)()).await;
        let now = (shared.clock)();
        shared.counters.count(lane.service(), &outcome);
        let told = match &outcome {
            Outcome::Later { after, scope, told } => {
                let pause = self.pause(shared.books.failed(destination), *after);
                tracing::debug!(message.id = %delivery.id, ?told, ?pause, "a push service has to be tried again");
                if *scope != Scope::Recipient {
                    shared.books.pause_lane(lane, now, |failures| self.pause(failures, *after));
                }
                return Err(now + pause);
            }
            Outcome::Accepted { environment, .. } => {
                shared.books.went_well(destination, lane);
                if let Some(environment) = environment {
                    self.of_other_environment(delivery, *environment, now).await;
                }
                shared.dispatcher.acknowledge(destination, &[delivery.id], now).await.map_err(Failed::from)
            }
            Outcome::Gone { since, told } => {
                self.gone(destination, delivery, *since, &words(told), now).await
            }
            Outcome::Rejected { blame, told } => {
                self.rejected(destination, delivery, *blame, &words(told), now).await
            }
        };
        // The store cannot now: it comes once more, with the same id.
        told.map_err(|e| {
            tracing::debug!(message.id = %delivery.id, "what became of it is not stored yet: {e}");
            now + self.pause(shared.books.failed(destination), Duration::ZERO)
        })
    }

    /// APNs' other environment knows the token: it is asked first from now on.
    async fn of_other_environment(&self, delivery: &Delivery, environment: Environment, now: Timestamp) {
        let registration = delivery.recipient.registration;
        let sandbox = environment == Environment::Sandbox;
        if let Err(e) = self.shared.identity.set_apple_environment(registration, sandbox, now).await {
            tracing::debug!(?registration, "its environment is not corrected yet: {e}");
        }
    }

    async fn gone(
        &self,
        destination: DeviceId,
        delivery: &Delivery,
        since: Option<Timestamp>,
        told: &str,
        now: Timestamp,
    ) -> Result<(), Failed> {
        let shared = &self.shared;
        // That the token of a live activity is over says nothing of the app (`protocol/apns.md` §2.5).
        if is_live_activity(delivery) {
            shared.dispatcher.refused(destination, delivery.id, Dropped::Refused, told, now).await?;
            return Ok(());
        }
        shared.dispatcher.refused(destination, delivery.id, Dropped::Unregistered, told, now).await?;
        let registration = delivery.recipient.registration;
        let ended = shared.identity.gone_outside(registration, since, now).await?;
        tracing::debug!(?registration, told, ended, "a push service knows a registration no more");
        Ok(())
    }

    async fn rejected(
        &self,
        destination: DeviceId,
        delivery: &Delivery,
        blame: Blame,
        told: &str,
        now: Timestamp,
    ) -> Result<(), Failed> {
        let shared = &self.shared;
        let (id, recipient) = (delivery.id, &*delivery.recipient);
        let why = match blame {
            Blame::Credential => Dropped::CredentialRefused,
            Blame::Request | Blame::Token | Blame::Us => Dropped::Refused,
        };
        shared.dispatcher.refused(destination, id, why, told, now).await?;
        match blame {
            Blame::Request => tracing::debug!(message.id = %id, told, "a push service refuses a message"),
            Blame::Credential => {
                tracing::warn!(
                    project = %recipient.registration.project, app = recipient.category, told,
                    "a push service does not take the credential; senders are told THIRD_PARTY_AUTH_ERROR for five minutes"
                );
                shared.post.distrust(recipient, told, now + CREDENTIAL_PAUSE);
            }
            Blame::Token if is_live_activity(delivery) => {}
            // It can never work.
            Blame::Token => {
                tracing::debug!(registration = ?recipient.registration, told, "a registration is given up");
                shared.identity.gone_outside(recipient.registration, None, now).await?;
            }
            Blame::Us => tracing::error!(message.id = %id, told, "a push service refuses what we made"),
        }
        Ok(())
    }

    /// After so many failures: full jitter, doubling, and at least what was asked for.
    fn pause(&self, failures: u32, asked: Duration) -> Duration {
        let most = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST_PAUSE);
        let share = random(&*self.shared.randomness)
            .map_or(0.5, |bytes| f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX));
        let jitter = most.mul_f64(share).max(Duration::from_millis(50));
        asked.min(LONGEST_ASKED) + jitter
    }

    /// Now or never: one attempt, of which nothing is stored.
    fn once(&self, delivery: &Delivery) -> Handoff {
        let shared = &self.shared;
        let Some(lane) = shared.post.lane(&delivery.recipient) else { return Handoff::Offline };
        if !shared.books.try_once(&lane, (shared.clock)()) {
            return Handoff::Busy;
        }
        let (courier, delivery) = (self.clone(), delivery.clone());
        tokio::spawn(async move {
            let shared = &courier.shared;
            let outcome = shared.post.send(&delivery, (shared.clock)()).await;
            shared.counters.count(lane.service(), &outcome);
            if let Outcome::Gone { since, .. } = outcome
                && !is_live_activity(&delivery)
            {
                let (registration, now) = (delivery.recipient.registration, (shared.clock)());
                if let Err(e) = shared.identity.gone_outside(registration, since, now).await {
                    tracing::debug!(?registration, "it cannot be ended now: {e}");
                }
            }
            shared.books.once_over(&lane);
            courier.serve(&lane);
        });
        Handoff::Accepted
    }
}

impl Carrier for Courier {
    fn push(&self, delivery: &Delivery) -> Handoff {
        if delivery.ttl.is_zero() {
            return self.once(delivery);
        }
        if self.visit(&delivery.recipient) { Handoff::Accepted } else { Handoff::Busy }
    }
}

impl Calls for Courier {
    fn refusal(&self, recipient: &Recipient) -> Option<Rejection> {
        self.shared.post.refusal(recipient, (self.shared.clock)())
    }

    fn call(&self, project: ProjectNumber, bucket: u32, slots: SlotSet) {
        self.shared.errands.call(project, bucket, slots);
    }
}

fn is_live_activity(delivery: &Delivery) -> bool {
    let Content::Message(message) = &delivery.content else { return false };
    let apns = matches!(delivery.recipient.layout, Layout::Apns { .. });
    let token = message.apns.as_ref().and_then(|apns| apns.live_activity_token.as_deref());
    apns && token.is_some_and(|token| !token.is_empty())
}

/// For the trace: the status, and the service's own words.
fn words(told: &crate::Told) -> String {
    match told.status {
        Some(status) if told.reason.is_empty() => status.to_string(),
        Some(status) => format!("{status} {}", told.reason),
        None => told.reason.to_string(),
    }
}
