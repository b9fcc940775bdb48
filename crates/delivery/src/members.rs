//! Who is in a topic: bitmaps in memory, derived from the rows, which are the truth.

use std::sync::Arc;

use cresset_message::{ProjectNumber, SlotSet, Timestamp};
use cresset_store::tables::members::{self, TopicKey};
use cresset_store::{Store, StoreError, Table};

/// Rows read from the store at a time.
const PAGE: usize = 4_096;

/// The members of topics, as they are asked for.
pub(crate) struct Members {
    store: Store,
}

impl Members {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// The members of a topic in one bucket.
    pub(crate) async fn of(
        &self,
        project: ProjectNumber,
        bucket: u32,
        topic: TopicKey,
        now: Timestamp,
    ) -> Result<Arc<SlotSet>, StoreError> {
        let partition = members::partition(project, bucket, topic);
        let mut set = SlotSet::default();
        let mut from = Some(Vec::new());
        while let Some(at) = from {
            let page = self.store.scan(Table::TopicMembers, &partition, &at, PAGE, now).await?;
            for row in &page.rows {
                set.insert(members::slot_of(&row.sort)?);
            }
            from = page.next.map(|next| next.to_vec());
        }
        set.shrink();
        Ok(Arc::new(set))
    }
}
