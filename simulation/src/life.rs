//! One life of the server's process: its runtime, the parts that are under test, and what goes on
//! beside the listeners (`cresset_server`, `background.rs`). It ends by being dropped, at any point
//! between two operations of the store.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use cresset_delivery::{Dispatcher, Limits, Quotas, Step, Sweeper};
use cresset_identity::{Identity, Told, Watch};
use cresset_message::{DeviceId, ProjectNumber, RegistrationId, Timestamp};
use cresset_store::{Store, StoreError};
use cresset_wire::token::TokenKey;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::dice::Dice;

/// Tasks that spread. The server has sixteen; one that waits must not hold up all the others.
const SPREADERS: usize = 3;

/// What became of deliveries is kept as the server keeps it, for the writes that it is.
const KEPT: Duration = Duration::from_secs(72 * 3_600);

/// What a life is made of.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) store: Store,
    pub(crate) clock: Arc<Clock>,
    pub(crate) quotas: Quotas,
    pub(crate) limits: Limits,
    pub(crate) member_memory: usize,
    /// Push services of others may be named.
    pub(crate) outside: bool,
}

pub(crate) struct Life {
    runtime: Runtime,
    idle: Arc<Idle>,
    pub(crate) second: Arc<Second>,
}

/// The parts, once they are open.
pub(crate) struct Parts {
    pub(crate) identity: Arc<Identity>,
    pub(crate) dispatcher: Arc<Dispatcher>,
}

/// A second has passed: what failed is tried again.
#[derive(Default)]
pub(crate) struct Second {
    passed: Notify,
    waiting: AtomicUsize,
}

impl Second {
    pub(crate) fn pass(&self) {
        self.passed.notify_waiters();
    }

    pub(crate) fn is_awaited(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    async fn wait(&self) {
        self.waiting.fetch_add(1, Relaxed);
        self.passed.notified().await;
        self.waiting.fetch_sub(1, Relaxed);
    }
}

/// Tells when nothing in the runtime can go on by itself.
#[derive(Default)]
struct Idle(Mutex<(bool, Option<Waker>)>);

impl Idle {
    /// The runtime is about to wait.
    fn reached(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.0 = true;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn wait(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = false;
        std::future::poll_fn(|context| {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.0 {
                return Poll::Ready(());
            }
            state.1 = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Life {
    pub(crate) fn new() -> Self {
        let idle = Arc::new(Idle::default());
        let reached = idle.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .on_thread_park(move || reached.reached())
            .build()
            .expect("a runtime without I/O and time needs nothing of the machine");
        Self { runtime, idle, second: Arc::default() }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.spawn(task));
    }

    /// Runs one thing to its end.
    pub(crate) fn block_on<T>(&self, task: impl Future<Output = T>) -> T {
        self.runtime.block_on(task)
    }

    /// Runs until everybody waits for something from outside.
    pub(crate) fn settle(&self) {
        self.runtime.block_on(self.idle.wait());
    }

    /// What goes on beside the listeners.
    pub(crate) fn spread(&self, dispatcher: &Arc<Dispatcher>, clock: &Arc<Clock>) {
        for _ in 0..SPREADERS {
            let (dispatcher, clock, second) = (dispatcher.clone(), clock.clone(), self.second.clone());
            self.spawn(async move {
                loop {
                    match dispatcher.spread(clock.wall()).await {
                        Some(Ok(())) => {}
                        Some(Err(_)) => second.wait().await,
                        None => dispatcher.something_to_spread().await,
                    }
                }
            });
        }
    }
}

impl Means {
    pub(crate) async fn open(&self, mut dice: Dice) -> Result<Parts, StoreError> {
        let now = self.clock.wall();
        let (for_identity, for_delivery) = (random(dice.apart()), random(dice));
        let identity = Arc::new(Identity::open(self.store.clone(), key(), for_identity, now).await?);
        if self.outside {
            identity.set_foreign(Arc::new(|_| Ok(())));
        }
        let dispatcher = Dispatcher::open(self.store.clone(), key(), for_delivery, now).await?;
        let dispatcher = dispatcher.with_quotas(self.quotas).with_limits(self.limits).with_trace(KEPT);
        let dispatcher = Arc::new(dispatcher.with_member_memory(self.member_memory));
        identity.set_watch(Arc::new(Telling(dispatcher.clone())));
        Ok(Parts { identity, dispatcher })
    }

    /// A walk over what has expired.
    pub(crate) async fn sweep(self) {
        let mut sweeper = Sweeper::new(self.store);
        while let Ok(Step::Busy { .. }) = sweeper.step(self.clock.wall()).await {}
    }
}

fn key() -> TokenKey {
    TokenKey::new(&[7; 32])
}

fn random(dice: Dice) -> Arc<dyn Fn(&mut [u8]) + Send + Sync> {
    let dice = Mutex::new(dice);
    Arc::new(move |bytes| dice.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes))
}

/// Tells `delivery` what `identity` knows, as the server does. What cannot be told is put right when it
/// is next looked at.
struct Telling(Arc<Dispatcher>);

impl Watch for Telling {
    fn registered(&self, id: RegistrationId, device: DeviceId, now: Timestamp) -> Told<'_> {
        Box::pin(async move { drop(self.0.registered(id, device, now).await) })
    }

    fn ended(&self, id: RegistrationId, now: Timestamp) -> Told<'_> {
        Box::pin(async move { drop(self.0.ended(id, now).await) })
    }

    fn project_deleted(&self, project: ProjectNumber, now: Timestamp) -> Told<'_> {
        Box::pin(async move { drop(self.0.project_deleted(project, now).await) })
    }
}
