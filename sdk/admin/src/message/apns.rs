//! What Apple's devices get (`protocol/http-v1.md` §2.6).

use super::values::Object;
use super::wire_type;

wire_type! {
    /// Options of a message for Apple's platforms.
    ApnsConfig {
        /// What APNs is given: `aps`, and the app's own keys.
        payload: Object,
        fcm_options: ApnsFcmOptions,
        /// Of a Live Activity that is started or updated.
        live_activity_token: String,
    } maps {
        /// Headers of APNs, such as `apns-priority` and `apns-expiration`.
        headers,
    }
}

wire_type! {
    /// A picture, and what reports call the message.
    ApnsFcmOptions {
        analytics_label: String,
        /// The URL of a picture.
        image: String,
    }
}
