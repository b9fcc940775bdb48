//! The journey of a message, one file per stage. The module list is the story.

mod accept;
mod ack;
mod carrier;
mod expire;
mod ids;
mod inbox;
mod members;
mod quota;
mod stored;
mod target;

use std::sync::{Arc, OnceLock};

use cresset_message::{MessageId, Rejection, Timestamp};
use cresset_store::{Store, StoreError};
use cresset_wire::token::TokenKey;

pub use carrier::{Carrier, Content, Delivery, Handoff};
pub use expire::{Step, Sweeper};
pub use quota::{Bucket, Quotas};

/// Fills a buffer with random bytes. An argument, so that tests and simulations repeat.
pub type Random = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// Takes messages in and sees them to their end.
pub struct Dispatcher {
    store: Store,
    tokens: TokenKey,
    random: Random,
    carrier: OnceLock<Arc<dyn Carrier>>,
    ids: Arc<ids::Ids>,
    meters: quota::Meters,
    members: members::Members,
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
        Ok(Self {
            members: members::Members::new(store.clone()),
            store,
            tokens,
            random,
            carrier: OnceLock::new(),
            ids,
            meters: quota::Meters::new(Quotas::OFF),
        })
    }

    /// With quotas; there are none without.
    #[must_use]
    pub fn with_quotas(self, quotas: Quotas) -> Self {
        Self { meters: quota::Meters::new(quotas), ..self }
    }

    /// Joins the carrier that takes deliveries to connected devices; once, at start.
    pub fn set_carrier(&self, carrier: Arc<dyn Carrier>) {
        assert!(self.carrier.set(carrier).is_ok(), "the carrier is set once");
    }

    fn next_id(&self, now: Timestamp) -> MessageId {
        let mut unique = [0; 8];
        (self.random)(&mut unique);
        MessageId { micros: self.ids.next(now), unique: u64::from_be_bytes(unique) }
    }
}

/// What a sender is told when the store cannot.
fn refusal(error: StoreError) -> Rejection {
    use std::time::Duration;
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
