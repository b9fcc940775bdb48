//! The host names that clients have in their code (`protocol/device-registration.md`, host map;
//! `protocol/oauth.md` §2.1). The leaf is made for them, and `cresset exec` leads them here.

/// Reached on 443.
pub(crate) const HTTPS: [&str; 13] = [
    "fcm.googleapis.com",
    "fcm.mtls.googleapis.com",
    "iid.googleapis.com",
    "oauth2.googleapis.com",
    "accounts.google.com",
    "www.googleapis.com",
    "android.clients.google.com",
    "android.apis.google.com",
    "firebaseinstallations.googleapis.com",
    "fcmregistrations.googleapis.com",
    "jmt17.google.com",
    "android.googleapis.com",
    "gcm-http.googleapis.com",
];

/// Reached on 5228: the devices' connection, and its alternates.
pub(crate) const MCS: [&str; 10] = [
    "mtalk.google.com",
    "mtalk4.google.com",
    "alt1-mtalk.google.com",
    "alt2-mtalk.google.com",
    "alt3-mtalk.google.com",
    "alt4-mtalk.google.com",
    "alt5-mtalk.google.com",
    "alt6-mtalk.google.com",
    "alt7-mtalk.google.com",
    "alt8-mtalk.google.com",
];

/// Reached on 5235: legacy XMPP (`protocol/xmpp.md` §1). Some clients compare the certificate with the
/// domain that they log in with, which is `gcm.` or `fcm.googleapis.com`.
pub(crate) const XMPP: [&str; 3] =
    ["fcm-xmpp.googleapis.com", "gcm-xmpp.googleapis.com", "gcm.googleapis.com"];

pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    HTTPS.into_iter().chain(MCS).chain(XMPP)
}
