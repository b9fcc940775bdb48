//! Who may send, who is this device.
//!
//! Projects and their credentials are few and read all the time: they are held in memory, and the
//! store has the truth. Devices, installations and registrations are many: each question is one or
//! two point reads.

mod apple;
mod authorize;
mod channels;
mod checkin;
mod credentials;
mod directory;
mod expiry;
mod installations;
mod jwt;
mod membership;
mod oauth;
mod project;
mod register3;
mod registrations;
mod server_key;
mod slots;
mod watch;

use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use cresset_message::Timestamp;
use cresset_store::{Store, StoreError};
use cresset_wire::token::TokenKey;

pub use apple::AppleToken;
pub use authorize::{MESSAGING_SCOPES, Sender};
pub use checkin::{CheckIn, CheckInRefusal, Credentials};
pub use credentials::{ApnsCredential, ApnsSecret, WebPushKey};
pub use expiry::{Expired, Expiry};
pub use installations::{Installation, InstallationRefusal};
pub use oauth::{AccessToken, GrantRequest, OauthError};
pub use project::{App, CredentialFile, NewApp, Project, ProjectError};
pub use register3::{Register3, Register3Error, Unregistered};
pub use registrations::{Connected, RegistrationRefusal, Subscription, WebRegistration};
pub use watch::{Told, Watch};

/// Fills a buffer with random bytes. An argument, so that tests and simulations repeat.
pub type Random = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// Says why an endpoint of another push service is not to be used.
pub type Foreign = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

pub struct Identity {
    store: Store,
    tokens: TokenKey,
    random: Random,
    directory: RwLock<Arc<directory::Directory>>,
    verified_jwts: jwt::Verified,
    slots: slots::Slots,
    watch: OnceLock<Arc<dyn Watch>>,
    foreign: OnceLock<Foreign>,
    /// How long a device may stay away; `None`: for ever.
    device_life: Option<Duration>,
    /// Held while projects change, so that what is in memory is never older than the last change.
    changing: tokio::sync::Mutex<()>,
}

/// Attempts at a compare-and-set before giving up.
const ATTEMPTS: usize = 5;

/// Whether the store only cannot now (full, overloaded, ending): it has told the operator itself,
/// once, and whoever met it says no more.
pub fn is_passing(cause: &StoreError) -> bool {
    matches!(cause, StoreError::Unavailable(_) | StoreError::Overloaded | StoreError::Closed)
}

/// What is said when they were not enough: trying later helps.
fn contended() -> StoreError {
    StoreError::Unavailable("a row was changed by others again and again".into())
}

impl Identity {
    /// Reads the projects; everything else is read when it is asked for.
    pub async fn open(
        store: Store,
        tokens: TokenKey,
        random: Random,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let directory = directory::Directory::load(&store, now).await?;
        Ok(Self {
            store,
            tokens,
            random,
            directory: RwLock::new(Arc::new(directory)),
            verified_jwts: jwt::Verified::default(),
            slots: slots::Slots::default(),
            watch: OnceLock::new(),
            foreign: OnceLock::new(),
            device_life: None,
            changing: tokio::sync::Mutex::default(),
        })
    }

    /// With devices that are forgotten when they have not been here for so long.
    #[must_use]
    pub fn with_device_life(self, life: Duration) -> Self {
        Self { device_life: (!life.is_zero()).then_some(life), ..self }
    }

    /// Joins who wants to know of registrations; once, at start.
    pub fn set_watch(&self, watch: Arc<dyn Watch>) {
        assert!(self.watch.set(watch).is_ok(), "the watch is set once");
    }

    /// Lets web apps register with endpoints of others, if this does not say why not; once, at start.
    pub fn set_foreign(&self, foreign: Foreign) {
        assert!(self.foreign.set(foreign).is_ok(), "it is set once");
    }

    fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.random)(&mut bytes);
        bytes
    }

    /// Letters, digits, `-` and `_`, as many as asked for.
    fn random_text(&self, length: usize) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut bytes = vec![0; length];
        (self.random)(&mut bytes);
        bytes.into_iter().map(|b| ALPHABET[usize::from(b & 63)] as char).collect()
    }
}
