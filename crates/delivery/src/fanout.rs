//! Fan-out: a message for a set of registrations. A durable job spreads it, bucket by bucket, as one
//! set a bucket; the connected are pushed to as each bucket is spread.
//!
//! Many jobs take turns, so that a small one is not stuck behind a large one; yet in each bucket the
//! older message comes first: whoever reaches a bucket first spreads there what is older than itself.

mod jobs;

use std::sync::Arc;
use std::time::Duration;

use cresset_message::{Condition, Message, MessageId, ProjectNumber, Rejection, SlotSet, Timestamp};
use cresset_store::tables::bodies::{self, BodyRecord};
use cresset_store::tables::jobs::JobRecord;
use cresset_store::tables::{fanouts, jobs as job_rows, message as message_record};
use cresset_store::{Batch, Pages, Store, StoreError, Table};
use tokio::sync::Semaphore;

use crate::buckets::{Bucket, Buckets, FanOut, Place};
use crate::carrier::Carriers;
use crate::finish::Finish;
use crate::ids::Ids;
use crate::inbox::DELETED_TOGETHER;
use crate::matching::{matching, needs_everyone};
use crate::members::Members;
use crate::stored::Piles;
use crate::trace::Traces;
use crate::turn::MAX_WAITING;
use crate::{Dispatcher, Handoff, refusal};

pub(crate) use jobs::{Job, Selection};
use jobs::{Jobs, Next, Progress};

/// Fan-outs of a project at a time (`protocol/http-v1.md` §6).
pub(crate) const MAX_JOBS: usize = 1_000;

/// What is told to who would begin one more: they end within seconds.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Buckets of one job that are worked on at a time: reading one need not wait for writing another.
const BUCKETS_AT_ONCE: usize = 4;

/// Buckets without members looked at in one turn.
const LOOKED_AT: usize = 64;

/// Devices pushed to before others get the thread: some 300 µs.
const PUSHED_AT_ONCE: usize = 64;

/// Jobs read from the store at a time.
const PAGE: usize = 128;

/// Everything that spreading needs; shared with the tasks that do it.
pub(crate) struct FanOuts {
    store: Store,
    ids: Arc<Ids>,
    pub(crate) members: Members,
    pub(crate) buckets: Buckets,
    pub(crate) jobs: Jobs,
    /// For messages to one that wait for their turn.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) traces: Arc<Traces>,
    pub(crate) carriers: Arc<Carriers>,
    pub(crate) piles: Arc<Piles>,
}

