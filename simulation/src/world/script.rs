//! The script: what people, phones, disks and clocks do next, as the dice have it.

use cresset_delivery::MembershipError;
use cresset_message::Target;

use super::setup::{number, topic};
use super::{Acks, Event, Report, World};
use crate::clock::{DAY, HOUR, MINUTE, SECOND};
use crate::model::{Answer, Change, Condition, Kind, Move, Sent, Terms, To, topic_name};

impl World {
    pub(super) fn step(&mut self) {
        self.steps_left -= 1;
        self.time_passed();
        match self.dice.below(100) {
            0..45 => self.send(),
            45..50 => (0..self.dice.between(3, 12)).for_each(|_| self.send()),
            50..70 => self.some_phone_comes_or_goes(),
            70..73 => self.some_phone(Self::cut),
            73..76 => self.some_phone(Self::lie),
            76..79 => self.some_phone(Self::ping),
            79..81 => self.some_phone_stalls(),
            81..87 => self.change_a_topic(),
            87..91 => self.register_or_not(),
            91..93 => self.make_a_group(),
            93..96 => self.kill_if_alive(),
            96 => self.store_fails(),
            97 => self.set_the_clock(),
            98 => self.sweep(),
            _ => self.change_a_habit(),
        }
        if self.steps_left > 0 {
            let pause = self.dice.span(1_000, self.nature.longest);
            self.plan(pause, Event::Step);
        }
    }

    fn some_phone(&mut self, does: fn(&mut Self, usize)) {
        let phone = self.dice.index(self.phones.len());
        does(self, phone);
    }

    fn some_phone_comes_or_goes(&mut self) {
        let phone = self.dice.index(self.phones.len());
        match self.phones[phone].connection {
            None => self.connect(phone),
            // It does not know that it is connected, or has two networks.
            Some(_) if self.dice.percent(20) => self.connect(phone),
            Some(_) => {
                let silently = self.dice.percent(50);
                self.disconnect(phone, silently);
            }
        }
    }

    fn some_phone_stalls(&mut self) {
        let phone = self.dice.index(self.phones.len());
        let stalled = self.dice.percent(60);
        self.stall(phone, stalled);
    }

    fn change_a_habit(&mut self) {
        let phone = self.dice.index(self.phones.len());
        let all = [Acks::Stream(1), Acks::Stream(4), Acks::Selective, Acks::Later, Acks::No];
        self.phones[phone].acks = self.dice.pick(&all);
        self.phones[phone].lists = self.dice.percent(60);
    }

    fn send(&mut self) {
        if self.house.is_none() {
            return;
        }
        let Some((project, to, target)) = self.some_target() else { return };
        let android = Terms::any(&mut self.dice);
        let web = if self.dice.percent(70) { android.clone() } else { Terms::any(&mut self.dice) };
        let begun = self.clock.run();
        let sent = Sent {
            project,
            to,
            android,
            web,
            begun,
            answer: Answer::None,
            answered: begun,
            spread: None,
            era: self.era,
            life: self.lives,
        };
        let at = self.sent.len();
        self.say(|| format!("message {at} is sent to {:?}, {:?}, {:?}", sent.to, sent.android, sent.web));
        let message = sent.message(at, target);
        self.sent.push(sent);
        let (from, now) = (number(project), self.clock.wall());
        self.ask(
            |parts| async move { Report::Sent(at, parts.dispatcher.send(from, message, false, now).await) },
        );
    }

    fn some_target(&mut self) -> Option<(usize, To, Target)> {
        let project = self.dice.index(self.nature.projects);
        let at = self.dice.index(self.nature.topics);
        match self.dice.below(10) {
            0..5 => {
                // Now and then one that has ended.
                let registration = self.dice.index(self.registrations.len());
                let known = &self.registrations[registration];
                let target = Target::Token(known.token.clone());
                Some((self.apps[known.app].project, To::Registration(registration), target))
            }
            5..8 => Some((project, To::Topic(at), Target::Topic(topic_name(at)))),
            8 => {
                let condition = Condition::any(&mut self.dice, self.nature.topics);
                let target = Target::Condition(condition.text());
                Some((project, To::Condition(condition), target))
            }
            _ if self.groups.is_empty() => None,
            _ => {
                let group = self.dice.index(self.groups.len());
                let known = &self.groups[group];
                let target = Target::Token(known.key.clone());
                Some((known.project, To::Group(known.members.clone()), target))
            }
        }
    }

