//! registrations: partition (project, bucket), sort slot. A slot is never used twice.

use bytes::Bytes;
use cresset_message::{Platform, ProjectNumber, RegistrationId};

use crate::{RowKey, StoreError, Table};

#[derive(Clone, PartialEq, prost::Message)]
pub struct RegistrationRecord {
    /// What stands before the colon of its token: FID or instance id.
    #[prost(string, tag = "1")]
    pub prefix: String,
    /// 1 Android, 2 Apple, 3 web.
    #[prost(uint32, tag = "2")]
    pub platform: u32,
    #[prost(string, tag = "3")]
    pub app_id: String,
    #[prost(string, tag = "4")]
    pub fid: String,
    #[prost(uint64, tag = "5")]
    pub created_millis: u64,
    /// How its messages reach it.
    #[prost(message, optional, tag = "6")]
    pub device: Option<DeviceTransport>,
    #[prost(message, optional, tag = "7")]
    pub web: Option<WebTransport>,
    #[prost(message, optional, tag = "8")]
    pub apple: Option<AppleTransport>,
    /// Devices that carried it before, the newest last, at most [`MAX_MOVED_FROM`]: what waits there is for
    /// the device of today.
    #[prost(uint64, repeated, tag = "9")]
    pub moved_from: Vec<u64>,
    /// The newest registration of the same app for the same sender on the same device, if this is an older one.
    #[prost(message, optional, tag = "10")]
    pub successor: Option<RegistrationRef>,
}

/// Devices that a registration is remembered to have been carried by. One more, and what still waits for it at
/// the oldest comes when that one connects.
pub const MAX_MOVED_FROM: usize = 4;

/// Registered by register3: over the connection of a device.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeviceTransport {
    #[prost(uint64, tag = "1")]
    pub device: u64,
    /// The form values, byte for byte: clients compare them (`protocol/payload-layout.md` §2).
    #[prost(string, tag = "2")]
    pub app: String,
    #[prost(string, tag = "3")]
    pub subtype: String,
    #[prost(string, tag = "4")]
    pub sender: String,
    #[prost(string, tag = "5")]
    pub scope: String,
    /// The device speaks Mozilla's protocol: `app` is its channel, and it reads `aes128gcm` alone.
    #[prost(bool, tag = "6")]
    pub mozilla: bool,
}

/// Registered by the FCM registrations API: over a Web Push endpoint.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WebTransport {
    #[prost(string, tag = "1")]
    pub endpoint: String,
    #[prost(bytes = "vec", tag = "2")]
    pub p256dh: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub auth: Vec<u8>,
    #[prost(string, tag = "4")]
    pub application_pub_key: String,
    /// The subscription below it, when the endpoint is our own.
    #[prost(message, optional, tag = "5")]
    pub over: Option<RegistrationRef>,
    #[prost(string, tag = "6")]
    pub origin: String,
    /// The device of that subscription: known also when the subscription is no more. Of another's endpoint,
    /// what stands for a device.
    #[prost(uint64, tag = "7")]
    pub device: u64,
}

/// Registered by an app on an Apple device: over APNs.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AppleTransport {
    /// What stands for a device (`DeviceId::outside`).
    #[prost(uint64, tag = "1")]
    pub device: u64,
    /// The APNs device token, lower-case hex. Empty: the app has none yet.
    #[prost(string, tag = "2")]
    pub token: String,
    #[prost(bool, tag = "3")]
    pub sandbox: bool,
    #[prost(string, tag = "4")]
    pub bundle_id: String,
    /// When the token was last registered: what APNs says of an older one is passed over.
    #[prost(uint64, tag = "5")]
    pub registered_millis: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RegistrationRef {
    #[prost(uint64, tag = "1")]
    pub project: u64,
    #[prost(uint32, tag = "2")]
    pub bucket: u32,
    #[prost(uint32, tag = "3")]
    pub slot: u32,
}

impl From<RegistrationId> for RegistrationRef {
    fn from(id: RegistrationId) -> Self {
        Self { project: id.project.0, bucket: id.bucket, slot: id.slot.into() }
    }
}

impl From<RegistrationRef> for RegistrationId {
    fn from(r: RegistrationRef) -> Self {
        Self { project: ProjectNumber(r.project), bucket: r.bucket, slot: r.slot as u16 }
    }
}

/// The partition of a bucket.
pub fn partition(project: ProjectNumber, bucket: u32) -> Bytes {
    let mut partition = Vec::with_capacity(12);
    partition.extend_from_slice(&project.0.to_be_bytes());
    partition.extend_from_slice(&bucket.to_be_bytes());
    partition.into()
}

/// The bucket whose partition this is.
pub fn bucket_of(partition: &[u8]) -> Result<(ProjectNumber, u32), StoreError> {
    let split = partition.split_first_chunk::<8>();
    let parts = split.and_then(|(project, bucket)| Some((project, <[u8; 4]>::try_from(bucket).ok()?)));
    let (project, bucket) =
        parts.ok_or_else(|| StoreError::Damaged("a partition is that of no bucket".into()))?;
    Ok((ProjectNumber(u64::from_be_bytes(*project)), u32::from_be_bytes(bucket)))
}

pub fn key(id: RegistrationId) -> RowKey {
    RowKey::new(Table::Registrations, partition(id.project, id.bucket), id.slot.to_be_bytes().to_vec())
}

impl RegistrationRecord {
    /// It is carried by `now`, and was by `before`.
    pub fn moved(&mut self, before: u64, now: u64) {
        self.moved_from.retain(|device| *device != now && *device != before);
        if before != now {
            self.moved_from.push(before);
        }
        if self.moved_from.len() > MAX_MOVED_FROM {
            self.moved_from.remove(0);
        }
    }

    /// Its platform as a word; what is unknown is the web's, which is the newest.
    pub fn platform(&self) -> Platform {
        match self.platform {
            1 => Platform::Android,
            2 => Platform::Ios,
            _ => Platform::Web,
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        super::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        super::decode("registrations", bytes)
    }
}
