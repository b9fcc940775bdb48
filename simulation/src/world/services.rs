//! Push services of others, as unreliable as they are: they take, and their answer is lost; they say later;
//! they are away for a while; they know somebody no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Event, World};
use crate::asking::app_at;
use crate::clock::{MINUTE, SECOND};
use crate::courier::{Courier, Reply, Request};
use crate::dice::Dice;
use crate::journal::{Carried, Moment};

/// The courier makes a round so often in any case (`cresset_outbound`, `courier/errands.rs`).
pub(super) const ROUND_EVERY: Moment = 5 * MINUTE;

/// How long the courier waits for an answer.
const ANSWER_TIMEOUT: Moment = 30 * SECOND;

pub(super) struct Services {
    /// Of its own: worlds without push services are what they were.
    pub(super) dice: Dice,
    away_until: Moment,
    /// Whom the service knows no more.
    gone: BTreeSet<String>,
    /// When the server heard of it.
    told: BTreeMap<String, Moment>,
}

impl Services {
    pub(super) fn new(seed: u64) -> Self {
        let dice = Dice::new(seed ^ 0x0075_7369_6465);
        Self { dice, away_until: 0, gone: BTreeSet::new(), told: BTreeMap::new() }
    }

    pub(super) fn new_courier(&mut self) -> Arc<Courier> {
        Courier::new(self.dice.apart())
    }
}

impl World {
    /// What the courier sends goes on its way, and its pauses begin. Says whether there was anything.
    pub(super) fn drain_courier(&mut self) -> bool {
        let Some(courier) = self.house.as_ref().and_then(|house| house.courier.as_ref()) else {
            return false;
        };
        let (requests, pauses) = courier.take();
        let any = !requests.is_empty() || !pauses.is_empty();
        for request in requests {
            let way = self.way_outside();
            self.plan(way, Event::AtService(Box::new(request)));
        }
        for (time, over) in pauses {
            self.plan(time, Event::Resume(over));
        }
        any
    }

    pub(super) fn round(&mut self) {
        self.round_planned = false;
        if let Some(courier) = self.house.as_ref().and_then(|house| house.courier.as_ref()) {
            courier.make_round();
        }
    }

    fn way_outside(&mut self) -> Moment {
        let longest = self.nature.slowest_way;
        match &mut self.services {
            Some(services) if !self.calm => services.dice.span(1_000, longest),
            _ => 1,
        }
    }

    pub(super) fn at_service(&mut self, request: Box<Request>) {
        let now = self.clock.run();
        let Some((app, generation)) = app_at(&request.endpoint) else { return };
        self.check_told(&request, app);
        let calm = self.calm;
        let Some(services) = &mut self.services else { return };
        let (mut reply, mut lost) = (Reply::Taken, false);
        if services.gone.contains(&request.endpoint) {
            reply = Reply::Gone;
        } else if !calm {
            match services.dice.below(100) {
                _ if now < services.away_until => (reply, lost) = (Reply::Later, services.dice.percent(50)),
                0..75 => {}
                75..83 => lost = true,
                83..93 => reply = Reply::Later,
                93..96 => {
                    reply = Reply::Later;
                    services.away_until = now + services.dice.span(SECOND, 10 * MINUTE);
                }
                _ if self.apps[app].busy || self.apps[app].generation != generation => {}
                _ => reply = Reply::Gone,
            }
        }
        if reply == Reply::Gone {
            self.end_subscription(app, generation, &request.endpoint);
        }
        let Request { number, id, left, sent, .. } = *request;
        self.say(|| {
            format!("a push service is asked for app {app}, message {number} as {id}: {reply:?}, lost {lost}")
        });
        if reply == Reply::Taken {
            let life = self.lives;
            self.journal.carried(Carried {
                generation,
                at: now,
                sent,
                app,
                number,
                id,
                left,
                untold: lost,
                life,
            });
        }
        let way = self.way_outside();
        let (after, reply) = if lost { (ANSWER_TIMEOUT, Reply::Later) } else { (way, reply) };
        self.plan(after, Event::Answered(request, reply));
    }

    /// The service knows a subscription no more; its app will find out and make another.
    fn end_subscription(&mut self, app: usize, generation: u64, endpoint: &str) {
        let now = self.clock.run();
        if let Some(services) = &mut self.services {
            services.gone.insert(endpoint.to_owned());
        }
        if self.apps[app].generation == generation {
            self.apps[app].generation += 1;
            self.apps[app].registration = None;
            self.apps[app].trying = None;
        }
        for known in &mut self.registrations {
            if known.app == app && known.generation == generation {
                known.ending.get_or_insert(now);
            }
        }
    }

    pub(super) fn service_answers(&mut self, request: Request, reply: Reply) {
        let now = self.clock.run();
        if let (Reply::Gone, false, Some(services)) = (reply, request.fleeting, &mut self.services) {
            services.told.entry(request.endpoint.clone()).or_insert(now);
        }
        request.answer(reply);
    }

    /// Nobody is asked for of whom it was said long ago that it is gone: unless the server could not keep that.
    fn check_told(&mut self, request: &Request, app: usize) {
        let now = self.clock.run();
        let told = self.services.as_ref().and_then(|services| services.told.get(&request.endpoint).copied());
        let Some(told) = told.filter(|told| told + MINUTE < now && !request.fleeting) else { return };
        let from = told.saturating_sub(MINUTE);
        let killed = self.ends.iter().any(|end| (from..=now).contains(end));
        let full = self.full.iter().any(|(begun, ended)| *begun <= now && *ended >= from);
        if !killed && !full {
            self.journal.disturbed(app, now);
        }
    }
}
