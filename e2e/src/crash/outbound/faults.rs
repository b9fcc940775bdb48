//! What push services do wrong, one thing after the other, while the server lives.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cresset_e2e::Outside;
use cresset_e2e::fakes::{Answer, Fault};

use crate::chance::Chance;

/// Between two: a pause that follows a failure lasts up to a second (`outbound/src/courier.rs`).
const SHORTEST: Duration = Duration::from_millis(30);
const LONGEST: Duration = Duration::from_millis(250);
/// Connections are refused for so long.
const REFUSED: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Unavailable,
    Broken,
    TooMany,
    Cut,
    CutAfterTaking,
    GoAway,
    GoAwayAfterTaking,
    Reset,
    Slow,
    CutAll,
    Refuse,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::CutAfterTaking,
        Self::Unavailable,
        Self::Slow,
        Self::GoAway,
        Self::CutAll,
        Self::Reset,
        Self::Broken,
        Self::GoAwayAfterTaking,
        Self::Cut,
        Self::TooMany,
        Self::Refuse,
    ];

    /// What a request meets; `None`: it is done to the service itself.
    fn fault(self) -> Option<Fault> {
        let shutdown = || r#"{"reason":"Shutdown"}"#.to_owned();
        Some(match self {
            Self::Unavailable => Fault::Answer(Answer::new(503, r#"{"reason":"ServiceUnavailable"}"#)),
            Self::Broken => Fault::Answer(Answer::new(500, r#"{"reason":"InternalServerError"}"#)),
            Self::TooMany => {
                Fault::Answer(Answer::new(429, r#"{"reason":"TooManyRequests"}"#).with("retry-after", "0"))
            }
            Self::Cut => Fault::Cut,
            Self::CutAfterTaking => Fault::CutAfter,
            Self::GoAway => Fault::GoAway(shutdown()),
            Self::GoAwayAfterTaking => Fault::GoAwayAfter(shutdown()),
            // CANCEL (RFC 9113 §7).
            Self::Reset => Fault::Reset(8),
            Self::Slow => Fault::Delay(Duration::from_millis(120)),
            Self::CutAll | Self::Refuse => return None,
        })
    }
}

/// How often each was put in the way of requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Met(BTreeMap<Kind, u64>);

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(|(kind, times)| format!("{kind:?} {times}")).collect();
        f.write_str(&words.join(", "))
    }
}

pub(super) struct Faults {
    outside: Arc<Outside>,
    /// They have their turns, over all rounds.
    next: usize,
    met: Met,
}

impl Faults {
    pub(super) fn new(outside: &Arc<Outside>) -> Self {
        Self { outside: outside.clone(), next: 0, met: Met::default() }
    }

    pub(super) fn met(&self) -> Met {
        self.met.clone()
    }

    /// Does not end.
    pub(super) async fn run(&mut self, mut chance: Chance) {
        loop {
            tokio::time::sleep(chance.between(SHORTEST, LONGEST)).await;
            let kind = Kind::ALL[self.next / 2 % Kind::ALL.len()];
            let web = self.next.is_multiple_of(2);
            self.next += 1;
            *self.met.0.entry(kind).or_default() += 1;
            let Outside { web: service, apns, .. } = &*self.outside;
            match kind.fault() {
                Some(fault) if web => service.next(1, &fault),
                Some(fault) => apns.next(1, &fault),
                None if kind == Kind::CutAll && web => service.cut_all().await,
                None if kind == Kind::CutAll => apns.cut_all().await,
                None => {
                    service.refuse_connections(web);
                    apns.refuse_connections(!web);
                    service.cut_all().await;
                    apns.cut_all().await;
                    tokio::time::sleep(REFUSED).await;
                    service.refuse_connections(false);
                    apns.refuse_connections(false);
                }
            }
        }
    }

    /// Nothing goes wrong any more.
    pub(super) fn settle(&self) {
        self.outside.web.forget_faults();
        self.outside.apns.forget_faults();
        self.outside.web.refuse_connections(false);
        self.outside.apns.refuse_connections(false);
    }
}
