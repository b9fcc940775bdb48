//! The connections to one origin, or of one identity at APNs: [`Lanes`] decides, this dials and tells.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use cresset_message::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::dial::{DialError, Dialler};
use crate::exchange::{Answer, Call, Connection, Failure};
use crate::http2::{KeepAlive, LinkEvent};
use crate::lanes::{Action, Event, LaneId, Lanes, Policy, Refusal, Ticket};
use crate::{http1, http2};

pub(crate) struct Pool(Arc<Inner>);

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// In the queue, the connection with it.
    pub(crate) waiting: Duration,
    /// From the request to its answer.
    pub(crate) answer: Duration,
    pub(crate) keep_alive: KeepAlive,
}

struct Inner {
    dialler: Dialler,
    patience: Patience,
    started: Instant,
    state: Mutex<State>,
}

struct State {
    lanes: Lanes,
    connections: HashMap<LaneId, Connection>,
    waiting: HashMap<Ticket, oneshot::Sender<Result<Lease, Failure>>>,
    /// Of tickets and lanes alike.
    next: u64,
    /// Why there is no connection.
    failure: Failure,
    /// A timer runs for this moment.
    timer: Option<Timestamp>,
}

/// A place on a connection.
struct Lease {
    inner: Arc<Inner>,
    lane: LaneId,
    connection: Connection,
    success: bool,
}

impl Pool {
    pub(crate) fn new(dialler: Dialler, policy: Policy, patience: Patience) -> Self {
        let state = State {
            lanes: Lanes::new(policy),
            connections: HashMap::new(),
            waiting: HashMap::new(),
            next: 0,
            failure: Failure::Unreachable(String::new()),
            timer: None,
        };
        Self(Arc::new(Inner { dialler, patience, started: Instant::now(), state: Mutex::new(state) }))
    }

    /// The answer, whatever it says.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer, Failure> {
        let mut lease = self.lease().await?;
        let mut answer = lease.connection.exchange(call, self.0.patience.answer).await;
        match &mut answer {
            Ok(answer) => {
                lease.success = (200..300).contains(&answer.status);
                answer.lane = lease.lane;
            }
            Err(Failure::NotProcessed(_) | Failure::Broken { whole: true, .. }) => {
                self.0.on(Event::Closing(lease.lane));
            }
            Err(_) => {}
        }
        answer
    }

    pub(crate) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.0) == 1 || self.0.lock().lanes.is_idle()
    }

    /// (connections, requests on their way, requests that wait)
    pub(crate) fn load(&self) -> (usize, usize, usize) {
        self.0.lock().lanes.load()
    }

    /// New requests do not go over this connection.
    pub(crate) fn leave(&self, lane: LaneId) {
        self.0.on(Event::Closing(lane));
    }

    async fn lease(&self) -> Result<Lease, Failure> {
        let (sender, receiver) = oneshot::channel();
        let ticket = {
            let mut state = self.0.lock();
            state.next += 1;
            let ticket = state.next;
            state.waiting.insert(ticket, sender);
            ticket
        };
        let abandoned = Abandoned { inner: &self.0, ticket };
        self.0.on(Event::Wanted(ticket));
        let lease = tokio::time::timeout(self.0.patience.waiting, receiver).await;
        match lease {
            Ok(Ok(lease)) => {
                std::mem::forget(abandoned);
                lease
            }
            _ => Err(Failure::TooSlow),
        }
    }
}

