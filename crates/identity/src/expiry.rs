//! A device that has not been here for long is forgotten (`clients/device-clients.md` §6: after 270 days):
//! its record expires, and whoever comes with its credentials later starts over. Its registrations are
//! ended by a slow walk over all of them, a page at a time, that can begin anew anywhere.

use std::collections::HashMap;

use cresset_message::{DeviceId, ProjectNumber, RegistrationId, Timestamp};
use cresset_store::tables::devices;
use cresset_store::tables::registrations::{self, RegistrationRecord, RegistrationRef};
use cresset_store::tables::{counters, members};
use cresset_store::{Row, StoreError, Table};

use crate::Identity;
use crate::membership::carrier_of;

/// Registrations looked at in one step: some milliseconds of one core.
const STEP: usize = 500;

/// A walk over all registrations.
#[derive(Debug)]
pub struct Expiry {
    project: ProjectNumber,
    bucket: u32,
    from: Vec<u8>,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    pub ended: usize,
    /// The end was reached: the next step begins anew.
    pub over: bool,
}

impl Default for Expiry {
    fn default() -> Self {
        Self::new()
    }
}

impl Expiry {
    pub fn new() -> Self {
        Self { project: ProjectNumber::SYSTEM, bucket: 0, from: Vec::new() }
    }

    /// Looks at some registrations, and ends those whose devices are no more.
    pub async fn step(&mut self, identity: &Identity, now: Timestamp) -> Result<Expired, StoreError> {
        let row = identity.store.get(&counters::next_registration(self.project), now).await?;
        let made = row.map(|row| counters::from_bytes(&row.value)).transpose()?.unwrap_or(0);
        if u64::from(self.bucket) << 16 >= made {
            let over = !self.next_project(identity);
            return Ok(Expired { ended: 0, over });
        }
        let partition = registrations::partition(self.project, self.bucket);
        let page = identity.store.scan(Table::Registrations, &partition, &self.from, STEP, now).await?;
        let mut gone = HashMap::new();
        let mut ended = 0;
        for row in &page.rows {
            ended += usize::from(self.look_at(identity, row, &mut gone, now).await?);
        }
        match page.next {
            Some(next) => self.from = next.to_vec(),
            None => {
                self.bucket += 1;
                self.from = Vec::new();
            }
        }
        Ok(Expired { ended, over: false })
    }

    /// The one after this; there is none after the last.
    fn next_project(&mut self, identity: &Identity) -> bool {
        let numbers = identity.projects().into_iter().map(|project| project.number);
        let next = numbers.filter(|number| *number > self.project).min();
        (self.bucket, self.from) = (0, Vec::new());
        self.project = next.unwrap_or(ProjectNumber::SYSTEM);
        next.is_some()
    }

    /// Whether it was ended.
    async fn look_at(
        &self,
        identity: &Identity,
        row: &Row,
        gone: &mut HashMap<DeviceId, bool>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let record = RegistrationRecord::from_bytes(&row.value)?;
        // Of one that a push service carries, the push service knows whether it is there.
        let device = carrier_of(&record).filter(|device| !device.is_outside());
        let Some(device) = device else { return Ok(false) };
        let gone = match gone.get(&device) {
            Some(known) => *known,
            None => {
                let found = identity.store.get(&devices::key(device), now).await?.is_none();
                gone.insert(device, found);
                found
            }
        };
        if gone {
            let slot = members::slot_of(&row.sort)?;
            let id = RegistrationId { project: self.project, bucket: self.bucket, slot };
            identity.end_expired(id, &record, now).await?;
        }
        Ok(gone)
    }
}

impl Identity {
    async fn end_expired(
        &self,
        id: RegistrationId,
        record: &RegistrationRecord,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if let Some(of) = &record.device
            && let Some(device) = DeviceId::new(of.device)
        {
            let key = devices::registration_key(device, &of.app, &of.subtype, &of.sender, &of.scope);
            let row = self.store.get(&key, now).await?;
            let names =
                |row: &Row| RegistrationRef::from_bytes(&row.value).map(RegistrationId::from) == Ok(id);
            if let Some(row) = row.filter(names) {
                return self.unregister_row(key, &row, now).await;
            }
        }
        self.end_registration(id, now).await
    }
}
