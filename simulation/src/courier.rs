//! A courier as `cresset_outbound` has one, with the same steps and without its HTTP: each registration that
//! has something waiting has a visit, which brings its deliveries in their order, one after the other, until
//! none is left or the service asks to wait. Who is called out is visited; rounds find whom a former process
//! left, and whom a failing store kept from being visited. Lanes, and what a courier may occupy, are not here:
//! they have tests of their own there.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cresset_delivery::{Carrier, Content, Courier as Calls, Delivery, Dropped, Handoff, Round};
use cresset_message::{
    DeviceId, Layout, MessageId, ProjectNumber, Recipient, RegistrationId, Rejection, SlotSet, Timestamp,
};
use cresset_store::StoreError;
use tokio::sync::{Notify, oneshot};

use crate::clock::SECOND;
use crate::dice::Dice;
use crate::line::House;
use crate::sabotage::Sabotage;

/// Deliveries read from a queue at a time (`cresset_outbound`, `courier.rs`).
const READ: usize = 16;

/// The first pause after a failure, and the longest (the same).
const FIRST_PAUSE: u64 = SECOND;
const LONGEST_PAUSE: u64 = 600 * SECOND;

/// What a push service says, or what its silence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Taken,
    /// Not now, or no answer came.
    Later,
    Gone,
}

/// What a visit does after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Next,
    /// All that was read is for nobody any more.
    Look,
    Pause,
}

/// One attempt, on its way.
pub(crate) struct Request {
    pub(crate) endpoint: String,
    /// The message of that number.
    pub(crate) number: usize,
    pub(crate) id: MessageId,
    pub(crate) fleeting: bool,
    pub(crate) left: Timestamp,
    pub(crate) sent: u64,
    answer: oneshot::Sender<Reply>,
}

impl Request {
    pub(crate) fn answer(self, reply: Reply) {
        // Who asked may be gone.
        let _ = self.answer.send(reply);
    }
}

#[derive(Default)]
struct State {
    /// Who is visited, and whether something came since its queue was last read.
    visits: BTreeMap<DeviceId, bool>,
    calls: VecDeque<(ProjectNumber, u32, SlotSet)>,
    round_due: bool,
    /// For the world to carry out.
    requests: Vec<Request>,
    pauses: Vec<(u64, Arc<Notify>)>,
}

pub(crate) struct Courier {
    state: Mutex<State>,
    woken: Notify,
    dice: Mutex<Dice>,
}

impl Courier {
    pub(crate) fn new(dice: Dice) -> Arc<Self> {
        let state = State { round_due: true, ..State::default() };
        Arc::new(Self { state: Mutex::new(state), woken: Notify::new(), dice: Mutex::new(dice) })
    }

    /// What goes out, and how long somebody pauses.
    pub(crate) fn take(&self) -> (Vec<Request>, Vec<(u64, Arc<Notify>)>) {
        let mut state = self.state();
        (std::mem::take(&mut state.requests), std::mem::take(&mut state.pauses))
    }

    pub(crate) fn make_round(&self) {
        self.state().round_due = true;
        self.woken.notify_one();
    }

    /// Carries out what is called out, and makes rounds.
    pub(crate) async fn run(self: Arc<Self>, house: Arc<House>) {
        loop {
            loop {
                let call = self.state().calls.pop_front();
                let Some((project, bucket, slots)) = call else { break };
                self.answer(&house, project, bucket, &slots).await;
            }
            if std::mem::take(&mut self.state().round_due) {
                if self.look_for_all(&house).await.is_err() {
                    self.state().round_due = true;
                    self.pause(SECOND).await;
                }
                continue;
            }
            self.woken.notified().await;
        }
    }

    /// Visits all of a set.
    async fn answer(
        self: &Arc<Self>,
        house: &Arc<House>,
        project: ProjectNumber,
        bucket: u32,
        slots: &SlotSet,
    ) {
        for slot in slots.iter() {
            let id = RegistrationId { project, bucket, slot };
            match house.dispatcher.outside(id, house.clock.wall()).await {
                Ok(Some(recipient)) => self.visit(house, &recipient),
                Ok(None) => {}
                // The next round finds it.
                Err(_) => self.state().round_due = true,
            }
        }
    }

    async fn look_for_all(self: &Arc<Self>, house: &Arc<House>) -> Result<(), StoreError> {
        let mut next = Some(Round::default());
        while let Some(round) = next {
            let found = house.dispatcher.round(round, house.clock.wall()).await?;
            for destination in found.destinations {
                let recipient = house.dispatcher.outside_by(destination, house.clock.wall()).await?;
                if let Some(recipient) = recipient {
                    self.visit(house, &recipient);
                }
            }
            if house.sabotage != Some(Sabotage::ForgetCall) {
                for (project, bucket, slots) in found.slots {
                    self.answer(house, project, bucket, &slots).await;
                }
            }
            next = found.next;
        }
        Ok(())
    }

