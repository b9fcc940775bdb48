//! What the simulation knows of its world without asking the server: apps and what they asked for,
//! messages and what their senders were answered. Between asking and being answered, and after an
//! answer that never came, nobody knows: `Known::Maybe`.

use std::collections::BTreeMap;
use std::ops::Not;
use std::time::Duration;

use cresset_message::{
    AndroidConfig, ApnsConfig, FcmOptions, Message, MessageId, Priority, Target, WebpushConfig,
    WebpushFcmOptions,
};

use crate::dice::Dice;
use crate::journal::Moment;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Yes,
    No,
    Maybe,
}

impl From<bool> for Known {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

impl Not for Known {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
        }
    }
}

impl Known {
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Maybe,
        }
    }

    pub(crate) fn or(self, other: Self) -> Self {
        !(!self).and(!other)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Android,
    Web,
}

/// An app on a phone, or a page in a browser.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) kind: Kind,
    pub(crate) project: usize,
    /// A push service carries what is for it.
    pub(crate) outside: bool,
    /// So many subscriptions it has had there before: each has an endpoint of its own.
    pub(crate) generation: u64,
    /// Where it is, and was.
    pub(crate) phones: Vec<usize>,
    /// The registration it has, if it has one.
    pub(crate) registration: Option<usize>,
    /// Since when it has been trying to register.
    pub(crate) trying: Option<Moment>,
    /// Something was asked, and not answered yet.
    pub(crate) busy: bool,
}

#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) app: usize,
    pub(crate) generation: u64,
    pub(crate) token: String,
    /// When it may have come to be, and when it certainly had.
    pub(crate) tried: Moment,
    pub(crate) born: Moment,
    /// When it may have ended, and when it certainly had.
    pub(crate) ending: Option<Moment>,
    pub(crate) ended: Option<Moment>,
    pub(crate) topics: BTreeMap<usize, Vec<Change>>,
    /// When it was pointed at another device.
    pub(crate) moved: Vec<Move>,
}

/// A registration is pointed at another device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Move {
    pub(crate) begun: Moment,
    /// When success was told.
    pub(crate) done: Option<Moment>,
}

/// A topic joined or left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) begun: Moment,
    pub(crate) join: bool,
    /// When success was told.
    pub(crate) done: Option<Moment>,
}

impl Registration {
    /// Whether it was there from one moment to another.
    pub(crate) fn lived(&self, from: Moment, to: Moment) -> Known {
        if self.tried > to || self.ended.is_some_and(|ended| ended < from) {
            return Known::No;
        }
        match self.born <= from && self.ending.is_none_or(|ending| ending > to) {
            true => Known::Yes,
            false => Known::Maybe,
        }
    }

    /// Whether it was in a topic from one moment to another.
    pub(crate) fn was_in(&self, topic: usize, from: Moment, to: Moment) -> Known {
        let changes = self.topics.get(&topic).into_iter().flatten();
        let member = changes.take_while(|change| change.begun <= to).fold(Known::No, |member, change| {
            let known = Known::from(change.join);
            if change.done.is_some_and(|done| done < from) || member == known { known } else { Known::Maybe }
        });
        member.and(self.lived(from, to))
    }
}

/// A condition, evaluated as FCM does: from left to right.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    first: Part,
    then: Vec<(bool, Part)>,
}

#[derive(Clone, Debug)]
enum Part {
    Topic(usize),
    NotTopic(usize),
    Both(usize, usize),
    NotBoth(usize, usize),
}

impl Condition {
    pub(crate) fn any(dice: &mut Dice, topics: usize) -> Self {
        let mut part = || match dice.below(6) {
            0 => Part::NotTopic(dice.index(topics)),
            1 => Part::Both(dice.index(topics), dice.index(topics)),
            2 => Part::NotBoth(dice.index(topics), dice.index(topics)),
            _ => Part::Topic(dice.index(topics)),
        };
        let (first, second) = (part(), part());
        Self { first, then: vec![(dice.percent(50), second)] }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = self.first.text();
        for (and, part) in &self.then {
            text = format!("{text} {} {}", if *and { "&&" } else { "||" }, part.text());
        }
        text
    }

    pub(crate) fn holds(&self, is_in: &dyn Fn(usize) -> Known) -> Known {
        self.then.iter().fold(self.first.holds(is_in), |known, (and, part)| match and {
            true => known.and(part.holds(is_in)),
            false => known.or(part.holds(is_in)),
        })
    }
}

