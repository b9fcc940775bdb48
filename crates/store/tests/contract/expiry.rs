//! An expired row does not exist, for any method.

use std::time::Duration;

use cresset_store::{Store, Table};

use crate::support::{NOW, for_every_engine, key, put, put_until, sorts, sweep_all, value, write};

for_every_engine!(
    a_row_exists_until_its_expiry,
    pages_skip_the_expired,
    a_new_write_replaces_the_expiry,
    a_sweep_drops_what_expired_and_nothing_else,
    a_sweep_goes_in_bounded_steps,
);

const LATER: Duration = Duration::from_secs(10);

async fn a_row_exists_until_its_expiry(store: &Store) {
    write(&**store, put_until("p", "a", "v", NOW + LATER)).await;
    let row = store.get(&key("p", "a"), NOW).await.unwrap().unwrap();
    assert_eq!(row.expires, Some(NOW + LATER));
    let last = NOW + (LATER - Duration::from_micros(1));
    assert_eq!(value(&**store, "p", "a", last).await.as_deref(), Some("v"));
    assert_eq!(value(&**store, "p", "a", NOW + LATER).await, None);
}

async fn pages_skip_the_expired(store: &Store) {
    for number in 0..10 {
        let expires = if number % 2 == 0 { NOW + LATER } else { NOW + LATER * 2 };
        write(&**store, put_until("p", &number.to_string(), "v", expires)).await;
    }
    assert_eq!(sorts(&**store, "p", NOW + LATER).await, ["1", "3", "5", "7", "9"]);
    let page = store.scan(Table::Inbox, b"p", b"", 2, NOW + LATER).await.unwrap();
    assert_eq!(page.rows.iter().map(|row| &row.sort[..]).collect::<Vec<_>>(), [b"1", b"3"]);
    assert_eq!(page.next.as_deref(), Some(&b"5"[..]));
    let full = store.scan(Table::Inbox, b"p", b"", 5, NOW + LATER).await.unwrap();
    assert_eq!(full.next, None, "only the expired follow");
}

async fn a_new_write_replaces_the_expiry(store: &Store) {
    write(&**store, put_until("p", "a", "short", NOW + LATER)).await;
    write(&**store, put("p", "a", "for ever")).await;
    assert_eq!(value(&**store, "p", "a", NOW + LATER).await.as_deref(), Some("for ever"));
    assert_eq!(sweep_all(&**store, Table::Inbox, 10, NOW + LATER).await, 0);
    assert_eq!(value(&**store, "p", "a", NOW + LATER).await.as_deref(), Some("for ever"));
}

async fn a_sweep_drops_what_expired_and_nothing_else(store: &Store) {
    for number in 0..20 {
        let partition = ["p", "q", "pq"][number % 3];
        write(&**store, put_until(partition, &number.to_string(), "v", NOW + LATER)).await;
        write(&**store, put(partition, &format!("keep {number}"), "v")).await;
    }
    assert_eq!(sweep_all(&**store, Table::Inbox, 7, NOW).await, 0);
    assert_eq!(sweep_all(&**store, Table::Counters, 7, NOW + LATER).await, 0);
    assert_eq!(sweep_all(&**store, Table::Inbox, 7, NOW + LATER).await, 20);
    assert_eq!(sweep_all(&**store, Table::Inbox, 7, NOW + LATER).await, 0);
    let mut left = 0;
    for partition in ["p", "q", "pq"] {
        // What was dropped is gone even for a clock that is set back.
        left += sorts(&**store, partition, NOW).await.len();
    }
    assert_eq!(left, 20);
}

async fn a_sweep_goes_in_bounded_steps(store: &Store) {
    for number in 0..10 {
        write(&**store, put_until("p", &number.to_string(), "v", NOW + LATER)).await;
    }
    let step = store.sweep(Table::Inbox, b"", 4, NOW + LATER).await.unwrap();
    assert_eq!((step.examined, step.dropped), (4, 4));
    let next = step.next.expect("six rows are left");
    let step = store.sweep(Table::Inbox, &next, 6, NOW + LATER).await.unwrap();
    assert_eq!((step.examined, step.dropped, step.next), (6, 6, None));
}
