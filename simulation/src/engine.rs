//! The store engine with everything that may go wrong below the seam: writes that take their time,
//! a store that cannot write for a while, slow reads, and the end of the process in the middle of it.
//! What is right stands in the memory engine.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cresset_message::Timestamp;
use cresset_store::memory::MemoryEngine;
use cresset_store::{
    Batch, Condition, Engine, Op, Page, Partitions, Pending, Row, RowKey, StoreError, Swept, Table,
};
use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use crate::clock::DAY;
use crate::dice::Dice;
use crate::sabotage::Sabotage;

pub(crate) struct Faulty {
    inner: MemoryEngine,
    torn: bool,
    state: Mutex<State>,
}

struct State {
    dice: Dice,
    /// Writes are made as they come, and nothing fails: while the world is set up and when it ends.
    calm: bool,
    /// As on a full disk.
    refuses: bool,
    /// Of a hundred reads, so many wait.
    slow: u64,
    waiting: VecDeque<Write>,
    readers: VecDeque<oneshot::Sender<()>>,
    /// What a crash in the middle of a batch left undone, with what stood there then.
    late: Vec<(Op, Option<Row>)>,
    sabotage: Option<Sabotage>,
}

struct Write {
    batch: Batch,
    now: Timestamp,
    answer: oneshot::Sender<Result<bool, StoreError>>,
}

impl Faulty {
    pub(crate) fn new(dice: Dice, slow: u64, torn: bool, sabotage: Option<Sabotage>) -> Self {
        let state = State {
            dice,
            calm: true,
            refuses: false,
            slow,
            waiting: VecDeque::new(),
            readers: VecDeque::new(),
            late: Vec::new(),
            sabotage,
        };
        Self { inner: MemoryEngine::new(), torn, state: Mutex::new(state) }
    }

    pub(crate) fn set_calm(&self, calm: bool) {
        self.lock().calm = calm;
    }

    pub(crate) fn set_refuses(&self, refuses: bool) {
        self.lock().refuses = refuses;
    }

    pub(crate) fn has_work(&self) -> bool {
        let state = self.lock();
        !state.waiting.is_empty() || !state.readers.is_empty()
    }

    pub(crate) fn has_late(&self) -> bool {
        !self.lock().late.is_empty()
    }

    /// One commit: the oldest of what waits, at most `count`; and reads go on.
    pub(crate) fn commit(&self, count: usize) {
        let mut state = self.lock();
        while let Some(reader) = state.readers.pop_front() {
            let _ = reader.send(());
        }
        for _ in 0..count {
            let Some(write) = state.waiting.pop_front() else { return };
            let outcome = if state.refuses {
                // After a device error a batch may still be there.
                if state.dice.percent(10) {
                    let _ = self.apply(&mut state, write.batch, write.now);
                }
                Err(StoreError::Unavailable("the disk is full".into()))
            } else {
                self.apply(&mut state, write.batch, write.now)
            };
            let _ = write.answer.send(outcome);
        }
    }

    /// The process ends. What was on its way is there, or not, or for some partitions only; what is
    /// missing of those appears in the end (`finish`).
    pub(crate) fn crash(&self) {
        let mut state = self.lock();
        state.readers.clear();
        for write in std::mem::take(&mut state.waiting) {
            match state.dice.below(3) {
                0 => {}
                1 => drop(self.apply(&mut state, write.batch, write.now)),
                _ => self.tear(&mut state, write),
            }
        }
    }

    fn tear(&self, state: &mut State, write: Write) {
        if !self.holds(write.batch.condition.as_ref(), write.now) {
            return;
        }
        let place = |op: &Op| (op.key().table, op.key().partition.clone());
        let places: BTreeSet<_> = write.batch.ops.iter().map(place).collect();
        let there: BTreeSet<_> = places.into_iter().filter(|_| state.dice.percent(50)).collect();
        let (there_now, missing): (Vec<_>, Vec<_>) =
            write.batch.ops.into_iter().partition(|op| there.contains(&place(op)));
        if there_now.is_empty() {
            return;
        }
        let _ = self.apply(state, Batch { ops: there_now, condition: None }, write.now);
        for op in missing {
            let stands = self.now(self.inner.get(op.key(), Timestamp::default()));
            state.late.push((op, stands.unwrap_or_default()));
        }
    }

