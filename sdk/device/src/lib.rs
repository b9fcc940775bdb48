//! A device client.
