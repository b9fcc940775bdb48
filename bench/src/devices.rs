//! Devices on a thread of their own, which takes what they are sent while another one sends.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cresset_device_client::Credentials;
use cresset_e2e::{Device, Failure, Outcome, World};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::oneshot;

use crate::crowd::{Crowd, Listener, Prompt};
use crate::subscriber::{Arrivals, Clock, Subscriber};

/// Check-ins and registrations at a time: enough for the server to gather their writes.
const TOGETHER: usize = 64;

/// The longest that somebody who asks waits while nothing comes.
const TURN: Duration = Duration::from_millis(5);

/// For the answers to the last heartbeats.
const PATIENCE: Duration = Duration::from_secs(10);

/// Devices with a registration each.
pub(crate) async fn register(world: &World, count: usize) -> Outcome<Vec<Device>> {
    stream::iter(0..count).map(|_| world.device()).buffer_unordered(TOGETHER).try_collect().await
}

/// Identities alone.
pub(crate) async fn check_in(world: &World, count: usize) -> Outcome<Vec<Credentials>> {
    let one = |_| async { Ok::<_, Failure>(world.devices.check_in(None).await?) };
    stream::iter(0..count).map(one).buffer_unordered(TOGETHER).try_collect().await
}

/// Where devices connect.
pub(crate) fn listener(world: &World) -> Outcome<Listener> {
    Ok(Listener { address: world.running.mcs, name: "mtalk.google.com", tls: world.trust.client(&[])? })
}

type Order = Box<dyn FnOnce(&mut Room) -> Outcome<()> + Send>;

/// The thread, seen from outside. It ends when this is dropped.
pub(crate) struct Devices {
    orders: Sender<Order>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    messages: AtomicUsize,
    failure: Mutex<Option<String>>,
}

impl Devices {
    /// With nobody connected yet.
    pub(crate) fn start(devices: Vec<Credentials>, listener: Listener, clock: Clock) -> Self {
        let (orders, told) = channel();
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        std::thread::spawn(move || {
            let lived =
                Room::new(devices, listener, clock).and_then(|room| room.live(&told, &theirs.messages));
            if let Err(e) = lived {
                *theirs.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(e.to_string());
            }
        });
        Self { orders, shared }
    }

    /// The same, and all of them connected.
    pub(crate) async fn connected(devices: &[Device], world: &World, clock: Clock) -> Outcome<Self> {
        let credentials = devices.iter().map(|device| device.credentials).collect();
        let all = Self::start(credentials, listener(world)?, clock);
        let count = devices.len();
        all.ask(move |room| room.come(0..count)).await?;
        Ok(all)
    }

    /// Has the thread do something, and waits for it.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Room) -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        let (tell, told) = oneshot::channel();
        let order: Order = Box::new(move |room| {
            let done = what(room);
            let failed = done.as_ref().err().map(|e| e.to_string());
            let _ = tell.send(done);
            failed.map_or(Ok(()), |reason| Err(reason.into()))
        });
        // A thread that is gone takes no order, and drops those that it has.
        let _ = self.orders.send(order);
        told.await.unwrap_or_else(|_| Err(self.failure()))
    }

    /// Messages that have come since the start.
    pub(crate) fn messages(&self) -> usize {
        self.shared.messages.load(Ordering::Relaxed)
    }

    /// What has come since this was asked last.
    pub(crate) async fn arrivals(&self) -> Outcome<Arrivals> {
        self.ask(|room| Ok(room.arrivals.borrow_mut().take())).await
    }

    fn failure(&self) -> Failure {
        let failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        format!("the devices: {}", failure.as_deref().unwrap_or("their thread is gone")).into()
    }
}

/// What the thread has.
pub(crate) struct Room {
    devices: Vec<Credentials>,
    listener: Listener,
    crowd: Crowd,
    arrivals: Rc<RefCell<Arrivals>>,
    /// Who is the next to be prompted.
    next: usize,
}

impl Room {
    fn new(devices: Vec<Credentials>, listener: Listener, clock: Clock) -> Outcome<Self> {
        let arrivals = Rc::new(RefCell::new(Arrivals::new(clock)));
        Ok(Self { devices, listener, crowd: Crowd::new()?, arrivals, next: 0 })
    }

    /// Until nobody gives orders any more.
    fn live(mut self, told: &Receiver<Order>, messages: &AtomicUsize) -> Outcome<()> {
        loop {
            self.crowd.listen(TURN)?;
            match told.try_recv() {
                Ok(order) => order(&mut self)?,
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
            messages.store(self.crowd.total().messages, Ordering::Relaxed);
        }
    }

    /// Connects some, and waits for their logins.
    pub(crate) fn come(&mut self, some: impl IntoIterator<Item = usize>) -> Outcome<()> {
        for place in some {
            let subscriber = Subscriber::noting(self.devices[place], &self.arrivals);
            self.crowd.come(place, &self.listener, Box::new(subscriber))?;
        }
        self.crowd.wait_for_logins(0)
    }

    pub(crate) fn leave(&mut self, some: impl IntoIterator<Item = usize>) -> Outcome<()> {
        some.into_iter().try_for_each(|place| self.crowd.leave(place))
    }

    /// Has everybody acknowledge what is left.
    pub(crate) fn acknowledge(&mut self) -> Outcome<()> {
        (0..self.devices.len()).try_for_each(|place| self.crowd.prompt(place, Prompt::Acknowledge))
    }

    /// So many heartbeats in so much time, evenly, of everybody in turn; waits for the answers.
    pub(crate) fn beat(&mut self, count: usize, time: Duration) -> Outcome<()> {
        let (begun, before) = (Instant::now(), self.crowd.total().alive);
        for n in 0..count {
            self.wait_until(begun + time.mul_f64(n as f64 / count as f64))?;
            self.crowd.prompt(self.next % self.devices.len(), Prompt::Heartbeat)?;
            self.next += 1;
        }
        self.wait_until(begun + time)?;
        let patience = Instant::now() + PATIENCE;
        while self.crowd.total().alive < before + count {
            if Instant::now() > patience {
                return Err("heartbeats are not answered".into());
            }
            self.crowd.listen(TURN)?;
        }
        Ok(())
    }

    fn wait_until(&mut self, due: Instant) -> Outcome<()> {
        self.crowd.listen(due.saturating_duration_since(Instant::now()))
    }
}
