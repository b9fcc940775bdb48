//! Whole-server tests in the words of the promise: README.md, «What it promises». One server each,
//! real sockets, no sleeps that hope.

mod admin_sdk;
mod bounds;
mod connections;
mod disk;
mod life;
mod metrics;
mod node;
mod outside;
mod promise;
mod quotas;
mod receiver;
mod rows;
mod spans;
mod start;
mod support;
mod topics;
mod trace;
mod webpush;
mod xmpp;
