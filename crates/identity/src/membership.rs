//! What stands about a registration beside its record, written in the batch that makes or ends it:
//! that it is one of its project's, whose connection carries it, and which topics it has. And who is
//! told of it.

use cresset_message::{DeviceId, ProjectNumber, RegistrationId, Timestamp, Topic};
use cresset_store::tables::carried;
use cresset_store::tables::members::{self, TopicKey};
use cresset_store::tables::registrations::{self, RegistrationRecord};
use cresset_store::{Batch, Condition, Store, StoreError, Table};

use crate::{ATTEMPTS, Identity, contended};

/// Topics that end with their registration. It has at most 2,000, and a few more where several
/// subscriptions came at the same moment; twice as many rows go into one batch.
const MAX_TOPICS: usize = 4_000;

/// A batch, and what is to be told when it is durable.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) batch: Batch,
    news: Vec<News>,
}

enum News {
    Registered(RegistrationId, DeviceId),
    Ended(RegistrationId),
}

impl News {
    /// Whether the store has it so. What cannot be read is not told.
    async fn holds(&self, store: &Store, now: Timestamp) -> bool {
        let (Self::Registered(id, _) | Self::Ended(id)) = self;
        let row = store.get(&registrations::key(*id), now).await;
        row.is_ok_and(|row| row.is_some() == matches!(self, Self::Registered(..)))
    }
}

impl Change {
    pub(crate) fn conditional(condition: Condition) -> Self {
        let batch = Batch { condition: Some(condition), ..Batch::default() };
        Self { batch, news: Vec::new() }
    }

    /// Puts a record and what belongs to it. `before` is the record it takes the place of.
    pub(crate) fn register(
        &mut self,
        id: RegistrationId,
        record: &RegistrationRecord,
        before: Option<&RegistrationRecord>,
    ) {
        self.batch.put(registrations::key(id), record.to_bytes(), None);
        // Bare Web Push subscriptions are of no project whose messages they could get.
        if id.project != ProjectNumber::SYSTEM {
            self.batch.put(members::key(id, TopicKey::of_platform(record.platform())), Vec::new(), None);
        }
        let (carrier, old) = (carrier_of(record), before.and_then(carrier_of));
        let outside = |device: Option<DeviceId>| device.is_some_and(DeviceId::is_outside);
        match (outside(old), outside(carrier)) {
            (false, true) => self.batch.put(members::key(id, TopicKey::outside()), Vec::new(), None),
            (true, false) => self.batch.delete(members::key(id, TopicKey::outside())),
            _ => {}
        }
        if let Some(old) = old.filter(|old| Some(*old) != carrier) {
            self.batch.delete(carried::key(old, id));
        }
        if let Some(carrier) = carrier {
            self.batch.put(carried::key(carrier, id), Vec::new(), None);
            // Also when only its keys have changed.
            self.news.push(News::Registered(id, carrier));
        }
    }

    fn end(&mut self, id: RegistrationId, record: &RegistrationRecord, topics: &[Topic]) {
        self.batch.delete(registrations::key(id));
        if id.project != ProjectNumber::SYSTEM {
            self.batch.delete(members::key(id, TopicKey::of_platform(record.platform())));
        }
        if let Some(carrier) = carrier_of(record) {
            self.batch.delete(carried::key(carrier, id));
            if carrier.is_outside() {
                self.batch.delete(members::key(id, TopicKey::outside()));
            }
        }
        topics.iter().for_each(|topic| members::leave(&mut self.batch, id, topic));
        self.news.push(News::Ended(id));
    }
}

/// The device whose connection carries the messages of a registration.
pub(crate) fn carrier_of(record: &RegistrationRecord) -> Option<DeviceId> {
    DeviceId::stored(match (&record.web, &record.apple, &record.device) {
        (Some(web), ..) => web.device,
        (None, Some(apple), _) => apple.device,
        (None, None, Some(device)) => device.device,
        (None, None, None) => 0,
    })
}

impl Identity {
    /// Adds to a change that a registration ends, with all that belongs to it.
    pub(crate) async fn end_in(
        &self,
        change: &mut Change,
        id: RegistrationId,
        record: &RegistrationRecord,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        change.end(id, record, &topics_of(&self.store, id, now).await?);
        Ok(())
    }

    /// Ends a registration that nothing but its record leads to. That it ended before is success.
    pub(crate) async fn end_registration(
        &self,
        id: RegistrationId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = registrations::key(id);
        for _ in 0..ATTEMPTS {
            let Some(row) = self.store.get(&key, now).await? else { return Ok(()) };
            let record = RegistrationRecord::from_bytes(&row.value)?;
            // Else it moves to another device at this moment, and its row there would stay.
            let condition = Condition { key: key.clone(), expected: Some(row.value) };
            let mut change = Change::conditional(condition);
            self.end_in(&mut change, id, &record, now).await?;
            if self.write_and_tell(change, now).await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Runs to its end even if the client no longer waits: what is written is told.
    pub(crate) async fn write_and_tell(&self, change: Change, now: Timestamp) -> Result<bool, StoreError> {
        let (store, watch) = (self.store.clone(), self.watch.get().cloned());
        let written = tokio::spawn(async move {
            let written = store.write(change.batch, now).await;
            for news in change.news {
                // A write that failed may stand there all the same.
                let is_true = match &written {
                    Ok(written) => *written,
                    Err(_) => news.holds(&store, now).await,
                };
                if !is_true {
                    continue;
                }
                if let News::Ended(id) = news {
                    leave_late_topics(&store, id, now).await;
                }
                match (&watch, news) {
                    (Some(watch), News::Registered(id, device)) => watch.registered(id, device, now).await,
                    (Some(watch), News::Ended(id)) => watch.ended(id, now).await,
                    (None, _) => {}
                }
            }
            written
        });
        written
            .await
            .unwrap_or_else(|e| Err(StoreError::Damaged(format!("a registration was given up: {e}"))))
    }
}

async fn topics_of(store: &Store, id: RegistrationId, now: Timestamp) -> Result<Vec<Topic>, StoreError> {
    let partition = members::topics_partition(id);
    let page = store.scan(Table::MemberTopics, &partition, b"", MAX_TOPICS, now).await?;
    page.rows.iter().map(|row| members::topic_of(&row.sort)).collect()
}

/// A topic that came after the topics were read, and before the registration ended: whoever wrote it
/// found the registration there still. One that comes later finds that it is not.
async fn leave_late_topics(store: &Store, id: RegistrationId, now: Timestamp) {
    let left = async {
        let topics = topics_of(store, id, now).await?;
        let mut batch = Batch::default();
        topics.iter().for_each(|topic| members::leave(&mut batch, id, topic));
        if topics.is_empty() { Ok(true) } else { store.write(batch, now).await }
    };
    if let Err(e) = left.await {
        tracing::debug!("topics of a registration that ended may have stayed: {e}");
    }
}
