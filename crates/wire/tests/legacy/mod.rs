//! The legacy protocols' message, by its front door (`protocol/legacy-http.md`).

mod answers;
mod forms;
mod golden;
mod properties;
mod refusals;
mod targets;

use cresset_wire::legacy::{Downstream, Refused, read_json};

use crate::payload::render::NOW;

fn read(body: &str) -> Downstream {
    read_json(body.as_bytes(), NOW).unwrap_or_else(|e| panic!("{e:?} for {body}"))
}

fn refused(body: &str) -> Refused {
    match read_json(body.as_bytes(), NOW) {
        Err(refused) => refused,
        Ok(read) => panic!("{read:?} for {body}"),
    }
}
