//! Quotas: how much FCM takes for a project and for a device (`protocol/http-v1.md` §6), and the
//! memory of what was sent.

use std::sync::Mutex;
use std::time::Duration;

use cresset_message::{DeviceQuota, ProjectNumber, RegistrationId, Rejection, Timestamp};

use crate::Delivery;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// How far requests at the same moment may have read the clock apart.
const CROSSED: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// What may be sent and what is stored. `None`: without limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Sends of a project in a minute.
    pub project_per_minute: Option<u32>,
    /// Messages of a project to one Android device in a minute.
    pub device_per_minute: Option<u32>,
    /// Messages of a project to one Android device in an hour.
    pub device_per_hour: Option<u32>,
    /// Collapsible messages to one app instance.
    pub collapsible: Option<Bucket>,
    /// Collapse keys of one app instance that wait at a time.
    pub collapse_keys: Option<u32>,
    /// Messages without a collapse key that wait for one app instance; beyond it all are dropped.
    pub stored: Option<u32>,
    /// App instances of a project that are subscribed or unsubscribed in a second.
    pub subscriptions_per_second: Option<u32>,
    /// Devices and app instances whose rates are remembered at a time. Beyond it those are
    /// forgotten who are soonest free to receive anyway; each takes 40 bytes.
    pub remembered: usize,
}

/// So many at once, and one more after each pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub burst: u32,
    pub refill: Duration,
}

impl Quotas {
    /// FCM's own (`protocol/http-v1.md` §6).
    pub const FCM: Self = Self {
        project_per_minute: Some(600_000),
        device_per_minute: Some(240),
        device_per_hour: Some(5_000),
        collapsible: Some(Bucket { burst: 20, refill: Duration::from_secs(180) }),
        collapse_keys: Some(4),
        stored: Some(100),
        subscriptions_per_second: Some(3_000),
        remembered: 1 << 18,
    };

    pub const OFF: Self = Self {
        project_per_minute: None,
        device_per_minute: None,
        device_per_hour: None,
        collapsible: None,
        collapse_keys: None,
        stored: None,
        subscriptions_per_second: None,
        remembered: 1 << 18,
    };
}

/// Counts what is sent, in bounded memory.
pub(crate) struct Meters {
    quotas: Quotas,
    projects: Table<Window>,
    devices: Table<Rates>,
    collapsible: Table<Level>,
    subscriptions: Table<Level>,
}

/// Projects whose rate is remembered: more than any server has that is busy in one minute.
const PROJECTS: usize = 1 << 12;

impl Meters {
    pub(crate) fn new(quotas: Quotas) -> Self {
        let limited = |limit: bool, entries: usize| if limit { entries } else { 0 };
        let per_device = quotas.device_per_minute.is_some() || quotas.device_per_hour.is_some();
        Self {
            projects: Table::new(limited(quotas.project_per_minute.is_some(), PROJECTS)),
            devices: Table::new(limited(per_device, quotas.remembered)),
            collapsible: Table::new(limited(quotas.collapsible.is_some(), quotas.remembered)),
            subscriptions: Table::new(limited(quotas.subscriptions_per_second.is_some(), PROJECTS)),
            quotas,
        }
    }

    pub(crate) fn quotas(&self) -> Quotas {
        self.quotas
    }

    /// One more request of a project, whatever becomes of it.
    pub(crate) fn admit_request(&self, project: ProjectNumber, now: Timestamp) -> Result<(), Rejection> {
        let Some(limit) = self.quotas.project_per_minute else { return Ok(()) };
        self.projects.with(mixed(project.0, 0), now, |window| {
            let refused = |retry_after| Rejection::ProjectQuota { project, limit, retry_after };
            window.room(limit, MINUTE, now).map_err(refused)?;
            window.count(MINUTE, now);
            Ok(())
        })
    }

    /// So many app instances of a project are to be subscribed or unsubscribed at once.
    pub(crate) fn admit_subscriptions(
        &self,
        project: ProjectNumber,
        count: usize,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let Some(limit) = self.quotas.subscriptions_per_second else { return Ok(()) };
        let bucket = Bucket { burst: limit, refill: SECOND / limit.max(1) };
        self.subscriptions.with(mixed(project.0, 0), now, |level| {
            let refused = |retry_after| Rejection::SubscriptionQuota { project, limit, retry_after };
            level.owe(bucket, u32::try_from(count).unwrap_or(u32::MAX), now).map_err(refused)
        })
    }