impl Part {
    fn text(&self) -> String {
        let topic = |topic: &usize| format!("'{}' in topics", topic_name(*topic));
        match self {
            Self::Topic(a) => topic(a),
            Self::NotTopic(a) => format!("!({})", topic(a)),
            Self::Both(a, b) => format!("({} && {})", topic(a), topic(b)),
            Self::NotBoth(a, b) => format!("!({} && {})", topic(a), topic(b)),
        }
    }

    fn holds(&self, is_in: &dyn Fn(usize) -> Known) -> Known {
        match self {
            Self::Topic(a) => is_in(*a),
            Self::NotTopic(a) => !is_in(*a),
            Self::Both(a, b) => is_in(*a).and(is_in(*b)),
            Self::NotBoth(a, b) => !is_in(*a).and(is_in(*b)),
        }
    }
}

pub(crate) fn topic_name(topic: usize) -> String {
    format!("t{topic}")
}

#[derive(Clone, Debug)]
pub(crate) enum To {
    Registration(usize),
    Topic(usize),
    Condition(Condition),
    /// The members, as its makers were told.
    Group(Vec<usize>),
}

/// What a message says of its own delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) ttl: Duration,
    pub(crate) key: Option<String>,
    pub(crate) high: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    None,
    Accepted(MessageId),
    /// For good: nobody is to get it.
    Refused(String),
    /// The server could not, or was gone: it may be there or not.
    Unknown(String),
}

/// A message, and what became of it as its sender knows.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) project: usize,
    pub(crate) to: To,
    pub(crate) android: Terms,
    pub(crate) web: Terms,
    pub(crate) begun: Moment,
    pub(crate) answer: Answer,
    pub(crate) answered: Moment,
    /// When its project was first seen with nothing left to spread.
    pub(crate) spread: Option<Moment>,
    /// Ids begin anew when the clock was far ahead before a restart.
    pub(crate) era: usize,
    /// The life of the server that was asked.
    pub(crate) life: usize,
}

impl Sent {
    pub(crate) fn terms(&self, kind: Kind) -> &Terms {
        match kind {
            Kind::Android => &self.android,
            Kind::Web => &self.web,
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        matches!(self.to, To::Topic(_) | To::Condition(_))
    }

    pub(crate) fn id(&self) -> Option<MessageId> {
        match self.answer {
            Answer::Accepted(id) => Some(id),
            _ => None,
        }
    }

    pub(crate) fn may_be_there(&self) -> bool {
        !matches!(self.answer, Answer::Refused(_))
    }

    /// The message, for a target.
    pub(crate) fn message(&self, number: usize, target: Target) -> Message {
        let mut headers = vec![("TTL".to_owned(), self.web.ttl.as_secs().to_string())];
        headers.extend(self.web.key.clone().map(|key| ("Topic".to_owned(), key)));
        headers.extend(self.web.high.then(|| ("Urgency".to_owned(), "high".to_owned())));
        Message {
            target,
            data: vec![("n".to_owned(), number.to_string())],
            notification: None,
            android: Some(AndroidConfig {
                collapse_key: self.android.key.clone(),
                priority: Some(if self.android.high { Priority::High } else { Priority::Normal }),
                ttl: Some(self.android.ttl),
                ..AndroidConfig::default()
            }),
            webpush: Some(WebpushConfig {
                headers,
                data: Vec::new(),
                notification: None,
                fcm_options: WebpushFcmOptions::default(),
            }),
            // Now or never for all, if it is that for the others.
            apns: (self.android.ttl.is_zero() && self.web.ttl.is_zero()).then(|| ApnsConfig {
                headers: vec![("apns-expiration".to_owned(), "0".to_owned())],
                ..ApnsConfig::default()
            }),
            fcm_options: FcmOptions::default(),
            receipt_id: None,
        }
    }
}

impl Terms {
    pub(crate) fn any(dice: &mut Dice) -> Self {
        const DAY: u64 = 86_400;
        let ttl = match dice.below(10) {
            0 => 0,
            1 => dice.between(1, 60),
            2 => dice.between(60, 3_600),
            3 => dice.between(3_600, 3 * DAY),
            _ => 28 * DAY,
        };
        let key = dice.percent(30).then(|| format!("k{}", dice.below(6)));
        Self { ttl: Duration::from_secs(ttl), key, high: dice.percent(40) }
    }
}
