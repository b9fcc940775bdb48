//! What each platform receives of a message, held against files: one case for each message of FCM's
//! guides, and for each field of the schema.

mod apns;
mod coverage;
mod golden;
mod properties;
pub(crate) mod render;
