//! apns tokens: which registration of an app has an APNs device token, so that two never have the same.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use cresset_message::ProjectNumber;

use crate::{RowKey, Table};

/// A token may be longer than a partition key, so that here its digest stands.
pub fn key(project: ProjectNumber, bundle_id: &str, sandbox: bool, token: &str) -> RowKey {
    let name = format!("{project}\0{bundle_id}\0{sandbox}\0{token}");
    let digest = digest(&SHA256, name.as_bytes());
    RowKey::new(Table::ApnsTokens, digest.as_ref().to_vec(), Bytes::new())
}
