//! What happens, one thing at a time; and how the world comes to rest.

use super::{Acks, Event, World};
use crate::clock::{MINUTE, SECOND};

/// Rounds in which all phones come back and fetch what is theirs. More than one: what was moved to
/// another device is found there only when that one logs in after.
const LAST_ROUNDS: usize = 4;

impl World {
    pub(super) fn take(&mut self, event: Event) {
        match event {
            Event::Step => self.step(),
            Event::Commit => self.commit(),
            Event::StoreHeals => {
                self.say(|| "the store can write again".into());
                self.engine.set_refuses(false);
            }
            Event::Late => {
                self.say(|| "what a crash left undone appears".into());
                self.engine.finish();
            }
            Event::Boot if self.life.is_none() => self.boot(),
            Event::Boot => {}
            Event::Second => self.second(),
            Event::ToPhone { connection, bytes, left } => self.arrive_at_phone(connection, &bytes, left),
            Event::ToServer { connection, frame } => {
                let known = &self.connections[connection];
                if !known.cut && known.life == self.lives && self.house.is_some() {
                    known.line.receive(frame);
                }
            }
            Event::ServerNotices { connection } => self.end_line(connection),
            Event::PhoneNotices { connection } => self.phone_notices(connection),
            Event::Acknowledge { connection } => self.acknowledge_stream(connection),
            Event::AtService(request) => self.at_service(request),
            Event::Answered(request, reply) => self.service_answers(*request, reply),
            Event::Resume(pause) => pause.notify_one(),
            Event::Round => self.round(),
        }
    }

    fn commit(&mut self) {
        self.commit_planned = false;
        let count = if self.calm { usize::MAX } else { self.dice.pick(&[1, 2, 3, 256]) };
        self.engine.commit(count);
    }

    /// Nothing goes wrong any more; everybody comes and fetches what is theirs.
    pub(super) fn come_to_rest(&mut self) {
        self.say(|| "nothing goes wrong any more".into());
        self.calm = true;
        self.nature.slowest_commit = 200;
        self.engine.finish();
        self.engine.set_refuses(false);
        for phone in &mut self.phones {
            phone.acks = Acks::Stream(1);
        }
        for connection in 0..self.connections.len() {
            self.connections[connection].stalled = false;
        }
        self.settle();
        self.run_for(15 * MINUTE);
        for _ in 0..LAST_ROUNDS {
            for phone in 0..self.phones.len() {
                self.disconnect(phone, false);
            }
            self.run_for(10 * SECOND);
            for phone in 0..self.phones.len() {
                self.connect(phone);
            }
            self.run_for(MINUTE);
        }
    }

    fn run_for(&mut self, time: u64) {
        let until = self.clock.run() + time;
        while self.heap.peek().is_some_and(|due| due.0.at <= until) {
            self.happen();
        }
        self.clock.go_to(until);
        self.settle();
    }
}
