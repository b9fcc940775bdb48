//! The server's process as the world sees it: started, asked, killed.

use std::sync::{Arc, Mutex, PoisonError};

use cresset_message::{MessageId, Rejection};

use super::services::Services;
use super::{Event, Report, World};
use crate::clock::{DAY, HOUR, SECOND};
use crate::courier::Desk;
use crate::life::{Life, Parts};
use crate::line::House;
use crate::model::Answer;

impl World {
    pub(super) fn boot(&mut self) {
        if !self.torn {
            self.engine.finish();
        }
        // Ids do not go on from where they were (`cresset_delivery`, `ids.rs`).
        if self.clock.latest_since(0) > self.clock.wall().as_micros() + DAY - HOUR {
            self.era += 1;
        }
        let life = Life::new();
        let (means, dice, reports) = (self.means.clone(), self.dice.apart(), self.reports.clone());
        life.spawn(async move {
            let opened = means.open(dice).await.map_err(|e| e.to_string());
            push(&reports, Report::Opened(opened));
        });
        self.life = Some(life);
        self.lives += 1;
        self.journal.new_life();
        self.say(|| "the server starts".into());
    }

    fn opened(&mut self, parts: Parts) {
        let house = Arc::new(House {
            identity: parts.identity,
            dispatcher: parts.dispatcher,
            clock: self.clock.clone(),
            journal: self.journal.clone(),
            most_outgoing: self.nature.most_outgoing,
            sabotage: self.sabotage,
            dice: Mutex::new(self.dice.apart()),
            fleeting: Mutex::default(),
            courier: self.services.as_mut().map(Services::new_courier),
        });
        let life = self.life.as_ref().expect("it is the one that opened");
        life.spread(&house.dispatcher, &self.clock);
        if let Some(courier) = &house.courier {
            house.dispatcher.set_courier(Arc::new(Desk(Arc::downgrade(&house))));
            life.spawn(courier.clone().run(house.clone()));
        }
        self.house = Some(house);
        self.say(|| "the server serves".into());
    }

    /// The process ends as it stands. What was asked and not answered stays unanswered.
    pub(super) fn kill(&mut self) {
        self.life = None;
        self.house = None;
        self.engine.crash();
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.ends.push(self.clock.run());
        self.say(|| "the server is killed".into());
        let now = self.clock.run();
        for sent in &mut self.sent {
            if matches!(sent.answer, Answer::None) {
                sent.answer = Answer::Unknown("killed".into());
                sent.answered = now;
            }
        }
        for app in &mut self.apps {
            app.busy = false;
        }
        // What is on its way to a phone may still arrive.
        for connection in std::mem::take(&mut self.open) {
            let after = self.dice.span(1_000, 60 * SECOND);
            self.plan(after, Event::PhoneNotices { connection });
        }
        if self.engine.has_late() {
            let after = self.dice.span(1_000, HOUR);
            self.plan(after, Event::Late);
        }
        let after = if self.calm { 1 } else { self.dice.span(1_000, 600 * SECOND) };
        self.plan(after, Event::Boot);
    }

