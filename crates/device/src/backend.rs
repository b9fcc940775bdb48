//! What the listener needs of the house: who a device is, and what waits for it. Two traits, so
//! that connections can be tested without a store; their futures are boxed, so that an idle
//! connection does not carry the size of the store's.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use cresset_delivery::{ArrivalError, Carrier, Delivery, Dispatcher, FromDevice};
use cresset_identity::Identity;
use cresset_message::{DeviceId, MessageId, Timestamp};

pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;
/// The store could not be asked; nothing more is known here, and nothing more would help.
pub type BackendError = Box<dyn Error + Send + Sync>;

/// Who a device is.
pub trait Logins: Send + Sync + 'static {
    fn authenticate(&self, device: DeviceId, security_token: u64, now: Timestamp) -> Answer<'_, bool>;
}

/// What waits for a device, and what it has received.
pub trait Inbox: Send + Sync + 'static {
    fn pending<'a>(
        &'a self,
        device: DeviceId,
        limit: usize,
        skip: &'a (dyn Fn(MessageId) -> bool + Sync),
        now: Timestamp,
    ) -> Answer<'a, Vec<Arc<Delivery>>>;

    fn acknowledge<'a>(&'a self, device: DeviceId, ids: &'a [MessageId], now: Timestamp) -> Answer<'a, ()>;

    /// These cannot be given the form that the device reads: they are over.
    fn give_up<'a>(&'a self, device: DeviceId, ids: &'a [MessageId], now: Timestamp) -> Answer<'a, ()> {
        self.acknowledge(device, ids, now)
    }

    /// These, which waited, were written to the device: for whoever wants to know.
    fn sent(&self, _device: DeviceId, _deliveries: &[Arc<Delivery>], _now: Timestamp) {}

    /// A device has sent these for app servers. Gives how many of them, from the first on, it need not
    /// send again. Whoever has no app servers takes what comes, and nobody gets it.
    fn upstream<'a>(
        &'a self,
        _device: DeviceId,
        messages: &'a [FromDevice],
        _now: Timestamp,
    ) -> Pin<Box<dyn Future<Output = (usize, Option<BackendError>)> + Send + 'a>> {
        Box::pin(async move { (messages.len(), None) })
    }

    /// A device has logged in by `line`, and will read its inbox next. The line that it had is told that it is
    /// replaced. `false`: it has another one already whose login began later.
    fn arrived(&self, device: DeviceId, line: Arc<dyn Carrier>, now: Timestamp) -> Answer<'_, bool>;

    /// That line is gone.
    fn left(&self, device: DeviceId, line: &Arc<dyn Carrier>);
}

impl Logins for Identity {
    fn authenticate(&self, device: DeviceId, security_token: u64, now: Timestamp) -> Answer<'_, bool> {
        Box::pin(async move { Ok(self.authenticate_device(device, security_token, now).await?) })
    }
}

impl Inbox for Dispatcher {
    fn pending<'a>(
        &'a self,
        device: DeviceId,
        limit: usize,
        skip: &'a (dyn Fn(MessageId) -> bool + Sync),
        now: Timestamp,
    ) -> Answer<'a, Vec<Arc<Delivery>>> {
        Box::pin(async move { Ok(self.pending(device, limit, skip, now).await?) })
    }

    fn acknowledge<'a>(&'a self, device: DeviceId, ids: &'a [MessageId], now: Timestamp) -> Answer<'a, ()> {
        Box::pin(async move { Ok(self.acknowledge(device, ids, now).await?) })
    }

    fn give_up<'a>(&'a self, device: DeviceId, ids: &'a [MessageId], now: Timestamp) -> Answer<'a, ()> {
        Box::pin(async move { Ok(self.give_up(device, ids, now).await?) })
    }

    fn sent(&self, device: DeviceId, deliveries: &[Arc<Delivery>], now: Timestamp) {
        self.sent(device, deliveries, now);
    }

    fn upstream<'a>(
        &'a self,
        device: DeviceId,
        messages: &'a [FromDevice],
        now: Timestamp,
    ) -> Pin<Box<dyn Future<Output = (usize, Option<BackendError>)> + Send + 'a>> {
        Box::pin(async move {
            match self.take_upstream(device, messages, now).await {
                Ok(taken) => (taken.len(), None),
                Err(not) => (not.taken.len(), Some(not.error.into())),
            }
        })
    }

    fn arrived(&self, device: DeviceId, line: Arc<dyn Carrier>, now: Timestamp) -> Answer<'_, bool> {
        Box::pin(async move {
            match self.arrived(device, line, now).await {
                Err(ArrivalError::Overtaken) => return Ok(false),
                arrived => arrived?,
            }
            if let Err(error) = self.settle(device, now).await {
                // Then it is given more than it should, which is no loss.
                tracing::warn!(%device, "an inbox could not be settled: {error}");
            }
            Ok(true)
        })
    }

    fn left(&self, device: DeviceId, line: &Arc<dyn Carrier>) {
        self.left(device, line);
    }
}
