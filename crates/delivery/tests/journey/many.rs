//! One message for many tokens: what became of each, and that it is durable for all at once.

use std::collections::HashSet;
use std::time::Duration;

use cresset_delivery::Quotas;
use cresset_message::{AndroidConfig, DeviceQuota, Message, MessageId, ProjectNumber, Rejection};

use crate::world::{NOW, PROJECT, World, device, ids, message};

/// Everybody does what can be done: on one thread and in memory, that takes some turns and no time.
async fn rest() {
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
}

fn to_nobody() -> Message {
    message("", None)
}

impl World {
    async fn send_many(&self, tokens: &[&str]) -> Vec<Result<MessageId, Rejection>> {
        self.send_message_to(to_nobody(), tokens, false).await
    }

    async fn send_message_to(
        &self,
        message: Message,
        tokens: &[&str],
        validate_only: bool,
    ) -> Vec<Result<MessageId, Rejection>> {
        let tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
        let outcomes = self.dispatcher.send_many(PROJECT, message, tokens, validate_only, NOW).await;
        outcomes.into_iter().map(|outcome| outcome.map(|accepted| accepted.id)).collect()
    }
}

#[tokio::test]
async fn each_token_has_its_outcome_in_its_place() {
    let world = World::new().await;
    let pushed = world.connect_all([7, 8, 9]).await;
    let a = world.register(device(7), 1).await;
    let b = world.register(device(8), 2).await;
    let gone = world.register(device(9), 3).await;
    world.unregister(3).await;
    let group = world.dispatcher.create_group(PROJECT, "user-42", &[&a, &b], NOW).await.unwrap();
    let tokens = [&*a, "not-a-token", &gone, &b, &group, "", &a];
    let outcomes = world.send_many(&tokens).await;
    let told: Vec<_> = outcomes.iter().map(|outcome| outcome.clone().map(drop)).collect();
    let bad = || Err(Rejection::MalformedToken);
    assert_eq!(told, [Ok(()), bad(), Err(Rejection::Unregistered), Ok(()), bad(), bad(), Ok(())]);
    let sent: Vec<MessageId> = outcomes.into_iter().flatten().collect();
    assert_eq!(ids(&world.pending(device(7), 10).await), [sent[0], sent[2]], "twice, in order");
    assert_eq!(ids(&world.pending(device(8), 10).await), [sent[1]]);
    assert_eq!(pushed.seen(), sent, "and what is pushed has the same ids, in order");
    let content = &world.pending(device(8), 10).await[0];
    assert!(matches!(&content.content, cresset_delivery::Content::Message(m) if m.data == to_nobody().data));
}

/// Rules are the same as for one: whatever `send` says of a token, `send_many` says it.
#[tokio::test]
async fn what_is_refused_for_one_is_refused_for_many() {
    let world = World::new().await;
    let a = world.register(device(7), 1).await;
    let package = AndroidConfig { restricted_package_name: Some("com.else".into()), ..Default::default() };
    let with_data =
        |key: &str, size: usize| Message { data: vec![(key.to_owned(), "x".repeat(size))], ..to_nobody() };
    let messages = [
        to_nobody(),
        with_data("from", 1),
        with_data("k", 4_096),
        Message { android: Some(package), ..to_nobody() },
    ];
    for (of_message, message) in messages.into_iter().enumerate() {
        for token in [&*a, "not-a-token"] {
            for dry in [true, false] {
                let target = cresset_message::Target::Token(token.to_owned());
                let one = Message { target, ..message.clone() };
                let one = world.dispatcher.send(PROJECT, one, dry, NOW).await.map(drop);
                let many = world.send_message_to(message.clone(), &[token, token], dry).await;
                for outcome in many {
                    assert_eq!(outcome.map(drop), one, "message {of_message} to {token}");
                }
            }
        }
    }
    let strangers = world.dispatcher.send_many(ProjectNumber(9), to_nobody(), vec![a], false, NOW).await;
    assert_eq!(strangers, [Err(Rejection::SenderIdMismatch)]);
}

#[tokio::test]
async fn a_thousand_are_durable_in_one_write_before_anybody_is_told() {
    let world = World::new().await;
    let pushed = world.connect_all(1..=1_000).await;
    let mut tokens = Vec::new();
    for slot in 0..1_000 {
        tokens.push(world.register(device(u64::from(slot) + 1), slot).await);
    }
    world.engine.writes.forget_permits(usize::MAX);
    let dispatcher = world.dispatcher.clone();
    let send = async move { dispatcher.send_many(PROJECT, to_nobody(), tokens, false, NOW).await };
    let send = tokio::spawn(send);
    rest().await;
    assert!(!send.is_finished(), "nothing is durable yet");
    assert!(pushed.seen().is_empty(), "and nothing is pushed");
    // One write is all it takes, and it goes on though the sender has left.
    send.abort();
    rest().await;
    world.engine.writes.add_permits(1);
    rest().await;
    let pushed: HashSet<MessageId> = pushed.seen().into_iter().collect();
    assert_eq!(pushed.len(), 1_000);
    for id in [1, 500, 1_000] {
        let waiting = world.pending(device(id), 10).await;
        assert!(waiting.len() == 1 && pushed.contains(&waiting[0].id));
    }
}

