//! `POST /fcm/send` and `/gcm/send`: the protocol before v1 (`protocol/legacy-http.md`), as JSON and as
//! a form. Its shapes are in `wire::legacy`; here is who may, and which answer it is.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use cresset_delivery::{Accepted, GroupSent, Sent};
use cresset_identity::Sender;
use cresset_message::Rejection;
use cresset_wire::legacy::answer::{self, TokenResult};
use cresset_wire::legacy::{Downstream, LegacyError, Refused, Targets, read_form, read_json};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::Api;
use crate::body::{self, BodyError, header_text};
use crate::groups::server_key;
use crate::v1::send::{Answer, bearer};

/// Bytes of a JSON body: a thousand tokens have some 180 KB, and Google refused about as much (§4.5).
const MAX_BODY: usize = 1 << 20;

/// Bytes of a form, which has one recipient; a byte of its 4 KB may be written as three.
const MAX_FORM: usize = 64 << 10;

const TEXT: &str = "text/plain; charset=UTF-8";
const HTML: &str = "text/html; charset=UTF-8";

pub(crate) async fn send(State(api): State<Api>, headers: HeaderMap, body: Body) -> Response {
    let sender = match admit(&api, &headers) {
        Ok(sender) => sender,
        Err(rejection) => {
            count(&api, &Err(rejection.clone()));
            return unauthorized(&rejection);
        }
    };
    let json = is_json(&headers);
    let body = match body::read(&headers, body, if json { MAX_BODY } else { MAX_FORM }).await {
        Ok(body) => body,
        Err(error) => {
            count(&api, &Err(Rejection::BodyTooLarge { limit: MAX_BODY }));
            return unread(&error);
        }
    };
    if json { send_json(&api, &sender, &body).await } else { send_form(&api, &sender, &body).await }
}

/// The project of a server key, or of an access token as Node's SDK has it (§2).
fn admit(api: &Api, headers: &HeaderMap) -> Result<Sender, Rejection> {
    match server_key(headers) {
        Some(key) => api.identity.authenticate_server_key(key),
        None => api.identity.authenticate(bearer(headers), (api.clock)()),
    }
}

