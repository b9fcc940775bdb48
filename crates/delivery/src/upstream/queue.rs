//! The queue of one project, as far as it is in memory: who is attached, where reading goes on, and what
//! was given back. What waits is in the store, and is read as somebody has room for it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cresset_message::{MessageId, ProjectNumber, Timestamp};
use cresset_store::tables::upstream;
use cresset_store::{Pages, Store, StoreError, Table};

use super::{AppServer, Line, Upstream, WINDOW};

/// Rows of one project: at a kilobyte each, a gigabyte of disk.
const MAX_ROWS: u64 = 1_000_000;
/// A full queue is counted again after this: rows whose time is over go by themselves.
const COUNT_AGAIN: Duration = Duration::from_secs(60);
/// Rows counted in one read.
const PAGE: usize = 500;
/// What a line gets at a time where there are several.
const PORTION: usize = 10;

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// One pull at a time, in the order in which they ask.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    lines: HashMap<u64, Attached>,
    next_line: u64,
    /// Rows up to and with this one were read.
    read: Option<MessageId>,
    /// Of those, the ones that a line has given back.
    released: BTreeSet<MessageId>,
    /// Rows that an app server has acknowledged and that are being deleted.
    acknowledging: BTreeSet<MessageId>,
    /// Rows that are being made durable. Nothing behind them is read, or they would be passed by.
    writing: BTreeSet<MessageId>,
    /// Grows with each row that became durable; reading has seen all up to `seen`.
    stored: u64,
    seen: Option<u64>,
    rows: u64,
    counted: Counted,
}

struct Attached {
    app_server: Arc<dyn AppServer>,
    unacknowledged: usize,
    /// It was woken and could not pull.
    passed: bool,
}

#[derive(Default)]
enum Counted {
    #[default]
    Never,
    Now,
    At(Timestamp),
}

/// A row on its way. If it does not become durable, dropping this lets reading go on.
pub(crate) struct Writing {
    queue: Arc<Queue>,
    id: MessageId,
}

impl Writing {
    pub(crate) fn id(&self) -> MessageId {
        self.id
    }

    pub(crate) fn done(self) {
        self.queue.state().rows += 1;
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // A write whose outcome nobody knows may have become durable.
        let mut state = self.queue.state();
        state.writing.remove(&self.id);
        state.stored += 1;
        state.wake();
    }
}

impl Queue {
    pub(super) fn attach(&self, app_server: Arc<dyn AppServer>) -> u64 {
        let mut state = self.state();
        let number = state.next_line;
        state.next_line += 1;
        state.lines.insert(number, Attached { app_server, unacknowledged: 0, passed: false });
        number
    }

    pub(super) fn detach(&self, line: u64, unacknowledged: &[MessageId]) {
        let mut state = self.state();
        state.lines.remove(&line);
        state.released.extend(unacknowledged);
        if state.lines.is_empty() {
            // Nobody is there: what was given back is read anew, from the first of it on.
            state.forget_reading();
        }
        state.wake();
    }

    pub(super) fn pass(&self, line: u64) {
        let mut state = self.state();
        if let Some(attached) = state.lines.get_mut(&line) {
            attached.passed = true;
        }
        state.wake();
    }

    pub(super) fn freed(&self, line: u64, count: usize) {
        if let Some(attached) = self.state().lines.get_mut(&line) {
            attached.unacknowledged = attached.unacknowledged.saturating_sub(count);
        }
    }

    /// These are being deleted: nobody gets them any more.
    pub(super) fn acknowledging(&self, ids: &[MessageId]) {
        self.state().acknowledging.extend(ids);
    }

    /// They are, or are not.
    pub(super) fn acknowledged(&self, ids: &[MessageId], deleted: bool) {
        let mut state = self.state();
        for id in ids {
            state.acknowledging.remove(id);
        }
        if deleted {
            state.rows = state.rows.saturating_sub(ids.len() as u64);
        } else {
            state.released.extend(ids);
            state.wake();
        }
    }

    pub(super) fn has_lines(&self) -> bool {
        !self.state().lines.is_empty()
    }

    /// Takes an id for a row that is written next. Nothing with a later id is read before it is there.
    pub(super) fn begin(self: &Arc<Self>, next_id: impl FnOnce() -> MessageId) -> Writing {
        let mut state = self.state();
        let id = next_id();
        state.writing.insert(id);
        Writing { queue: self.clone(), id }
    }

    /// Whether there are as many rows as there may be, about: rows whose time is over are left out when
    /// they are counted again.
    pub(super) fn is_full(self: &Arc<Self>, store: &Store, project: ProjectNumber, now: Timestamp) -> bool {
        let mut state = self.state();
        let full = state.rows >= MAX_ROWS;
        let due = match state.counted {
            Counted::Never => true,
            Counted::Now => false,
            Counted::At(then) => full && now.since(then) >= COUNT_AGAIN,
        };
        if due {
            state.counted = Counted::Now;
            tokio::spawn(count(self.clone(), store.clone(), project, now));
        }
        full
    }

