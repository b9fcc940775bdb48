//! What goes on beside the listeners for as long as the server runs: spreading, tidying up, dropping
//! what has expired; and what `identity` tells `delivery`, which do not know each other.

use std::sync::Arc;
use std::time::Duration;

use cresset_delivery::{Dispatcher, Step, Sweeper};
use cresset_identity::{Expiry, Identity, Told, Watch};
use cresset_message::{DeviceId, ProjectNumber, RegistrationId, Timestamp};
use cresset_store::{Store, StoreError};
use tokio::task::JoinSet;

use crate::clock;

/// Tasks that spread. More than processors: one that waits for its turn at a bucket must not hold up
/// the messages for others.
const SPREADERS: usize = 16;
/// After a failure: the store says itself what is wrong with it.
const RETRY: Duration = Duration::from_secs(1);
/// Between two times that sets are tidied up. What a crash takes are the acknowledgements of so long,
/// and a message that comes twice has the same persistent id.
const TIDY_PAUSE: Duration = Duration::from_secs(1);
/// Between two walks over what may have expired; reading drops it anyway.
const SWEEP_PAUSE: Duration = Duration::from_secs(600);
/// Between two walks over registrations: what they look for happens over months.
const FORGET_PAUSE: Duration = Duration::from_secs(6 * 3_600);
/// Between two steps of one walk.
const SWEEP_STEP_PAUSE: Duration = Duration::from_millis(50);

/// All of it; it ends when the set is dropped. `forgets`: devices that stay away are forgotten.
pub(crate) fn spawn(
    store: &Store,
    identity: &Arc<Identity>,
    dispatcher: &Arc<Dispatcher>,
    forgets: bool,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..SPREADERS {
        tasks.spawn(spread(dispatcher.clone()));
    }
    tasks.spawn(tidy(dispatcher.clone()));
    tasks.spawn(sweep(Sweeper::new(store.clone())));
    if forgets {
        tasks.spawn(forget(identity.clone()));
    }
    tasks
}

async fn spread(dispatcher: Arc<Dispatcher>) {
    loop {
        match dispatcher.spread(clock::now()).await {
            Some(Ok(())) => {}
            Some(Err(e)) => {
                tracing::debug!("a fan-out waits: {e}");
                tokio::time::sleep(RETRY).await;
            }
            None => dispatcher.something_to_spread().await,
        }
    }
}

async fn tidy(dispatcher: Arc<Dispatcher>) {
    loop {
        tokio::time::sleep(TIDY_PAUSE).await;
        if let Err(e) = dispatcher.tidy(clock::now()).await {
            tracing::debug!("sets could not be tidied up: {e}");
        }
    }
}

/// Drops what has expired, a little at a time, for ever.
async fn sweep(mut sweeper: Sweeper) {
    let mut dropped_in_walk = 0;
    loop {
        match sweeper.step(clock::now()).await {
            Ok(Step::Busy { dropped }) => {
                dropped_in_walk += dropped;
                tokio::time::sleep(SWEEP_STEP_PAUSE).await;
            }
            Ok(Step::Idle { dropped }) => {
                tracing::debug!(dropped = dropped_in_walk + dropped, "expired deliveries dropped");
                dropped_in_walk = 0;
                tokio::time::sleep(SWEEP_PAUSE).await;
            }
            Err(e) => {
                tracing::warn!("expired deliveries could not be dropped: {e}");
                tokio::time::sleep(SWEEP_PAUSE).await;
            }
        }
    }
}

/// Ends the registrations of devices that have been forgotten, a little at a time, for ever.
async fn forget(identity: Arc<Identity>) {
    let mut expiry = Expiry::new();
    let mut ended = 0;
    loop {
        let pause = match expiry.step(&identity, clock::now()).await {
            Ok(step) => {
                ended += step.ended;
                if step.over && ended > 0 {
                    tracing::info!(ended, "registrations of devices that stayed away are ended");
                    ended = 0;
                }
                if step.over { FORGET_PAUSE } else { SWEEP_STEP_PAUSE }
            }
            Err(e) => {
                tracing::warn!("registrations could not be looked at: {e}");
                SWEEP_PAUSE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Tells `delivery` what `identity` knows.
pub(crate) struct Telling(pub(crate) Arc<Dispatcher>);

impl Watch for Telling {
    fn registered(&self, id: RegistrationId, device: DeviceId, now: Timestamp) -> Told<'_> {
        Box::pin(async move { said(self.0.registered(id, device, now).await) })
    }

    fn ended(&self, id: RegistrationId, now: Timestamp) -> Told<'_> {
        Box::pin(async move { said(self.0.ended(id, now).await) })
    }

    fn project_deleted(&self, project: ProjectNumber, now: Timestamp) -> Told<'_> {
        Box::pin(async move { said(self.0.project_deleted(project, now).await) })
    }
}

/// What stands in the store is right; what is in memory is put right when it is next looked at.
fn said(outcome: Result<(), StoreError>) {
    if let Err(e) = outcome {
        tracing::warn!("a change of a registration is not known everywhere yet: {e}");
    }
}