    /// One more message that a device will get. Nothing is counted of one that is refused.
    pub(crate) fn admit_delivery(&self, delivery: &Delivery, now: Timestamp) -> Result<(), Rejection> {
        let registration = delivery.recipient.registration;
        let device = mixed(registration.project.0, delivery.recipient.device.get());
        self.admit_to(device, now, || match delivery.collapse_key {
            Some(_) => self.admit_collapsible(registration, now),
            None => Ok(()),
        })
    }

    /// One more push to a subscription, and of an application server's key. FCM tells no numbers for
    /// either: a subscription has as much as a device, a key as a project.
    pub(crate) fn admit_push(
        &self,
        registration: RegistrationId,
        key: Option<&[u8; 65]>,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let place = u64::from(registration.bucket) << 16 | u64::from(registration.slot);
        self.admit_to(mixed(!registration.project.0, place), now, || match key {
            Some(key) => self.admit_key(key, now),
            None => Ok(()),
        })
    }

    fn admit_key(&self, key: &[u8; 65], now: Timestamp) -> Result<(), Rejection> {
        let Some(limit) = self.quotas.project_per_minute else { return Ok(()) };
        let coordinate = key[1..9].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        self.projects.with(mixed(coordinate, 1), now, |window| {
            let project = ProjectNumber::SYSTEM;
            let refused = |retry_after| Rejection::ProjectQuota { project, limit, retry_after };
            window.room(limit, MINUTE, now).map_err(refused)?;
            window.count(MINUTE, now);
            Ok(())
        })
    }

    fn admit_to(
        &self,
        device: u64,
        now: Timestamp,
        also: impl FnOnce() -> Result<(), Rejection>,
    ) -> Result<(), Rejection> {
        self.devices.with(device, now, |rates| {
            rates.room(&self.quotas, now)?;
            also()?;
            rates.minute.count(MINUTE, now);
            rates.hour.count(HOUR, now);
            Ok(())
        })
    }

    fn admit_collapsible(&self, registration: RegistrationId, now: Timestamp) -> Result<(), Rejection> {
        let Some(bucket) = self.quotas.collapsible else { return Ok(()) };
        let place = u64::from(registration.bucket) << 16 | u64::from(registration.slot);
        self.collapsible.with(mixed(registration.project.0, place), now, |level| {
            let quota = DeviceQuota::Collapsible(bucket.burst);
            level.take(bucket, now).map_err(|retry_after| Rejection::DeviceQuota { quota, retry_after })
        })
    }
}

/// Counts from the first message on until its time is over.
#[derive(Clone, Copy, Default)]
struct Window {
    begun: Timestamp,
    counted: u32,
}

impl Window {
    /// Whether one more fits; if not, for how long not.
    fn room(&self, limit: u32, length: Duration, now: Timestamp) -> Result<(), Duration> {
        if self.is_over(length, now) || self.counted < limit {
            return Ok(());
        }
        Err((self.begun + length).since(now))
    }

    fn count(&mut self, length: Duration, now: Timestamp) {
        if self.is_over(length, now) {
            *self = Self { begun: now, counted: 0 };
        }
        self.counted += 1;
    }

    /// A clock that was set back ends it too: nobody waits much longer than its length. By little, it
    /// is two requests that read the clock in one order and came here in the other.
    fn is_over(&self, length: Duration, now: Timestamp) -> bool {
        self.begun.since(now) > CROSSED || now.since(self.begun) >= length
    }
}

#[derive(Clone, Copy, Default)]
struct Rates {
    minute: Window,
    hour: Window,
}

impl Rates {
    fn room(&self, quotas: &Quotas, now: Timestamp) -> Result<(), Rejection> {
        let refused = |quota| move |retry_after| Rejection::DeviceQuota { quota, retry_after };
        if let Some(limit) = quotas.device_per_minute {
            self.minute.room(limit, MINUTE, now).map_err(refused(DeviceQuota::PerMinute(limit)))?;
        }
        if let Some(limit) = quotas.device_per_hour {
            self.hour.room(limit, HOUR, now).map_err(refused(DeviceQuota::PerHour(limit)))?;
        }
        Ok(())
    }
}

/// A bucket that leaks: when it would be empty, if nothing more came.
#[derive(Clone, Copy, Default)]
struct Level {
    empty: Timestamp,
}

impl Level {
    fn take(&mut self, bucket: Bucket, now: Timestamp) -> Result<(), Duration> {
        let whole = bucket.refill * bucket.burst;
        // A clock that was set back: no more is owed than a full bucket.
        let empty = self.empty.max(now).min(now + whole);
        let filled = empty + bucket.refill;
        if filled > now + whole {
            return Err(filled.since(now + whole));
        }
        self.empty = filled;
        Ok(())
    }

