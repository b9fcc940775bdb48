//! Queue: what waits for a device, as it should be delivered now.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use cresset_message::{DeviceId, MessageId, Priority, Recipient, RegistrationId, Timestamp};
use cresset_store::tables::inbox::{self, InboxRecord};
use cresset_store::tables::{devices, message as message_record};
use cresset_store::{Batch, Condition, Pages, Row, StoreError};

use crate::presence::Carried;
use crate::trace::{Dropped, End};
use crate::{Content, Delivery, Dispatcher};

/// Rows read from the store at a time: of the largest messages some 600 KB.
pub(crate) const PAGE: usize = 128;

/// How often an inbox is looked at again because something older came meanwhile. What came after the first
/// look is left to the next, so that this ends: what is older is what was accepted before that look, and
/// stands in the sets after the second.
const LOOKS: usize = 3;

/// Rows deleted in one batch, far below what the store takes.
pub(crate) const DELETED_TOGETHER: usize = 1_000;

impl Delivery {
    /// Its row, but for what it brings: that, or where it stands, is the caller's to add.
    pub(crate) fn inbox_record(&self) -> InboxRecord {
        InboxRecord {
            registration: Some(self.recipient.registration.into()),
            collapse_key: self.collapse_key.as_deref().map(str::to_owned),
            high_priority: self.priority == Priority::High,
            ttl_seconds: u32::try_from(self.ttl.as_secs()).unwrap_or(u32::MAX),
            ..InboxRecord::default()
        }
    }
}

impl Dispatcher {
    /// What waits for a device, in order: its inbox and the sets of its registrations, after expiry
    /// and collapsing, without what the caller already has in flight. Fewer than `limit` means that
    /// there is no more. What nobody will ever want (replaced by a newer one of its collapse key, or
    /// of a registration that is no more) is dropped.
    pub async fn pending(
        &self,
        device: DeviceId,
        limit: usize,
        skip: &(dyn Fn(MessageId) -> bool + Sync),
        now: Timestamp,
    ) -> Result<Vec<Arc<Delivery>>, StoreError> {
        let carried = self.carried(device, now).await?;
        let carried = &*carried;
        let mut moved = rows_made(carried);
        let mut found = self.look(device, carried, limit, skip, None, now).await?;
        // The last of the first look, and whether there may be more behind it.
        let mut horizon = (found.last().map(|last| last.id), found.len() >= limit);
        for _ in 0..LOOKS {
            let passed = self.let_older_pass(&found, now).await;
            // What came into a set meanwhile, and out of it into a row, stands where this look had been.
            let moved_before = std::mem::replace(&mut moved, rows_made(carried));
            if !passed && moved == moved_before && !missed(carried, &found, skip, now) {
                break;
            }
            found = self.look(device, carried, limit, skip, horizon.0, now).await?;
            // Some are gone, and fewer than `limit` would mean that nothing stands behind them.
            if horizon.1 && found.len() < limit {
                found = self.look(device, carried, limit, skip, None, now).await?;
                horizon = (found.last().map(|last| last.id), found.len() >= limit);
            }
        }
        Ok(found)
    }

    /// What is older, and for many, and still on its way into the sets, comes first. Says whether there
    /// was any that came; if it cannot come now, the others do not wait for it.
    async fn let_older_pass(&self, found: &[Arc<Delivery>], now: Timestamp) -> bool {
        let mut passed = false;
        for delivery in found.iter().rev() {
            let RegistrationId { project, bucket, .. } = delivery.recipient.registration;
            let place = (project, bucket);
            if self.fanouts.has_older(place, delivery.id) {
                passed |= self.fanouts.let_older_pass(place, delivery.id, now).await.is_ok();
            }
        }
        passed
    }

