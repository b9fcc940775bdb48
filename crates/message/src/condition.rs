//! A condition: an expression over topics, such as `'news' in topics && !('sports' in topics)`
//! (`protocol/http-v1.md` §6).
//!
//! Parentheses come first, then everything else from left to right: `&&` binds no closer than `||`.
//! `!` belongs to what follows it.

use std::str::FromStr;

use crate::limits::is_topic_name;

/// Topics in one condition, each time one is named (`protocol/http-v1.md` §6).
pub const MAX_TOPICS: usize = 5;

/// `(` and `!` inside each other: more than five topics can need.
const MAX_DEPTH: usize = 32;

/// A condition that was understood. Its universe is the registrations of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Topic(Box<str>),
    Not(Box<Condition>),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
}

/// Not a condition, or one of too many topics: FCM does not say which, or why
/// (`protocol/http-v1.md` §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the condition is not well formed, or names more than {MAX_TOPICS} topics")]
pub struct ConditionError;

impl Condition {
    /// Whether it holds for a registration that is a member of those topics.
    pub fn holds(&self, is_member: &impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Topic(name) => is_member(name),
            Self::Not(inner) => !inner.holds(is_member),
            Self::And(left, right) => left.holds(is_member) && right.holds(is_member),
            Self::Or(left, right) => left.holds(is_member) || right.holds(is_member),
        }
    }
}

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        let mut parser = Parser { rest: text, depth: 0, topics: 0 };
        let condition = parser.expression()?;
        if parser.peek().is_some() { Err(ConditionError) } else { Ok(condition) }
    }
}

type Parsed<T> = Result<T, ConditionError>;

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
    topics: usize,
}

impl<'a> Parser<'a> {
    fn expression(&mut self) -> Parsed<Condition> {
        let mut left = self.operand()?;
        loop {
            let join = if self.take("&&") {
                Condition::And
            } else if self.take("||") {
                Condition::Or
            } else {
                return Ok(left);
            };
            left = join(Box::new(left), Box::new(self.operand()?));
        }
    }

    fn operand(&mut self) -> Parsed<Condition> {
        match self.peek() {
            Some('!') => self.inside(|parser| parser.operand().map(|inner| Condition::Not(Box::new(inner)))),
            Some('(') => self.inside(|parser| {
                let inner = parser.expression()?;
                parser.expect(")")?;
                Ok(inner)
            }),
            Some(quote @ ('\'' | '"')) => self.membership(quote),
            _ => Err(ConditionError),
        }
    }

    /// Takes the character that opens it, then the rest, one level deeper.
    fn inside(&mut self, rest: impl FnOnce(&mut Self) -> Parsed<Condition>) -> Parsed<Condition> {
        if self.depth == MAX_DEPTH {
            return Err(ConditionError);
        }
        self.rest = &self.rest[1..];
        self.depth += 1;
        let inner = rest(self);
        self.depth -= 1;
        inner
    }

    /// `'name' in topics`
    fn membership(&mut self, quote: char) -> Parsed<Condition> {
        let (name, rest) = self.rest[1..].split_once(quote).ok_or(ConditionError)?;
        self.rest = rest;
        self.topics += 1;
        if !is_topic_name(name) || self.topics > MAX_TOPICS {
            return Err(ConditionError);
        }
        self.expect("in")?;
        if !self.rest.starts_with(char::is_whitespace) {
            return Err(ConditionError);
        }
        self.expect("topics")?;
        Ok(Condition::Topic(name.into()))
    }

    fn expect(&mut self, word: &str) -> Parsed<()> {
        if self.take(word) { Ok(()) } else { Err(ConditionError) }
    }

