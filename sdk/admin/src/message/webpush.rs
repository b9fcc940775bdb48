//! What browsers get (`protocol/http-v1.md` §2.5).

use super::values::Object;
use super::wire_type;

wire_type! {
    /// Options of a message for browsers.
    WebpushConfig {
        /// What the browser shows: the options of a Web Notification, and `title`.
        notification: Object,
        fcm_options: WebpushFcmOptions,
    } maps {
        /// Headers of Web Push, such as `TTL` and `Urgency`.
        headers,
        /// For the app, instead of the message's own data.
        data,
    }
}

wire_type! {
    /// What happens at a click, and what reports call it.
    WebpushFcmOptions {
        /// Opened when the notification is clicked; HTTPS.
        link: String,
        analytics_label: String,
    }
}
