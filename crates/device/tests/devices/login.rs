use std::sync::atomic::Ordering;

use cresset_device_client::{ConnectOptions, Credentials, Error};

use crate::house::{House, TOKEN, eventually, next};

#[tokio::test]
async fn a_wrong_token_is_told_so() {
    let house = House::start().await;
    let credentials = Credentials { android_id: 1, security_token: 8 };
    let refused = house.client().connect(&credentials, ConnectOptions::default()).await;
    assert!(matches!(refused, Err(Error::LoginRefused { code: 401, .. })));
    eventually(|| house.listener.snapshot().connections == 0).await;
    assert_eq!(house.listener.snapshot().logins_refused, 1);
}

#[tokio::test]
async fn a_new_login_ends_the_older_connection() {
    let house = House::start().await;
    let mut older = house.connect(1).await;
    let mut newer = house.connect(1).await;
    assert_eq!(next(&mut older).await, None);
    house.send(1, "hello");
    assert_eq!(next(&mut newer).await.unwrap().get("text"), Some("hello"));
    eventually(|| house.listener.snapshot().connections == 1).await;
    let snapshot = house.listener.snapshot();
    assert_eq!((snapshot.devices, snapshot.replaced), (1, 1));
}

#[tokio::test]
async fn a_login_that_a_newer_one_has_overtaken_ends_as_replaced() {
    let house = House::start().await;
    house.store.overtaken.store(true, Ordering::Relaxed);
    let credentials = Credentials { android_id: 1, security_token: TOKEN };
    let refused = house.client().connect(&credentials, ConnectOptions::default()).await;
    assert!(refused.is_err());
    eventually(|| house.listener.snapshot().connections == 0).await;
    let snapshot = house.listener.snapshot();
    assert_eq!((snapshot.logins, snapshot.replaced), (0, 1));
}

#[tokio::test]
async fn a_device_that_leaves_is_forgotten() {
    let house = House::start().await;
    let connection = house.connect(1).await;
    connection.close().await.unwrap();
    eventually(|| house.listener.snapshot().devices == 0).await;
    assert_eq!(house.send(1, "later"), cresset_delivery::Handoff::Offline);
}

#[tokio::test]
async fn a_shutdown_sends_everybody_away() {
    let mut house = House::start().await;
    let mut devices = Vec::new();
    for device in 1..20 {
        devices.push(house.connect(device).await);
    }
    house.stop().await;
    for device in &mut devices {
        assert_eq!(next(device).await, None);
    }
    assert_eq!(house.listener.snapshot().connections, 0);
    let client = house.client();
    let refused = client.connect(&Credentials { android_id: 1, security_token: 7 }, Default::default());
    assert!(matches!(refused.await, Err(Error::Connect { .. })));
}