/// A large message takes more than one batch, and each of them is of a size that the store takes.
#[tokio::test]
async fn a_large_message_reaches_all_too() {
    let world = World::new().await;
    let token = world.register(device(7), 1).await;
    let large = Message { data: vec![("k".into(), "x".repeat(4_000))], ..to_nobody() };
    let tokens = vec![&*token; 3_000];
    let outcomes = world.send_message_to(large, &tokens, false).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(world.rows(device(7)).await, 3_000);
}

#[tokio::test]
async fn what_the_store_cannot_take_is_told_of_each() {
    let world = World::new().await;
    let pushed = world.connect_all([7]).await;
    let token = world.register(device(7), 1).await;
    world.engine.refuse(true);
    let outcomes = world.send_many(&[&token, "not-a-token", &token]).await;
    let words: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().map_err(std::mem::discriminant)).collect();
    let unavailable = std::mem::discriminant(&Rejection::Unavailable { retry_after: Duration::ZERO });
    let malformed = std::mem::discriminant(&Rejection::MalformedToken);
    assert_eq!(words, [Err(unavailable), Err(malformed), Err(unavailable)]);
    assert!(pushed.seen().is_empty());
    world.engine.refuse(false);
    assert_eq!(world.rows(device(7)).await, 0);
}

#[tokio::test]
async fn now_or_never_is_pushed_and_not_kept() {
    let world = World::new().await;
    let pushed = world.connect_all([7]).await;
    let token = world.register(device(7), 1).await;
    let android = AndroidConfig { ttl: Some(Duration::ZERO), ..Default::default() };
    let message = Message { android: Some(android), ..to_nobody() };
    let outcomes = world.send_message_to(message, &[&token, &token], false).await;
    assert_eq!(outcomes.into_iter().flatten().collect::<Vec<_>>(), pushed.seen());
    assert_eq!(pushed.seen().len(), 2);
    assert_eq!(world.rows(device(7)).await, 0);
}

#[tokio::test]
async fn each_recipient_counts_as_a_message() {
    let quotas = Quotas { project_per_minute: Some(3), device_per_minute: Some(2), ..Quotas::OFF };
    let world = World::with_quotas(quotas).await;
    let (a, b) = (world.register(device(7), 1).await, world.register(device(8), 2).await);
    // Nobody's token counts too, as it does alone.
    let outcomes = world.send_many(&["not-a-token", &a, &b, &b]).await;
    let retry_after = Duration::from_secs(60);
    let over = Rejection::ProjectQuota { project: PROJECT, limit: 3, retry_after };
    assert_eq!(outcomes[0], Err(Rejection::MalformedToken));
    assert!(outcomes[1].is_ok() && outcomes[2].is_ok());
    assert_eq!(outcomes[3], Err(over));

    let quotas = Quotas { device_per_minute: Some(2), ..Quotas::OFF };
    let world = World::with_quotas(quotas).await;
    let (a, b) = (world.register(device(7), 1).await, world.register(device(8), 2).await);
    let outcomes = world.send_many(&[&a, &a, &a, &b]).await;
    let over = Rejection::DeviceQuota { quota: DeviceQuota::PerMinute(2), retry_after };
    assert_eq!(outcomes[2], Err(over));
    assert!(outcomes[3].is_ok(), "another device has its own");
    // What is only checked takes nothing.
    let dry = world.send_message_to(to_nobody(), &[&b, &b, &b, &b], true).await;
    assert!(dry.iter().all(Result::is_ok));
    assert!(world.send_many(&[&b]).await[0].is_ok());
}

#[tokio::test]
async fn a_group_tells_of_those_who_go_without() {
    let quotas = Quotas { device_per_minute: Some(1), ..Quotas::OFF };
    let world = World::with_quotas(quotas).await;
    let (a, b) = (world.register(device(7), 1).await, world.register(device(8), 2).await);
    let group = world.dispatcher.create_group(PROJECT, "user-42", &[&a, &b], NOW).await.unwrap();
    world.send(&b, None).await;
    let send = async || {
        let sent = world.dispatcher.send_in_full(PROJECT, message(&group, None), false, NOW).await;
        let Ok(cresset_delivery::Sent::Group(sent)) = sent else { panic!("{sent:?}") };
        sent
    };
    let partly = send().await;
    assert_eq!((partly.sent, &*partly.failed), (1, &[b.clone()][..]));
    assert!(partly.id.is_some());
    let not_at_all = send().await;
    assert_eq!((not_at_all.sent, not_at_all.id, not_at_all.failed.len()), (0, None, 2));
    let refused = world.dispatcher.send(PROJECT, message(&group, None), false, NOW).await;
    assert_eq!(refused.unwrap_err(), not_at_all.refusal.unwrap());
}
