//! Put, get, delete, order, pages, partitions.

use cresset_store::{
    Batch, MAX_BATCH_BYTES, MAX_BATCH_OPS, MAX_PARTITION, MAX_SORT, Page, Store, StoreError,
};
use cresset_store::{RowKey, Table};

use crate::support::{NOW, delete, for_every_engine, key, page, put, sorts, value, write};

for_every_engine!(
    a_row_is_read_replaced_and_deleted,
    tables_are_apart,
    rows_come_in_the_order_of_their_sort_keys,
    pages_meet_without_gap_or_overlap,
    a_partition_may_be_a_prefix_of_another,
    sort_keys_and_values_may_be_empty,
    the_longest_keys_are_kept_and_longer_ones_refused,
    too_large_a_batch_is_refused_whole,
    the_last_write_of_a_row_in_a_batch_wins,
    a_batch_in_a_partition_appears_at_once,
    an_empty_batch_is_written,
    partitions_of_a_table_come_in_pages_and_each_once,
);

async fn a_row_is_read_replaced_and_deleted(store: &Store) {
    assert_eq!(value(&**store, "p", "a", NOW).await, None);
    write(&**store, put("p", "a", "one")).await;
    assert_eq!(value(&**store, "p", "a", NOW).await.as_deref(), Some("one"));
    write(&**store, put("p", "a", "two")).await;
    assert_eq!(value(&**store, "p", "a", NOW).await.as_deref(), Some("two"));
    write(&**store, delete("p", "a")).await;
    assert_eq!(value(&**store, "p", "a", NOW).await, None);
    write(&**store, delete("p", "never there")).await;
}

async fn tables_are_apart(store: &Store) {
    write(&**store, put("p", "a", "inbox")).await;
    for table in Table::ALL.into_iter().filter(|table| *table != Table::Inbox) {
        assert_eq!(store.get(&RowKey::new(table, "p", "a"), NOW).await.unwrap(), None, "{}", table.name());
        assert_eq!(store.scan(table, b"p", b"", 10, NOW).await.unwrap(), Page::default());
    }
}

async fn rows_come_in_the_order_of_their_sort_keys(store: &Store) {
    for sort in ["b", "aa", "", "a", "b\u{1}", "ab"] {
        write(&**store, put("p", sort, "v")).await;
    }
    assert_eq!(sorts(&**store, "p", NOW).await, ["", "a", "aa", "ab", "b", "b\u{1}"]);
}

async fn pages_meet_without_gap_or_overlap(store: &Store) {
    for number in 0..10 {
        write(&**store, put("p", &format!("{number}"), "v")).await;
    }
    write(&**store, put("q", "0", "v")).await;
    let (mut from, mut seen) = (b"".to_vec(), Vec::new());
    loop {
        let page = page(&**store, "p", &from, 3).await;
        seen.extend(page.rows.iter().map(|row| row.sort.to_vec()));
        let Some(next) = page.next else { break };
        assert_eq!(page.rows.len(), 3);
        from = next.to_vec();
    }
    assert_eq!(seen.concat(), b"0123456789");
    assert_eq!(page(&**store, "p", b"5", 1).await.rows[0].sort, "5", "`from` is inclusive");
    assert_eq!(page(&**store, "p", b"", 10).await.next, None, "no page follows an exact fit");
    assert_eq!(page(&**store, "p", b"", 0).await.next.as_deref(), Some(&b"0"[..]));
    assert_eq!(page(&**store, "p", b"99", 5).await, Page::default());
}

async fn a_partition_may_be_a_prefix_of_another(store: &Store) {
    let partitions = ["", "a", "ab", "abc", "a\0", "b"];
    for partition in partitions {
        write(&**store, put(partition, "bc", partition)).await;
        write(&**store, put(partition, "", partition)).await;
    }
    for partition in partitions {
        assert_eq!(sorts(&**store, partition, NOW).await, ["", "bc"], "{partition:?}");
        assert_eq!(value(&**store, partition, "bc", NOW).await.as_deref(), Some(partition));
    }
}

async fn sort_keys_and_values_may_be_empty(store: &Store) {
    write(&**store, put("p", "", "")).await;
    assert_eq!(value(&**store, "p", "", NOW).await.as_deref(), Some(""));
    assert_eq!(sorts(&**store, "p", NOW).await, [""]);
}

