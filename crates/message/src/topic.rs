//! The name of a topic.

use std::fmt;
use std::str::FromStr;

use crate::ids::IdError;
use crate::limits::is_topic_name;

/// A topic's name, without `/topics/`. Some SDKs let names begin with `private/`
/// (`protocol/topics-and-batch.md` §3).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Box<str>);

impl Topic {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// With `/topics/` or without.
impl FromStr for Topic {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let name = text.strip_prefix("/topics/").unwrap_or(text);
        match is_topic_name(name.strip_prefix("private/").unwrap_or(name)) {
            true => Ok(Self(name.into())),
            false => {
                Err(IdError { what: "topic", problem: "must have 1 to 900 characters of a-zA-Z0-9-_.~%" })
            }
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_may_be_there() {
        for text in ["/topics/news", "news"] {
            assert_eq!(text.parse::<Topic>().unwrap().as_str(), "news");
        }
        assert_eq!("/topics/private/me".parse::<Topic>().unwrap().as_str(), "private/me");
        for bad in ["", "/topics/", "a b", "/topics//topics/a", "private/", "a/b", &"x".repeat(901)] {
            assert!(bad.parse::<Topic>().is_err(), "{bad}");
        }
    }
}
