//! A world from its seed: how it is, who lives in it, and how they begin.

use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use cresset_delivery::{Limits, Quotas};
use cresset_identity::NewApp;
use cresset_message::{Platform, ProjectNumber, Topic};

use super::services::Services;
use super::{Acks, Nature, Phone, World};
use crate::Options;
use crate::asking::{self, Asker, WEB_PUSH_KEY, project_id};
use crate::clock::{Clock, DAY, HOUR, MINUTE, SECOND};
use crate::dice::Dice;
use crate::engine::Faulty;
use crate::journal::Journal;
use crate::life::{Life, Means, Parts};
use crate::model::{App, Change, Kind, Registration, topic_name};

pub(super) fn number(project: usize) -> ProjectNumber {
    ProjectNumber(1_000 + project as u64)
}

pub(super) fn topic(topic: usize) -> Topic {
    topic_name(topic).parse().expect("the name of a topic")
}

impl Nature {
    fn any(dice: &mut Dice) -> Self {
        let small = Quotas { stored: Some(4), collapse_keys: Some(2), ..Quotas::OFF };
        let fcm = Quotas { remembered: 64, ..Quotas::FCM };
        let off = Quotas { remembered: 64, ..Quotas::OFF };
        Self {
            quotas: dice.pick(&[off, off, fcm, Quotas { remembered: 64, ..small }]),
            limits: Limits {
                live_fanouts: dice.pick(&[2, 5, 10_000]),
                live_bytes: dice.pick(&[2_000, 256 << 20]),
            },
            member_memory: dice.pick(&[600, 64 << 20]),
            projects: dice.between(1, 2) as usize,
            topics: dice.between(1, 4) as usize,
            steps: dice.between(60, 240) as usize,
            longest: dice.pick(&[SECOND, MINUTE, HOUR, 12 * HOUR, 2 * DAY]),
            slowest_commit: dice.pick(&[5_000, 50_000, 3 * SECOND]),
            slowest_way: dice.pick(&[30_000, SECOND, 10 * SECOND]),
            most_outgoing: dice.pick(&[4, 50, 200]),
        }
    }
}

impl World {
    pub(super) fn new(seed: u64, options: &Options) -> Self {
        let mut dice = Dice::new(seed);
        let nature = Nature::any(&mut dice);
        let clock = Arc::new(Clock::new());
        let slow = dice.pick(&[0, 0, 10, 40]);
        let engine = Arc::new(Faulty::new(dice.apart(), slow, options.torn, options.sabotage));
        let means = Means {
            store: engine.clone(),
            clock: clock.clone(),
            quotas: nature.quotas,
            limits: nature.limits,
            member_memory: nature.member_memory,
            outside: options.outside,
        };
        Self {
            steps_left: nature.steps,
            torn: options.torn,
            sabotage: options.sabotage,
            journal: Arc::new(Journal::new(options.log)),
            dice,
            nature,
            clock,
            engine,
            means,
            heap: BinaryHeap::new(),
            turn: 0,
            life: None,
            house: None,
            reports: Arc::default(),
            phones: Vec::new(),
            connections: Vec::new(),
            open: Vec::new(),
            apps: Vec::new(),
            web_apps: Vec::new(),
            registrations: Vec::new(),
            groups: Vec::new(),
            sent: Vec::new(),
            lives: 0,
            ends: Vec::new(),
            full: Vec::new(),
            era: 0,
            commit_planned: false,
            second_planned: false,
            calm: false,
            services: options.outside.then(|| Services::new(seed)),
            round_planned: false,
        }
    }

    /// Projects, phones and apps, made while nothing goes wrong; then the server is started.
    pub(super) fn set_up(&mut self) {
        let life = Life::new();
        let parts = life.block_on(self.means.open(self.dice.apart())).expect("an empty store opens");
        for project in 0..self.nature.projects {
            self.web_apps.push(life.block_on(make_project(&parts, project, &self.clock)));
        }
        for phone in 0..self.dice.between(1, 4) as usize {
            self.make_phone(&life, &parts, phone);
        }
        self.make_outside(&life, &parts);
        drop(parts);
        drop(life);
        // Nobody is born at the moment at which the first message is sent.
        self.clock.go_to(SECOND);
        self.engine.set_calm(false);
        self.boot();
        self.settle();
    }

