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
    let sent = dispatcher.send(sender, downstream.message, downstream.dry_run, now).await;
    sent.map(|_| Sent::One { canonical: None }).map_err(|rejection| LegacyError::from(&rejection))
}
