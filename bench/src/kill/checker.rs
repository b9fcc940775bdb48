//! Who has what: read from the store at rest, and from what devices received.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use cresset_delivery::{Content, Dispatcher};
use cresset_e2e::{Device, Outcome, now};
use cresset_message::{DeviceId, MessageId, ProjectNumber};
use cresset_server::DataFolder;
use cresset_store::embedded::{EmbeddedEngine, Options};
use cresset_store::tables::registrations;
use cresset_store::{Batch, RowKey, Store, Table};
use cresset_wire::token::TokenKey;

use super::crowd::Arrival;
use super::store_of;

/// More than wait for anybody.
const ALL: usize = 1_000;

/// What must not be; all other errors are the harness's own.
#[derive(Debug)]
pub(super) struct Fault(String);

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

/// By member, those that never connect first: the id under which it has a message.
type Column = Vec<Option<MessageId>>;

pub(super) struct Checker {
    members: Vec<DeviceId>,
    /// Members from this one on are the connected devices.
    connected: usize,
    /// By connected device and round.
    received: Vec<HashMap<usize, MessageId>>,
    /// By round; `None`: it left nothing.
    seen: Vec<Option<Column>>,
    /// Arrivals of what had arrived before, under the same id.
    pub(super) again: usize,
}

impl Checker {
    /// Members that never connect have devices numbered from `first` + 1 on.
    pub(super) fn new(first: u64, registrations: u64, devices: &[Device]) -> Outcome<Self> {
        let offline = (first + 1..=first + registrations).map(DeviceId::new);
        let online = devices.iter().map(|device| DeviceId::new(device.credentials.android_id));
        let members: Option<Vec<DeviceId>> = offline.chain(online).collect();
        let members = members.ok_or("a device has no number")?;
        let connected = members.len() - devices.len();
        let received = vec![HashMap::new(); devices.len()];
        Ok(Self { members, connected, received, seen: Vec::new(), again: 0 })
    }

    pub(super) fn hear(&mut self, arrivals: Vec<Arrival>) -> Outcome<()> {
        for Arrival { device, round, id } in arrivals {
            match self.received[device].insert(round, id) {
                None => {}
                Some(known) if known == id => self.again += 1,
                Some(known) => {
                    let what = format!("device {device} received message {round} as {known} and as {id}");
                    return Err(Fault(what).into());
                }
            }
        }
        Ok(())
    }

    /// Looks at what everybody has of all rounds so far. Whether nobody has anything of this one.
    pub(super) async fn look(
        &mut self,
        data: &Path,
        project: ProjectNumber,
        round: usize,
        answered: bool,
    ) -> Outcome<bool> {
        let folder = DataFolder::open(data).map_err(|e| e.to_string())?;
        let secret = folder.token_secret(&|_: &mut [u8]| {}).map_err(|e| e.to_string())?;
        let store: Store = Arc::new(EmbeddedEngine::open(&folder.store(), Options::default())?);
        let random: cresset_delivery::Random = Arc::new(|bytes: &mut [u8]| bytes.fill(7));
        let dispatcher = Dispatcher::open(store.clone(), TokenKey::new(&secret), random, now()).await?;
        if dispatcher.fanouts_open_of(project) > 0 {
            return Err(Fault("a fan-out is open that the server said was spread".into()).into());
        }
        let columns = self.columns(&dispatcher, round).await?;
        drop(dispatcher);
        store.close().await?;
        self.judge(columns, round, answered)?;
        Ok(self.seen[round].is_none())
    }

