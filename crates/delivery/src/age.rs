//! What happens to sets in the course of time: rows learn of acknowledgements, those that are over
//! go, and those that are many or old are turned into inbox rows for whoever is still in them.

use std::sync::Arc;

use cresset_message::Timestamp;
use cresset_store::tables::bodies;
use cresset_store::tables::inbox::{self, InboxRecord};
use cresset_store::{Batch, StoreError};

use crate::Dispatcher;
use crate::buckets::{Bucket, FanOut};

/// Rows of sets written together: 2 MB when they are bitmaps.
const SAVED_TOGETHER: usize = 256;

/// Deliveries of a set that are turned into rows at a time.
const AGED_TOGETHER: usize = 500;

impl Dispatcher {
    /// Does what has become due; once a second is often enough. A failure leaves it for the next time.
    pub async fn tidy(&self, now: Timestamp) -> Result<(), StoreError> {
        let later = self.traces.write_later(&self.store, false, now).await;
        let piles = self.settle_piles(now).await;
        for bucket in self.fanouts.buckets.all() {
            self.save(&bucket, now).await?;
            while bucket.live_count() > self.limits.live_fanouts {
                if !self.age(&bucket, now).await? {
                    break;
                }
                self.save(&bucket, now).await?;
            }
        }
        self.keep_within_bounds(now).await?;
        later.and(piles)
    }

    /// Does what could wait, too: the process is to end.
    pub async fn tidy_for_good(&self, now: Timestamp) -> Result<(), StoreError> {
        let later = self.traces.write_later(&self.store, true, now).await;
        self.tidy(now).await.and(later)
    }

    /// Writes what the rows of a bucket's sets do not say yet.
    pub(crate) async fn save(&self, bucket: &Bucket, now: Timestamp) -> Result<(), StoreError> {
        let mut full = true;
        while full {
            let ended;
            (full, ended) = self.save_some(bucket, now).await?;
            for fanout in ended {
                self.traces.ended_for_all(&self.store, fanout.id, now).await;
            }
        }
        Ok(())
    }

    /// Says whether there may be more, and which messages nobody waits for any more.
    async fn save_some(
        &self,
        bucket: &Bucket,
        now: Timestamp,
    ) -> Result<(bool, Vec<Arc<FanOut>>), StoreError> {
        let _rows = bucket.rows.lock().await;
        self.read_ends(bucket, now).await?;
        let mut batch = Batch::default();
        let saved = bucket.save(&mut batch, SAVED_TOGETHER, &self.traces, now);
        if batch.ops.is_empty() {
            return Ok((false, Vec::new()));
        }
        let mut ended = Vec::new();
        let full = batch.ops.len() >= SAVED_TOGETHER;
        for fanout in saved.over.iter().filter(|fanout| fanout.release()) {
            batch.delete(bodies::key(fanout.id));
            ended.push(fanout.clone());
        }
        match self.store.write(batch, now).await {
            Ok(_) => bucket.saved(&saved),
            Err(e) => {
                saved.over.iter().for_each(|fanout| fanout.hold());
                bucket.unsaved(&saved);
                return Err(e);
            }
        }
        Ok((full, ended))
    }

    async fn keep_within_bounds(&self, now: Timestamp) -> Result<(), StoreError> {
        if self.fanouts.buckets.weigh() <= self.limits.live_bytes {
            return Ok(());
        }
        for bucket in self.fanouts.buckets.all() {
            self.fanouts.buckets.evict(&bucket);
        }
        // Then those that are in use, the fullest first; what is left after one round, the next one
        // goes on with.
        let mut buckets = self.fanouts.buckets.all();
        buckets.sort_by_key(|bucket| std::cmp::Reverse(bucket.live_count()));
        for bucket in buckets {
            if self.fanouts.buckets.weigh() <= self.limits.live_bytes || !self.age(&bucket, now).await? {
                break;
            }
            self.save(&bucket, now).await?;
        }
        Ok(())
    }

    /// Turns the oldest set of a bucket into inbox rows. Says whether there was one.
    async fn age(&self, bucket: &Arc<Bucket>, now: Timestamp) -> Result<bool, StoreError> {
        let _rows = bucket.rows.lock().await;
        let mut oldest = None;
        while let Some((fanout, slots)) = bucket.age_oldest(oldest, AGED_TOGETHER) {
            oldest = Some(fanout.id);
            let batch = self.rows_for(bucket, &fanout, &slots, now).await?;
            self.store.write(batch, now).await?;
            let struck = bucket.aged(fanout.id, &slots);
            self.take_back(bucket, &fanout, &struck, now).await?;
        }
        Ok(oldest.is_some())
    }

    /// Who acknowledged while its row was on its way may have deleted it before it was there.
    async fn take_back(
        &self,
        bucket: &Bucket,
        fanout: &FanOut,
        struck: &[u16],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if struck.is_empty() {
            return Ok(());
        }
        let rows = self.rows_for(bucket, fanout, struck, now).await?;
        let mut batch = Batch::default();
        rows.ops.iter().for_each(|op| batch.delete(op.key().clone()));
        self.store.write(batch, now).await.map(drop)
    }

    /// Inbox rows that say what a set says of some of its slots.
    async fn rows_for(
        &self,
        bucket: &Bucket,
        fanout: &FanOut,
        slots: &[u16],
        now: Timestamp,
    ) -> Result<Batch, StoreError> {
        let mut batch = Batch::default();
        for slot in slots {
            let Some(recipient) = self.recipient(bucket.registration(*slot), now).await? else { continue };
            let delivery = fanout.delivery_to(&Arc::new(recipient));
            // A clock that was set back must not keep what was to come now or never.
            if !fanout.is_for(&delivery.recipient) || delivery.ttl.is_zero() || delivery.expires <= now {
                continue;
            }
            let record = InboxRecord { body: fanout.id.to_bytes().to_vec(), ..delivery.inbox_record() };
            let key = inbox::key(delivery.recipient.device, delivery.id);
            batch.put(key, record.to_bytes(), Some(delivery.expires));
        }
        Ok(batch)
    }
}