    /// Takes all of `count` if there is room for one; the next ones wait until there is again.
    fn owe(&mut self, bucket: Bucket, count: u32, now: Timestamp) -> Result<(), Duration> {
        let whole = bucket.refill * bucket.burst;
        // Nobody waits longer than a minute, whatever was taken and however the clock was set.
        let longest = now + whole + MINUTE;
        let empty = self.empty.max(now).min(longest);
        let filled = empty + bucket.refill;
        if filled > now + whole {
            return Err(filled.since(now + whole));
        }
        self.empty = (empty + bucket.refill.saturating_mul(count).min(whole + MINUTE)).min(longest);
        Ok(())
    }
}

/// Something that is worth remembering until a certain time.
trait Remembered: Copy + Default {
    /// When it may be forgotten without anybody being allowed more than is right.
    fn spent(&self) -> Timestamp;
}

impl Remembered for Window {
    fn spent(&self) -> Timestamp {
        self.begun + MINUTE
    }
}

impl Remembered for Rates {
    fn spent(&self) -> Timestamp {
        self.hour.begun + HOUR
    }
}

impl Remembered for Level {
    fn spent(&self) -> Timestamp {
        self.empty
    }
}

/// Entries that share a place: looked through one by one.
const WAYS: usize = 8;
/// Locks: more than threads that send at a time.
const SHARDS: usize = 64;

/// A map that never grows: whoever has no entry takes that of the one spent first among the few
/// that share its place.
struct Table<T> {
    shards: Vec<Mutex<Vec<(u64, T)>>>,
}

impl<T: Remembered> Table<T> {
    /// Room for so many, rounded up; 0 is a table that remembers nobody.
    fn new(entries: usize) -> Self {
        let in_shard = entries.div_ceil(SHARDS * WAYS) * WAYS;
        let shard = || Mutex::new(vec![(0, T::default()); in_shard]);
        Self { shards: (0..if entries == 0 { 0 } else { SHARDS }).map(|_| shard()).collect() }
    }

    /// Works on the entry of a key, a fresh one if it has none.
    fn with<R>(&self, key: u64, now: Timestamp, work: impl FnOnce(&mut T) -> R) -> R {
        if self.shards.is_empty() {
            return work(&mut T::default());
        }
        let shard = &self.shards[key as usize % SHARDS];
        let mut entries = shard.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let sets = entries.len() / WAYS;
        let place = (key >> 32) as usize % sets * WAYS;
        let set = &mut entries[place..place + WAYS];
        let index = match set.iter().position(|(k, _)| *k == key) {
            Some(index) => index,
            None => {
                let index = spent_first(set, now);
                set[index] = (key, T::default());
                index
            }
        };
        work(&mut set[index].1)
    }
}

fn spent_first<T: Remembered>(set: &[(u64, T)], now: Timestamp) -> usize {
    if let Some(free) = set.iter().position(|(_, entry)| entry.spent() <= now) {
        return free;
    }
    (0..set.len()).min_by_key(|index| set[*index].1.spent()).unwrap_or(0)
}