impl FanOuts {
    pub(crate) fn new(
        store: Store,
        ids: Arc<Ids>,
        members: Members,
        traces: Arc<Traces>,
        carriers: Arc<Carriers>,
        piles: Arc<Piles>,
    ) -> Self {
        let (buckets, jobs) = (Buckets::new(store.clone()), Jobs::default());
        let room = Arc::new(Semaphore::new(MAX_WAITING));
        Self { buckets, store, ids, members, jobs, room, traces, carriers, piles }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Messages that are still being spread.
    pub(crate) fn open_jobs(&self) -> usize {
        self.jobs.count()
    }

    /// Takes up the jobs that a former process left.
    pub(crate) async fn resume(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut pages = Pages::of(&self.store, Table::Jobs, job_rows::PARTITION, PAGE);
        while let Some(rows) = pages.next(now).await? {
            for row in &rows {
                let id = cresset_store::tables::inbox::id_of(&row.sort)?;
                self.resume_job(id, JobRecord::from_bytes(&row.value)?, now).await?;
            }
        }
        Ok(())
    }

    async fn resume_job(&self, id: MessageId, record: JobRecord, now: Timestamp) -> Result<(), StoreError> {
        let next_bucket = record.next_bucket;
        let job = match self.buckets.message(id, now).await? {
            Some(fanout) => Job::new(fanout, Progress::from(record), true).ok(),
            None => None,
        };
        match job {
            Some(job) => {
                tracing::info!(message.id = %id, next_bucket, "a fan-out goes on");
                self.jobs.open(Arc::new(job));
            }
            // Its time is over.
            None => {
                let mut batch = Batch::default();
                batch.delete(job_rows::key(id));
                self.store.write(batch, now).await?;
            }
        }
        Ok(())
    }

    /// Makes body and job durable; spreading begins then.
    async fn accept(
        &self,
        id: MessageId,
        project: ProjectNumber,
        message: Message,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let encoded = message_record::encode(&message);
        let fanout = self.buckets.remember(FanOut::new(id, project, Arc::new(message)));
        fanout.set_whole(true);
        let job = Arc::new(Job::new(fanout.clone(), Progress::default(), false)?);
        if !job.fleeting {
            let body = BodyRecord { project: project.0, message: encoded };
            let record = JobRecord { project: project.0, ..JobRecord::default() };
            let mut batch = Batch::default();
            batch.put(bodies::key(id), body.to_bytes(), Some(fanout.expires()));
            batch.put(job_rows::key(id), record.to_bytes(), Some(fanout.expires()));
            self.traces.accepted_for_many(&mut batch, &fanout);
            self.ids.write(&self.store, batch, Some(id), now).await.map_err(refusal)?;
        }
        self.jobs.open(job);
        Ok(())
    }

    /// One turn of the job whose turn it is. `None`: there is nothing to do.
    pub(crate) async fn step(&self, now: Timestamp) -> Option<Result<(), StoreError>> {
        let job = self.jobs.next()?;
        let outcome = self.turn(&job, now).await;
        if outcome.is_err() {
            self.jobs.queue(&job);
        }
        Some(outcome)
    }

    pub(crate) async fn arrived(&self) {
        self.jobs.arrived.notified().await;
    }

    async fn turn(&self, job: &Arc<Job>, now: Timestamp) -> Result<(), StoreError> {
        let buckets = self.members.buckets(job.fanout.project, now).await?;
        let over = job.is_cancelled() || !job.fleeting && job.fanout.expires() <= now;
        for _ in 0..LOOKED_AT {
            let (bucket, more, idle) = {
                let mut progress = job.progress();
                let bucket = if over { None } else { progress.free(buckets) };
                progress.busy.extend(bucket);
                let more = progress.busy.len() < BUCKETS_AT_ONCE && progress.free(buckets).is_some();
                (bucket, more && !over, progress.busy.is_empty())
            };
            let Some(bucket) = bucket else {
                // Whoever works on the last one comes by here.
                return if idle { self.finish(job, now).await } else { Ok(()) };
            };
            if more {
                self.jobs.queue(job);
            }
            let spread = self.spread(job, bucket, now).await;
            job.progress().busy.remove(&bucket);
            if spread? {
                break;
            }
        }
        self.jobs.queue(job);
        Ok(())
    }

    /// Spreads a job to a bucket, after what is older. Says whether there was anybody.
    async fn spread(&self, job: &Arc<Job>, number: u32, now: Timestamp) -> Result<bool, StoreError> {
        if let Some(set) = self.wanted_in(job, number, now).await? {
            let bucket = self.buckets.get(job.fanout.project, number, now).await?;
            let _order = bucket.order.lock().await;
            self.spread_older(&bucket, job.id(), now, Some((job, set))).await?;
            return Ok(true);
        }
        job.progress().done(number);
        Ok(false)
    }

    /// The set of a bucket, unless it is empty: nobody then has to wait for anybody.
    async fn wanted_in(&self, job: &Job, number: u32, now: Timestamp) -> Result<Option<SlotSet>, StoreError> {
        let set = self.matching(&job.selection, job.fanout.project, number, now).await?;
        Ok((!set.is_empty()).then_some(set))
    }

    /// Brings to a bucket whose order is held, oldest first, what is not younger than `id`: for many, and to
    /// ones that wait.
    pub(crate) async fn spread_older(
        &self,
        bucket: &Arc<Bucket>,
        id: MessageId,
        now: Timestamp,
        known: Option<(&Arc<Job>, SlotSet)>,
    ) -> Result<(), StoreError> {
        let mut known = known;
        // Looked for anew after each: what came meanwhile, and is older than the next, comes before it.
        while let Some(next) = self.jobs.next_for(bucket.place(), id) {
            let job = match next {
                Next::One(waiting) => {
                    self.push_waiting(bucket.place(), &waiting).await;
                    continue;
                }
                Next::Many(job) => job,
            };
            let set = match known.take_if(|(known, _)| known.id() == job.id()) {
                Some((_, set)) => set,
                None => {
                    let (project, number) = bucket.place();
                    self.matching(&job.selection, project, number, now).await?
                }
            };
            if !set.is_empty() {
                self.spread_set(&job, bucket, set, now).await?;
            }
            job.progress().done(bucket.number);
        }
        Ok(())
    }

    /// The set becomes durable, and what the job has done before it; then the connected are pushed to.
    async fn spread_set(
        &self,
        job: &Job,
        bucket: &Arc<Bucket>,
        set: SlotSet,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // A crash may have come between the set and what the job's row says: it is there, and some of it
        // may be acknowledged.
        if bucket.has(job.id()) {
            return Ok(());
        }
        if !job.fleeting {
            let _row = job.row.lock().await;
            let (id, expires) = (job.id(), Some(job.fanout.expires()));
            let mut batch = Batch::default();
            batch.put(fanouts::key(bucket.project, bucket.number, id), fanouts::to_bytes(&set), expires);
            batch.put(job_rows::key(id), job.record().to_bytes(), expires);
            self.traces.wanted(&mut batch, &job.fanout, bucket.number, &set);
            self.store.write(batch, now).await?;
            // Before the next row of the job is written: that tells of this bucket.
            job.progress().durable.insert(bucket.number);
            bucket.add(job.fanout.clone(), set.clone());
        }
        let mut sent = push(job, bucket, &set, self.traces.is_on()).await;
        sent = sent.or(&self.push_outside(job, bucket, &set, now).await?);
        if job.fleeting {
            let told =
                self.traces.fleeting_for_many(&self.store, &job.fanout, bucket.number, &set, sent, now);
            // It is not pushed again for that.
            if let Err(e) = told.await {
                tracing::debug!(message.id = %job.id(), "who was there is not kept: {e}");
            }
        }
        Ok(())
    }

    async fn finish(&self, job: &Job, now: Timestamp) -> Result<(), StoreError> {
        if !job.fleeting {
            let mut batch = Batch::default();
            batch.delete(job_rows::key(job.id()));
            self.store.write(batch, now).await?;
            job.fanout.set_spreading(false);
        }
        if self.jobs.close(job) {
            tracing::debug!(message.id = %job.id(), "a fan-out is spread");
            if job.fanout.release() && !job.fleeting {
                self.forget_body(job.id(), now).await?;
                self.traces.ended_for_all(&self.store, job.id(), now).await;
            }
        }
        Ok(())
    }

    async fn forget_body(&self, id: MessageId, now: Timestamp) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        batch.delete(bodies::key(id));
        self.store.write(batch, now).await.map(drop)
    }

