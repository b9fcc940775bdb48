//! Whom a delivery goes to, and in which form.

use crate::{AppId, DeviceId, Fid, RegistrationId};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Platform {
    Android,
    Ios,
    Web,
}

/// Keys of a Web Push subscription (RFC 8291): the browser's P-256 point and its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct WebKeys {
    /// Uncompressed point, 65 bytes.
    pub p256dh: [u8; 65],
    pub auth: [u8; 16],
}

impl std::fmt::Debug for WebKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebKeys(..)")
    }
}

/// How what is encrypted for a browser is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebCoding {
    /// What every client of MCS reads (`protocol/payload-layout.md` §6).
    Aesgcm,
    /// The only one that Firefox reads (`protocol/web-push.md` §1.1).
    Aes128gcm,
}

/// The form in which a registration wants its messages (`protocol/payload-layout.md` §1). Decided
/// by how it registered, never by the sender's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Android and old GCM clients: `app_data` in clear.
    Raw {
        /// The sender id it registered with; `from` of its messages.
        sender: String,
    },
    /// A bare Web Push subscription: carries what its own app server encrypted.
    WebPush { sender: String, subtype: String },
    /// A web app of the FCM registrations API: JSON, encrypted by us, over the subscription below it.
    WebApp { sender: String, subtype: String, keys: WebKeys, coding: WebCoding },
    /// A web app whose browser another push service serves: the same, sent to its endpoint.
    WebService {
        endpoint: String,
        keys: WebKeys,
        /// The Web Push key that the subscription was made with.
        application_pub_key: String,
    },
    /// An app on an Apple device: JSON in clear, by APNs. Without a token it cannot be reached yet.
    Apns { token: String, sandbox: bool },
}

/// One registration as a carrier needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    pub registration: RegistrationId,
    /// The device whose connection carries its messages, or what stands for one (`DeviceId::outside`).
    pub device: DeviceId,
    pub platform: Platform,
    pub fid: Option<Fid>,
    pub app_id: Option<AppId>,
    /// The `app` form value of register3 (package name, `org.chromium.linux`): `category` on the wire.
    pub category: String,
    pub layout: Layout,
    /// Another registration of the same app on the same device that was made later: senders had better use
    /// its token (`protocol/legacy-http.md` §8).
    pub successor: Option<RegistrationId>,
}

impl Recipient {
    /// Package or bundle name, or a web app's id.
    pub fn application(&self) -> Option<String> {
        match self.platform {
            Platform::Web => self.app_id.as_ref().map(ToString::to_string),
            Platform::Android | Platform::Ios => Some(self.category.clone()),
        }
    }
}
