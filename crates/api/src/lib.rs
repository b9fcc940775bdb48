//! FCM's HTTP APIs.