    /// What is older, and for many, comes first.
    pub(crate) async fn let_older_pass(
        &self,
        (project, number): Place,
        id: MessageId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let bucket = self.buckets.get(project, number, now).await?;
        let _order = bucket.order.lock().await;
        self.spread_older(&bucket, id, now, None).await
    }

    pub(crate) fn has_older(&self, place: Place, id: MessageId) -> bool {
        self.jobs.has_older(place, id)
    }

    /// The slots of a bucket for which a condition holds.
    pub(crate) async fn matching(
        &self,
        selection: &Selection,
        project: ProjectNumber,
        bucket: u32,
        now: Timestamp,
    ) -> Result<SlotSet, StoreError> {
        let Selection { condition, topics } = selection;
        let mut sets = Vec::with_capacity(topics.len());
        for (name, key) in topics {
            sets.push((name, self.members.of(project, bucket, *key, now).await?));
        }
        if let (Condition::Topic(_), [(_, set)]) = (condition, sets.as_slice()) {
            return Ok(SlotSet::clone(set));
        }
        let everyone = match needs_everyone(condition) {
            true => Some(self.members.everyone(project, bucket, now).await?),
            false => None,
        };
        let nobody = SlotSet::default();
        let of = |name: &str| {
            sets.iter().find(|(known, _)| known.as_ref() == name).map_or(&nobody, |(_, set)| &**set)
        };
        let found = matching(condition, &of, || everyone.as_deref().unwrap_or(&nobody));
        Ok(found.into_owned())
    }