    /// What waits, and is not newer than `until`.
    async fn look(
        &self,
        device: DeviceId,
        carried: &[Carried],
        limit: usize,
        skip: &(dyn Fn(MessageId) -> bool + Sync),
        until: Option<MessageId>,
        now: Timestamp,
    ) -> Result<Vec<Arc<Delivery>>, StoreError> {
        let mut on_their_way = OnTheirWay::default();
        let mut sets = in_sets(carried, skip, &mut on_their_way, now).into_iter().peekable();
        let partition = devices::partition(device);
        let mut recipients = HashMap::new();
        let mut found = Vec::new();
        let mut pages = Pages::of(&self.store, inbox::table_of(device), &partition, PAGE);
        while found.len() < limit
            && let Some(rows) = pages.next(now).await?
        {
            let mut dead = Vec::new();
            for row in rows {
                let id = inbox::id_of(&row.sort)?;
                // What is older comes first, from wherever it comes.
                while let Some(delivery) = sets.next_if(|delivery| delivery.id < id) {
                    found.push(delivery);
                }
                // It was given a row, since the sets were looked at or before a crash: the row counts.
                if sets.next_if(|delivery| delivery.id == id).is_some() {
                    leave_to_row(carried, id);
                }
                if skip(id) {
                    on_their_way.add_row(id, &row);
                    continue;
                }
                match self.delivery_of_row(id, &row, &mut recipients, now).await {
                    Ok(Some(delivery)) if delivery.recipient.device == device => {
                        if !was_struck(carried, &delivery) {
                            found.push(Arc::new(delivery));
                        }
                    }
                    Ok(Some(delivery)) => {
                        let moved = self.move_row((device, delivery.recipient.device), id, row, now).await;
                        // It stays for the next time.
                        if let Err(e) = moved {
                            tracing::debug!(%device, message.id = %id, "a delivery is not moved yet: {e}");
                        }
                    }
                    Ok(None) => dead.push((id, End::Dropped(Dropped::Unregistered))),
                    // It must not keep the device from all the others.
                    Err(StoreError::Damaged(what)) => tracing::error!(%device, message.id = %id, "{what}"),
                    Err(e) => return Err(e),
                }
            }
            if pages.is_over() {
                found.extend(sets.by_ref());
            }
            dead.extend(collapse(&mut found, &on_their_way));
            if let Err(e) = self.end(device, carried, dead.into_iter(), now).await {
                tracing::debug!(%device, "rows that nobody wants stay for now: {e}");
            }
        }
        if let Some(until) = until {
            found.retain(|delivery| delivery.id <= until);
        }
        found.truncate(limit);
        Ok(found)
    }

    /// A registration receives through another device now. Only who finds the row where it was moves it:
    /// another may have, and it may be acknowledged there by now.
    pub(crate) async fn move_row(
        &self,
        (from, to): (DeviceId, DeviceId),
        id: MessageId,
        row: Row,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = inbox::key(from, id);
        let condition = Condition { key: key.clone(), expected: Some(row.value.clone()) };
        let mut batch = Batch { condition: Some(condition), ..Batch::default() };
        batch.delete(key);
        batch.put(inbox::key(to, id), row.value, row.expires);
        self.store.write(batch, now).await.map(drop)
    }

    /// `None`: its registration is gone.
    async fn delivery_of_row(
        &self,
        id: MessageId,
        row: &Row,
        recipients: &mut HashMap<RegistrationId, Option<Arc<Recipient>>>,
        now: Timestamp,
    ) -> Result<Option<Delivery>, StoreError> {
        let record = InboxRecord::from_bytes(&row.value)?;
        let Some(registration) = record.registration.map(RegistrationId::from) else { return Ok(None) };
        let recipient = match recipients.get(&registration) {
            Some(known) => known.clone(),
            None => {
                let read = self.recipient(registration, now).await?.map(Arc::new);
                recipients.insert(registration, read.clone());
                read
            }
        };
        let Some(recipient) = recipient else { return Ok(None) };
        let content = match (record.deleted, record.body.as_slice()) {
            (0, []) if record.push.is_some() => {
                Content::Push(Arc::new(record.push.unwrap_or_default().into_push()?))
            }
            (0, []) => Content::Message(Arc::new(message_record::decode(&record.message)?)),
            // It has the same life as its rows.
            (0, body) => match self.fanouts.buckets.message(inbox::id_of(body)?, now).await? {
                Some(fanout) => Content::Message(fanout.message.clone()),
                None => return Ok(None),
            },
            (total, _) => Content::Deleted { total },
        };
        Ok(Some(Delivery {
            id,
            recipient,
            content,
            priority: if record.high_priority { Priority::High } else { Priority::Normal },
            collapse_key: record.collapse_key.map(Into::into),
            ttl: Duration::from_secs(record.ttl_seconds.into()),
            expires: row.expires.unwrap_or(Timestamp::from_micros(u64::MAX)),
        }))
    }

    /// Deletes rows of which nothing is to be told: their sets tell it.
    pub(crate) async fn delete_rows(
        &self,
        device: DeviceId,
        ids: &[MessageId],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for ids in ids.chunks(DELETED_TOGETHER) {
            let mut batch = Batch::default();
            ids.iter().for_each(|id| batch.delete(inbox::key(device, *id)));
            self.store.write(batch, now).await?;
        }
        Ok(())
    }
}

