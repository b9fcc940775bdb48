//! Random histories, told to the embedded engine and to the model: every answer must be the same.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use cresset_message::Timestamp;
use cresset_store::memory::MemoryEngine;
use cresset_store::{Batch, Condition, Engine, RowKey, Table};
use proptest::prelude::*;
use proptest::sample::select;

use crate::support::{NOW, open, sweep_all};

#[derive(Clone, Debug)]
enum Step {
    Write(Batch),
    Get(RowKey),
    Scan { table: Table, partition: Bytes, from: Bytes, limit: usize },
    Sweep { table: Table, limit: usize },
    Pass(Duration),
    Reopen,
}

/// Few keys, so that histories meet; partitions and sort keys that are prefixes of each other.
fn any_key() -> impl Strategy<Value = RowKey> {
    let tables = select(vec![Table::Inbox, Table::Registrations]);
    (tables, any_part(), any_part()).prop_map(|(table, partition, sort)| RowKey::new(table, partition, sort))
}

fn any_part() -> impl Strategy<Value = Bytes> {
    select(vec![&b""[..], b"a", b"ab", b"\0", b"\xff", b"\xff\xff"]).prop_map(Bytes::from_static)
}

fn any_value() -> impl Strategy<Value = Bytes> {
    select(vec![&b""[..], b"1", b"2"]).prop_map(Bytes::from_static)
}

#[derive(Clone, Debug)]
enum Change {
    Put(RowKey, Bytes, Option<u64>),
    Delete(RowKey),
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (any_key(), any_value(), prop::option::of(0_u64..60)).prop_map(|(key, value, expires)|
            Change::Put(key, value, expires)),
        1 => any_key().prop_map(Change::Delete),
    ]
}

fn any_batch() -> impl Strategy<Value = Batch> {
    let condition = prop::option::of((any_part(), prop::option::of(any_value())));
    (prop::collection::vec(any_change(), 0..6), condition).prop_map(|(changes, condition)| {
        let mut batch = Batch::default();
        for change in changes {
            match change {
                Change::Put(key, value, seconds) => {
                    batch.put(key, value, seconds.map(|seconds| NOW + Duration::from_secs(seconds)));
                }
                Change::Delete(key) => batch.delete(key),
            }
        }
        batch.condition = batch.ops.first().map(|op| op.key().clone()).and_then(|first| {
            condition.map(|(sort, expected)| Condition { key: RowKey { sort, ..first }, expected })
        });
        batch
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let tables = || select(vec![Table::Inbox, Table::Registrations]);
    prop_oneof![
        8 => any_batch().prop_map(Step::Write),
        3 => any_key().prop_map(Step::Get),
        3 => (any_key(), 0_usize..5).prop_map(|(key, limit)|
            Step::Scan { table: key.table, partition: key.partition, from: key.sort, limit }),
        1 => (tables(), 1_usize..5).prop_map(|(table, limit)| Step::Sweep { table, limit }),
        2 => (1_u64..20).prop_map(|seconds| Step::Pass(Duration::from_secs(seconds))),
        1 => Just(Step::Reopen),
    ]
}

/// Sweeps end to end: the engines' orders of partitions differ, the rows that leave do not.
async fn answer(engine: &dyn Engine, step: &Step, now: Timestamp) -> String {
    match step {
        Step::Write(batch) => format!("{:?}", engine.write(batch.clone(), now).await),
        Step::Get(key) => format!("{:?}", engine.get(key, now).await),
        Step::Scan { table, partition, from, limit } => {
            format!("{:?}", engine.scan(*table, partition, from, *limit, now).await)
        }
        Step::Sweep { table, limit } => format!("{}", sweep_all(engine, *table, *limit, now).await),
        Step::Pass(_) | Step::Reopen => String::new(),
    }
}

async fn tell_both(path: &Path, history: Vec<Step>) {
    let model = MemoryEngine::new();
    let mut engine = open(path);
    let mut now = NOW;
    for (number, step) in history.iter().enumerate() {
        match step {
            Step::Pass(time) => now = now + *time,
            Step::Reopen => {
                drop(engine);
                engine = open(path);
            }
            step => {
                let (expected, got) = (answer(&model, step, now).await, answer(&engine, step, now).await);
                assert_eq!(got, expected, "step {number}: {step:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_embedded_engine_answers_as_the_model(history in prop::collection::vec(any_step(), 1..80)) {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(tell_both(folder.path(), history));
    }
}
