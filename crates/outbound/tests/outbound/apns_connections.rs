//! Connections to APNs, and what can go wrong with them.

use std::sync::Arc;
use std::time::Duration;

use cresset_outbound::apns::{Config, Credential, Credentials, Push};
use cresset_outbound::{Blame, Scope};
use futures_util::future::join_all;

use crate::fakes::{Answer, Fault};
use crate::world::{Apple, BUNDLE, TEAM, device, is_later, is_rejected, p8, patiently, reason, short};

async fn with_devices(count: usize) -> Apple {
    let apple = Apple::start().await;
    (0..count).for_each(|number| apple.production.add_device(&device(number), BUNDLE));
    apple
}

async fn send_all(apple: &Apple, count: usize) -> Vec<String> {
    let pushes: Vec<_> = (0..count).map(|number| apple.push(&device(number))).collect();
    join_all(pushes.iter().map(async |push| short(&apple.send(push).await))).await
}

#[tokio::test]
async fn a_new_connection_takes_one_request_and_then_many() {
    let apple = with_devices(400).await;
    // The first is answered late: until then none may follow.
    apple.production.next(1, &Fault::Delay(Duration::from_millis(50)));
    let outcomes = send_all(&apple, 400).await;
    assert!(outcomes.iter().all(|outcome| outcome == "accepted"), "{outcomes:?}");
    let counts = apple.production.counts();
    assert_eq!((apple.production.taken(), counts.requests), (400, 400));
    assert!(counts.most_at_once > 1 && counts.connections <= 4, "{counts:?}");
}

#[tokio::test]
async fn the_limit_of_streams_is_kept_when_it_shrinks_and_grows() {
    let narrow = |fake: &mut crate::fakes::ApnsConfig| {
        fake.streams = (1, 7);
        fake.errors_narrow = true;
    };
    let apple = Apple::with(narrow, |config| config.connections = 1).await;
    // Every fifth device is unknown: after each refusal one stream is allowed, after a success seven.
    (0..300).filter(|n| n % 5 != 0).for_each(|n| apple.production.add_device(&device(n), BUNDLE));
    let outcomes = send_all(&apple, 300).await;
    for (number, outcome) in outcomes.iter().enumerate() {
        let expected = if number % 5 == 0 { "rejected Token" } else { "accepted" };
        assert_eq!(outcome, expected, "{number}");
    }
    let counts = apple.production.counts();
    assert_eq!((counts.connections, counts.requests), (1, 300));
    assert!((2..=7).contains(&counts.most_at_once), "{counts:?}");
}