/// Whether something older came into the sets since they were looked at.
fn missed(
    carried: &[Carried],
    found: &[Arc<Delivery>],
    skip: &(dyn Fn(MessageId) -> bool + Sync),
    now: Timestamp,
) -> bool {
    let Some(last) = found.last().map(|last| last.id) else { return false };
    let is_new = |id| !skip(id) && found.binary_search_by_key(&id, |known| known.id).is_err();
    let mut waiting = carried.iter().flat_map(|carried| carried.bucket.waiting_for(carried.id().slot, now));
    waiting.any(|waiting| waiting.id < last && is_new(waiting.id))
}

/// How often rows have been made of the sets that a device's registrations are in.
fn rows_made(carried: &[Carried]) -> u64 {
    carried.iter().map(|carried| carried.bucket.rows_made()).sum()
}

/// A delivery has a row of its own, which its set need not tell of any more.
fn leave_to_row(carried: &[Carried], id: MessageId) {
    carried.iter().for_each(|carried| carried.bucket.leave_to_row(carried.id().slot, id));
}

/// Whether a delivery was acknowledged while it was being given the row that it is read from.
fn was_struck(carried: &[Carried], delivery: &Delivery) -> bool {
    let id = delivery.recipient.registration;
    let of = carried.iter().find(|carried| carried.id() == id);
    of.is_some_and(|carried| carried.bucket.was_struck(id.slot, delivery.id))
}

/// What waits in sets, in order.
fn in_sets(
    carried: &[Carried],
    skip: &(dyn Fn(MessageId) -> bool + Sync),
    on_their_way: &mut OnTheirWay,
    now: Timestamp,
) -> Vec<Arc<Delivery>> {
    let mut found = Vec::new();
    for carried in carried {
        let recipient = &carried.recipient;
        for waiting in carried.bucket.waiting_for(carried.id().slot, now) {
            let terms = waiting.fanout.terms(&recipient.layout);
            let end = if !waiting.fanout.is_for(recipient) {
                End::Dropped(Dropped::NotForApp)
            } else if terms.ttl.is_zero() {
                // Now was then.
                End::Dropped(Dropped::NotConnected)
            } else if terms.expires <= now {
                End::Expired
            } else {
                if skip(waiting.id) {
                    on_their_way.add(carried.id(), terms.collapse_key.as_deref(), waiting.id);
                } else {
                    found.push(Arc::new(waiting.fanout.delivery_to(recipient)));
                }
                continue;
            };
            carried.bucket.strike(carried.id().slot, waiting.id, end);
        }
    }
    found.sort_by_key(|delivery| delivery.id);
    found
}

/// Of each registration and collapse key, the newest that the device is being given.
#[derive(Default)]
struct OnTheirWay(HashMap<(RegistrationId, Arc<str>), MessageId>);

impl OnTheirWay {
    fn add(&mut self, registration: RegistrationId, key: Option<&str>, id: MessageId) {
        if let Some(key) = key {
            let newest = self.0.entry((registration, key.into())).or_insert(id);
            *newest = id.max(*newest);
        }
    }

    /// A row that cannot be read was not given either.
    fn add_row(&mut self, id: MessageId, row: &Row) {
        let Ok(record) = InboxRecord::from_bytes(&row.value) else { return };
        if let Some(registration) = record.registration {
            self.add(registration.into(), record.collapse_key.as_deref(), id);
        }
    }
}

/// Keeps, of each registration and collapse key, the newest, unless the device is being given a newer one;
/// gives the others, and what took their places.
fn collapse(deliveries: &mut Vec<Arc<Delivery>>, on_their_way: &OnTheirWay) -> Vec<(MessageId, End)> {
    let mut newest = HashMap::new();
    let mut replaced = Vec::new();
    for delivery in deliveries.iter().rev() {
        let Some(key) = &delivery.collapse_key else { continue };
        let place = (delivery.recipient.registration, key.clone());
        let given = on_their_way.0.get(&place).filter(|given| **given > delivery.id);
        let by = match (newest.get(&place), given) {
            (Some(newer), given) => given.map_or(*newer, |given| (*given).max(*newer)),
            (None, Some(given)) => *given,
            (None, None) => {
                newest.insert(place, delivery.id);
                continue;
            }
        };
        replaced.push((delivery.id, End::Collapsed { by: Some(by) }));
    }
    let gone: HashSet<MessageId> = replaced.iter().map(|(id, _)| *id).collect();
    deliveries.retain(|delivery| !gone.contains(&delivery.id));
    replaced
}
