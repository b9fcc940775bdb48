//! Typed tables on top of the seam: keys, and versioned records. A record is one byte of version
//! and a protobuf body; numbers of fields are never used again.

pub mod apns_tokens;
pub mod bodies;
pub mod carried;
pub mod counters;
pub mod devices;
pub mod events;
pub mod fanouts;
pub mod fids;
pub mod groups;
pub mod inbox;
pub mod jobs;
pub mod members;
pub mod message;
pub mod projects;
pub mod registrations;
pub mod upstream;

use crate::StoreError;

const VERSION: u8 = 1;

fn encode(record: &impl prost::Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + record.encoded_len());
    bytes.push(VERSION);
    record.encode(&mut bytes).expect("a vector has room");
    bytes
}

fn decode<R: prost::Message + Default>(table: &'static str, bytes: &[u8]) -> Result<R, StoreError> {
    match bytes {
        [VERSION, body @ ..] => {
            R::decode(body).map_err(|e| StoreError::Damaged(format!("a row of {table} cannot be read: {e}")))
        }
        [other, ..] => Err(StoreError::Damaged(format!("a row of {table} has the unknown version {other}"))),
        [] => Err(StoreError::Damaged(format!("a row of {table} is empty"))),
    }
}