/// Anything else, also nothing, is a form (§3).
fn is_json(headers: &HeaderMap) -> bool {
    let kind = header_text(headers, "content-type");
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

async fn send_json(api: &Api, sender: &Sender, body: &Bytes) -> Response {
    let read = match read_json(body, (api.clock)()) {
        Ok(read) => read,
        Err(refused) => return refused_json(api, &refused),
    };
    match read.targets {
        Targets::Tokens(_) => send_to_many(api, sender, read).await,
        Targets::To(_) => match send_one(api, sender, read).await {
            One::Group(group) => json(answer::group(group.sent, &group.failed)),
            One::Token(result) => of_tokens(api, &[result]),
        },
        Targets::Topic(_) | Targets::Condition(_) => match send_one(api, sender, read).await {
            One::Token(TokenResult::Sent { message_id, .. }) => {
                json(answer::set(message_id.parse().unwrap_or_default()))
            }
            One::Token(TokenResult::Failed(error)) => failed_set(&error),
            // A topic is no group.
            One::Group(_) => failed_set(&LegacyError::InternalServerError),
        },
    }
}

/// A recipient that is refused is told by a word, in the shape that it would be answered in; all else by
/// a line of text.
fn refused_json(api: &Api, refused: &Refused) -> Response {
    let count = match &refused.targets {
        Some(Targets::Tokens(tokens)) => tokens.len(),
        _ => 1,
    };
    (0..count).for_each(|_| self::count(api, &Err(Rejection::Unparsable(Vec::new()))));
    match (refused.error.text(), &refused.targets) {
        (Some(text), _) => text_line(StatusCode::BAD_REQUEST, &text),
        (None, Some(Targets::Topic(_) | Targets::Condition(_))) => failed_set(&refused.error),
        (None, _) => of_tokens(api, &vec![TokenResult::Failed(refused.error.clone()); count]),
    }
}

enum One {
    Token(TokenResult),
    Group(GroupSent),
}

/// To a token, a topic, a condition or a group, as the message's target says.
async fn send_one(api: &Api, sender: &Sender, read: Downstream) -> One {
    let to_set = read.message.target.is_set();
    let sent = api.dispatcher.send_in_full(sender.number, read.message, read.dry_run, (api.clock)()).await;
    count(api, &sent.as_ref().map(drop).map_err(Rejection::clone));
    match sent {
        Ok(Sent::Group(group)) => One::Group(group),
        Ok(Sent::One(accepted)) if to_set => One::Token(sent_as(accepted.id.micros.to_string(), None)),
        Ok(Sent::One(accepted)) => One::Token(told(api, accepted, read.dry_run).await),
        Err(rejection) => One::Token(TokenResult::Failed((&rejection).into())),
    }
}

async fn send_to_many(api: &Api, sender: &Sender, read: Downstream) -> Response {
    let Targets::Tokens(tokens) = read.targets else { return of_tokens(api, &[]) };
    let (now, dry_run) = ((api.clock)(), read.dry_run);
    let outcomes = api.dispatcher.send_many(sender.number, read.message, tokens, dry_run, now).await;
    let mut results = Vec::with_capacity(outcomes.len());
    for outcome in outcomes {
        count(api, &outcome.as_ref().map(drop).map_err(Rejection::clone));
        results.push(match outcome {
            Ok(accepted) => told(api, accepted, dry_run).await,
            Err(rejection) => TokenResult::Failed((&rejection).into()),
        });
    }
    of_tokens(api, &results)
}

/// With the canonical token, where there is one (§8).
async fn told(api: &Api, accepted: Accepted, dry_run: bool) -> TokenResult {
    let id = if dry_run { answer::FAKE_ID.to_owned() } else { accepted.id.to_string() };
    let Some(successor) = accepted.successor else { return sent_as(id, None) };
    // The message is accepted; not to know a better token is no failure.
    sent_as(id, api.dispatcher.token_of(successor, (api.clock)()).await.ok().flatten())
}

fn sent_as(message_id: String, canonical: Option<String>) -> TokenResult {
    TokenResult::Sent { message_id, canonical }
}

/// 200, whatever became of them; but if nothing was accepted, and that is our fault, all may come again.
fn of_tokens(api: &Api, results: &[TokenResult]) -> Response {
    let ours = |result: &TokenResult| match result {
        TokenResult::Failed(error) => Some(error).filter(|error| error.status() >= 500).cloned(),
        TokenResult::Sent { .. } => None,
    };
    let all: Option<Vec<LegacyError>> = results.iter().map(ours).collect();
    match all.as_deref() {
        Some([error, ..]) => server_error(error),
        _ => {
            // A positive number of 63 bits (§6.1).
            let multicast_id = (api.dispatcher.next_id((api.clock)()).unique >> 1).max(1);
            json(answer::tokens(i64::try_from(multicast_id).unwrap_or(i64::MAX), results))
        }
    }
}

fn failed_set(error: &LegacyError) -> Response {
    if error.status() >= 500 { server_error(error) } else { json(answer::set_failed(error)) }
}

/// One recipient, and an answer in lines (§5).
async fn send_form(api: &Api, sender: &Sender, body: &Bytes) -> Response {
    let fields: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
    let result = match read_form(&fields, (api.clock)()) {
        Ok(read) => send_one(api, sender, read).await,
        Err(refused) => {
            count(api, &Err(Rejection::Unparsable(Vec::new())));
            One::Token(TokenResult::Failed(refused.error))
        }
    };
    match result {
        One::Token(TokenResult::Failed(error)) if error.status() >= 500 => server_error(&error),
        One::Token(result) => crate::with_type(StatusCode::OK, TEXT, answer::plain(&result)),
        // Forms have no shape for it (inferred): its members have it, under this id.
        One::Group(GroupSent { id: Some(id), .. }) => {
            crate::with_type(StatusCode::OK, TEXT, answer::plain(&sent_as(id.to_string(), None)))
        }
        One::Group(GroupSent { refusal, .. }) => {
            let error = refusal.as_ref().map_or(LegacyError::NotRegistered, LegacyError::from);
            crate::with_type(StatusCode::OK, TEXT, answer::plain(&TokenResult::Failed(error)))
        }
    }
}

fn json(body: String) -> Response {
    crate::json(StatusCode::OK, body)
}

fn text_line(status: StatusCode, text: &str) -> Response {
    crate::with_type(status, TEXT, format!("{text}\n"))
}

/// With `Retry-After`, in whole seconds: clients obey it whatever the status, so that nothing else has
/// one (§7).
fn server_error(error: &LegacyError) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = text_line(status, error.word());
    if let Some(seconds) = error.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A page, in which clients look for the word (§2).
fn unauthorized(rejection: &Rejection) -> Response {
    let mut response = crate::with_type(StatusCode::UNAUTHORIZED, HTML, answer::UNAUTHORIZED);
    let challenge = Answer::refusal(rejection).headers;
    response.headers_mut().extend(challenge);
    response
}

fn unread(error: &BodyError) -> Response {
    match error {
        BodyError::TooLarge => text_line(StatusCode::PAYLOAD_TOO_LARGE, "The request body is too large"),
        BodyError::TooSlow | BodyError::Unreadable => {
            text_line(StatusCode::BAD_REQUEST, "The request body could not be read")
        }
    }
}

fn count(api: &Api, outcome: &Result<(), Rejection>) {
    api.sends.count(outcome);
}
