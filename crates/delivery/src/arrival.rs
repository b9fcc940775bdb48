//! A device connects, or leaves; or what it carries changes meanwhile.

use std::sync::Arc;

use cresset_message::{DeviceId, ProjectNumber, RegistrationId, Timestamp};
use cresset_store::tables::inbox::{self, InboxRecord};
use cresset_store::tables::{carried, devices};
use cresset_store::{Pages, StoreError, Table};

use crate::presence::{Arrived, Carried};
use crate::trace::{Dropped, End};
use crate::{Carrier, Dispatcher};

/// Registrations read from the store at a time.
const PAGE: usize = 128;

/// Why a line does not reach its device.
#[derive(Debug, thiserror::Error)]
pub enum ArrivalError {
    #[error("a newer connection of the device has arrived meanwhile")]
    Overtaken,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Dispatcher {
    /// A device is connected by `line`: from now on fan-outs push to it. What came before waits, and
    /// is read next. Of two lines of one device that arrive at a time, the one that began later stays.
    pub async fn arrived(
        &self,
        device: DeviceId,
        line: Arc<dyn Carrier>,
        now: Timestamp,
    ) -> Result<(), ArrivalError> {
        let presence = &self.carriers.presence;
        let arrival = presence.begin(device);
        let carried = self.carried_in_store(device, now).await?;
        let arrived = presence.arrive(device, arrival, line.clone(), carried.clone());
        let Some(Arrived { before, missed }) = arrived else { return Err(ArrivalError::Overtaken) };
        if let Some(before) = before {
            before.replaced();
        }
        // What ended between being read and being known as connected nobody has told of.
        for carried in &*carried {
            self.confirm(device, carried, &line, now).await?;
        }
        if missed {
            for carried in &*self.carried_in_store(device, now).await? {
                self.carry(device, carried, now).await?;
            }
        }
        match presence.is_by(device, &line) {
            true => Ok(()),
            false => Err(ArrivalError::Overtaken),
        }
    }

    async fn confirm(
        &self,
        device: DeviceId,
        carried: &Carried,
        line: &Arc<dyn Carrier>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let id = carried.id();
        if self.registration(id, now).await?.is_some() {
            carried.bucket.confirm(id.slot, line);
        } else {
            carried.bucket.disconnect(id.slot, line);
            self.carriers.presence.change(device, |all| all.retain(|known| known.id() != id));
        }
        Ok(())
    }

    /// The connection is gone, if it was the device's last.
    pub fn left(&self, device: DeviceId, line: &Arc<dyn Carrier>) {
        if let Some(present) = self.carriers.presence.leave(device, line) {
            present.disconnect();
        }
    }

    /// Whose messages a device carries.
    pub(crate) async fn carried(
        &self,
        device: DeviceId,
        now: Timestamp,
    ) -> Result<Arc<[Carried]>, StoreError> {
        match self.carriers.presence.get(device) {
            Some(present) => Ok(present.carried.clone()),
            None => self.carried_in_store(device, now).await,
        }
    }

    async fn carried_in_store(&self, device: DeviceId, now: Timestamp) -> Result<Arc<[Carried]>, StoreError> {
        let partition = carried::partition(device);
        let mut found = Vec::new();
        let mut pages = Pages::of(&self.store, Table::Carried, &partition, PAGE);
        while let Some(rows) = pages.next(now).await? {
            for row in &rows {
                found.extend(self.carried_by(device, carried::registration_of(&row.sort)?, now).await?);
            }
        }
        Ok(found.into())
    }

    /// A registration, if it is there and this device carries it: the row may be older than that.
    async fn carried_by(
        &self,
        device: DeviceId,
        id: RegistrationId,
        now: Timestamp,
    ) -> Result<Option<Carried>, StoreError> {
        // Subscriptions without a project are in no set.
        if id.project == ProjectNumber::SYSTEM {
            return Ok(None);
        }
        let Some(record) = self.registration(id, now).await? else { return Ok(None) };
        let recipient = self.recipient_with(id, &record, now).await?;
        let Some(recipient) = recipient.filter(|recipient| recipient.device == device) else {
            return Ok(None);
        };
        for before in record.moved_from.iter().copied().filter_map(DeviceId::stored) {
            self.gather(id, before, device, now).await?;
        }
        let bucket = self.fanouts.buckets.get(id.project, id.bucket, now).await?;
        Ok(Some(Carried { recipient: Arc::new(recipient), bucket }))
    }

    /// What waits for a registration at a device that carried it before waits at this one.
    async fn gather(
        &self,
        id: RegistrationId,
        before: DeviceId,
        device: DeviceId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let partition = devices::partition(before);
        let mut pages = Pages::of(&self.store, inbox::table_of(before), &partition, PAGE);
        while let Some(rows) = pages.next(now).await? {
            for row in rows {
                let is_its = InboxRecord::from_bytes(&row.value)
                    .is_ok_and(|record| record.registration.map(RegistrationId::from) == Some(id));
                if is_its {
                    let delivery = inbox::id_of(&row.sort)?;
                    self.move_row((before, device), delivery, row, now).await?;
                }
            }
        }
        Ok(())
    }

    /// There is a registration, or another device carries it than before.
    pub async fn registered(
        &self,
        id: RegistrationId,
        device: DeviceId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.members.joined_everyone(id, now).await;
        if !self.carriers.presence.is_told(device) {
            return Ok(());
        }
        match self.carried_by(device, id, now).await? {
            Some(carried) => self.carry(device, &carried, now).await,
            None => Ok(()),
        }
    }

    /// A device, if it is still here, carries this from now on.
    async fn carry(&self, device: DeviceId, carried: &Carried, now: Timestamp) -> Result<(), StoreError> {
        let line = self.carriers.presence.change(device, |all| {
            all.retain(|known| known.id() != carried.id());
            all.push(carried.clone());
        });
        let Some(line) = line else { return Ok(()) };
        carried.bucket.connect(carried.recipient.clone(), line.clone());
        self.confirm(device, carried, &line, now).await
    }

    /// A registration is no more: nobody wants its messages.
    pub async fn ended(&self, id: RegistrationId, now: Timestamp) -> Result<(), StoreError> {
        self.members.ended(id);
        let bucket = self.fanouts.buckets.get(id.project, id.bucket, now).await?;
        let (dropped, device) = bucket.forget(id.slot);
        self.traces.count(End::Dropped(Dropped::Unregistered), dropped);
        if dropped > 0 {
            tracing::debug!(registration = ?id, dropped, reason = "unregistered", "deliveries are dropped");
        }
        if let Some(device) = device {
            self.carriers.presence.change(device, |all| all.retain(|known| known.id() != id));
        }
        Ok(())
    }

    /// A project is no more: what is being spread for it ends here.
    pub async fn project_deleted(&self, project: ProjectNumber, now: Timestamp) -> Result<(), StoreError> {
        self.members.project_deleted(project);
        self.fanouts.cancel(project, now).await
    }
}
