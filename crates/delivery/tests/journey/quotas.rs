//! FCM's limits on how much may be sent.

use std::time::Duration;

use cresset_delivery::Quotas;
use cresset_message::{DeviceQuota, Rejection};

use crate::world::{NOW, PROJECT, World, device, message};

async fn limited(quotas: Quotas) -> (World, String) {
    let world = World::with_quotas(quotas).await;
    let token = world.register(device(7), 1).await;
    (world, token)
}

#[tokio::test]
async fn a_device_gets_so_many_a_minute_and_so_many_an_hour() {
    let (world, token) = limited(Quotas::FCM).await;
    let send = async |after: u64| {
        let now = NOW + Duration::from_secs(after);
        world.dispatcher.send(PROJECT, message(&token, None), false, now).await
    };
    let refused =
        |quota, seconds| Err(Rejection::DeviceQuota { quota, retry_after: Duration::from_secs(seconds) });
    for minute in 0..20 {
        for _ in 0..240 {
            assert!(send(minute * 60).await.is_ok());
        }
        assert_eq!(send(minute * 60 + 1).await.map(drop), refused(DeviceQuota::PerMinute(240), 59));
    }
    for _ in 0..200 {
        assert!(send(1_200).await.is_ok());
    }
    assert_eq!(send(1_200).await.map(drop), refused(DeviceQuota::PerHour(5_000), 2_400));
    assert!(send(3_600).await.is_ok());
    // Another device has its own.
    let other = world.register(device(8), 2).await;
    assert!(world.dispatcher.send(PROJECT, message(&other, None), false, NOW).await.is_ok());
}

#[tokio::test]
async fn collapsible_messages_come_in_bursts() {
    let (world, token) = limited(Quotas::FCM).await;
    let send = async |key, after: u64| {
        let now = NOW + Duration::from_secs(after);
        world.dispatcher.send(PROJECT, message(&token, key), false, now).await
    };
    for _ in 0..20 {
        assert!(send(Some("score"), 0).await.is_ok());
    }
    let quota = DeviceQuota::Collapsible(20);
    let refused = Err(Rejection::DeviceQuota { quota, retry_after: Duration::from_secs(180) });
    assert_eq!(send(Some("another"), 0).await.map(drop), refused, "whatever the key");
    assert!(send(None, 0).await.is_ok());
    assert!(send(Some("score"), 180).await.is_ok());
    assert!(send(Some("score"), 180).await.is_err());
}

#[tokio::test]
async fn a_project_sends_so_many_a_minute() {
    let quotas = Quotas { project_per_minute: Some(3), ..Quotas::OFF };
    let (world, token) = limited(quotas).await;
    for dry in [false, true, false] {
        assert!(world.dispatcher.send(PROJECT, message(&token, None), dry, NOW).await.is_ok());
    }
    let retry_after = Duration::from_secs(60);
    assert_eq!(
        world.dispatcher.send(PROJECT, message(&token, None), true, NOW).await,
        Err(Rejection::ProjectQuota { project: PROJECT, limit: 3, retry_after })
    );
    assert_eq!(world.rows(device(7)).await, 2, "what was accepted, and no more");
}

#[tokio::test]
async fn a_dry_run_takes_nothing_of_a_devices_quota() {
    let (world, token) = limited(Quotas { device_per_minute: Some(1), ..Quotas::OFF }).await;
    for dry in [true, true, false] {
        assert!(world.dispatcher.send(PROJECT, message(&token, None), dry, NOW).await.is_ok());
    }
    assert!(world.dispatcher.send(PROJECT, message(&token, None), false, NOW).await.is_err());
}
