//! Who comes in by HTTP: how many at a time, how many of one address, and what became of the others.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cresset_admission::{Addresses, Place, Places, RareLog, TooMany};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

use super::PATIENCE;
use crate::clock;
use crate::config::Limits;

/// How long a connection may be silent when there is no room for others.
const HURRIED: Duration = Duration::from_secs(5);
/// How often those that have been are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why a connection was not served, or no longer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// Its address has as many as it may have.
    Address,
    /// Its address has as many as it may have that have not asked for anything.
    AddressSilent,
    TlsFailed,
    /// It asked for nothing in the time for it, or did not end its TLS handshake.
    Silent,
    /// The same, in less time, because others waited.
    GaveWay,
    /// What it sent is no HTTP.
    Unreadable,
}

impl Refusal {
    const ALL: [Self; 6] =
        [Self::Address, Self::AddressSilent, Self::TlsFailed, Self::Silent, Self::GaveWay, Self::Unreadable];

    const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::AddressSilent => "address_silent",
            Self::TlsFailed => "tls_failed",
            Self::Silent => "silent",
            Self::GaveWay => "gave_way",
            Self::Unreadable => "unreadable",
        }
    }
}

/// The door of all HTTP listeners.
#[derive(Debug)]
pub(crate) struct Door {
    connections: Arc<Semaphore>,
    most: usize,
    addresses: Addresses,
    accepted: AtomicU64,
    left: AtomicU64,
    silent: AtomicU64,
    held_up: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    /// A line each, and two more: nobody can be let in, nobody can be accepted.
    logs: [RareLog; Refusal::ALL.len()],
    log_full: RareLog,
    log_accept: RareLog,
}

/// The counters at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) accepted: u64,
    /// Open now.
    pub(crate) open: u64,
    /// Those of them that have not asked for anything yet; TLS handshakes are among them.
    pub(crate) silent: u64,
    /// Those that had to wait until another ended, because all were in use.
    pub(crate) held_up: u64,
    pub(crate) refused: Vec<(&'static str, u64)>,
}

impl Door {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            connections: Arc::new(Semaphore::new(limits.http_connections)),
            most: limits.http_connections,
            addresses: Addresses::new(
                limits.http_connections_per_address,
                limits.logins_per_address,
                limits.count_loopback,
            ),
            accepted: AtomicU64::new(0),
            left: AtomicU64::new(0),
            silent: AtomicU64::new(0),
            held_up: AtomicU64::new(0),
            refused: Default::default(),
            logs: Default::default(),
            log_full: RareLog::default(),
            log_accept: RareLog::default(),
        })
    }

    /// Waits until there is room for one more.
    pub(crate) async fn room(&self) -> OwnedSemaphorePermit {
        if let Ok(permit) = self.connections.clone().try_acquire_owned() {
            return permit;
        }
        self.held_up.fetch_add(1, Ordering::Relaxed);
        let most = self.most;
        self.log_full.warn(clock::now(), || format!("all {most} HTTP connections are in use; others wait"));
        self.connections.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    /// The places of one among those of its address, if that may have one more.
    pub(crate) fn places(&self, address: IpAddr) -> Option<Places> {
        let (refusal, limit, what) = match self.addresses.enter(address) {
            Ok(places) => return Some(places),
            Err(TooMany::Connections(limit)) => (Refusal::Address, limit, "HTTP connections"),
            Err(TooMany::Newcomers(limit)) => {
                (Refusal::AddressSilent, limit, "HTTP connections that ask for nothing")
            }
        };
        self.refuse(refusal, || format!("{address} wants more than {limit} {what}"));
        None
    }

    /// Lets it in.
    pub(crate) fn enter(self: &Arc<Self>, places: Places, permit: OwnedSemaphorePermit) -> Arc<Visit> {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.silent.fetch_add(1, Ordering::Relaxed);
        Arc::new(Visit {
            door: self.clone(),
            came: Instant::now(),
            silent: Mutex::new(Some(places.newcomer)),
            _place: places.open,
            _permit: permit,
        })
    }

    fn is_full(&self) -> bool {
        self.connections.available_permits() == 0
    }

    /// Counts it, and says so now and then.
    pub(crate) fn refuse(&self, refusal: Refusal, text: impl FnOnce() -> String) {
        self.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
        self.logs[refusal as usize].warn(clock::now(), text);
    }

    pub(crate) fn accept_failed(&self, error: &std::io::Error) {
        self.log_accept.warn(clock::now(), || format!("a connection could not be accepted: {error}"));
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        // What has left is read first: a difference must not fall below zero.
        let left = self.left.load(Ordering::Relaxed);
        let accepted = self.accepted.load(Ordering::Relaxed);
        let refused = Refusal::ALL
            .map(|refusal| (refusal.name(), self.refused[refusal as usize].load(Ordering::Relaxed)));
        Snapshot {
            accepted,
            open: accepted.saturating_sub(left),
            silent: self.silent.load(Ordering::Relaxed),
            held_up: self.held_up.load(Ordering::Relaxed),
            refused: refused.to_vec(),
        }
    }
}

/// One connection, for as long as it is open.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) door: Arc<Door>,
    came: Instant,
    /// Its place among those that have not asked for anything.
    silent: Mutex<Option<Place>>,
    _place: Place,
    _permit: OwnedSemaphorePermit,
}

impl Visit {
    /// It asks for something.
    pub(crate) fn asks(&self) {
        if self.silent.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            self.door.silent.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Resolves when it has been silent for too long, which is sooner when others wait.
    pub(crate) async fn too_silent(&self) -> Refusal {
        sleep_until(self.came + HURRIED).await;
        while self.came.elapsed() < PATIENCE {
            if self.door.is_full() {
                return Refusal::GaveWay;
            }
            sleep(LOOK_AGAIN).await;
        }
        Refusal::Silent
    }

    /// It was silent for too long.
    pub(crate) fn give_up(&self, refusal: Refusal) {
        self.door.refuse(refusal, || match refusal {
            Refusal::GaveWay => "a connection that asked for nothing gave way to those that wait".into(),
            _ => "a connection asked for nothing".into(),
        });
    }

    pub(crate) fn has_asked(&self) -> bool {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.asks();
        self.door.left.fetch_add(1, Ordering::Relaxed);
    }
}
