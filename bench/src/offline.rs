//! A million registrations in minutes: the rows that register3 and `batchAdd` would leave, written to
//! the store of a server that does not run.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cresset_e2e::{Outcome, now};
use cresset_message::{DeviceId, Platform, ProjectNumber, RegistrationId, Timestamp, Topic};
use cresset_store::embedded::{EmbeddedEngine, Options};
use cresset_store::tables::devices::{self, DeviceRecord};
use cresset_store::tables::members::{self, TopicKey};
use cresset_store::tables::registrations::{self, DeviceTransport, RegistrationRecord};
use cresset_store::tables::{carried, counters};
use cresset_store::{Batch, Op, Store};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::process::own_cpu;

/// Rows of a batch, about.
const ROWS: usize = 2_000;

/// Batches on their way: the committer writes some while the next are made.
const TOGETHER: usize = 8;

/// The app that all registrations are of.
const PACKAGE: &str = "com.example.demo";

/// Android, as records have it.
const ANDROID: u32 = 1;

/// What is made.
pub(crate) struct Plan {
    pub(crate) project: ProjectNumber,
    pub(crate) registrations: u64,
    /// Everybody is in each of these.
    pub(crate) topics: Vec<Topic>,
    /// And so many, evenly spread, in this one.
    pub(crate) sparse: Option<(Topic, u64)>,
}

/// What making it took.
pub(crate) struct Made {
    /// The number of the first; the device of each is its number + 1.
    pub(crate) first: u64,
    pub(crate) rows: usize,
    pub(crate) time: Duration,
    /// Of this process, which is also the store.
    pub(crate) cpu: Duration,
}

/// Writes a plan to a store at rest. Nobody knows the security tokens of its devices, so that none of
/// them can connect.
pub(crate) async fn make(folder: &Path, plan: &Plan) -> Outcome<Made> {
    let store: Store = Arc::new(EmbeddedEngine::open(folder, Options::default())?);
    let (begun, cpu, now) = (Instant::now(), own_cpu()?, now());
    let first = reserve(&store, plan, now).await?;
    let per_batch = (ROWS / plan.rows_each()).max(1);
    let starts = (0..plan.registrations).step_by(per_batch);
    let batches = starts.map(|start| {
        let end = plan.registrations.min(start + per_batch as u64);
        let batch = plan.batch(first, start..end, now);
        let (store, rows) = (&store, batch.ops.len());
        async move { store.write(batch, now).await.map(|_| rows) }
    });
    let written = stream::iter(batches).buffered(TOGETHER);
    let rows = written.try_fold(0, |sum, rows| async move { Ok(sum + rows) }).await?;
    store.close().await?;
    Ok(Made { first, rows, time: begun.elapsed(), cpu: own_cpu()? - cpu })
}

/// Takes the numbers, and names the topics; gives the first number.
async fn reserve(store: &Store, plan: &Plan, now: Timestamp) -> Outcome<u64> {
    let key = counters::next_registration(plan.project);
    let row = store.get(&key, now).await?;
    let first = row.map(|row| counters::from_bytes(&row.value)).transpose()?.unwrap_or(0);
    let mut batch = Batch::default();
    batch.put(key, counters::to_bytes(first + plan.registrations), None);
    for topic in plan.topics.iter().chain(plan.sparse.as_ref().map(|(topic, _)| topic)) {
        batch.put(members::name_key(plan.project, topic.as_str()), Bytes::new(), None);
    }
    store.write(batch, now).await?;
    Ok(first)
}

impl Plan {
    /// The record, that it is one of its project's, whose connection carries it, its device; two for each
    /// topic.
    fn rows_each(&self) -> usize {
        4 + 2 * self.topics.len()
    }

    /// The rows of some registrations, in the order of their keys: what the store likes best.
    fn batch(&self, first: u64, some: std::ops::Range<u64>, now: Timestamp) -> Batch {
        let mut batch = Batch::default();
        some.for_each(|number| self.add(&mut batch, first, number, now));
        batch.ops.sort_unstable_by(|a: &Op, b: &Op| a.key().cmp(b.key()));
        batch
    }

    fn add(&self, batch: &mut Batch, first: u64, number: u64, now: Timestamp) {
        let index = first + number;
        let bucket = u32::try_from(index >> 16).expect("a project has fewer than 2^48 registrations");
        let id = RegistrationId { project: self.project, bucket, slot: index as u16 };
        let device = DeviceId::new(index + 1).expect("a number below 2^48 that is not 0");
        batch.put(registrations::key(id), self.record(index, device, now).to_bytes(), None);
        batch.put(members::key(id, TopicKey::of_platform(Platform::Android)), Bytes::new(), None);
        batch.put(carried::key(device, id), Bytes::new(), None);
        // Else it would be forgotten.
        batch.put(devices::key(device), made_up(index, now).to_bytes(), None);
        for topic in &self.topics {
            members::join(batch, id, topic, now);
        }
        if let Some((topic, count)) = &self.sparse {
            let members_below =
                |number: u64| u128::from(number) * u128::from(*count) / u128::from(self.registrations);
            if members_below(number) < members_below(number + 1) {
                members::join(batch, id, topic, now);
            }
        }
    }

    fn record(&self, index: u64, device: DeviceId, now: Timestamp) -> RegistrationRecord {
        RegistrationRecord {
            prefix: format!("{index:011}"),
            platform: ANDROID,
            app_id: String::new(),
            fid: String::new(),
            created_millis: now.as_millis(),
            device: Some(DeviceTransport {
                device: device.get(),
                app: PACKAGE.into(),
                subtype: String::new(),
                sender: self.project.to_string(),
                scope: "GCM".into(),
                mozilla: false,
            }),
            ..RegistrationRecord::default()
        }
    }
}

/// As long as a real one.
fn made_up(index: u64, now: Timestamp) -> DeviceRecord {
    DeviceRecord {
        token_hash: index.to_be_bytes().repeat(4),
        created_millis: now.as_millis(),
        last_seen_millis: now.as_millis(),
    }
}

#[cfg(test)]
mod tests {
    use cresset_store::Table;

    use super::*;

    #[test]
    fn a_batch_is_in_the_order_of_keys_and_few_are_in_the_sparse_topic() {
        let topic = |name: &str| name.parse::<Topic>().unwrap();
        let plan = Plan {
            project: ProjectNumber(7),
            registrations: 100,
            topics: vec![topic("a"), topic("b")],
            sparse: Some((topic("sparse"), 30)),
        };
        let batch = plan.batch(65_500, 0..100, Timestamp::from_secs(1));
        assert_eq!(batch.ops.len(), 100 * plan.rows_each() + 30 * 2);
        assert!(batch.ops.is_sorted_by(|a, b| a.key() < b.key()));
        let records = batch.ops.iter().filter(|op| op.key().table == Table::Registrations);
        let buckets: Vec<_> = records.map(|op| op.key().partition.clone()).collect();
        assert_eq!(
            buckets.iter().filter(|p| **p == registrations::partition(ProjectNumber(7), 0)).count(),
            36
        );
        assert_eq!(
            buckets.iter().filter(|p| **p == registrations::partition(ProjectNumber(7), 1)).count(),
            64
        );
    }
}