    /// Changes nothing before its end: a connection that ends meanwhile takes nothing with it.
    pub(super) async fn pull(
        &self,
        store: &Store,
        line: Line,
        room: usize,
        next_id: impl Fn() -> MessageId,
        now: Timestamp,
    ) -> Result<Vec<Upstream>, StoreError> {
        let _turn = self.turn.lock().await;
        let Some((limit, released)) = self.begin_pull(line, room) else { return Ok(Vec::new()) };
        let mut pulled = rows(store, line.project, &released, now).await?;
        let mut read = None;
        if pulled.len() < limit {
            let on = self.read_on(store, line.project, limit - pulled.len(), next_id, now).await?;
            read = Some((on.last, on.seen));
            pulled.extend(on.found);
        }
        let mut state = self.state();
        let Some(attached) = state.lines.get_mut(&line.number) else { return Ok(Vec::new()) };
        attached.unacknowledged += pulled.len();
        released.iter().for_each(|id| {
            state.released.remove(id);
        });
        if let Some((last, seen)) = read {
            state.read = last;
            state.seen = seen.or(state.seen);
        }
        state.wake();
        Ok(pulled)
    }

    /// How many, and those among them that somebody has given back.
    fn begin_pull(&self, line: Line, room: usize) -> Option<(usize, Vec<MessageId>)> {
        let mut state = self.state();
        let portion = if state.lines.len() > 1 { PORTION } else { WINDOW };
        state.lines.get_mut(&line.number)?.passed = false;
        let limit = room.min(portion);
        let released = state.released.iter().take(limit).copied().collect();
        Some((limit, released))
    }

    /// Reads rows that nobody has had since the start.
    async fn read_on(
        &self,
        store: &Store,
        project: ProjectNumber,
        limit: usize,
        next_id: impl Fn() -> MessageId,
        now: Timestamp,
    ) -> Result<ReadOn, StoreError> {
        let (from, end, stored, gone) = {
            let state = self.state();
            if state.seen == Some(state.stored) {
                return Ok(ReadOn { found: Vec::new(), last: state.read, seen: None });
            }
            // What begins to be written from now on has a later id, and may be there before one that is not.
            let end = state.writing.first().copied().unwrap_or_else(next_id);
            (state.read, end, state.stored, state.acknowledging.clone())
        };
        // The last row that was read comes once more, if it is still there.
        let start = from.map(|id| id.to_bytes().to_vec()).unwrap_or_default();
        let partition = upstream::partition(project);
        let page = store.scan(Table::Upstream, &partition, &start, limit + 1, now).await?;
        let mut read = ReadOn { found: Vec::new(), last: from, seen: page.next.is_none().then_some(stored) };
        for row in &page.rows {
            let id = upstream::id_of(&row.sort)?;
            if from.is_some_and(|from| id <= from) {
                continue;
            }
            if id >= end {
                read.seen = Some(stored);
                break;
            }
            if read.found.len() == limit {
                read.seen = None;
                break;
            }
            read.last = Some(id);
            // Its deletion may have begun, or even ended, since the rows were read.
            if gone.contains(&id) || self.state().acknowledging.contains(&id) {
                continue;
            }
            match Upstream::from_row(id, &row.value) {
                Ok(upstream) => read.found.push(upstream),
                // It must not keep the others from their app server.
                Err(error) => tracing::error!(project = project.0, message.id = %id, "{error}"),
            }
        }
        Ok(read)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two changes of it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where reading has come to.
struct ReadOn {
    found: Vec<Upstream>,
    last: Option<MessageId>,
    /// All rows that were durable when so many were have been read.
    seen: Option<u64>,
}

/// Those of these rows that are still there.
pub(super) async fn rows(
    store: &Store,
    project: ProjectNumber,
    ids: &[MessageId],
    now: Timestamp,
) -> Result<Vec<Upstream>, StoreError> {
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        if let Some(row) = store.get(&upstream::key(project, *id), now).await? {
            found.push(Upstream::from_row(*id, &row.value)?);
        }
    }
    Ok(found)
}

impl State {
    fn has_more(&self) -> bool {
        !self.released.is_empty() || self.seen != Some(self.stored)
    }

    /// Wakes the line that has most room, if there is one.
    fn wake(&self) {
        let with_room = |line: &&Attached| line.unacknowledged < WINDOW && !line.passed;
        let least = self.lines.values().filter(with_room).min_by_key(|line| line.unacknowledged);
        if self.has_more()
            && let Some(line) = least
        {
            line.app_server.wake();
        }
    }

    fn forget_reading(&mut self) {
        // All rows were somebody's, so the first is the oldest; what was acknowledged is no row any more.
        (self.read, self.seen) = (None, None);
        self.released.clear();
    }
}

/// Counts the rows of a project.
async fn count(queue: Arc<Queue>, store: Store, project: ProjectNumber, now: Timestamp) {
    let partition = upstream::partition(project);
    let mut pages = Pages::of(&store, Table::Upstream, &partition, PAGE);
    let mut rows = 0;
    let counted = loop {
        match pages.next(now).await {
            Ok(Some(page)) => rows += page.len() as u64,
            Ok(None) => break Some(rows),
            Err(_) => break None,
        }
    };
    let mut state = queue.state();
    if let Some(rows) = counted {
        state.rows = rows;
    }
    state.counted = Counted::At(now);
}