async fn the_longest_keys_are_kept_and_longer_ones_refused(store: &Store) {
    let long = RowKey::new(Table::Inbox, vec![0xff; MAX_PARTITION], vec![0xff; MAX_SORT]);
    let mut batch = Batch::default();
    batch.put(long.clone(), "v", None);
    write(&**store, batch).await;
    assert_eq!(store.get(&long, NOW).await.unwrap().unwrap().value, "v");
    let page = store.scan(Table::Inbox, &long.partition, b"", 9, NOW).await.unwrap();
    assert_eq!(page.rows.len(), 1);
    for (partition, sort) in [(MAX_PARTITION + 1, 0), (0, MAX_SORT + 1)] {
        let mut batch = put("p", "beside", "v");
        batch.put(RowKey::new(Table::Inbox, vec![1; partition], vec![1; sort]), "v", None);
        assert!(matches!(store.write(batch, NOW).await, Err(StoreError::Invalid(_))));
        assert_eq!(value(&**store, "p", "beside", NOW).await, None);
        let unheard = RowKey::new(Table::Inbox, vec![1; partition], vec![1; sort]);
        assert_eq!(store.get(&unheard, NOW).await.unwrap(), None);
        assert_eq!(
            store.scan(Table::Inbox, &unheard.partition, &unheard.sort, 9, NOW).await.unwrap().rows,
            []
        );
    }
}

async fn too_large_a_batch_is_refused_whole(store: &Store) {
    let mut many = Batch::default();
    for number in 0..=MAX_BATCH_OPS {
        many.put(key("p", &format!("{number}")), "v", None);
    }
    let mut heavy = put("p", "light", "v");
    heavy.put(key("p", "heavy"), vec![0; MAX_BATCH_BYTES], None);
    for batch in [many, heavy] {
        assert!(matches!(store.write(batch, NOW).await, Err(StoreError::Invalid(_))));
    }
    assert_eq!(sorts(&**store, "p", NOW).await, [""; 0]);
}

async fn the_last_write_of_a_row_in_a_batch_wins(store: &Store) {
    let mut batch = put("p", "a", "first");
    batch.put(key("p", "a"), "second", None);
    batch.put(key("p", "b"), "written", None);
    batch.delete(key("p", "b"));
    batch.delete(key("p", "c"));
    batch.put(key("p", "c"), "back", None);
    write(&**store, batch).await;
    assert_eq!(sorts(&**store, "p", NOW).await, ["a", "c"]);
    assert_eq!(value(&**store, "p", "a", NOW).await.as_deref(), Some("second"));
}

/// A reader beside a writer never sees a part of a batch.
async fn a_batch_in_a_partition_appears_at_once(store: &Store) {
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for round in 0..100 {
                let mut batch = Batch::default();
                for row in 0..20 {
                    batch.put(key("p", &format!("{row:02}")), format!("{round}"), None);
                }
                assert!(store.write(batch, NOW).await.unwrap());
            }
        }
    });
    while !writer.is_finished() {
        let page = page(&**store, "p", b"", 50).await;
        assert!(page.rows.is_empty() || page.rows.len() == 20);
        assert!(page.rows.windows(2).all(|pair| pair[0].value == pair[1].value), "a torn batch");
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

async fn an_empty_batch_is_written(store: &Store) {
    write(&**store, Batch::default()).await;
}

async fn partitions_of_a_table_come_in_pages_and_each_once(store: &Store) {
    let long = "\u{7f}".repeat(MAX_PARTITION);
    for partition in ["b", "a", "", "ab", &long] {
        for sort in ["", "1", "2"] {
            write(&**store, put(partition, sort, "v")).await;
        }
    }
    write(&**store, put("gone", "1", "v")).await;
    write(&**store, delete("gone", "1")).await;
    let mut other = Batch::default();
    other.put(RowKey::new(Table::Outbox, "elsewhere", ""), "v", None);
    write(&**store, other).await;
    for limit in [1, 2, 5, 10] {
        let (mut from, mut seen) = (bytes::Bytes::new(), Vec::new());
        loop {
            let page = store.partitions(Table::Inbox, &from, limit).await.unwrap();
            assert!(page.found.len() <= limit && (page.next.is_none() || page.found.len() == limit));
            seen.extend(page.found);
            let Some(next) = page.next else { break };
            from = next;
        }
        assert_eq!(seen.len(), 5, "{limit}");
        seen.sort();
        assert_eq!(
            seen,
            ["", "a", "ab", "b", &long].map(|text| bytes::Bytes::copy_from_slice(text.as_bytes()))
        );
    }
    let rest = store.partitions(Table::Outbox, b"", 9).await.unwrap();
    assert_eq!((rest.found, rest.next), (vec![bytes::Bytes::from_static(b"elsewhere")], None));
}