    /// Asks the server for something, if it serves.
    pub(super) fn ask<F: Future<Output = Report> + Send + 'static>(
        &self,
        ask: impl FnOnce(Parts) -> F,
    ) -> bool {
        let (Some(house), Some(life)) = (&self.house, &self.life) else { return false };
        let asked = ask(Parts { identity: house.identity.clone(), dispatcher: house.dispatcher.clone() });
        let reports = self.reports.clone();
        life.spawn(async move { push(&reports, asked.await) });
        true
    }

    pub(super) fn report(&mut self, report: Report) {
        let now = self.clock.run();
        match report {
            Report::Opened(Ok(parts)) => self.opened(parts),
            Report::Opened(Err(e)) => {
                self.say(|| format!("the server does not start: {e}"));
                self.kill();
            }
            Report::Sent(number, outcome) => self.answered(number, outcome),
            Report::Tidied { begun, done } => {
                if done {
                    self.journal.saved(begun, now);
                } else {
                    self.need_second();
                }
            }
            Report::Registered { app, phone, begun, outcome } => {
                self.say(|| format!("app {app} registers on phone {phone}: {outcome:?}"));
                self.apps[app].busy = false;
                if let Ok(token) = outcome {
                    self.registered(app, token, begun);
                }
            }
            Report::Unregistered { app, outcome } => {
                self.say(|| format!("app {app} unregisters: {outcome:?}"));
                self.apps[app].busy = false;
                if outcome.is_ok()
                    && let Some(registration) = self.apps[app].registration.take()
                {
                    self.registrations[registration].ended = Some(now);
                    self.apps[app].generation += 1;
                }
            }
            Report::Changed { app, registration, topic, change, outcome } => {
                self.say(|| format!("app {app} is told of topic t{topic}: {outcome:?}"));
                self.apps[app].busy = false;
                if outcome.is_ok()
                    && let Some(changes) = self.registrations[registration].topics.get_mut(&topic)
                {
                    changes[change].done = Some(now);
                }
            }
            Report::Grouped { project, members, outcome } => {
                self.say(|| format!("a group of {members:?}: {outcome:?}"));
                if let Ok(key) = outcome {
                    self.groups.push(super::Group { project, key, members });
                }
            }
        }
    }

    fn registered(&mut self, app: usize, token: String, begun: u64) {
        let now = self.clock.run();
        if let Some(known) = self.apps[app].registration {
            let registration = &mut self.registrations[known];
            for moved in registration.moved.iter_mut().filter(|moved| moved.done.is_none()) {
                moved.done = Some(now);
            }
            if registration.token == token {
                self.apps[app].trying = None;
                return;
            }
            // It had ended, which nobody was told.
            registration.ending.get_or_insert(begun);
            registration.ended = Some(now);
        }
        let tried = self.apps[app].trying.take().unwrap_or(begun);
        self.born(app, token, tried);
    }

    fn answered(&mut self, number: usize, outcome: Result<MessageId, Rejection>) {
        self.say(|| match &outcome {
            Ok(id) => format!("message {number} is accepted as {id}"),
            Err(rejection) => format!("message {number} is refused: {rejection:?}"),
        });
        let now = self.clock.run();
        let sent = &mut self.sent[number];
        sent.answered = now;
        sent.answer = match outcome {
            Ok(id) => Answer::Accepted(id),
            Err(rejection @ (Rejection::Unavailable { .. } | Rejection::Internal)) => {
                Answer::Unknown(format!("{rejection:?}"))
            }
            Err(rejection) => Answer::Refused(format!("{rejection:?}")),
        };
    }

    /// A second after something happened: sets are tidied up, and what failed is tried again.
    pub(super) fn second(&mut self) {
        self.second_planned = false;
        let begun = self.clock.run();
        let wall = self.clock.wall();
        if let Some(life) = &self.life {
            life.second.pass();
        }
        self.ask(
            |parts| async move { Report::Tidied { begun, done: parts.dispatcher.tidy(wall).await.is_ok() } },
        );
    }

    pub(super) fn need_second(&mut self) {
        if !self.second_planned {
            self.second_planned = true;
            self.plan(SECOND, Event::Second);
        }
    }

    /// Frames that lines have written go on their way, and lines that ended are noticed. Says whether
    /// there was anything.
    pub(super) fn drain_lines(&mut self) -> bool {
        let mut any = false;
        for connection in self.open.clone() {
            if !self.connections[connection].stalled && self.connections[connection].line.has_outgoing() {
                any = true;
                self.drain_line(connection);
            }
            if self.connections[connection].line.is_closed() {
                self.open.retain(|open| *open != connection);
                let at = self.connections[connection].last_down + 1;
                self.plan_at(at.max(self.clock.run()), Event::PhoneNotices { connection });
            }
        }
        any
    }

    fn drain_line(&mut self, connection: usize) {
        for written in self.connections[connection].line.take_outgoing() {
            if self.connections[connection].cut {
                continue;
            }
            let way = if self.calm { 1 } else { self.dice.span(1_000, self.nature.slowest_way) };
            let at = self.connections[connection].last_down.max(self.clock.run() + way);
            self.connections[connection].last_down = at;
            self.plan_at(at, Event::ToPhone { connection, bytes: written.bytes, left: written.at });
        }
    }
}

pub(super) fn push(reports: &super::Reports, report: Report) {
    reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
}
