//! When a send is tried again, and when it is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cresset_admin_client::{Code, Credentials, Error, Message, Retries};

use crate::fake::{Door, Fake, Reply, Still};

fn refused(http: u16, status: &str) -> Reply {
    Reply::refusal(http, status, "")
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_nothing_else() {
    let (busy, sent, late) =
        (Reply::busy, Reply::sent, |value: &str| Reply::busy().with("retry-after", value));
    let quota = || refused(429, "RESOURCE_EXHAUSTED");
    let rows: [(&str, Vec<Reply>, &[u128], bool); 12] = [
        ("busy twice", vec![busy(), busy(), sent()], &[500, 1_000], true),
        ("busy for ever", vec![busy()], &[500, 1_000, 2_000, 4_000], false),
        ("the server says when", vec![late("7"), sent()], &[7_000], true),
        ("it says less than we wait", vec![late("0"), sent()], &[500], true),
        ("it says a date", vec![late("Sun, 06 Nov 1994 08:49:47 GMT"), sent()], &[10_000], true),
        ("it says far too late", vec![late("61"), sent()], &[], false),
        ("it says nonsense", vec![late("soon"), sent()], &[500], true),
        ("too many requests", vec![quota(), sent()], &[], false),
        ("it failed", vec![Reply::refusal(500, "INTERNAL", "INTERNAL"), sent()], &[], false),
        ("a wrong request", vec![refused(400, "INVALID_ARGUMENT"), sent()], &[], false),
        ("no answer", vec![Reply::hang_up(), Reply::hang_up(), sent()], &[500, 1_000], true),
        ("a redirection", vec![Reply::text(302, "").with("location", "/"), sent()], &[], false),
    ];
    for (what, replies, waits, succeeds) in rows {
        let (fake, still) = (Fake::playing(replies).await, Arc::new(Still::default()));
        let result = fake.client(&still).send(&Message::to_topic("news")).await;
        assert_eq!((still.waits_ms(), result.is_ok()), (waits.to_vec(), succeeds), "{what}: {result:?}");
        assert_eq!(fake.seen().len(), waits.len() + 1, "{what}");
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again_over_every_protocol() {
    for door in [Door::Plain, Door::Http1, Door::Http2] {
        let asked = AtomicUsize::new(0);
        let fake = Fake::start(door, move |_| match asked.fetch_add(1, Ordering::Relaxed) {
            1 => Reply::hang_up(),
            _ => Reply::sent(),
        })
        .await;
        let still = Arc::new(Still::default());
        let client = fake.client(&still);
        for _ in 0..3 {
            client.send(&Message::to_topic("news")).await.unwrap();
        }
        assert_eq!((still.waits_ms(), fake.seen().len()), (vec![500], 4), "{door:?}");
    }
}

#[tokio::test]
async fn what_is_tried_again_is_a_setting() {
    let quota = Reply::refusal(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED").with("retry-after", "3");
    let asked = Retries { too_many_requests: true, limit: 1, ..Retries::default() };
    for (retries, waits) in [(asked, vec![3_000]), (Retries::never(), vec![])] {
        let (fake, still) = (Fake::playing(vec![quota.clone()]).await, Arc::new(Still::default()));
        let client = fake.builder(&still).retries(retries).credentials(Credentials::none()).build().unwrap();
        let error = client.send(&Message::to_topic("news")).await.unwrap_err();
        assert_eq!(error.code(), Some(&Code::QuotaExceeded));
        assert_eq!((error.retry_after(), error.can_retry()), (Some(Duration::from_secs(3)), true));
        assert_eq!(still.waits_ms(), waits);
    }
}

#[tokio::test]
async fn nothing_is_tried_after_the_deadline() {
    let (fake, still) = (Fake::playing(vec![Reply::busy()]).await, Arc::new(Still::default()));
    let client = fake.builder(&still).deadline(Duration::from_millis(1_600)).credentials(Credentials::none());
    let error = client.build().unwrap().send(&Message::to_topic("news")).await.unwrap_err();
    assert_eq!(error.code(), Some(&Code::Unavailable), "the last answer is what is told");
    assert_eq!(still.waits_ms(), [500, 1_000], "another wait of 2 s would end after it");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_of() {
    // A port that is taken, and on which nobody listens.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (address, still) = (taken.local_addr().unwrap(), Arc::new(Still::default()));
    let client = cresset_admin_client::Client::builder()
        .base_url(format!("http://{address}"))
        .project("demo")
        .credentials(Credentials::none())
        .surroundings(still.clone())
        .build()
        .unwrap();
    let error = client.send(&Message::to_topic("news")).await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { host, .. } if **host == address.to_string()), "{error:?}");
    assert!(error.can_retry() && error.to_string().contains(&address.to_string()), "{error}");
    assert_eq!(still.waits_ms().len(), 4);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
    let fake = Fake::start_closed(Door::Plain, |_| Reply::sent()).await;
    let still = Arc::new(Still::default());
    let client = fake
        .builder(&still)
        .attempt_timeout(Duration::from_millis(20))
        .retries(Retries { limit: 1, ..Retries::default() })
        .credentials(Credentials::none());
    let error = client.build().unwrap().send(&Message::to_topic("news")).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    assert_eq!(still.waits_ms(), [500]);
}
