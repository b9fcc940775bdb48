//! The journey of a message, one file per stage. The module list is the story.

mod accept;
mod terms;

mod groups;
mod here;
mod target;
mod topics;

mod fanout;
mod finish;
mod matching;
mod members;
mod preview;
mod turn;

mod buckets;
mod inbox;
mod stored;

mod arrival;
mod carrier;
mod outside;
mod presence;

mod ack;
mod age;
mod expire;

mod upstream;

mod counters;
mod ids;
mod quota;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use cresset_message::{MessageId, Rejection, Timestamp};
use cresset_store::{Store, StoreError};
use cresset_wire::token::TokenKey;

pub use accept::{Accepted, Endpoint, GroupSent, Push, Pushed, Sent};
pub use arrival::ArrivalError;
pub use carrier::{Carrier, Content, Courier, Delivery, Handoff};
pub use counters::Snapshot;
pub use expire::{Step, Sweeper};
pub use groups::{GroupChange, GroupError};
pub use here::AppInstance;
pub use outside::{Found, Round};
pub use preview::Preview;
pub use quota::{Bucket, Quotas};
pub use topics::{Described, MAX_TOPICS, Member, MemberPage, MembershipError, Replaced, TopicPage};
pub use trace::{Counts, Dropped, End, Stage, Story, Told, What};
pub use upstream::{
    AppServer, FromDevice, Line, NotTaken, Taken, Upstream, UpstreamError, UpstreamSnapshot, WINDOW, Why,
};

/// Fills a buffer with random bytes. An argument, so that tests and simulations repeat.
pub type Random = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// What fan-outs may occupy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Fan-outs of one bucket that wait as sets; older ones wait in the inboxes of their devices. Each
    /// costs a login 50 to 100 ns.
    pub live_fanouts: usize,
    /// Bytes of all of them, about; beyond it buckets without a connection leave memory, then the
    /// oldest sets of the others go into inboxes.
    pub live_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { live_fanouts: 10_000, live_bytes: 256 << 20 }
    }
}

/// Takes messages in and sees them to their end.
pub struct Dispatcher {
    store: Store,
    tokens: TokenKey,
    random: Random,
    carriers: Arc<carrier::Carriers>,
    ids: Arc<ids::Ids>,
    meters: quota::Meters,
    members: members::Members,
    fanouts: Arc<fanout::FanOuts>,
    limits: Limits,
    topic_names: topics::Names,
    traces: Arc<trace::Traces>,
    piles: Arc<stored::Piles>,
    settling: stored::Settling,
    upstream: Arc<upstream::Queues>,
}

impl Dispatcher {
    /// Reads where message ids go on.
    pub async fn open(
        store: Store,
        tokens: TokenKey,
        random: Random,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let ids = Arc::new(ids::Ids::open(&store, now).await?);
        let members = members::Members::new(store.clone());
        let traces = Arc::new(trace::Traces::new());
        let carriers = Arc::new(carrier::Carriers::new());
        let piles = Arc::<stored::Piles>::default();
        let fanouts = fanout::FanOuts::new(
            store.clone(),
            ids.clone(),
            members.clone(),
            traces.clone(),
            carriers.clone(),
            piles.clone(),
        );
        let fanouts = Arc::new(fanouts);
        fanouts.resume(now).await?;
        Ok(Self {
            members,
            fanouts,
            limits: Limits::default(),
            store,
            tokens,
            random,
            carriers,
            ids,
            meters: quota::Meters::new(Quotas::OFF),
            topic_names: topics::Names::default(),
            traces,
            piles,
            settling: stored::Settling::new(),
            upstream: Arc::default(),
        })
    }

    /// With quotas; there are none without.
    #[must_use]
    pub fn with_quotas(self, quotas: Quotas) -> Self {
        Self { meters: quota::Meters::new(quotas), ..self }
    }

    /// With bounds of its own.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// With so many bytes for sets of members; 64 MiB without.
    #[must_use]
    pub fn with_member_memory(self, bytes: usize) -> Self {
        self.members.set_memory(bytes);
        self
    }

    /// With a trace of each delivery, kept for so long after its end; without it there is none.
    #[must_use]
    pub fn with_trace(self, keep: Duration) -> Self {
        self.traces.keep_for(keep);
        self
    }

    /// Joins who takes deliveries to push services of others; once, at start. Without one, registrations
    /// that need it are kept waiting.
    pub fn set_courier(&self, courier: Arc<dyn Courier>) {
        assert!(self.carriers.courier.set(courier).is_ok(), "the courier is set once");
    }

    /// An id that no message has had.
    pub fn next_id(&self, now: Timestamp) -> MessageId {
        let mut unique = [0; 8];
        (self.random)(&mut unique);
        let unique = upstream::marked(u64::from_be_bytes(unique), false);
        MessageId { micros: self.ids.next(now), unique }
    }
}

/// What a sender is told when the store cannot.
fn refusal(error: StoreError) -> Rejection {
    match error {
        StoreError::Overloaded => Rejection::Unavailable { retry_after: Duration::from_secs(1) },
        StoreError::Unavailable(_) => Rejection::Unavailable { retry_after: Duration::from_secs(5) },
        StoreError::Closed => Rejection::Unavailable { retry_after: Duration::from_secs(2) },
        StoreError::Invalid(what) | StoreError::Damaged(what) => {
            tracing::error!("{what}");
            Rejection::Internal
        }
    }
}
