//! What reading a request costs: the largest documented message, and bodies made to hurt.

use std::fmt::Write as _;
use std::time::Duration;

use cresset_e2e::Outcome;
use cresset_message::limits;
use cresset_wire::v1::{parse_send_request, render};

use crate::figures::median;
use crate::process::load;

/// Every field there is, once.
const FULL: &str = include_str!("../../crates/wire/tests/v1/full.json");

/// The largest body that the API reads.
const MAX_BODY: usize = 128 * 1_024;

const ROUNDS: usize = 20_000;
const BOMB_ROUNDS: usize = 50;

pub(crate) fn measure() -> Outcome<()> {
    println!("parse: reading and checking a body, in microseconds of one core   (load {})", load());
    let largest = largest();
    parse_send_request(largest.as_bytes())
        .and_then(|request| limits::check(&request.message))
        .map_err(|e| format!("the largest message is refused: {e:?}"))?;
    let (median, worst) = time(largest.as_bytes(), ROUNDS)?;
    println!("  every field, {} bytes: median {median:.1}, p99 {worst:.1}", largest.len());
    for (name, body) in bombs() {
        let (median, worst) = time(body.as_bytes(), BOMB_ROUNDS)?;
        println!("  bomb, {name}, {} bytes: median {median:.0}, worst {worst:.0}", body.len());
    }
    Ok(())
}

/// The full message, filled up with data to what a platform may get.
fn largest() -> String {
    let with = |filler: usize| {
        let data = format!("\"data\": {{ \"filler\": \"{}\",", "x".repeat(filler));
        FULL.replacen("\"data\": {", &data, 1)
            .replace("\"token\": \"fGw0qy4TGgk:APA91b-example\"", "\"topic\": \"t\"")
    };
    let fits = |filler: &usize| {
        let request = parse_send_request(with(*filler).as_bytes());
        request.is_ok_and(|request| limits::check(&request.message).is_ok())
    };
    with((0..limits::MAX_PAYLOAD).rev().find(fits).unwrap_or(0))
}

/// The median and the worst (of many: the 99th percentile) time of a whole answer.
fn time(body: &[u8], rounds: usize) -> Outcome<(f64, f64)> {
    let mut micros = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let begun = spent()?;
        match parse_send_request(body) {
            Ok(request) => drop(std::hint::black_box(limits::check(&request.message))),
            Err(rejection) => drop(std::hint::black_box(render(&rejection))),
        }
        micros.push((spent()? - begun).as_secs_f64() * 1e6);
    }
    let middle = median(micros.clone());
    micros.sort_by(f64::total_cmp);
    Ok((middle, micros[rounds * 99 / 100]))
}

/// CPU time of this thread: what others do on the machine is not in it.
fn spent() -> Outcome<Duration> {
    Ok(nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// Bodies of the largest size, each dear in its own way.
fn bombs() -> Vec<(&'static str, String)> {
    let repeated = |prefix: &str, unit: &str, suffix: &str| {
        let room = MAX_BODY - prefix.len() - suffix.len();
        format!("{prefix}{}{suffix}", unit.repeat(room / unit.len()))
    };
    let numbered = |prefix: &str, unit: fn(usize) -> String, suffix: &str| {
        let mut body = prefix.to_owned();
        for n in 0.. {
            let next = unit(n);
            if body.len() + next.len() + suffix.len() > MAX_BODY {
                break;
            }
            write!(body, "{next}").expect("a string has room");
        }
        body + suffix
    };
    vec![
        ("deep", repeated("", "{\"a\":[", "")),
        ("wide: unknown names", numbered("{", |n| format!("\"{n}\":0,"), "}")),
        (
            "wide: a map of different keys",
            numbered("{\"message\":{\"data\":{", |n| format!("\"{n}\":\"\","), "}}}"),
        ),
        ("wide: a map of one key", repeated("{\"message\":{\"data\":{", "\"a\":\"\",", "}}}")),
        (
            "wide: a map of wrong values",
            numbered("{\"message\":{\"data\":{", |n| format!("\"{n}\":1,"), "}}}"),
        ),
        (
            "wide: free JSON",
            numbered(
                "{\"message\":{\"topic\":\"t\",\"apns\":{\"payload\":{",
                |n| format!("\"{n}\":[{{}}],"),
                "}}}}",
            ),
        ),
        ("wide: one field again and again", repeated("{", "\"message\":{},", "}")),
        (
            "a list of wrong elements",
            repeated("{\"message\":{\"android\":{\"notification\":{\"body_loc_args\":[", "1,", "]}}}}"),
        ),
        ("a huge number", repeated("{\"message\":", "9", "}")),
        ("a huge fraction", repeated("{\"message\":{\"apns\":{\"payload\":{\"n\":0.", "9", "}}}}")),
        (
            "many numbers",
            repeated("{\"message\":{\"apns\":{\"payload\":{\"n\":[", "1.7976931348623157e308,", "]}}}}"),
        ),
        ("a long key", repeated("{\"", "k", "\":0}")),
        ("a long key of escapes", repeated("{\"", "\\u00e9", "\":0}")),
        ("long keys, all wrong", numbered("{", |n| format!("\"{n}{}\":0,", "k".repeat(1_200)), "}")),
        ("white space", repeated("", " ", "{}")),
    ]
}
