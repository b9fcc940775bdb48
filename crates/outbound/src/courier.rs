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

use self::books::{Books, Entered, Lane, Leave};
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
    /// The same of one push service: twice what can be on its way, so that one that is slow or gone leaves
    /// room for the others.
    pub of_lane: usize,
    /// Visits to one push service at a time: requests on their way.
    pub in_lane: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { visits: 20_000, of_lane: 1_024, in_lane: 512 }
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
        // What is on its way is answered, and told: else it would come again.
        self.shared.books.quiet().await;
    }

    pub fn snapshot(&self) -> Snapshot {
        self.shared.counters.snapshot(self.shared.books.count())
    }

    /// Visits a registration now, or when its lane lets it. Says whether there was room.
    fn visit(&self, recipient: &Recipient, has_turn: bool) -> bool {
        let Some(lane) = self.shared.post.lane(recipient) else { return true };
        let entered =
            self.shared.books.enter(recipient.device, recipient.registration, lane.clone(), has_turn);
        match entered {
            Entered::There | Entered::Aside => {}
            Entered::Queued => self.serve(&lane),
            Entered::Full => self.shared.errands.missed(),
        }
        entered != Entered::Full
    }

    /// Begins as many visits of a lane as may be.
    fn serve(&self, lane: &Lane) {
        let now = (self.shared.clock)();
        while let Some((destination, registration)) = self.shared.books.begin(lane, now) {
            let (courier, lane) = (self.clone(), lane.clone());
            tokio::spawn(async move {
                match courier.deliver(destination, registration, &lane).await {
                    None => {}
                    Some(Leave::For(other)) => {
                        courier.shared.books.leave(destination, &lane, Leave::For(other.clone()));
                        courier.serve(&other);
                    }
                    Some(how) => courier.shared.books.leave(destination, &lane, how),
                }
                courier.shared.errands.room();
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

    /// Brings what waits for one registration, until nothing does: `None`, and its place in the lane is
    /// left. Otherwise the rest has to wait.
    async fn deliver(
        &self,
        destination: DeviceId,
        registration: RegistrationId,
        lane: &Lane,
    ) -> Option<Leave> {
        let shared = &self.shared;
        loop {
            shared.books.fresh(destination);
            let now = (shared.clock)();
            let waiting = match shared.dispatcher.pending(destination, READ, &|_| false, now).await {
                Ok(waiting) => waiting,
                Err(e) => {
                    tracing::debug!(?registration, "a queue cannot be read: {e}");
                    return Some(self.after_failure(destination, now));
                }
            };
            // Fewer than were asked for are all.
            let mut all = waiting.len() < READ;
            for delivery in waiting {
                match self.bring(destination, &delivery, lane).await {
                    Ok(true) => {}
                    // What was read is not so any more.
                    Ok(false) => {
                        all = false;
                        break;
                    }
                    Err(leave) => return Some(leave),
                }
                if shared.books.is_closed() {
                    return Some(Leave::Over);
                }
            }
            if all && shared.books.is_done(destination, lane) {
                return None;
            }
            if shared.books.others_wait(lane) {
                return Some(Leave::Again);
            }
        }
    }

    /// One delivery, one attempt. Says whether the next can follow, or its queue is to be read again; `Err`:
    /// nothing more for now.
    async fn bring(&self, destination: DeviceId, delivery: &Delivery, lane: &Lane) -> Result<bool, Leave> {
        let shared = &self.shared;
        // It may have been registered anew, with another service, or have been too long in coming.
        match shared.post.lane(&delivery.recipient) {
            Some(its) if its == *lane => {}
            Some(other) => return Err(Leave::For(other)),
            None => return Err(Leave::Over),
        }
        let now = (shared.clock)();
        if delivery.expires <= now {
            return Ok(false);
        }
        let outcome = shared.post.send(delivery, now).await;
        let now = (shared.clock)();
        shared.counters.count(lane.service(), &outcome);
        self.heed(lane, &outcome, now);
        let told = match &outcome {
            Outcome::Later { after, told, .. } => {
                let pause = self.pause(shared.books.failed(destination), *after);
                tracing::debug!(message.id = %delivery.id, ?told, ?pause, "a push service has to be tried again");
                return Err(Leave::Until(now + pause));
            }
            Outcome::Accepted { environment, .. } => {
                shared.books.went_well(destination);
                if let Some(environment) = environment {
                    self.of_other_environment(delivery, *environment, now).await;
                }
                let stored = shared.dispatcher.acknowledge(destination, &[delivery.id], now).await;
                stored.map(|()| true).map_err(Failed::from)
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
            self.after_failure(destination, now)
        })
    }

    /// What an answer says of the service itself.
    fn heed(&self, lane: &Lane, outcome: &Outcome, now: Timestamp) {
        let books = &self.shared.books;
        match outcome {
            Outcome::Later { after, scope: Scope::Origin | Scope::Credential, .. } => {
                books.pause_lane(lane, now, |failures| self.pause(failures, *after));
            }
            // Those who wait for one that was sent ahead go on.
            _ if books.is_well(lane) => self.serve(lane),
            _ => {}
        }
    }

    fn after_failure(&self, destination: DeviceId, now: Timestamp) -> Leave {
        Leave::Until(now + self.pause(self.shared.books.failed(destination), Duration::ZERO))
    }

    /// Whether a registration has been pointed elsewhere since a delivery for it was read: what the place
    /// before says of itself is not about it any more, and it is tried there.
    async fn has_moved(&self, delivery: &Delivery, now: Timestamp) -> Result<bool, Failed> {
        let known = self.shared.dispatcher.outside(delivery.recipient.registration, now).await?;
        Ok(known.is_some_and(|known| known.layout != delivery.recipient.layout))
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
    ) -> Result<bool, Failed> {
        let shared = &self.shared;
        if self.has_moved(delivery, now).await? {
            return Ok(false);
        }
        // That the token of a live activity is over says nothing of the app (`protocol/apns.md` §2.5).
        if is_live_activity(delivery) {
            shared.dispatcher.refused(destination, delivery.id, Dropped::Refused, told, now).await?;
            return Ok(true);
        }
        shared.dispatcher.refused(destination, delivery.id, Dropped::Unregistered, told, now).await?;
        let registration = delivery.recipient.registration;
        let ended = shared.identity.gone_outside(registration, since, now).await?;
        tracing::debug!(?registration, told, ended, "a push service knows a registration no more");
        // What else waits for it is told by who reads its queue.
        Ok(false)
    }

    async fn rejected(
        &self,
        destination: DeviceId,
        delivery: &Delivery,
        blame: Blame,
        told: &str,
        now: Timestamp,
    ) -> Result<bool, Failed> {
        let shared = &self.shared;
        let (id, recipient) = (delivery.id, &*delivery.recipient);
        let why = match blame {
            Blame::Credential => Dropped::CredentialRefused,
            Blame::Request | Blame::Token | Blame::Us => Dropped::Refused,
        };
        if blame == Blame::Token && self.has_moved(delivery, now).await? {
            return Ok(false);
        }
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
                return Ok(false);
            }
            Blame::Us => tracing::error!(message.id = %id, told, "a push service refuses what we made"),
        }
        Ok(true)
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
            courier.after_once(&delivery, &outcome).await;
            shared.books.once_over(&lane);
            courier.serve(&lane);
        });
        Handoff::Accepted
    }

    async fn after_once(&self, delivery: &Delivery, outcome: &Outcome) {
        let (shared, now) = (&self.shared, (self.shared.clock)());
        match outcome {
            Outcome::Gone { since, .. } if !is_live_activity(delivery) => {
                let registration = delivery.recipient.registration;
                let ended = async {
                    if !self.has_moved(delivery, now).await? {
                        shared.identity.gone_outside(registration, *since, now).await?;
                    }
                    Ok::<(), Failed>(())
                };
                if let Err(e) = ended.await {
                    tracing::debug!(?registration, "it cannot be ended now: {e}");
                }
            }
            Outcome::Rejected { blame: Blame::Credential, told } => {
                shared.post.distrust(&delivery.recipient, &words(told), now + CREDENTIAL_PAUSE);
            }
            _ => {}
        }
    }
}

impl Carrier for Courier {
    fn push(&self, delivery: &Delivery) -> Handoff {
        if delivery.ttl.is_zero() {
            return self.once(delivery);
        }
        if self.visit(&delivery.recipient, false) { Handoff::Accepted } else { Handoff::Busy }
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
