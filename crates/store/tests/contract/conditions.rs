//! Compare-and-set.

use cresset_store::{Batch, Store, StoreError};

use crate::support::{NOW, delete, for_every_engine, key, only_if, put, put_until, sorts, value, write};
use std::time::Duration;

for_every_engine!(
    a_condition_decides_about_the_whole_batch,
    absence_can_be_expected,
    an_expired_row_is_absent,
    a_condition_sees_writes_of_the_same_moment,
    of_many_who_race_one_wins,
    counting_by_compare_and_set_loses_nothing,
    a_condition_elsewhere_is_refused,
    a_batch_may_be_a_condition_only,
);

async fn a_condition_decides_about_the_whole_batch(store: &Store) {
    write(&**store, put("p", "state", "old")).await;
    let mut batch = put("p", "state", "new");
    batch.put(key("p", "beside"), "v", None);
    let wrong = only_if(batch.clone(), key("p", "state"), Some("other"));
    assert_eq!(store.write(wrong, NOW).await, Ok(false));
    assert_eq!(sorts(&**store, "p", NOW).await, ["state"]);
    let right = only_if(batch, key("p", "state"), Some("old"));
    assert_eq!(store.write(right, NOW).await, Ok(true));
    assert_eq!(sorts(&**store, "p", NOW).await, ["beside", "state"]);
    assert_eq!(value(&**store, "p", "state", NOW).await.as_deref(), Some("new"));
}

async fn absence_can_be_expected(store: &Store) {
    let create = || only_if(put("p", "a", "v"), key("p", "a"), None);
    assert_eq!(store.write(create(), NOW).await, Ok(true));
    assert_eq!(store.write(create(), NOW).await, Ok(false));
    write(&**store, delete("p", "a")).await;
    assert_eq!(store.write(create(), NOW).await, Ok(true));
    let empty_is_not_absent = only_if(put("p", "b", "v"), key("p", "a"), Some(""));
    assert_eq!(store.write(empty_is_not_absent, NOW).await, Ok(false));
}

async fn an_expired_row_is_absent(store: &Store) {
    let end = NOW + Duration::from_secs(10);
    write(&**store, put_until("p", "lease", "node 1", end)).await;
    let take = || only_if(put("p", "lease", "node 2"), key("p", "lease"), None);
    assert_eq!(store.write(take(), NOW).await, Ok(false));
    let renew = only_if(put("p", "lease", "node 1 again"), key("p", "lease"), Some("node 1"));
    assert_eq!(store.write(renew, end).await, Ok(false));
    assert_eq!(store.write(take(), end).await, Ok(true));
}

/// Batches that share a commit see each other in the order of their arrival.
async fn a_condition_sees_writes_of_the_same_moment(store: &Store) {
    let chain: Vec<_> = (0..50)
        .map(|step| {
            let before = (step > 0).then(|| format!("{}", step - 1));
            let batch = only_if(put("p", "chain", &format!("{step}")), key("p", "chain"), before.as_deref());
            store.write(batch, NOW)
        })
        .collect();
    let mut tasks = Vec::new();
    for write in chain {
        tasks.push(async { assert_eq!(write.await, Ok(true)) });
    }
    join_in_order(tasks).await;
    assert_eq!(value(&**store, "p", "chain", NOW).await.as_deref(), Some("49"));
}

/// Polls all of them, the first one first, until all are done.
async fn join_in_order(futures: Vec<impl Future<Output = ()>>) {
    let mut futures: Vec<_> = futures.into_iter().map(|future| Some(Box::pin(future))).collect();
    std::future::poll_fn(|context| {
        for slot in &mut futures {
            if let Some(future) = slot
                && future.as_mut().poll(context).is_ready()
            {
                *slot = None;
            }
        }
        if futures.iter().all(Option::is_none) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

async fn of_many_who_race_one_wins(store: &Store) {
    let racers: Vec<_> = (0..64)
        .map(|racer| {
            let store = store.clone();
            tokio::spawn(async move {
                let batch = only_if(put("p", "winner", &format!("{racer}")), key("p", "winner"), None);
                store.write(batch, NOW).await.unwrap().then_some(racer)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for racer in racers {
        winners.extend(racer.await.unwrap());
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(value(&**store, "p", "winner", NOW).await, Some(winners[0].to_string()));
}

async fn counting_by_compare_and_set_loses_nothing(store: &Store) {
    let counters: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    while !increment(&store).await {}
                }
            })
        })
        .collect();
    for counter in counters {
        counter.await.unwrap();
    }
    assert_eq!(value(&**store, "p", "count", NOW).await.as_deref(), Some("80"));
}

async fn increment(store: &Store) -> bool {
    let current = value(&**store, "p", "count", NOW).await;
    let count: u32 = current.as_deref().map_or(0, |count| count.parse().unwrap());
    let batch = put("p", "count", &(count + 1).to_string());
    store.write(only_if(batch, key("p", "count"), current.as_deref()), NOW).await.unwrap()
}

async fn a_condition_elsewhere_is_refused(store: &Store) {
    let elsewhere = only_if(put("p", "a", "v"), key("q", "a"), None);
    assert!(matches!(store.write(elsewhere, NOW).await, Err(StoreError::Invalid(_))));
    assert_eq!(value(&**store, "p", "a", NOW).await, None);
}

async fn a_batch_may_be_a_condition_only(store: &Store) {
    let check = |expected| only_if(Batch::default(), key("p", "a"), expected);
    assert_eq!(store.write(check(None), NOW).await, Ok(true));
    assert_eq!(store.write(check(Some("v")), NOW).await, Ok(false));
}
