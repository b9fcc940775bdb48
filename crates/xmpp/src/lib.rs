//! The legacy XMPP connection server.
