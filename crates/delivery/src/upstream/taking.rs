//! What devices send is looked at, made durable, and only then said to be taken.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cresset_message::{DeviceId, ProjectNumber, RegistrationId, Timestamp};
use cresset_store::{Batch, StoreError};
use cresset_wire::token::{Presented, present, registration_token};

use super::{Queues, Upstream};
use crate::Dispatcher;
use crate::finish::Finish;
use crate::presence::Carried;

/// Bytes of a message's keys and values, as downstream (`protocol/mcs.md` §9: Chromium's limit; the
/// `send` of Google's own client library has the same).
const MAX_DATA: usize = 4_096;
/// A category, a message's own id, a token: names, not contents.
const MAX_NAME: usize = 1_024;
/// Seconds that a message may wait; more is cut, none given means this (`protocol/mcs.md` §4, field 17).
const MAX_TTL: u32 = 86_400;
/// How long what is for now or never stays, once an app server is there for it.
pub(super) const NOW: Duration = Duration::from_secs(60);

/// A message of a device, as its connection has read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FromDevice {
    /// The project that it is for, by its number; `None`: it is for somebody else.
    pub sender: Option<ProjectNumber>,
    /// The app.
    pub category: String,
    /// The app instance's token, if it says so.
    pub registration: Option<String>,
    pub message_id: String,
    /// The device's own, by which it knows what was taken.
    pub persistent_id: Option<String>,
    pub data: Vec<(String, String)>,
    /// `None`: as long as may be. Zero: now or never.
    pub ttl_seconds: Option<u32>,
}

/// What became of a message that a device need not send again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is durable.
    Durable,
    /// It was before.
    Duplicate,
    Dropped(Why),
}

/// Why nobody will get a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is for no project here.
    NoProject,
    /// The device has no registration of that app with that project.
    NotRegistered,
    TooLarge,
    /// It was for now or never, and no app server is connected.
    NotConnected,
}

impl Why {
    pub const ALL: [Self; 4] = [Self::NoProject, Self::NotRegistered, Self::TooLarge, Self::NotConnected];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoProject => "no_project",
            Self::NotRegistered => "not_registered",
            Self::TooLarge => "too_large",
            Self::NotConnected => "not_connected",
        }
    }
}

/// Why a message is not taken for now. The device keeps it.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("too many messages wait for the app servers of project {0}")]
    Full(ProjectNumber),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How far it went: the first messages were taken, the others were not.
#[derive(Debug)]
pub struct NotTaken {
    pub taken: Vec<Taken>,
    pub error: UpstreamError,
}

impl Dispatcher {
    /// Takes messages of a device, in order; `Ok` means that it need not send any of them again.
    pub async fn take_upstream(
        &self,
        device: DeviceId,
        messages: &[FromDevice],
        now: Timestamp,
    ) -> Result<Vec<Taken>, NotTaken> {
        let mut taken = Vec::with_capacity(messages.len());
        for message in messages {
            match self.take_one(device, message, now).await {
                Ok(one) => {
                    self.upstream.count(one);
                    taken.push(one);
                }
                Err(error) => {
                    self.upstream.counters.refused.fetch_add(1, Ordering::Relaxed);
                    return Err(NotTaken { taken, error });
                }
            }
        }
        Ok(taken)
    }

    async fn take_one(
        &self,
        device: DeviceId,
        message: &FromDevice,
        now: Timestamp,
    ) -> Result<Taken, UpstreamError> {
        if self.upstream.has_seen(device, message) {
            return Ok(Taken::Duplicate);
        }
        let Some(project) = message.sender else { return Ok(Taken::Dropped(Why::NoProject)) };
        if !message.fits() {
            return Ok(Taken::Dropped(Why::TooLarge));
        }
        let Some(registration) = self.registration_of(device, project, message, now).await? else {
            return Ok(Taken::Dropped(Why::NotRegistered));
        };
        let ttl_seconds = message.ttl_seconds.unwrap_or(MAX_TTL).min(MAX_TTL);
        let queue = self.upstream.of(project);
        if ttl_seconds == 0 && !queue.has_lines() {
            return Ok(Taken::Dropped(Why::NotConnected));
        }
        if queue.is_full(&self.store, project, now) {
            return Err(UpstreamError::Full(project));
        }
        let writing = queue.begin(|| self.next_id(now));
        let upstream = Upstream {
            id: writing.id(),
            registration,
            category: message.category.clone(),
            message_id: message.message_id.clone(),
            data: message.data.clone(),
            ttl_seconds,
            receipt_for: None,
        };
        let mut batch = Batch::default();
        upstream.put(&mut batch, project, now);
        // To its end even if the device does not wait for it: nobody may read past a row on its way.
        let (store, ids) = (self.store.clone(), self.ids.clone());
        let stored = Finish::new(async move {
            ids.write(&store, batch, Some(writing.id()), now).await?;
            writing.done();
            Ok::<_, StoreError>(())
        });
        stored.await?;
        self.upstream.remember(device, message);
        Ok(Taken::Durable)
    }

    /// The token of the app instance that a message is of.
    async fn registration_of(
        &self,
        device: DeviceId,
        project: ProjectNumber,
        message: &FromDevice,
        now: Timestamp,
    ) -> Result<Option<String>, StoreError> {
        let carried = self.carried(device, now).await?;
        let said = message.registration.as_deref().map(|text| present(&self.tokens, text));
        let said = match said {
            Some(Presented::Registration(id)) => Some(id),
            Some(Presented::Fid(fid)) => self.registration_of_fid(&fid, now).await.ok(),
            // It does not say, or in a way of its own.
            _ => None,
        };
        let is_it = |carried: &&Carried| {
            carried.id().project == project
                && carried.recipient.category == message.category
                && said.is_none_or(|id| carried.id() == id)
        };
        let newest = |carried: &&Carried| {
            let RegistrationId { bucket, slot, .. } = carried.id();
            (bucket, slot)
        };
        let Some(id) = carried.iter().filter(is_it).max_by_key(newest).map(Carried::id) else {
            return Ok(None);
        };
        let record = self.registration(id, now).await?;
        Ok(record.map(|record| registration_token(&self.tokens, &record.prefix, id)))
    }
}

impl FromDevice {
    fn fits(&self) -> bool {
        let data: usize = self.data.iter().map(|(key, value)| key.len() + value.len()).sum();
        let names = [&self.category, &self.message_id];
        data <= MAX_DATA && names.iter().all(|name| name.len() <= MAX_NAME)
    }
}

impl Queues {
    fn has_seen(&self, device: DeviceId, message: &FromDevice) -> bool {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        message.persistent_id.as_ref().is_some_and(|id| recent.has(device, id))
    }

    fn remember(&self, device: DeviceId, message: &FromDevice) {
        if let Some(id) = &message.persistent_id {
            self.recent.lock().unwrap_or_else(PoisonError::into_inner).add(device, id);
        }
    }

    fn count(&self, taken: Taken) {
        let counter = match taken {
            Taken::Durable => &self.counters.taken,
            Taken::Duplicate => &self.counters.duplicates,
            Taken::Dropped(why) => &self.counters.dropped[why as usize],
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Taken::Dropped(why) = taken {
            tracing::debug!(reason = why.name(), "a message of a device is dropped");
        }
    }
}