/// Two numbers as one that spreads (the finalizer of SplitMix64). Never 0, which is no key.
fn mixed(a: u64, b: u64) -> u64 {
    let mut x = a.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ b;
    x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x ^ x >> 31).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_that_cross_each_other_are_both_counted() {
        let now = Timestamp::from_secs(1_000);
        let mut window = Window::default();
        window.count(MINUTE, now + Duration::from_micros(5));
        window.count(MINUTE, now);
        assert_eq!(window.counted, 2);
        assert!(window.room(2, MINUTE, now).is_err());
        assert!(window.room(2, MINUTE, Timestamp::from_secs(900)).is_ok(), "the clock was set back");
    }

    proptest! {
        /// Whatever is forgotten, and whenever the next one comes.
        #[test]
        fn who_is_refused_has_had_the_quota_and_may_come_back_when_told(
            sends in prop::collection::vec((0..2_000_u64, 0..4_000_u64), 1..600),
            remembered in prop_oneof![Just(1_usize), Just(1 << 12)],
        ) {
            let (minute, hour) = (3, 7);
            let quotas = Quotas {
                device_per_minute: Some(minute),
                device_per_hour: Some(hour),
                remembered,
                ..Quotas::OFF
            };
            let meters = Meters::new(quotas);
            let mut had: HashMap<u64, Vec<Timestamp>> = HashMap::new();
            let mut now = START;
            for (device, pause) in sends {
                // Some are far more frequent than others.
                let device = device * device / 40_000;
                now = now + Duration::from_millis(pause);
                let had = had.entry(device).or_default();
                let within = |length: Duration| had.iter().filter(|had| now.since(**had) < length).count();
                match meters.admit_to(mixed(1, device), now, || Ok(())) {
                    Ok(()) => had.push(now),
                    Err(Rejection::DeviceQuota { quota, retry_after }) => {
                        let (limit, length) = match quota {
                            DeviceQuota::PerMinute(limit) => (limit, MINUTE),
                            DeviceQuota::PerHour(limit) => (limit, HOUR),
                            other => return Err(TestCaseError::fail(format!("{other:?}"))),
                        };
                        prop_assert!(within(length) >= limit as usize);
                        prop_assert!(!retry_after.is_zero() && retry_after <= length);
                        let again = meters.admit_to(mixed(1, device), now + retry_after, || Ok(()));
                        if quota == DeviceQuota::PerHour(hour) {
                            prop_assert_eq!(again, Ok(()));
                        }
                        // The meters have seen the future: what follows is another run's.
                        return Ok(());
                    }
                    Err(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
                }
            }
        }
    }

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn after(seconds: u64) -> Timestamp {
        START + Duration::from_secs(seconds)
    }

    #[test]
    fn a_window_counts_from_its_first_message_to_its_end() {
        let mut window = Window::default();
        for second in 0..3 {
            assert_eq!(window.room(3, MINUTE, after(second)), Ok(()));
            window.count(MINUTE, after(second));
        }
        assert_eq!(window.room(3, MINUTE, after(20)), Err(Duration::from_secs(40)));
        assert_eq!(window.room(3, MINUTE, after(60)), Ok(()));
        window.count(MINUTE, after(60));
        assert_eq!(window.counted, 1);
        // The clock was set back by a day: nobody waits for it to come again.
        assert_eq!(window.room(1, MINUTE, Timestamp::from_secs(1_799_913_600)), Ok(()));
    }

    #[test]
    fn a_bucket_takes_a_burst_and_then_one_at_a_time() {
        let bucket = Bucket { burst: 20, refill: Duration::from_secs(180) };
        let mut level = Level::default();
        for _ in 0..20 {
            assert_eq!(level.take(bucket, START), Ok(()));
        }
        assert_eq!(level.take(bucket, START), Err(Duration::from_secs(180)));
        assert_eq!(level.take(bucket, after(100)), Err(Duration::from_secs(80)));
        assert_eq!(level.take(bucket, after(180)), Ok(()));
        assert_eq!(level.take(bucket, after(180)), Err(Duration::from_secs(180)));
        // After an hour all twenty are back, and no more.
        let taken = (0..40).filter(|_| level.take(bucket, after(4_000)).is_ok()).count();
        assert_eq!(taken, 20);
        assert_eq!(level.take(bucket, Timestamp::from_secs(0)), Err(Duration::from_secs(180)));
    }

    #[test]
    fn what_begins_within_the_quota_is_taken_whole_and_paid_for() {
        let quotas = Quotas { subscriptions_per_second: Some(100), ..Quotas::OFF };
        let meters = Meters::new(quotas);
        let project = ProjectNumber(7);
        let take =
            |count, millis| meters.admit_subscriptions(project, count, START + Duration::from_millis(millis));
        let refused = |millis| {
            let retry_after = Duration::from_millis(millis);
            Err(Rejection::SubscriptionQuota { project, limit: 100, retry_after })
        };
        assert_eq!(take(99, 0), Ok(()));
        assert_eq!(take(1_000, 0), Ok(()), "there is room for one");
        assert_eq!(take(1, 0), refused(10_000));
        assert_eq!(take(1, 9_999), refused(1));
        assert_eq!(take(1, 10_000), Ok(()));
        assert_eq!(take(1, 10_000), refused(10));
        assert_eq!(meters.admit_subscriptions(ProjectNumber(8), 1, START), Ok(()));
        // Whatever is taken, and when: a minute is the most.
        assert_eq!(take(usize::MAX, 20_000), Ok(()));
        assert_eq!(take(1, 20_000), refused(60_010));
        assert_eq!(take(1, 0), refused(60_010), "the clock was set back");
    }

    #[test]
    fn a_million_devices_take_no_more_room_than_the_table_has() {
        let table = Table::<Window>::new(1 << 10);
        let size = |table: &Table<Window>| {
            let entries = |shard: &Mutex<Vec<(u64, Window)>>| shard.lock().unwrap().capacity();
            table.shards.iter().map(entries).sum::<usize>()
        };
        let before = size(&table);
        for device in 0..1_000_000 {
            table.with(mixed(7, device), START, |window| window.count(MINUTE, START));
        }
        assert_eq!((before, size(&table)), (1 << 10, 1 << 10));
    }
}
