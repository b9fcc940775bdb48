//! What is open: messages for many that are still being spread, whose turn it is, and messages to one that wait
//! for those. All under one lock, so that whoever looks sees both as they came: who was answered before another
//! was sent stands here before it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cresset_message::{Condition, MessageId, ProjectNumber, Rejection, Target};
use cresset_store::tables::jobs::JobRecord;
use cresset_store::tables::members::TopicKey;
use tokio::sync::Notify;

use super::{MAX_JOBS, RETRY_AFTER};
use crate::buckets::{FanOut, Place};
use crate::matching::topics;
use crate::turn::Waiting;

/// A fan-out that is still being spread.
pub(crate) struct Job {
    pub(super) fanout: Arc<FanOut>,
    pub(super) selection: Selection,
    /// Now or never: no row tells of it.
    pub(super) fleeting: bool,
    /// A former process accepted it: what was to come now or never is over.
    pub(super) resumed: bool,
    progress: Mutex<Progress>,
    /// Held while its row is written: the row that is written last is the newest.
    pub(super) row: tokio::sync::Mutex<()>,
    cancelled: AtomicBool,
}

#[derive(Default)]
pub(super) struct Progress {
    /// The first bucket that is not done.
    next: u32,
    /// Done beyond it.
    ahead: BTreeSet<u32>,
    /// Their sets are durable, and pushed to now: rows of the job say that they are done.
    pub(super) durable: BTreeSet<u32>,
    /// Being worked on.
    pub(super) busy: BTreeSet<u32>,
    queued: bool,
}

impl Progress {
    /// Where another process left off.
    pub(super) fn from(record: JobRecord) -> Self {
        Self { next: record.next_bucket, ahead: record.ahead.into_iter().collect(), ..Self::default() }
    }

    fn is_done(&self, bucket: u32) -> bool {
        bucket < self.next || self.ahead.contains(&bucket)
    }

    pub(super) fn done(&mut self, bucket: u32) {
        self.durable.remove(&bucket);
        self.ahead.insert(bucket);
        while self.ahead.remove(&self.next) {
            self.next += 1;
        }
    }

    /// The first bucket that nobody works on.
    pub(super) fn free(&self, buckets: u32) -> Option<u32> {
        (self.next..buckets).find(|bucket| !self.ahead.contains(bucket) && !self.busy.contains(bucket))
    }
}

impl Job {
    pub(super) fn new(fanout: Arc<FanOut>, progress: Progress, resumed: bool) -> Result<Self, Rejection> {
        let condition = match &fanout.message.target {
            Target::Topic(name) => Condition::Topic(name.as_str().into()),
            Target::Condition(text) => text.parse().map_err(|_| Rejection::Condition)?,
            Target::Token(_) | Target::Fid(_) => return Err(Rejection::Internal),
        };
        let selection = Selection::new(condition);
        let fleeting = fanout.is_now_or_never();
        fanout.hold();
        fanout.set_spreading(true);
        Ok(Self {
            fanout,
            selection,
            fleeting,
            resumed,
            progress: Mutex::new(progress),
            row: tokio::sync::Mutex::default(),
            cancelled: AtomicBool::new(false),
        })
    }

    pub(super) fn id(&self) -> MessageId {
        self.fanout.id
    }

    pub(crate) fn fanout(&self) -> &FanOut {
        &self.fanout
    }

    /// Whether no row tells of it.
    pub(crate) fn is_fleeting(&self) -> bool {
        self.fleeting
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Its row, while one more bucket is being made a set of: of that the set's own row tells. The two stand
    /// in two partitions, and after a crash one may be there without the other.
    pub(super) fn record(&self) -> JobRecord {
        let progress = self.progress();
        let ahead = progress.ahead.union(&progress.durable).copied().collect();
        let mut known = Progress { next: progress.next, ahead, ..Progress::default() };
        drop(progress);
        while known.ahead.remove(&known.next) {
            known.next += 1;
        }
        JobRecord {
            project: self.fanout.project.0,
            next_bucket: known.next,
            ahead: known.ahead.into_iter().collect(),
        }
    }
}

/// Whom a condition names, with its topics as they stand in keys.
pub(crate) struct Selection {
    pub(super) condition: Condition,
    pub(super) topics: Vec<(Box<str>, TopicKey)>,
}

impl Selection {
    pub(crate) fn new(condition: Condition) -> Self {
        let topics =
            topics(&condition).into_iter().map(|name| (Box::from(name), TopicKey::of(name))).collect();
        Self { condition, topics }
    }
}

/// The open jobs, and whose turn it is.
#[derive(Default)]
pub(crate) struct Jobs {
    state: Mutex<JobsState>,
    /// There is something to do.
    pub(super) arrived: Notify,
}

/// What comes next to a bucket.
pub(super) enum Next {
    Many(Arc<Job>),
    One(Arc<Waiting>),
}

/// Messages to ones of a bucket that wait, by their ids.
#[derive(Default)]
struct Line {
    waiting: BTreeMap<MessageId, Arc<Waiting>>,
    /// Somebody sees to it that they come to their turns.
    served: bool,
}

#[derive(Default)]
struct JobsState {
    open: BTreeMap<ProjectNumber, BTreeMap<MessageId, Arc<Job>>>,
    /// Accepted, not durable yet: they count too.
    coming: HashMap<ProjectNumber, usize>,
    queue: VecDeque<Arc<Job>>,
    /// No line is empty.
    lines: BTreeMap<Place, Line>,
}

impl JobsState {
    /// The oldest job that a bucket has not got yet, of those that are not younger than `id`.
    fn oldest_for(&self, (project, number): Place, id: MessageId) -> Option<&Arc<Job>> {
        let jobs = self.open.get(&project)?.range(..=id);
        jobs.map(|(_, job)| job).find(|job| !job.is_cancelled() && !job.progress().is_done(number))
    }
}

impl Jobs {
    fn state(&self) -> MutexGuard<'_, JobsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn admit(&self, project: ProjectNumber) -> Result<(), Rejection> {
        let mut state = self.state();
        let open = state.open.get(&project).map_or(0, BTreeMap::len);
        let coming = state.coming.entry(project).or_default();
        if open + *coming >= MAX_JOBS {
            return Err(Rejection::FanOutQuota { project, limit: MAX_JOBS as u32, retry_after: RETRY_AFTER });
        }
        *coming += 1;
        Ok(())
    }

