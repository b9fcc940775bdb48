//! Who is in a topic: bitmaps in memory, derived from the rows, which are the truth.

use std::sync::Arc;

use cresset_message::{Platform, ProjectNumber, RegistrationId, SLOTS, SlotSet, Timestamp};
use cresset_store::tables::counters;
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

    /// All registrations of a project in one bucket.
    pub(crate) async fn everyone(
        &self,
        project: ProjectNumber,
        bucket: u32,
        now: Timestamp,
    ) -> Result<Arc<SlotSet>, StoreError> {
        let android = self.of(project, bucket, TopicKey::of_platform(Platform::Android), now).await?;
        let ios = self.of(project, bucket, TopicKey::of_platform(Platform::Ios), now).await?;
        let web = self.of(project, bucket, TopicKey::of_platform(Platform::Web), now).await?;
        Ok(Arc::new(android.or(&ios).or(&web)))
    }

    /// How many buckets a project has registrations in.
    pub(crate) async fn buckets(&self, project: ProjectNumber, now: Timestamp) -> Result<u32, StoreError> {
        let row = self.store.get(&counters::next_registration(project), now).await?;
        let next = row.map_or(Ok(0), |row| counters::from_bytes(&row.value))?;
        Ok(u32::try_from(next.div_ceil(SLOTS as u64)).unwrap_or(u32::MAX))
    }

    /// There is a registration that may have been unknown.
    #[expect(clippy::unused_async, reason = "a cache will have to be told")]
    pub(crate) async fn registered(&self, _: RegistrationId, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    #[expect(clippy::unused_async, reason = "a cache will have to be told")]
    pub(crate) async fn ended(&self, _: RegistrationId, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
}
