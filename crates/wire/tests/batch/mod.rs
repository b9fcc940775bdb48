//! Batches as each SDK writes them (the files beside this one), and answers as each reads them.

mod properties;
mod readers;
mod requests;

use cresset_wire::batch::{BatchError, Boundary, Part, read};

/// What the parts of `body` are, by the value of its `Content-Type`.
fn parts<'a>(content_type: &str, body: &'a [u8]) -> Result<Vec<Part<'a>>, BatchError> {
    read(&Boundary::of(content_type)?, body)
}
