//! A message takes the same way as over HTTP.

use cresset_delivery::Dispatcher;
use cresset_message::{ProjectNumber, Timestamp};
use cresset_wire::legacy::{Downstream, LegacyError};

use crate::session::Sent;

/// `Ok` means durable.
pub(crate) async fn deliver(
    dispatcher: &Dispatcher,
    sender: ProjectNumber,
    downstream: Downstream,
    now: Timestamp,
) -> Result<Sent, LegacyError> {
    let sent = dispatcher.send_in_full(sender, downstream.message, downstream.dry_run, now).await;
    match sent.map_err(|rejection| LegacyError::from(&rejection))? {
        cresset_delivery::Sent::One(accepted) => {
            let canonical = match accepted.successor {
                // It is accepted; not to know a better token is no failure.
                Some(successor) => dispatcher.token_of(successor, now).await.ok().flatten(),
                None => None,
            };
            Ok(Sent::One { canonical })
        }
        cresset_delivery::Sent::Group(group) if group.sent == 0 => {
            Err(group.refusal.as_ref().map_or(LegacyError::NotRegistered, LegacyError::from))
        }
        cresset_delivery::Sent::Group(group) => Ok(Sent::Group { success: group.sent, failed: group.failed }),
    }
}