    fn change_a_topic(&mut self) {
        let app = self.dice.index(self.apps.len());
        let (at, join) = (self.dice.index(self.nature.topics), self.dice.percent(60));
        let Some(registration) = self.may_ask(app) else { return };
        let known = &mut self.registrations[registration];
        let changes = known.topics.entry(at).or_default();
        changes.push(Change { begun: self.clock.run(), join, done: None });
        let change = changes.len() - 1;
        let tokens = [known.token.clone()];
        let (project, now, name) = (number(self.apps[app].project), self.clock.wall(), topic(at));
        self.say(|| format!("app {app} {} topic t{at}", if join { "joins" } else { "leaves" }));
        self.apps[app].busy = self.ask(|parts| async move {
            let outcome = match join {
                true => parts.dispatcher.subscribe(project, &name, &tokens, now).await,
                false => parts.dispatcher.unsubscribe(project, &name, &tokens, now).await,
            };
            let outcome = match outcome {
                Ok(each) => each[0].map_err(|e: MembershipError| e.as_str().to_owned()),
                Err(e) => Err(format!("{e:?}")),
            };
            Report::Changed { app, registration, topic: at, change, outcome }
        });
    }

    /// The registration of an app that may ask for something now: nobody asks for two things at once, or
    /// while what a crash left undone is still to appear.
    fn may_ask(&self, app: usize) -> Option<usize> {
        let free = self.house.is_some() && !self.apps[app].busy && !self.engine.has_late();
        free.then_some(self.apps[app].registration).flatten()
    }

    fn register_or_not(&mut self) {
        let app = self.dice.index(self.apps.len());
        if self.house.is_none() || self.apps[app].busy || self.engine.has_late() {
            return;
        }
        let phone = *self.apps[app].phones.last().expect("it is somewhere");
        match self.apps[app].registration {
            None => self.register(app, phone),
            Some(_)
                if self.apps[app].kind == Kind::Web && !self.apps[app].outside && self.dice.percent(50) =>
            {
                let phone = self.dice.index(self.phones.len());
                self.register(app, phone);
            }
            // The same names give the same token.
            Some(_) if self.dice.percent(20) => self.register(app, phone),
            Some(registration) => self.unregister(app, phone, registration),
        }
    }

    fn register(&mut self, app: usize, phone: usize) {
        let (begun, now) = (self.clock.run(), self.clock.wall());
        let asker = self.asker(app, phone);
        if *self.apps[app].phones.last().expect("it is somewhere") != phone {
            self.apps[app].phones.push(phone);
            if let Some(registration) = self.apps[app].registration {
                self.registrations[registration].moved.push(Move { begun, done: None });
            }
        }
        self.apps[app].trying.get_or_insert(begun);
        self.say(|| format!("app {app} wants to register on phone {phone}"));
        self.apps[app].busy = self.ask(|parts| async move {
            Report::Registered { app, phone, begun, outcome: asker.register(&parts, now).await }
        });
    }

    fn unregister(&mut self, app: usize, phone: usize, registration: usize) {
        let (begun, now) = (self.clock.run(), self.clock.wall());
        let asker = self.asker(app, phone);
        let token = self.registrations[registration].token.clone();
        self.registrations[registration].ending.get_or_insert(begun);
        self.say(|| format!("app {app} wants to unregister"));
        self.apps[app].busy = self.ask(|parts| async move {
            Report::Unregistered { app, outcome: asker.unregister(&parts, &token, now).await }
        });
    }

    fn make_a_group(&mut self) {
        let project = self.dice.index(self.nature.projects);
        if self.house.is_none() || self.groups.len() >= 3 || self.engine.has_late() {
            return;
        }
        let of_project = |app: &crate::model::App| app.project == project;
        let members: Vec<usize> =
            self.apps.iter().filter(|app| of_project(app)).filter_map(|app| app.registration).collect();
        let tokens: Vec<String> = members.iter().map(|at| self.registrations[*at].token.clone()).collect();
        let (name, now) = (format!("g{}", self.dice.next()), self.clock.wall());
        self.ask(|parts| async move {
            let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
            let made = parts.dispatcher.create_group(number(project), &name, &tokens, now).await;
            Report::Grouped { project, members, outcome: made.map_err(|e| e.to_string()) }
        });
    }

    fn kill_if_alive(&mut self) {
        if self.life.is_some() {
            self.kill();
        }
    }

    fn store_fails(&mut self) {
        self.say(|| "the store cannot write".into());
        self.engine.set_refuses(true);
        let after = self.dice.span(1_000, 10 * MINUTE);
        self.plan(after, Event::StoreHeals);
        self.full.push((self.clock.run(), self.clock.run() + after));
    }

    fn set_the_clock(&mut self) {
        let most = self.dice.pick(&[SECOND, 10 * MINUTE, HOUR, 2 * DAY]);
        let by = self.dice.span(1_000, most) as i64;
        let by = if self.dice.percent(60) { -by } else { by };
        self.clock.set_by(by);
        self.say(|| format!("the clock is set by {} s", by / SECOND as i64));
    }

    fn sweep(&mut self) {
        if let Some(life) = &self.life {
            life.spawn(self.means.clone().sweep());
        }
    }
}
