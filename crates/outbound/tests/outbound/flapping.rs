//! Ten thousand pushes through services that do everything wrong: each is delivered, and every outcome is
//! true.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cresset_outbound::Outcome;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::json;

use crate::fakes::{Answer, Fault, Protocols, Style};
use crate::world::{Apple, BUNDLE, Web, device};

const PUSHES: usize = 10_000;
const AT_ONCE: usize = 200;
/// A push that fails so often in a row is lost.
const MOST_TRIES: usize = 200;

/// What happens next, after so many requests each.
fn faults() -> Vec<Fault> {
    let answer =
        |status| Fault::Answer(Answer::new(status, r#"{"reason":"Flapping"}"#).with("retry-after", "0"));
    vec![
        answer(500),
        answer(503),
        Fault::GoAway(r#"{"reason":"Shutdown"}"#.into()),
        Fault::Reset(2),
        Fault::Reset(7),
        Fault::CutAfter,
        answer(429),
        Fault::GoAwayAfter(String::new()),
        Fault::Cut,
        Fault::Delay(Duration::from_millis(5)),
        Fault::Streams(3),
        Fault::Streams(100),
    ]
}

/// Sends until it is accepted, as the queue above does. `(tries, accepted)`
async fn insist(send: impl AsyncFn() -> Outcome, mut trouble: impl FnMut()) -> usize {
    for tries in 1..=MOST_TRIES {
        trouble();
        match send().await {
            Outcome::Accepted { .. } => return tries,
            Outcome::Later { .. } => tokio::task::yield_now().await,
            other => panic!("nothing is wrong with it for good: {other:?}"),
        }
    }
    panic!("never accepted")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_push_survives_a_flapping_service() {
    for (protocols, pushes) in [(Protocols::Http2, PUSHES), (Protocols::Http1, 1_000)] {
        let web = Web::with(Style::Mozilla, protocols, |_| {}).await;
        let (faults, turn) = (faults(), AtomicUsize::new(0));
        let subscription = web.subscribe();
        let trouble = || {
            let turn = turn.fetch_add(1, Ordering::Relaxed);
            if turn.is_multiple_of(40) {
                web.service.next(1, &faults[turn / 40 % faults.len()]);
            }
            web.service.refuse_connections(turn % 1_000 < 5);
        };
        let one = async |number: usize| {
            let push = web.push(&subscription, &number.to_string());
            insist(async || web.send(&push).await, trouble).await
        };
        let tries: Vec<usize> = stream::iter(0..pushes).map(one).buffer_unordered(AT_ONCE).collect().await;
        let mut taken: HashMap<Vec<u8>, usize> = HashMap::new();
        for arrival in web.service.arrivals() {
            *taken.entry(arrival.plaintext).or_default() += 1;
        }
        assert_eq!(taken.len(), pushes, "{protocols:?}: each arrived");
        // What arrived twice was tried twice: a success that was told was one.
        let doubled: usize = taken.values().map(|times| times - 1).sum();
        let repeated: usize = tries.iter().map(|tries| tries - 1).sum();
        assert!(doubled <= repeated && repeated > 0, "{protocols:?}: {doubled} of {repeated}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apns_survives_a_flapping_service() {
    let apple = Apple::with(|fake| fake.errors_narrow = true, |_| {}).await;
    (0..PUSHES).for_each(|number| apple.production.add_device(&device(number), BUNDLE));
    let (faults, turn) = (Arc::new(faults()), AtomicUsize::new(0));
    let trouble = || {
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        if turn.is_multiple_of(40) {
            apple.production.next(1, &faults[turn / 40 % faults.len()]);
        }
        apple.production.refuse_connections(turn % 1_000 < 5);
    };
    let one = async |number: usize| {
        let mut push = apple.push(&device(number));
        push.payload = Bytes::from(json!({ "aps": {}, "n": number }).to_string());
        insist(async || apple.send(&push).await, trouble).await
    };
    let tries: Vec<usize> = stream::iter(0..PUSHES).map(one).buffer_unordered(AT_ONCE).collect().await;
    let taken: HashSet<String> =
        apple.production.notifications().into_iter().map(|taken| taken.token).collect();
    assert_eq!(taken.len(), PUSHES, "each arrived");
    let doubled = apple.production.taken() as usize - PUSHES;
    let repeated: usize = tries.iter().map(|tries| tries - 1).sum();
    assert!(doubled <= repeated && repeated > 0, "{doubled} of {repeated}");
}