/// Takes back the wish for a place when its future is dropped.
struct Abandoned<'a> {
    inner: &'a Arc<Inner>,
    ticket: Ticket,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        self.inner.lock().waiting.remove(&self.ticket);
        self.inner.on(Event::Abandoned(self.ticket));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.inner.on(Event::Finished { lane: self.lane, success: self.success });
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.started.elapsed().as_micros() as u64)
    }

    fn on(self: &Arc<Self>, event: Event) {
        let now = self.now();
        // Whose receivers are gone: what is in them is dropped without the lock, which it needs.
        let mut unwanted = Vec::new();
        {
            let mut state = self.lock();
            for action in state.lanes.on_event(event, now) {
                unwanted.extend(self.act(&mut state, action));
            }
            self.set_timer(&mut state);
        }
        drop(unwanted);
    }

    fn act(self: &Arc<Self>, state: &mut State, action: Action) -> Option<Result<Lease, Failure>> {
        match action {
            Action::Dial => {
                tokio::spawn(dial(Arc::downgrade(self)));
                None
            }
            Action::Start(ticket, lane) => {
                let connection = state.connections.get(&lane).cloned()?;
                let lease = Lease { inner: Arc::clone(self), lane, connection, success: false };
                state.answer(ticket, Ok(lease))
            }
            Action::Refuse(ticket, Refusal::Full) => state.answer(ticket, Err(Failure::Full)),
            Action::Refuse(ticket, Refusal::Unreachable) => {
                let failure = state.failure.clone();
                state.answer(ticket, Err(failure))
            }
            Action::Forget(lane) => {
                state.connections.remove(&lane);
                None
            }
        }
    }

    fn set_timer(self: &Arc<Self>, state: &mut State) {
        let Some(deadline) = state.lanes.deadline() else { return };
        if state.timer.is_some_and(|timer| timer <= deadline) {
            return;
        }
        state.timer = Some(deadline);
        let (inner, wait) = (Arc::downgrade(self), deadline.since(self.now()));
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            if let Some(inner) = inner.upgrade() {
                let mut state = inner.lock();
                // Another one may have been set for an earlier moment.
                state.timer = state.timer.filter(|timer| *timer != deadline);
                drop(state);
                inner.on(Event::Tick);
            }
        });
    }

    fn opened(self: &Arc<Self>, connection: Connection) -> LaneId {
        let exclusive = matches!(connection, Connection::Http1(_));
        let lane = {
            let mut state = self.lock();
            state.next += 1;
            let lane = state.next;
            state.connections.insert(lane, connection);
            lane
        };
        self.on(Event::Opened { lane, streams: 1, exclusive });
        lane
    }

    fn dial_failed(self: &Arc<Self>, error: &DialError) {
        self.lock().failure = match error {
            DialError::NotPublic(_) => Failure::Forbidden(error.to_string()),
            _ => Failure::Unreachable(error.to_string()),
        };
        self.on(Event::DialFailed);
    }
}

impl State {
    /// What could not be handed over, as nobody waits for it.
    fn answer(&mut self, ticket: Ticket, lease: Result<Lease, Failure>) -> Option<Result<Lease, Failure>> {
        match self.waiting.remove(&ticket) {
            Some(sender) => sender.send(lease).err(),
            None => Some(lease),
        }
    }
}

/// Opens a connection and stays with it to its end. Holds the pool only while it dials.
async fn dial(pool: Weak<Inner>) {
    let Some(inner) = pool.upgrade() else { return };
    let stream = match inner.dialler.dial().await {
        Ok(stream) => stream,
        Err(e) => return inner.dial_failed(&e),
    };
    let keep_alive = inner.patience.keep_alive;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        match http2::open(stream).await {
            Ok((connection, driver)) => {
                let lane = inner.opened(Connection::Http2(connection));
                drop(inner);
                driver.drive(keep_alive, |event| tell(&pool, lane, event)).await;
            }
            Err(e) => inner.dial_failed(&DialError::Connect(std::io::Error::other(e))),
        }
    } else {
        match http1::open(stream).await {
            Ok((connection, driver)) => {
                let lane = inner.opened(Connection::Http1(connection));
                drop(inner);
                let why = driver.await.err().map_or_else(|| "closed".to_owned(), |e| e.to_string());
                tell(&pool, lane, LinkEvent::Closed(why));
            }
            Err(e) => inner.dial_failed(&DialError::Connect(std::io::Error::other(e))),
        }
    }
}

fn tell(pool: &Weak<Inner>, lane: LaneId, event: LinkEvent) {
    let Some(inner) = pool.upgrade() else { return };
    match event {
        LinkEvent::Limit(streams) => inner.on(Event::Limit { lane, streams }),
        LinkEvent::Closed(why) => {
            tracing::debug!(host = %inner.dialler.host, "a connection to a push service ended: {why}");
            inner.on(Event::Closing(lane));
        }
    }
}
