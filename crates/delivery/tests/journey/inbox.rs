//! What waits for a device.

use cresset_store::Batch;
use cresset_store::tables::inbox;

use crate::world::{NOW, World, device, ids};

#[tokio::test]
async fn collapsing_does_not_hide_what_comes_after_it() {
    let world = World::new().await;
    let phone = device(7);
    let token = world.register(phone, 1).await;
    for _ in 0..300 {
        world.send(&token, Some("score")).await;
    }
    let mut kept = Vec::new();
    for _ in 0..10 {
        kept.push(world.send(&token, None).await);
    }
    let newest = world.send(&token, Some("score")).await;
    kept.push(newest);
    let found = ids(&world.pending(phone, 64).await);
    // A listener takes fewer than it asked for as the end of the inbox.
    assert_eq!(found, kept);
    assert_eq!(world.rows(phone).await, 11, "those that were replaced are gone");
}

#[tokio::test]
async fn an_empty_collapse_key_is_none() {
    let world = World::new().await;
    let phone = device(7);
    let token = world.register(phone, 1).await;
    let sent = [world.send(&token, Some("")).await, world.send(&token, Some("")).await];
    let found = world.pending(phone, 64).await;
    assert_eq!(ids(&found), sent);
    assert!(found.iter().all(|delivery| delivery.collapse_key.is_none()));
}

#[tokio::test]
async fn more_dead_rows_than_a_batch_may_have_do_not_lock_a_device_out() {
    let world = World::new().await;
    let phone = device(7);
    let (gone, stays) = (world.register(phone, 1).await, world.register(phone, 2).await);
    for _ in 0..cresset_store::MAX_BATCH_OPS + 1 {
        world.send(&gone, None).await;
    }
    let last = world.send(&stays, None).await;
    world.unregister(1).await;
    assert_eq!(ids(&world.pending(phone, 64).await), [last]);
    assert_eq!(world.rows(phone).await, 1);
}

#[tokio::test]
async fn an_inbox_is_read_in_portions_and_in_order() {
    let world = World::new().await;
    let phone = device(7);
    let token = world.register(phone, 1).await;
    let mut sent = Vec::new();
    for _ in 0..500 {
        sent.push(world.send(&token, None).await);
    }
    let mut read = Vec::new();
    loop {
        let skip = |id| read.contains(&id);
        let portion = world.dispatcher.pending(phone, 64, &skip, NOW).await.unwrap();
        read.extend(ids(&portion));
        if portion.len() < 64 {
            break;
        }
    }
    assert_eq!(read, sent);
    world.dispatcher.acknowledge(phone, &sent, NOW).await.unwrap();
    assert_eq!(world.rows(phone).await, 0);
}

#[tokio::test]
async fn any_number_of_acknowledgements_is_taken() {
    let world = World::new().await;
    let phone = device(7);
    let token = world.register(phone, 1).await;
    let id = world.send(&token, None).await;
    let many = vec![id; cresset_store::MAX_BATCH_OPS + 1];
    world.dispatcher.acknowledge(phone, &many, NOW).await.unwrap();
    assert_eq!(world.rows(phone).await, 0);
}

#[tokio::test]
async fn a_damaged_row_does_not_keep_the_device_from_the_others() {
    let world = World::new().await;
    let phone = device(7);
    let token = world.register(phone, 1).await;
    let (broken, whole) = (world.send(&token, None).await, world.send(&token, None).await);
    let mut batch = Batch::default();
    batch.put(inbox::key(phone, broken), &b"\xffdamage"[..], None);
    world.store.write(batch, NOW).await.unwrap();
    assert_eq!(ids(&world.pending(phone, 64).await), [whole]);
    assert_eq!(world.rows(phone).await, 2, "what cannot be read may be a newer version's: it is kept");
}

#[tokio::test]
async fn what_waits_follows_a_registration_to_its_new_device() {
    let world = World::new().await;
    let (old, new) = (device(7), device(8));
    let token = world.register(old, 1).await;
    let id = world.send(&token, None).await;
    world.register(new, 1).await;
    assert!(world.pending(old, 64).await.is_empty(), "the old device cannot read it");
    assert_eq!(ids(&world.pending(new, 64).await), [id]);
}

#[tokio::test]
async fn what_waits_for_an_app_comes_along_when_another_device_carries_it() {
    let world = World::new().await;
    let token = world.register(device(1), 1).await;
    let waiting = world.send(&token, None).await;
    let own = world.send(&world.register(device(1), 2).await, None).await;
    world.move_to(device(2), 1, device(1)).await;
    world.connect(device(2)).await;
    assert_eq!(ids(&world.pending(device(2), 10).await), [waiting]);
    assert_eq!(ids(&world.pending(device(1), 10).await), [own]);
    assert_eq!((world.rows(device(1)).await, world.rows(device(2)).await), (1, 1));
}
