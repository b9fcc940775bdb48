//! projects: one record a project, with its apps and credentials, so that every edit is one
//! compare-and-set. Few enough to be held in memory by whoever serves them.

use crate::{RowKey, StoreError, Table};

/// All projects stand in one partition, by id.
pub const PARTITION: &[u8] = b"projects";

#[derive(Clone, PartialEq, prost::Message)]
pub struct ProjectRecord {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    #[prost(string, tag = "2")]
    pub display_name: String,
    #[prost(uint64, tag = "3")]
    pub created_millis: u64,
    #[prost(message, repeated, tag = "4")]
    pub apps: Vec<AppRecord>,
    #[prost(message, repeated, tag = "5")]
    pub service_accounts: Vec<ServiceAccountRecord>,
    #[prost(string, repeated, tag = "6")]
    pub api_keys: Vec<String>,
    /// Of the legacy protocols.
    #[prost(string, repeated, tag = "7")]
    pub server_keys: Vec<String>,
    /// Key pairs of Web Push (RFC 8292), the newest last.
    #[prost(message, repeated, tag = "8")]
    pub web_push_keys: Vec<WebPushKeyRecord>,
    #[prost(message, repeated, tag = "9")]
    pub apns: Vec<ApnsCredentialRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WebPushKeyRecord {
    /// The private half: a scalar of P-256.
    #[prost(bytes = "vec", tag = "1")]
    pub scalar: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub created_millis: u64,
}

/// What APNs knows an app by: a key, or a certificate, as the operator gave them.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ApnsCredentialRecord {
    #[prost(string, tag = "1")]
    pub bundle_id: String,
    #[prost(bool, tag = "2")]
    pub production: bool,
    #[prost(bool, tag = "3")]
    pub sandbox: bool,
    /// Of a key: `.p8`; of a certificate: its private key. PEM both.
    #[prost(string, tag = "4")]
    pub private_pem: String,
    #[prost(string, tag = "5")]
    pub key_id: String,
    #[prost(string, tag = "6")]
    pub team_id: String,
    /// Empty: it is a key.
    #[prost(string, tag = "7")]
    pub certificate_pem: String,
    #[prost(uint64, tag = "8")]
    pub created_millis: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AppRecord {
    #[prost(string, tag = "1")]
    pub app_id: String,
    /// `android`, `ios` or `web`, as in the app id.
    #[prost(string, tag = "2")]
    pub platform: String,
    /// Package or bundle name; a web app has none.
    #[prost(string, tag = "3")]
    pub package: String,
    #[prost(string, tag = "4")]
    pub display_name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ServiceAccountRecord {
    #[prost(string, tag = "1")]
    pub email: String,
    #[prost(message, repeated, tag = "2")]
    pub keys: Vec<ServiceAccountKeyRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ServiceAccountKeyRecord {
    #[prost(string, tag = "1")]
    pub key_id: String,
    /// RSA public key, PKCS#1 DER. The private half is given out once and never kept.
    #[prost(bytes = "vec", tag = "2")]
    pub public_key: Vec<u8>,
    #[prost(uint64, tag = "3")]
    pub created_millis: u64,
}

pub fn key(project_id: &str) -> RowKey {
    RowKey::new(Table::Projects, PARTITION, project_id.as_bytes().to_vec())
}

impl ProjectRecord {
    pub fn to_bytes(&self) -> Vec<u8> {
        super::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        super::decode("projects", bytes)
    }
}
