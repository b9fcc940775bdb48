//! What became of a message.

use cresset_delivery::{Counts, End, Stage, Story, Told, What};
use cresset_message::{MessageId, Rejection};
use cresset_wire::v1::rfc3339;
use serde_json::{Map, Value, json};

use super::{Call, TopicsApi, with_next};
use crate::render;

pub(super) async fn trace(api: TopicsApi, call: Call) -> Result<Value, Rejection> {
    let from = call.query.get("pageToken").filter(|token| !token.is_empty());
    let name = call.name("message");
    let limit = call.page_size()?;
    let told = api.dispatcher.trace_of(call.project, name, from.map(String::as_str), limit, call.now).await?;
    told.map(|told| rendered(&told)).ok_or(Rejection::NotTraced)
}

fn rendered(told: &Told) -> Value {
    let mut value = json!({
        "id": told.id.to_string(),
        "accepted": rfc3339(cresset_message::Timestamp::from_micros(told.id.micros)),
        "target": target(&told.what),
        "spreading": told.spreading,
        "counts": counts(&told.counts),
        "deliveries": told.deliveries.iter().map(story).collect::<Vec<_>>(),
    });
    if let What::Topic(name) | What::Condition(name) = &told.what {
        value["to"] = name.as_str().into();
    }
    with_next(value, told.next.as_deref())
}

fn target(what: &What) -> &'static str {
    match what {
        What::One => "token",
        What::Group => "group",
        What::Topic(_) => "topic",
        What::Condition(_) => "condition",
    }
}

fn counts(counts: &Counts) -> Value {
    let dropped: Map<String, Value> =
        counts.dropped.iter().map(|(why, count)| (why.name().to_owned(), json!(count))).collect();
    json!({
        "deliveries": counts.deliveries,
        "waiting": counts.waiting,
        "sent": counts.sent,
        "acknowledged": counts.acknowledged,
        "collapsed": counts.collapsed,
        "expired": counts.expired,
        "dropped": dropped,
    })
}

/// What is not known, or has not happened, is left out.
fn story(story: &Story) -> Value {
    let mut value = json!({
        "persistentId": story.id.to_string(),
        "state": state(story.stage),
        "expires": rfc3339(story.expires),
    });
    let mut set = |name: &str, known: Option<String>| {
        if let Some(known) = known {
            value[name] = known.into();
        }
    };
    set("token", story.token.clone());
    set("platform", story.platform.map(|platform| render::name(platform).to_owned()));
    set("sent", story.sent.map(rfc3339));
    set("ended", story.ended.map(rfc3339));
    set("collapseKey", story.collapse_key.clone());
    set("told", story.told.clone());
    match story.stage {
        Stage::Ended(End::Dropped(why)) => set("reason", Some(why.name().to_owned())),
        Stage::Ended(End::Collapsed { by }) => set("by", by.map(|by: MessageId| by.to_string())),
        _ => {}
    }
    value
}

pub(super) const STATES: [&str; 6] = ["waiting", "sent", "acknowledged", "collapsed", "expired", "dropped"];

fn state(stage: Stage) -> &'static str {
    match stage {
        Stage::Waiting => "waiting",
        Stage::Sent => "sent",
        Stage::Ended(End::Dropped(_)) => "dropped",
        Stage::Ended(end) => end.name(),
    }
}

/// Why a delivery was dropped.
pub(super) fn reasons() -> impl Iterator<Item = &'static str> {
    let why = |end: &End| match end {
        End::Dropped(why) => Some(why.name()),
        _ => None,
    };
    End::ALL.iter().filter_map(why)
}