    /// What a crash left undone appears, unless somebody has written there since.
    pub(crate) fn finish(&self) {
        let mut state = self.lock();
        for (op, stood) in std::mem::take(&mut state.late) {
            let stands = self.now(self.inner.get(op.key(), Timestamp::default())).unwrap_or_default();
            if stands == stood {
                let batch = Batch { ops: vec![op], condition: None };
                let _ = self.now(self.inner.write(batch, Timestamp::default()));
            }
        }
    }

    fn apply(&self, state: &mut State, mut batch: Batch, now: Timestamp) -> Result<bool, StoreError> {
        if let Some(sabotage) = state.sabotage {
            let dice = &mut state.dice;
            batch.ops.retain(|op| match (sabotage, op) {
                (Sabotage::DropRow, Op::Put { key, .. }) if key.table == Table::Inbox => !dice.percent(10),
                (Sabotage::DropSet, Op::Put { key, .. }) if key.table == Table::FanOuts => !dice.percent(20),
                (Sabotage::KeepRow, Op::Delete { key }) if key.table == Table::Inbox => !dice.percent(30),
                _ => true,
            });
        }
        let overwritten: Vec<RowKey> = match state.late.is_empty() {
            true => Vec::new(),
            false => batch.ops.iter().map(|op| op.key().clone()).collect(),
        };
        let written = self.now(self.inner.write(batch, now))?;
        if written {
            // A deletion too: it is the later write.
            state.late.retain(|(op, _)| !overwritten.contains(op.key()));
        }
        Ok(written)
    }

    fn holds(&self, condition: Option<&Condition>, now: Timestamp) -> bool {
        condition.is_none_or(|condition| {
            let stands = self.now(self.inner.get(&condition.key, now)).unwrap_or_default();
            stands.map(|row| row.value) == condition.expected
        })
    }

    /// The memory engine's futures are ready at once.
    fn now<T>(&self, pending: Pending<'_, T>) -> Result<T, StoreError> {
        pending.now_or_never().expect("the memory engine does not wait")
    }

    /// What a reader has to wait for, if for anything.
    fn queue_reader(&self) -> Option<oneshot::Receiver<()>> {
        let mut state = self.lock();
        let slow = state.slow;
        if state.calm || slow == 0 || !state.dice.percent(slow) {
            return None;
        }
        let (reader, wait) = oneshot::channel();
        state.readers.push_back(reader);
        Some(wait)
    }

    /// Sabotage: what has expired is found nevertheless.
    fn seen(&self, now: Timestamp) -> Timestamp {
        match self.lock().sabotage {
            Some(Sabotage::Late) => Timestamp::from_micros(now.as_micros() - DAY),
            _ => now,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Faulty {
    fn get<'a>(&'a self, key: &'a RowKey, now: Timestamp) -> Pending<'a, Option<Row>> {
        let now = self.seen(now);
        match self.queue_reader() {
            None => self.inner.get(key, now),
            Some(wait) => Box::pin(async move {
                let _ = wait.await;
                self.inner.get(key, now).await
            }),
        }
    }

    fn scan<'a>(
        &'a self,
        table: Table,
        partition: &'a [u8],
        from: &'a [u8],
        limit: usize,
        now: Timestamp,
    ) -> Pending<'a, Page> {
        let now = self.seen(now);
        match self.queue_reader() {
            None => self.inner.scan(table, partition, from, limit, now),
            Some(wait) => Box::pin(async move {
                let _ = wait.await;
                self.inner.scan(table, partition, from, limit, now).await
            }),
        }
    }

    /// If what a crash tore apart is put together before the server starts, none of that is seen.
    fn keeps_batches_whole(&self) -> bool {
        !self.torn
    }

    fn write(&self, batch: Batch, now: Timestamp) -> Pending<'_, bool> {
        let mut state = self.lock();
        if state.calm {
            let outcome = self.apply(&mut state, batch, now);
            return Box::pin(std::future::ready(outcome));
        }
        let (answer, answered) = oneshot::channel();
        state.waiting.push_back(Write { batch, now, answer });
        Box::pin(async move { answered.await.unwrap_or(Err(StoreError::Closed)) })
    }

    fn partitions<'a>(&'a self, table: Table, from: &'a [u8], limit: usize) -> Pending<'a, Partitions> {
        self.inner.partitions(table, from, limit)
    }

    fn sweep<'a>(&'a self, table: Table, from: &'a [u8], limit: usize, now: Timestamp) -> Pending<'a, Swept> {
        self.inner.sweep(table, from, limit, self.seen(now))
    }

    fn close(&self) -> Pending<'_, ()> {
        self.inner.close()
    }
}
