//! Receipts: the sender of a message wanted to be told when its device has it.
//!
//! Acknowledgements are many and receipts are few, and whoever acknowledges must not read a row to learn
//! that nobody asked. So the id says it: ids of messages with a receipt end in a mark, all others do not.

use cresset_message::{DeviceId, Message, MessageId, Timestamp};
use cresset_store::tables::inbox::{self, InboxRecord};
use cresset_store::tables::message as message_record;
use cresset_store::{Batch, StoreError};

use super::Upstream;
use super::queue::Writing;
use crate::Dispatcher;
use crate::trace::End;

/// The last bits of an id whose message has a receipt. An id of before there were receipts may end so by
/// chance: its row is read, and says that nobody asked.
const MARK: u64 = 0x5eed;
const BITS: u64 = 0xffff;

/// As long as what devices send may wait for an app server.
const TTL_SECONDS: u32 = 86_400;

pub(crate) fn asks_for_receipt(id: MessageId) -> bool {
    id.unique & BITS == MARK
}

/// A random half of an id, with the mark or surely without.
pub(crate) fn marked(unique: u64, receipt: bool) -> u64 {
    match (receipt, unique & BITS == MARK) {
        (true, _) => unique & !BITS | MARK,
        (false, true) => unique ^ 1,
        (false, false) => unique,
    }
}

impl Dispatcher {
    /// An id for a message to one registration.
    pub(crate) fn id_for(&self, message: &Message, now: Timestamp) -> MessageId {
        let id = self.next_id(now);
        MessageId { unique: marked(id.unique, message.receipt_id.is_some()), ..id }
    }

    /// Adds to the batch that deletes rows the receipts that their senders asked for.
    pub(crate) async fn receipts(
        &self,
        batch: &mut Batch,
        device: DeviceId,
        ends: &[(MessageId, End)],
        now: Timestamp,
    ) -> Result<Vec<Writing>, StoreError> {
        let mut writing = Vec::new();
        for (id, end) in ends {
            if *end != End::Acknowledged || !asks_for_receipt(*id) {
                continue;
            }
            if let Some(receipt) = self.receipt(device, *id, batch, now).await? {
                writing.push(receipt);
            }
        }
        Ok(writing)
    }

    /// `None`: nobody asked, or it was told before.
    async fn receipt(
        &self,
        device: DeviceId,
        id: MessageId,
        batch: &mut Batch,
        now: Timestamp,
    ) -> Result<Option<Writing>, StoreError> {
        let Some(row) = self.store.get(&inbox::key(device, id), now).await? else { return Ok(None) };
        let record = InboxRecord::from_bytes(&row.value)?;
        let (Some(registration), false) = (record.registration, record.message.is_empty()) else {
            return Ok(None);
        };
        let Message { target, receipt_id: Some(message_id), .. } = message_record::decode(&record.message)?
        else {
            return Ok(None);
        };
        let recipient = self.recipient(registration.into(), now).await?;
        let project = cresset_message::RegistrationId::from(registration).project;
        let writing = self.upstream.of(project).begin(|| self.next_id(now));
        let receipt = Upstream {
            id: writing.id(),
            registration: target.text().to_owned(),
            category: recipient.map(|recipient| recipient.category).unwrap_or_default(),
            message_id,
            data: Vec::new(),
            ttl_seconds: TTL_SECONDS,
            receipt_for: Some(Timestamp::from_micros(id.micros)),
        };
        receipt.put(batch, project, now);
        Ok(Some(writing))
    }

    /// The batch is durable, and the receipts in it.
    pub(crate) fn receipts_are_stored(&self, writing: Vec<Writing>) {
        self.upstream.count_receipts(writing.len());
        for one in writing {
            one.done();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_on_those_with_a_receipt_and_no_others() {
        for unique in [0, 1, MARK, MARK | 1 << 40, u64::MAX, !BITS | MARK] {
            for receipt in [false, true] {
                let id = MessageId { micros: 7, unique: marked(unique, receipt) };
                assert_eq!(asks_for_receipt(id), receipt, "{unique:x}");
            }
        }
    }
}