#[tokio::test]
async fn a_goaway_in_the_middle_of_traffic_loses_nothing() {
    for fault in [
        Fault::GoAway(r#"{"reason":"Shutdown"}"#.into()),
        Fault::GoAwayAfter(r#"{"reason":"IdleTimeout"}"#.into()),
    ] {
        let apple = with_devices(300).await;
        assert_eq!(short(&apple.send(&apple.push(&device(0))).await), "accepted");
        let after = async {
            while apple.production.counts().requests < 30 {
                tokio::task::yield_now().await;
            }
            apple.production.next(1, &fault);
        };
        let (outcomes, ()) = tokio::join!(send_all(&apple, 300), after);
        assert!(outcomes.iter().all(|outcome| outcome == "accepted"), "{fault:?} {outcomes:?}");
        // Nothing twice: what was not processed was sent again, and nothing else.
        assert_eq!(apple.production.taken(), 301, "{fault:?}");
        assert!(apple.production.counts().connections >= 2);
    }
}

#[tokio::test]
async fn a_goaway_that_condemns_the_credential_is_no_reason_to_go_on() {
    let apple = with_devices(1).await;
    apple.production.next(100, &Fault::GoAway(r#"{"reason":"InvalidProviderToken"}"#.into()));
    let outcome = apple.send(&apple.push(&device(0))).await;
    assert!(is_rejected(&outcome, Blame::Credential), "{outcome:?}");
    assert_eq!(reason(&outcome), "InvalidProviderToken");
    assert_eq!(apple.production.counts().requests, 2);
}

#[tokio::test]
async fn a_connection_that_is_cut_is_told_and_replaced() {
    let apple = with_devices(1).await;
    let push = apple.push(&device(0));
    for fault in [Fault::CutAfter, Fault::Cut, Fault::Reset(2)] {
        apple.production.next(1, &fault);
        assert!(is_later(&apple.send(&push).await, Scope::Origin), "{fault:?}");
        assert_eq!(short(&apple.send(&push).await), "accepted");
    }
    // With the id of the first time, by which Apple knows it again.
    let ids: Vec<_> =
        apple.production.notifications().iter().map(|taken| taken.headers["apns-id"].clone()).collect();
    assert!(ids.len() == 4 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn a_connection_that_apple_closes_while_it_is_idle_is_replaced() {
    let apple = with_devices(1).await;
    let push = apple.push(&device(0));
    assert_eq!(short(&apple.send(&push).await), "accepted");
    apple.production.cut_all().await;
    patiently("the end of the connection", async {
        while apple.client.load().1 > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(short(&apple.send(&push).await), "accepted");
    assert_eq!(apple.production.counts().connections, 2);
}

#[tokio::test]
async fn a_peer_that_is_silent_is_found_out_by_its_pings() {
    let quick = |config: &mut Config| {
        config.ping_busy = Duration::from_millis(20);
        config.ping_idle = Duration::from_millis(20);
        config.connect_timeout = Duration::from_secs(2);
    };
    let apple = Apple::with(|_| {}, quick).await;
    apple.production.add_device(&device(0), BUNDLE);
    let push = apple.push(&device(0));
    // PINGs that are answered change nothing.
    apple.production.next(1, &Fault::Delay(Duration::from_millis(300)));
    assert_eq!(short(&apple.send(&push).await), "accepted");
    assert_eq!(apple.production.counts().connections, 1);
    // Long before the time for an answer is over.
    apple.production.next(1, &Fault::Freeze);
    let outcome = apple.send(&push).await;
    assert!(is_later(&outcome, Scope::Origin) && reason(&outcome) != "no answer in time", "{outcome:?}");
    assert_eq!(short(&apple.send(&push).await), "accepted");
    assert_eq!(apple.production.counts().connections, 2);
}

#[tokio::test]
async fn no_answer_and_no_service_are_told() {
    let quick = |config: &mut Config| config.request_timeout = Duration::from_millis(300);
    let apple = Apple::with(|_| {}, quick).await;
    apple.production.add_device(&device(0), BUNDLE);
    let push = apple.push(&device(0));
    apple.production.next(1, &Fault::Never);
    assert_eq!(reason(&apple.send(&push).await), "no answer in time");
    apple.production.cut_all().await;
    apple.production.refuse_connections(true);
    assert!(is_later(&apple.send(&push).await, Scope::Origin));
    apple.production.refuse_connections(false);
    patiently("healing", async {
        while short(&apple.send(&push).await) != "accepted" {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn each_key_has_connections_of_its_own() {
    let apple = with_devices(1).await;
    let (pem, public) = p8();
    apple.production.add_key("0123456789", TEAM, public, &[BUNDLE]);
    let other = Arc::new(Credential::key(&pem, "0123456789", TEAM).unwrap());
    let credentials = Credentials { production: vec![other], sandbox: Vec::new() };
    let push = apple.push(&device(0));
    let others = Push { credentials: Arc::new(credentials), ..push.clone() };
    for _ in 0..3 {
        assert_eq!(short(&apple.send(&push).await), "accepted");
        assert_eq!(short(&apple.send(&others).await), "accepted");
    }
    assert_eq!(apple.production.counts().connections, 2);
    assert_eq!(apple.client.load(), (2, 2, 0, 0));
}

#[tokio::test]
async fn an_unrelated_key_gets_another_connection() {
    let apple = with_devices(1).await;
    let unrelated = Answer::new(403, r#"{"reason":"UnrelatedKeyIdInToken"}"#);
    apple.production.next(1, &Fault::Answer(unrelated));
    assert_eq!(short(&apple.send(&apple.push(&device(0))).await), "accepted");
    assert_eq!(apple.production.counts().connections, 2);
}

#[tokio::test]
async fn who_would_wait_beyond_the_bound_is_told_at_once() {
    let bounded = |config: &mut Config| (config.connections, config.waiting) = (1, 3);
    let apple = Apple::with(|_| {}, bounded).await;
    (0..20).for_each(|number| apple.production.add_device(&device(number), BUNDLE));
    apple.production.next(1, &Fault::Delay(Duration::from_millis(300)));
    let outcomes = send_all(&apple, 20).await;
    let refused = outcomes.iter().filter(|outcome| *outcome == "later 1 Credential").count();
    let accepted = outcomes.iter().filter(|outcome| *outcome == "accepted").count();
    assert!(refused + accepted == 20 && refused >= 16, "{outcomes:?}");
}