    pub(super) fn not_coming(&self, project: ProjectNumber) {
        let mut state = self.state();
        if let Some(coming) = state.coming.get_mut(&project) {
            *coming -= 1;
            if *coming == 0 {
                state.coming.remove(&project);
            }
        }
    }

    pub(super) fn open(&self, job: Arc<Job>) {
        job.progress().queued = true;
        let mut state = self.state();
        state.open.entry(job.fanout.project).or_default().insert(job.id(), job.clone());
        state.queue.push_back(job);
        drop(state);
        self.arrived.notify_one();
    }

    /// Puts it at the end of the queue, unless it is in there.
    pub(super) fn queue(&self, job: &Arc<Job>) {
        if !std::mem::replace(&mut job.progress().queued, true) {
            self.state().queue.push_back(job.clone());
            self.arrived.notify_one();
        }
    }

    pub(super) fn next(&self) -> Option<Arc<Job>> {
        let job = self.state().queue.pop_front()?;
        job.progress().queued = false;
        Some(job)
    }

    /// Whether it was open until now.
    pub(super) fn close(&self, job: &Job) -> bool {
        let mut state = self.state();
        let Some(open) = state.open.get_mut(&job.fanout.project) else { return false };
        let was_open = open.remove(&job.id()).is_some();
        if open.is_empty() {
            state.open.remove(&job.fanout.project);
        }
        was_open
    }

    /// The oldest that a bucket has not got yet, of what is not younger than `id`.
    pub(super) fn next_for(&self, place: Place, id: MessageId) -> Option<Next> {
        let state = self.state();
        let first = state.lines.get(&place).and_then(|line| line.waiting.first_key_value());
        let one = first.filter(|(first, _)| **first <= id);
        match (one, state.oldest_for(place, id)) {
            (Some((first, one)), job) if job.is_none_or(|job| *first < job.id()) => {
                Some(Next::One(one.clone()))
            }
            (_, job) => job.cloned().map(Next::Many),
        }
    }

    /// Whether something for many is on its way to a bucket, and older.
    pub(super) fn has_older(&self, place: Place, id: MessageId) -> bool {
        self.state().oldest_for(place, id).is_some()
    }

    /// Whether a message to one of a bucket has to wait for its turn: something older is on its way to all, or
    /// others wait for theirs.
    pub(crate) fn must_wait(&self, place: Place, id: MessageId) -> bool {
        let state = self.state();
        state.lines.contains_key(&place) || state.oldest_for(place, id).is_some()
    }

    /// Puts it by until its turn. Whether somebody has to see to that.
    pub(crate) fn wait(&self, place: Place, waiting: Waiting) -> bool {
        let mut state = self.state();
        let line = state.lines.entry(place).or_default();
        line.waiting.insert(waiting.id(), Arc::new(waiting));
        !std::mem::replace(&mut line.served, true)
    }

    /// The oldest that waits at a bucket.
    pub(crate) fn first_waiting(&self, place: Place) -> Option<Arc<Waiting>> {
        let state = self.state();
        state.lines.get(&place)?.waiting.first_key_value().map(|(_, first)| first.clone())
    }

    pub(crate) fn is_waiting(&self, place: Place, id: MessageId) -> bool {
        self.state().lines.get(&place).is_some_and(|line| line.waiting.contains_key(&id))
    }

    /// It has had its turn.
    pub(crate) fn waits_no_more(&self, place: Place, id: MessageId) {
        let mut state = self.state();
        let Some(line) = state.lines.get_mut(&place) else { return };
        line.waiting.remove(&id);
        if line.waiting.is_empty() {
            state.lines.remove(&place);
        }
    }

    /// Nobody sees to a line any more: the next who comes has it done.
    pub(crate) fn unserved(&self, place: Place) {
        if let Some(line) = self.state().lines.get_mut(&place) {
            line.served = false;
        }
    }

    pub(super) fn count(&self) -> usize {
        self.state().open.values().map(BTreeMap::len).sum()
    }

    pub(super) fn of_project(&self, project: ProjectNumber) -> Vec<Arc<Job>> {
        self.state().open.get(&project).map_or_else(Vec::new, |open| open.values().cloned().collect())
    }

    pub(super) fn count_of(&self, project: ProjectNumber) -> usize {
        self.state().open.get(&project).map_or(0, BTreeMap::len)
    }
}
