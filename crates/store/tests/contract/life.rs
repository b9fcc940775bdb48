//! Opening, closing, overload.

use cresset_store::embedded::{EmbeddedEngine, Options};
use cresset_store::{Engine, RowKey, Store, StoreError, Table};

use crate::support::{NOW, delete, for_every_engine, key, modest, open, put, sorts, value, write};

for_every_engine!(a_closed_store_refuses_everything, closing_waits_for_what_was_written);

async fn a_closed_store_refuses_everything(store: &Store) {
    write(&**store, put("p", "a", "v")).await;
    store.close().await.unwrap();
    assert_eq!(store.write(put("p", "b", "v"), NOW).await, Err(StoreError::Closed));
    assert_eq!(store.get(&key("p", "a"), NOW).await, Err(StoreError::Closed));
    assert_eq!(store.scan(Table::Inbox, b"p", b"", 1, NOW).await, Err(StoreError::Closed));
    assert_eq!(store.sweep(Table::Inbox, b"", 1, NOW).await, Err(StoreError::Closed));
    store.close().await.unwrap();
}

async fn closing_waits_for_what_was_written(store: &Store) {
    let writers: Vec<_> = (0..50)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.write(put("p", &number.to_string(), "v"), NOW).await })
        })
        .collect();
    tokio::task::yield_now().await;
    store.close().await.unwrap();
    for writer in writers {
        // In before or after the doors closed; nobody waits for ever.
        assert!(matches!(writer.await.unwrap(), Ok(true) | Err(StoreError::Closed)));
    }
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let store = open(folder.path());
        write(&store, put("p", &round.to_string(), "v")).await;
        write(&store, put("p", "gone", "v")).await;
        assert_eq!(sorts(&store, "p", NOW).await.len(), round + 2);
        write(&store, delete("p", "gone")).await;
        if round % 2 == 0 {
            store.close().await.unwrap();
        }
    }
    assert_eq!(sorts(&open(folder.path()), "p", NOW).await, ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn every_table_keeps_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for table in Table::ALL {
        let mut batch = cresset_store::Batch::default();
        batch.put(RowKey::new(table, "p", "a"), table.name(), None);
        write(&store, batch).await;
    }
    drop(store);
    let store = open(folder.path());
    for table in Table::ALL {
        let row = store.get(&RowKey::new(table, "p", "a"), NOW).await.unwrap().unwrap();
        assert_eq!(row.value, table.name());
    }
}

/// More writers than may wait: each is served or told at once, and what was confirmed is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_may_wait_is_overload() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedEngine::open(folder.path(), Options { max_waiting: 2, ..modest() }).unwrap();
    let store: Store = std::sync::Arc::new(store);
    let writers: Vec<_> = (0..500)
        .map(|number| {
            let store = store.clone();
            let sort = format!("{number:03}");
            tokio::spawn(async move {
                let outcome = store.write(put("p", &sort, "v"), NOW).await;
                (sort, outcome)
            })
        })
        .collect();
    let (mut written, mut refused) = (Vec::new(), 0);
    for writer in writers {
        match writer.await.unwrap() {
            (sort, Ok(true)) => written.push(sort),
            (_, Err(StoreError::Overloaded)) => refused += 1,
            (_, other) => panic!("{other:?}"),
        }
    }
    written.sort_unstable();
    assert!(refused > 0, "the queue was never full");
    assert_eq!(sorts(&*store, "p", NOW).await, written);
}

/// No runtime is needed: long scans and sweeps then run where they are called.
#[test]
fn works_without_a_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut work = Box::pin(async {
        write(&store, put("p", "a", "v")).await;
        assert_eq!(store.scan(Table::Inbox, b"p", b"", 10_000, NOW).await.unwrap().rows.len(), 1);
        store.sweep(Table::Inbox, b"", 10, NOW).await.unwrap();
        value(&store, "p", "a", NOW).await
    });
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let found = loop {
        if let std::task::Poll::Ready(found) = work.as_mut().poll(&mut context) {
            break found;
        }
        std::thread::yield_now();
    };
    assert_eq!(found.as_deref(), Some("v"));
}

#[tokio::test]
async fn what_the_engine_does_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut batch = put("p", "a", "v");
    batch.ops.extend(put("p", "b", "v").ops);
    write(&store, batch).await;
    let snapshot = store.snapshot();
    assert_eq!((snapshot.writes, snapshot.rows, snapshot.waiting), (1, 2, 0));
    assert_eq!(snapshot.commits.iter().sum::<u64>(), 1);
    assert!(snapshot.commit_micros > 0 && snapshot.free_bytes.is_some());
    assert_eq!(store.writes(), cresset_store::embedded::Writes::Taken);
}
