//! Connections to Web Push services, and what can go wrong with them.

use std::sync::Arc;
use std::time::Duration;

use cresset_outbound::webpush::{Client, Config};
use cresset_outbound::{Blame, HostPattern, Outcome, Scope};
use futures_util::future::join_all;

use crate::fakes::{Answer, Fault, Protocols, Style};
use crate::world::{Names, Web, is_later, is_rejected, patiently, randomness, reason, short};

const BOTH: [Protocols; 2] = [Protocols::Http1, Protocols::Http2];

#[tokio::test]
async fn many_at_once_share_a_few_connections() {
    for (protocols, most) in [(Protocols::Http1, 6), (Protocols::Http2, 2), (Protocols::Both, 2)] {
        let web = Web::with(Style::Mozilla, protocols, |_| {}).await;
        let subscription = web.subscribe();
        let push = web.push(&subscription, "x");
        let outcomes = join_all((0..300).map(|_| web.send(&push))).await;
        assert!(outcomes.iter().all(|outcome| short(outcome) == "accepted"), "{outcomes:?}");
        let counts = web.service.counts();
        assert!(counts.connections <= most, "{protocols:?}: {counts:?}");
        // The service allows 100.
        assert!(counts.most_at_once <= 100, "{counts:?}");
        assert_eq!((web.service.taken(), counts.requests), (300, 300));
    }
}

#[tokio::test]
async fn a_connection_is_kept_over_refusals() {
    for protocols in BOTH {
        let web = Web::with(Style::Google, protocols, |_| {}).await;
        let push = web.push(&web.subscribe(), "x");
        for status in [503, 429, 410, 404] {
            web.service.next(1, &Fault::Answer(Answer::new(status, "no\n")));
            web.send(&push).await;
        }
        assert_eq!(short(&web.send(&push).await), "accepted");
        assert_eq!(web.service.counts().connections, 1, "{protocols:?}");
    }
}

#[tokio::test]
async fn what_was_not_processed_is_sent_again_at_once() {
    let web = Web::with(Style::Mozilla, Protocols::Http2, |_| {}).await;
    let push = web.push(&web.subscribe(), "x");
    web.service.next(1, &Fault::GoAway("maintenance".into()));
    assert_eq!(short(&web.send(&push).await), "accepted");
    web.service.next(1, &Fault::Reset(7)); // REFUSED_STREAM
    assert_eq!(short(&web.send(&push).await), "accepted");
    assert_eq!(web.service.taken(), 2);
}