    fn take(&mut self, word: &str) -> bool {
        self.peek();
        match self.rest.strip_prefix(word) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// The next character that is not white space.
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With operators as letters: `a` is a topic.
    fn shown(condition: &Condition) -> String {
        match condition {
            Condition::Topic(name) => name.to_string(),
            Condition::Not(inner) => format!("!{}", shown(inner)),
            Condition::And(left, right) => format!("({}&{})", shown(left), shown(right)),
            Condition::Or(left, right) => format!("({}|{})", shown(left), shown(right)),
        }
    }

    fn read(text: &str) -> Option<String> {
        text.parse().ok().map(|condition| shown(&condition))
    }

    #[test]
    fn operators_are_taken_from_left_to_right() {
        for (text, expected) in [
            ("'a' in topics", "a"),
            ("'a' in topics && 'b' in topics || 'c' in topics", "((a&b)|c)"),
            ("'a' in topics || 'b' in topics && 'c' in topics", "((a|b)&c)"),
            ("'a' in topics || ('b' in topics && 'c' in topics)", "(a|(b&c))"),
            ("!('a' in topics)", "!a"),
            ("!'a' in topics && 'b' in topics", "(!a&b)"),
            ("!!(('a' in topics))", "!!a"),
            ("'a'in topics&&'b'in topics", "(a&b)"),
            ("  \"a\"\n in\ttopics ", "a"),
            ("'a-._~%9' in topics", "a-._~%9"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        let long = format!("'{}' in topics", "x".repeat(901));
        let deep = format!("{}'a' in topics{}", "(".repeat(33), ")".repeat(33));
        let six = ["'a' in topics"; 6].join(" || ");
        for text in [
            "",
            " ",
            "a",
            "'a'",
            "'a' in",
            "'a' in topic",
            "'a' intopics",
            "'a' in topics &&",
            "'a' in topics & 'b' in topics",
            "'a' in topics 'b' in topics",
            "&& 'a' in topics",
            "('a' in topics",
            "'a' in topics)",
            "()",
            "!",
            "'' in topics",
            "'a b' in topics",
            "'/topics/a' in topics",
            "'a\" in topics",
            "'a in topics",
            "'ä' in topics",
            "a in topics",
            long.as_str(),
            deep.as_str(),
            six.as_str(),
        ] {
            assert_eq!(text.parse::<Condition>(), Err(ConditionError), "{text}");
        }
        assert!(["'a' in topics"; 5].join("||").parse::<Condition>().is_ok());
        assert!(format!("{}'a' in topics{}", "(".repeat(32), ")".repeat(32)).parse::<Condition>().is_ok());
    }

    #[test]
    fn a_condition_holds_by_membership() {
        let condition: Condition = "'a' in topics || 'b' in topics && !('c' in topics)".parse().unwrap();
        for (member_of, holds) in
            [("", false), ("a", true), ("b", true), ("c", false), ("ac", false), ("abc", false)]
        {
            assert_eq!(condition.holds(&|topic: &str| member_of.contains(topic)), holds, "{member_of}");
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        /// A flat chain of operands, written down, and its value taken naively from left to right.
        fn chain() -> impl Strategy<Value = (Vec<(bool, bool, u8)>, u8)> {
            (prop::collection::vec((any::<bool>(), any::<bool>(), 0..4u8), 1..=MAX_TOPICS), any::<u8>())
        }

        proptest! {
            #[test]
            fn chains_are_worth_what_a_pocket_calculator_says((chain, members) in chain()) {
                let is_member = |topic: u8| members >> topic & 1 == 1;
                let mut text = String::new();
                let mut value = false;
                for (index, (negated, and, topic)) in chain.iter().enumerate() {
                    let operand = is_member(*topic) != *negated;
                    let not = if *negated { "!" } else { "" };
                    let join = match (index, and) {
                        (0, _) => "",
                        (_, true) => " && ",
                        (_, false) => "||",
                    };
                    value = match (index, and) {
                        (0, _) => operand,
                        (_, true) => value && operand,
                        (_, false) => value || operand,
                    };
                    text += &format!("{join}{not}'t{topic}' in topics");
                }
                let condition: Condition = text.parse().unwrap();
                let holds = condition.holds(&|name: &str| is_member(name[1..].parse().unwrap()));
                prop_assert_eq!(holds, value, "{}", text);
            }

            #[test]
            fn any_text_is_answered(text in "[!()'\"a-c &|intopcs]{0,60}|.{0,40}") {
                let _ = text.parse::<Condition>();
            }
        }
    }
}