    fn visit(self: &Arc<Self>, house: &Arc<House>, recipient: &Recipient) {
        if self.state().visits.insert(recipient.device, true).is_none() {
            tokio::spawn(self.clone().deliver(house.clone(), recipient.device));
        }
    }

    /// Brings what waits for one registration, until nothing does.
    async fn deliver(self: Arc<Self>, house: Arc<House>, destination: DeviceId) {
        let mut failures = 0;
        loop {
            self.state().visits.insert(destination, false);
            let now = house.clock.wall();
            let waiting = house.dispatcher.pending(destination, READ, &|_| false, now).await;
            if waiting.as_ref().is_ok_and(Vec::is_empty) {
                let mut state = self.state();
                if !state.visits[&destination] {
                    state.visits.remove(&destination);
                    return;
                }
                continue;
            }
            let mut last = if waiting.is_ok() { After::Next } else { After::Pause };
            for delivery in waiting.unwrap_or_default() {
                last = self.bring(&house, destination, &delivery).await;
                match last {
                    After::Next => failures = 0,
                    After::Pause if house.happens(Sabotage::PassBy, 50) => {}
                    After::Pause | After::Look => break,
                }
            }
            if last == After::Pause {
                let most = (FIRST_PAUSE << u32::min(failures, 10)).min(LONGEST_PAUSE);
                failures += 1;
                let pause = SECOND / 20 + self.dice().below(most);
                self.pause(pause).await;
            }
        }
    }

    /// One delivery, one attempt.
    async fn bring(&self, house: &House, destination: DeviceId, delivery: &Delivery) -> After {
        let acknowledge = async || {
            let now = house.clock.wall();
            let told = house.dispatcher.acknowledge(destination, &[delivery.id], now).await;
            if told.is_ok() { After::Next } else { After::Pause }
        };
        if house.happens(Sabotage::AckFirst, 30) {
            acknowledge().await;
        }
        let now = house.clock.wall();
        if delivery.expires <= now {
            return After::Next;
        }
        let answer = self.send(delivery, house).await;
        let now = house.clock.wall();
        match answer {
            Reply::Taken => acknowledge().await,
            Reply::Later => After::Pause,
            Reply::Gone if house.sabotage == Some(Sabotage::NotGone) => After::Pause,
            Reply::Gone => {
                let dispatcher = &house.dispatcher;
                let told = dispatcher.refused(destination, delivery.id, Dropped::Unregistered, "410", now);
                let registration = delivery.recipient.registration;
                let ended = async {
                    told.await?;
                    house.identity.gone_outside(registration, None, now).await
                };
                if ended.await.is_ok() { After::Look } else { After::Pause }
            }
        }
    }

    async fn send(&self, delivery: &Delivery, house: &House) -> Reply {
        let (Layout::WebService { endpoint, .. }, Content::Message(message)) =
            (&delivery.recipient.layout, &delivery.content)
        else {
            unreachable!(
                "whoever is outside is behind a push service, and is told of nothing that was dropped"
            )
        };
        let (answer, answered) = oneshot::channel();
        let number = message.data.iter().find(|(key, _)| key == "n").and_then(|(_, n)| n.parse().ok());
        self.state().requests.push(Request {
            endpoint: endpoint.clone(),
            number: number.unwrap_or(usize::MAX),
            id: delivery.id,
            fleeting: delivery.ttl.is_zero(),
            left: house.clock.wall(),
            sent: house.clock.run(),
            answer,
        });
        answered.await.unwrap_or(Reply::Later)
    }

    async fn pause(&self, time: u64) {
        let over = Arc::<Notify>::default();
        self.state().pauses.push((time, over.clone()));
        over.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dice(&self) -> MutexGuard<'_, Dice> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The courier as the dispatcher knows it. The house has it, so that it must not have the house.
pub(crate) struct Desk(pub(crate) Weak<House>);

impl Desk {
    fn with(&self, does: impl FnOnce(&Arc<House>, &Arc<Courier>) -> Handoff) -> Handoff {
        let Some(house) = self.0.upgrade() else { return Handoff::Offline };
        house.courier.as_ref().map_or(Handoff::Offline, |courier| does(&house, courier))
    }
}

impl Carrier for Desk {
    fn push(&self, delivery: &Delivery) -> Handoff {
        self.with(|house, courier| {
            if delivery.ttl.is_zero() {
                // Once, and nobody hears how it went.
                let (courier, delivery, house) = (courier.clone(), delivery.clone(), house.clone());
                tokio::spawn(async move { courier.send(&delivery, &house).await });
            } else {
                courier.visit(house, &delivery.recipient);
            }
            Handoff::Accepted
        })
    }
}

impl Calls for Desk {
    fn refusal(&self, _: &Recipient) -> Option<Rejection> {
        None
    }

    fn call(&self, project: ProjectNumber, bucket: u32, slots: SlotSet) {
        self.with(|house, courier| {
            if !house.happens(Sabotage::ForgetCall, 50) {
                courier.state().calls.push_back((project, bucket, slots));
                courier.woken.notify_one();
            }
            Handoff::Accepted
        });
    }
}