#[tokio::test]
async fn what_may_have_been_processed_is_told_and_not_repeated() {
    for protocols in BOTH {
        let web = Web::with(Style::Mozilla, protocols, |_| {}).await;
        let push = web.push(&web.subscribe(), "x");
        for (fault, taken) in [(Fault::CutAfter, 1), (Fault::Cut, 1), (Fault::Reset(2), 1)] {
            web.service.next(1, &fault);
            let outcome = web.send(&push).await;
            assert!(is_later(&outcome, Scope::Origin), "{protocols:?} {fault:?}: {outcome:?}");
            assert_eq!(web.service.taken(), taken);
        }
        assert_eq!(short(&web.send(&push).await), "accepted", "{protocols:?}");
    }
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_given_up() {
    for protocols in BOTH {
        let quick = |config: &mut Config| config.request_timeout = Duration::from_millis(300);
        let web = Web::with(Style::Mozilla, protocols, quick).await;
        let push = web.push(&web.subscribe(), "x");
        web.service.next(1, &Fault::Never);
        let outcome = web.send(&push).await;
        assert!(is_later(&outcome, Scope::Origin), "{outcome:?}");
        assert_eq!(reason(&outcome), "no answer in time");
    }
}

#[tokio::test]
async fn a_slow_answer_is_waited_for() {
    let web = Web::of(Style::Mozilla).await;
    let push = web.push(&web.subscribe(), "x");
    web.service.next(1, &Fault::Delay(Duration::from_millis(200)));
    assert_eq!(short(&web.send(&push).await), "accepted");
}

#[tokio::test]
async fn an_endless_body_is_not_read() {
    for protocols in BOTH {
        let web = Web::with(Style::Mozilla, protocols, |_| {}).await;
        let push = web.push(&web.subscribe(), "x");
        web.service.next(1, &Fault::Answer(Answer::new(503, vec![b'x'; 20_000_000])));
        let outcome = web.send(&push).await;
        assert!(is_later(&outcome, Scope::Origin), "{protocols:?}");
        assert_eq!(reason(&outcome).len(), 256);
        assert_eq!(short(&web.send(&push).await), "accepted", "{protocols:?}");
    }
}

#[tokio::test]
async fn an_endless_header_is_not_read() {
    for protocols in BOTH {
        let web = Web::with(Style::Mozilla, protocols, |_| {}).await;
        let push = web.push(&web.subscribe(), "x");
        web.service.next(1, &Fault::Answer(Answer::new(201, "").with("x-long", "x".repeat(40_000))));
        let outcome = web.send(&push).await;
        assert!(is_later(&outcome, Scope::Origin), "{protocols:?}: {outcome:?}");
        assert_eq!(short(&web.send(&push).await), "accepted", "{protocols:?}");
    }
}

#[tokio::test]
async fn a_service_that_is_down_is_told_and_heals() {
    let web = Web::of(Style::Mozilla).await;
    let push = web.push(&web.subscribe(), "x");
    web.service.refuse_connections(true);
    assert!(is_later(&web.send(&push).await, Scope::Origin));
    web.service.refuse_connections(false);
    assert_eq!(short(&web.send(&push).await), "accepted");
}

#[tokio::test]
async fn who_would_wait_beyond_the_bound_is_told_at_once() {
    let bounded = |config: &mut Config| {
        (config.connections, config.streams, config.waiting) = (1, 2, 3);
    };
    let web = Web::with(Style::Mozilla, Protocols::Http2, bounded).await;
    let push = web.push(&web.subscribe(), "x");
    // Two on their way, three that wait; the others are refused.
    web.service.next(20, &Fault::Delay(Duration::from_millis(300)));
    let outcomes = join_all((0..20).map(|_| web.send(&push))).await;
    let refused =
        outcomes.iter().filter(|outcome| reason(outcome).starts_with("too many requests wait")).count();
    let accepted = outcomes.iter().filter(|outcome| short(outcome) == "accepted").count();
    assert_eq!(refused + accepted, 20, "{outcomes:?}");
    assert!(refused >= 14 && accepted >= 3, "{refused} refused, {accepted} accepted");
    assert_eq!(web.client.load().3, 0);
}

#[tokio::test]
async fn a_stranger_is_not_trusted() {
    let web = Web::of(Style::Mozilla).await;
    let other = Web::of(Style::Mozilla).await;
    let names = Names([("updates.push.services.mozilla.com".to_owned(), web.service.address())].into());
    let mut config = Config::new(other.service.authority().roots().unwrap());
    config.private = vec![HostPattern::new("*.mozilla.com")];
    let client = Client::new(config, Arc::new(names), randomness()).unwrap();
    let push = web.push(&web.subscribe(), "x");
    let outcome = patiently("an outcome", client.send(&push, web.time.now())).await;
    assert!(is_later(&outcome, Scope::Origin) && reason(&outcome).starts_with("TLS"), "{outcome:?}");
    assert_eq!(web.service.counts().requests, 0);
}

#[tokio::test]
async fn private_addresses_are_not_connected_to() {
    let web = Web::with(Style::Mozilla, Protocols::Both, |config| config.private.clear()).await;
    let outcome = web.send(&web.push(&web.subscribe(), "x")).await;
    assert_eq!(short(&outcome), "later 600 Origin");
    assert!(reason(&outcome).ends_with("has no public address"), "{outcome:?}");
    assert_eq!(web.service.counts().connections, 0);
}

#[tokio::test]
async fn only_hosts_that_the_operator_names_are_contacted() {
    for (only, good) in [("*.mozilla.com", true), ("fcm.googleapis.com", false)] {
        let configure = |config: &mut Config| config.only = vec![HostPattern::new(only)];
        let web = Web::with(Style::Mozilla, Protocols::Both, configure).await;
        let outcome = web.send(&web.push(&web.subscribe(), "x")).await;
        assert_eq!(matches!(outcome, Outcome::Accepted { .. }), good, "{outcome:?}");
        assert_eq!(is_rejected(&outcome, Blame::Token), !good);
    }
}

#[tokio::test]
async fn origins_are_bounded_and_idle_ones_make_room() {
    let web = Web::with(Style::Mozilla, Protocols::Http2, |config| config.origins = 1).await;
    let push = web.push(&web.subscribe(), "x");
    assert_eq!(short(&web.send(&push).await), "accepted");
    let mut elsewhere = push.clone();
    elsewhere.endpoint = "https://elsewhere.test/x".parse().unwrap();
    // Nothing is on its way to the first, so it goes.
    assert!(reason(&web.send(&elsewhere).await).starts_with("cannot connect"));
    assert_eq!(web.client.load().0, 1);
    // While one is used, there is no room for another.
    web.service.next(1, &Fault::Delay(Duration::from_millis(500)));
    let second = async {
        while web.client.load().2 == 0 {
            tokio::task::yield_now().await;
        }
        web.send(&elsewhere).await
    };
    let (first, second) = tokio::join!(web.send(&push), second);
    assert_eq!(short(&first), "accepted");
    assert_eq!(reason(&second), "as many origins are in use as may be");
}
