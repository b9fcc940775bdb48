//! Where new registrations live. Slots are given out in order and never twice: a block of them is
//! reserved durably, then handed out from memory; what a restart leaves unused stays unused.

use std::collections::HashMap;

use cresset_message::{ProjectNumber, RegistrationId, Timestamp};
use cresset_store::tables::counters;
use cresset_store::{Batch, Condition, StoreError};
use tokio::sync::Mutex;

use crate::Identity;

/// Slots reserved at a time: one durable write for so many registrations.
const BLOCK: u64 = 256;

#[derive(Default)]
pub(crate) struct Slots(Mutex<HashMap<ProjectNumber, std::ops::Range<u64>>>);

impl Identity {
    pub(crate) async fn new_slot(
        &self,
        project: ProjectNumber,
        now: Timestamp,
    ) -> Result<RegistrationId, StoreError> {
        let mut blocks = self.slots.0.lock().await;
        let block = blocks.entry(project).or_default();
        if block.is_empty() {
            *block = self.reserve(project, now).await?;
        }
        let index = block.next().expect("a block that is not empty has a next");
        let bucket = u32::try_from(index >> 16)
            .map_err(|_| StoreError::Unavailable("no registration ids are left".into()))?;
        Ok(RegistrationId { project, bucket, slot: index as u16 })
    }

    async fn reserve(
        &self,
        project: ProjectNumber,
        now: Timestamp,
    ) -> Result<std::ops::Range<u64>, StoreError> {
        let key = counters::next_registration(project);
        loop {
            let row = self.store.get(&key, now).await?;
            let expected = row.map(|row| row.value);
            let start = expected.as_deref().map(counters::from_bytes).transpose()?.unwrap_or(0);
            let mut batch =
                Batch { condition: Some(Condition { key: key.clone(), expected }), ..Batch::default() };
            batch.put(key.clone(), counters::to_bytes(start + BLOCK), None);
            if self.store.write(batch, now).await? {
                return Ok(start..start + BLOCK);
            }
        }
    }
}