    async fn columns(&self, dispatcher: &Dispatcher, round: usize) -> Outcome<Vec<Column>> {
        let mut columns: Vec<Column> = vec![vec![None; self.members.len()]; round + 1];
        for (at, device) in self.members.iter().enumerate() {
            for delivery in dispatcher.pending(*device, ALL, &|_| false, now()).await? {
                let Content::Message(message) = &delivery.content else {
                    return Err(Fault(format!("member {at} has a notice instead of messages")).into());
                };
                let Some((_, n)) = message.data.iter().find(|(key, _)| &**key == "n") else { continue };
                let n: usize = n.parse()?;
                let place = columns.get_mut(n).ok_or_else(|| Fault(format!("nobody sent message {n}")))?;
                if place[at].replace(delivery.id).is_some() {
                    return Err(Fault(format!("message {n} waits twice for member {at}")).into());
                }
            }
        }
        for (device, received) in self.received.iter().enumerate() {
            for (n, id) in received {
                let at = self.connected + device;
                let column = columns.get_mut(*n).ok_or_else(|| Fault(format!("nobody sent message {n}")))?;
                if column[at].replace(*id).is_some_and(|waiting| waiting != *id) {
                    let what = format!("message {n} waits for member {at} under another id than it came");
                    return Err(Fault(what).into());
                }
            }
        }
        Ok(columns)
    }

    fn judge(&mut self, columns: Vec<Column>, round: usize, answered: bool) -> Result<(), Fault> {
        for (n, column) in columns.into_iter().enumerate() {
            let have = column.iter().flatten().count();
            let all = column.len();
            let is_new = n == self.seen.len();
            let right = match self.seen.get(n) {
                Some(Some(known)) => column == *known,
                Some(None) => have == 0,
                None => have == all || have == 0 && !(n == round && answered),
            };
            if !right {
                return Err(Fault(format!("message {n}: {have} of {all} have it, or under another id")));
            }
            if is_new {
                self.seen.push((have > 0).then_some(column));
            }
        }
        Ok(())
    }
}

/// The control: the newest set of the first bucket is gone.
pub(super) async fn delete_a_set(data: &Path, project: ProjectNumber) -> Outcome<()> {
    let store: Store = Arc::new(EmbeddedEngine::open(&store_of(data)?, Options::default())?);
    let partition = registrations::partition(project, 0);
    let sets = store.scan(Table::FanOuts, &partition, b"", ALL, now()).await?;
    if let Some(newest) = sets.rows.last() {
        let mut batch = Batch::default();
        batch.delete(RowKey::new(Table::FanOuts, partition.clone(), newest.sort.clone()));
        store.write(batch, now()).await?;
    }
    Ok(store.close().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: MessageId = MessageId { micros: 1, unique: 2 };
    const OTHER: MessageId = MessageId { micros: 3, unique: 4 };

    fn checker() -> Checker {
        let mut checker = Checker::new(0, 3, &[]).unwrap();
        checker.received = vec![HashMap::new()];
        checker
    }

    #[test]
    fn an_answered_message_is_everybodys() {
        assert!(checker().judge(vec![vec![Some(ID); 3]], 0, true).is_ok());
        assert!(checker().judge(vec![vec![None; 3]], 0, true).is_err());
        for missing in 0..3 {
            let mut column = vec![Some(ID); 3];
            column[missing] = None;
            assert!(checker().judge(vec![column], 0, true).is_err());
        }
    }

    #[test]
    fn an_unanswered_message_is_everybodys_or_nobodys_and_stays_so() {
        let (all, nobody, some) = (vec![Some(ID); 3], vec![None; 3], vec![Some(ID), None, None]);
        assert!(checker().judge(vec![some], 0, false).is_err());
        for (first, then) in [(&all, &nobody), (&nobody, &all)] {
            let mut checker = checker();
            checker.judge(vec![first.clone()], 0, false).unwrap();
            assert!(checker.judge(vec![then.clone(), all.clone()], 1, true).is_err());
        }
    }

    #[test]
    fn another_id_is_seen() {
        let mut checker = checker();
        checker.judge(vec![vec![Some(ID); 3]], 0, true).unwrap();
        let renamed = vec![Some(ID), Some(OTHER), Some(ID)];
        assert!(checker.judge(vec![renamed, vec![Some(ID); 3]], 1, true).is_err());
        let arrival = |id| Arrival { device: 0, round: 0, id };
        checker.hear(vec![arrival(ID), arrival(ID)]).unwrap();
        assert_eq!(checker.again, 1);
        assert!(checker.hear(vec![arrival(OTHER)]).is_err());
    }
}