    fn make_phone(&mut self, life: &Life, parts: &Parts, phone: usize) {
        let made = life.block_on(asking::check_in(parts, self.clock.wall())).expect("check-in");
        let streams = [Acks::Stream(1), Acks::Stream(3), Acks::Stream(10)];
        let others = [Acks::Selective, Acks::Later, Acks::No];
        let acks = if self.dice.percent(50) { self.dice.pick(&streams) } else { self.dice.pick(&others) };
        self.phones.push(Phone {
            device: Some(made.0),
            security_token: made.1,
            acks,
            lists: self.dice.percent(60),
            unknown: Vec::new(),
            connection: None,
        });
        for _ in 0..self.dice.between(1, 3) {
            let kind = if self.dice.percent(70) { Kind::Android } else { Kind::Web };
            let project = self.dice.index(self.nature.projects);
            self.apps.push(App {
                kind,
                project,
                outside: false,
                generation: 0,
                phones: vec![phone],
                registration: None,
                trying: None,
                busy: false,
            });
            let app = self.apps.len() - 1;
            let token = life.block_on(self.asker(app, phone).register(parts, self.clock.wall()));
            self.born(app, token.expect("registration"), 0);
            for topic in 0..self.nature.topics {
                if self.dice.percent(50) {
                    self.join_at_once(life, parts, topic);
                }
            }
        }
    }

    /// Apps behind push services, by dice of their own.
    fn make_outside(&mut self, life: &Life, parts: &Parts) {
        let Some(mut services) = self.services.take() else { return };
        for project in 0..self.nature.projects {
            let id = project_id(project).parse().expect("a project id");
            let added = parts.identity.add_web_push_key(&id, Some(WEB_PUSH_KEY), self.clock.wall());
            life.block_on(added).expect("a key");
        }
        for _ in 0..services.dice.between(1, 3) {
            let project = services.dice.index(self.nature.projects);
            self.apps.push(App {
                kind: Kind::Web,
                project,
                outside: true,
                generation: 0,
                phones: vec![0],
                registration: None,
                trying: None,
                busy: false,
            });
            let app = self.apps.len() - 1;
            let token = life.block_on(self.asker(app, 0).register(parts, self.clock.wall()));
            self.born(app, token.expect("registration"), 0);
            for topic in 0..self.nature.topics {
                if services.dice.percent(50) {
                    self.join_at_once(life, parts, topic);
                }
            }
        }
        self.services = Some(services);
    }

    fn join_at_once(&mut self, life: &Life, parts: &Parts, at: usize) {
        let now = self.clock.wall();
        let registration = self.registrations.last_mut().expect("one was made");
        let project = number(self.apps[registration.app].project);
        let tokens = [registration.token.clone()];
        let name = topic(at);
        let joined = parts.dispatcher.subscribe(project, &name, &tokens, now);
        life.block_on(joined).expect("a subscription");
        registration.topics.entry(at).or_default().push(Change { begun: 0, join: true, done: Some(0) });
    }

    /// An app has a registration from now on.
    pub(super) fn born(&mut self, app: usize, token: String, tried: u64) {
        let born = self.clock.run();
        self.registrations.push(Registration {
            app,
            generation: self.apps[app].generation,
            token,
            tried,
            born,
            ending: None,
            ended: None,
            topics: BTreeMap::new(),
            moved: Vec::new(),
        });
        self.apps[app].registration = Some(self.registrations.len() - 1);
    }

    pub(super) fn asker(&self, app: usize, phone: usize) -> Asker {
        let App { kind, project, outside, generation, .. } = self.apps[app];
        Asker {
            app,
            kind,
            device: self.phones[phone].device.expect("it has checked in"),
            project: number(project),
            web_app: self.web_apps[project].clone(),
            outside: outside.then_some(generation),
        }
    }
}

async fn make_project(parts: &Parts, project: usize, clock: &Clock) -> String {
    let id = project_id(project).parse().expect("a project id");
    let now = clock.wall();
    parts.identity.create_project(&id, "", Some(number(project)), now).await.expect("a project");
    let app = NewApp { platform: Platform::Web, package: String::new(), display_name: String::new() };
    parts.identity.add_app(&id, app, now).await.expect("an app").to_string()
}
