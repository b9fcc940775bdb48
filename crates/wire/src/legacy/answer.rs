//! Answers over HTTP, written compactly: clients search the raw text (`protocol/legacy-http.md` §5, §6).

use serde::Serialize;

use super::LegacyError;

/// What became of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenResult {
    /// The id of its message, and the token that has taken the place of the one that was given.
    Sent {
        message_id: String,
        canonical: Option<String>,
    },
    Failed(LegacyError),
}

/// What every message is called that was only checked (§4.2, `dry_run`).
pub const FAKE_ID: &str = "fake_message_id";

#[derive(Serialize)]
struct Multicast<'a> {
    multicast_id: i64,
    success: usize,
    failure: usize,
    canonical_ids: usize,
    results: Vec<One<'a>>,
}

#[derive(Serialize)]
struct One<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

/// For tokens, one or many, in the order of the request (§6.1).
pub fn tokens(multicast_id: i64, results: &[TokenResult]) -> String {
    let results: Vec<One<'_>> = results.iter().map(One::of).collect();
    let sent = results.iter().filter(|one| one.message_id.is_some()).count();
    compact(&Multicast {
        multicast_id,
        success: sent,
        failure: results.len() - sent,
        canonical_ids: results.iter().filter(|one| one.registration_id.is_some()).count(),
        results,
    })
}

impl<'a> One<'a> {
    fn of(result: &'a TokenResult) -> Self {
        match result {
            TokenResult::Sent { message_id, canonical } => {
                Self { message_id: Some(message_id), registration_id: canonical.as_deref(), error: None }
            }
            TokenResult::Failed(error) => {
                Self { message_id: None, registration_id: None, error: Some(error.word()) }
            }
        }
    }
}

/// For a topic or a condition: the id is a number (§6.3).
pub fn set(message_id: u64) -> String {
    #[derive(Serialize)]
    struct Sent {
        message_id: u64,
    }
    compact(&Sent { message_id })
}

pub fn set_failed(error: &LegacyError) -> String {
    #[derive(Serialize)]
    struct Failed {
        error: &'static str,
    }
    compact(&Failed { error: error.word() })
}

/// For a device group: how many members got it, and the tokens of those worth another try (§6.4).
pub fn group(success: usize, failed: &[String]) -> String {
    #[derive(Serialize)]
    struct Group<'a> {
        success: usize,
        failure: usize,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        failed_registration_ids: &'a [String],
    }
    compact(&Group { success, failure: failed.len(), failed_registration_ids: failed })
}

/// As lines of text (§5).
pub fn plain(result: &TokenResult) -> String {
    match result {
        TokenResult::Sent { message_id, canonical: None } => format!("id={message_id}"),
        TokenResult::Sent { message_id, canonical: Some(token) } => {
            format!("id={message_id}\nregistration_id={token}")
        }
        TokenResult::Failed(error) => format!("Error={}", error.word()),
    }
}

/// 401 is a page (§2). Clients look for the word `Unauthorized` in it.
pub const UNAUTHORIZED: &str = "<HTML>\n<HEAD>\n<TITLE>Unauthorized</TITLE>\n</HEAD>\n<BODY>\n<H1>Unauthorized</H1>\n<H2>Error 401</H2>\n</BODY>\n</HTML>\n";

fn compact(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain structures with text keys")
}