    /// Jobs of a project end where they are.
    pub(crate) async fn cancel(&self, project: ProjectNumber, now: Timestamp) -> Result<(), StoreError> {
        for job in self.jobs.of_project(project) {
            job.cancel();
            self.jobs.queue(&job);
        }
        for bucket in self.buckets.all().iter().filter(|bucket| bucket.project == project) {
            let _rows = bucket.rows.lock().await;
            for fanouts in bucket.forget_all().chunks(DELETED_TOGETHER) {
                let mut batch = Batch::default();
                fanouts.iter().for_each(|f| batch.delete(fanouts::key(project, bucket.number, f.id)));
                self.store.write(batch, now).await?;
            }
        }
        Ok(())
    }
}

/// Pushes to those of a set who are connected, and lets others have the thread in between. Says whom
/// it was sent to, if it is `traced`.
async fn push(job: &Job, bucket: &Bucket, set: &SlotSet, traced: bool) -> SlotSet {
    let fanout = &job.fanout;
    let mut from = Some(0);
    let mut sent = SlotSet::default();
    while let Some(slot) = from {
        let (wants, next) = bucket.connected_in(set, slot, PUSHED_AT_ONCE);
        let mut slots = Vec::with_capacity(wants.len());
        for want in wants {
            let is_over = job.resumed && fanout.terms(&want.recipient.layout).ttl.is_zero();
            if fanout.is_for(&want.recipient)
                && !is_over
                && want.line.push(&fanout.delivery_to(&want.recipient)) == Handoff::Accepted
            {
                slots.push(want.recipient.registration.slot);
            }
        }
        if traced && fanout.is_now_or_never() {
            slots.into_iter().for_each(|slot| {
                sent.insert(slot);
            });
        } else if traced {
            bucket.all_sent(fanout.id, &slots);
        }
        from = next;
        if from.is_some() {
            tokio::task::yield_now().await;
        }
    }
    sent
}

impl Dispatcher {
    /// Takes a message for a set. `Ok` means that body and job are durable.
    pub(crate) async fn send_to_set(
        &self,
        project: ProjectNumber,
        message: Message,
        now: Timestamp,
    ) -> Result<MessageId, Rejection> {
        self.fanouts.jobs.admit(project)?;
        let id = self.next_id(now);
        let fanouts = self.fanouts.clone();
        // Runs to its end even if the sender no longer waits: a job that is durable must be open.
        let accepted = Finish::new(async move {
            let accepted = fanouts.accept(id, project, message, now).await;
            fanouts.jobs.not_coming(project);
            accepted
        });
        accepted.await.map(|()| id)
    }

    /// One turn of spreading what is accepted for many; `None` when there is nothing to do.
    pub async fn spread(&self, now: Timestamp) -> Option<Result<(), StoreError>> {
        self.fanouts.step(now).await
    }

    /// Ends when there may be something to spread.
    pub async fn something_to_spread(&self) {
        self.fanouts.arrived().await;
    }

    /// Messages of a project for many that are still being spread.
    pub fn fanouts_open_of(&self, project: ProjectNumber) -> usize {
        self.fanouts.jobs.count_of(project)
    }
}
