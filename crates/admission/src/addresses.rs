//! How many connections of one address there are: no peer may take what is there for all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts connections by where they come from. It holds an entry for each address that has one
/// open, so that it is bounded by them.
#[derive(Debug)]
pub(crate) struct PerAddress {
    /// 0 is no limit.
    limit: usize,
    /// Whether those from this machine count too. They usually are a proxy's, for many.
    loopback: bool,
    counts: Mutex<HashMap<Origin, usize>>,
}

/// What one customer has: an IPv4 address, or the first 64 bits of an IPv6 one. No IPv6 network that
/// is in use begins with the 32 zeros of the former.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Origin(u64);

impl Origin {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self(u64::from(address.to_bits())),
            IpAddr::V6(address) => Self(network(address)),
        }
    }
}

fn network(address: Ipv6Addr) -> u64 {
    (address.to_bits() >> 64) as u64
}

impl PerAddress {
    pub(crate) fn new(limit: usize, loopback: bool) -> Arc<Self> {
        Arc::new(Self { limit, loopback, counts: Mutex::default() })
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// A place for one connection, until it is dropped; `None` if the address has all of its own.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        // A socket for both protocols shows IPv4 peers as ::ffff:192.0.2.1.
        let address = address.to_canonical();
        if self.limit == 0 || (address.is_loopback() && !self.loopback) {
            return Some(Place(None));
        }
        let origin = Origin::of(address);
        let mut counts = self.counts();
        let count = counts.entry(origin).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Place(Some((self.clone(), origin))))
    }

    fn leave(&self, origin: Origin) {
        let mut counts = self.counts();
        if let Some(count) = counts.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&origin);
            }
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Origin, usize>> {
        // Nothing panics between two changes of one count.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place among those of its address.
#[derive(Debug)]
pub struct Place(Option<(Arc<PerAddress>, Origin)>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((counts, origin)) = self.0.take() {
            counts.leave(origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(counts: &Arc<PerAddress>, address: &str) -> Option<Place> {
        counts.enter(address.parse().unwrap())
    }

    #[test]
    fn an_address_has_so_many_and_others_have_theirs() {
        let counts = PerAddress::new(2, false);
        let (first, second) = (enter(&counts, "192.0.2.1"), enter(&counts, "::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some(), "they are one address");
        assert!(enter(&counts, "192.0.2.1").is_none());
        assert!(enter(&counts, "192.0.2.2").is_some());
        drop(first);
        assert!(enter(&counts, "192.0.2.1").is_some());
        drop(second);
        assert!(counts.counts().is_empty(), "what nobody has open is not remembered");
    }

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let counts = PerAddress::new(1, false);
        let place = enter(&counts, "2001:db8:0:1::1");
        assert!(place.is_some() && enter(&counts, "2001:db8:0:1:ffff::2").is_none());
        assert!(enter(&counts, "2001:db8:0:2::1").is_some());
    }

    #[test]
    fn this_machine_counts_only_if_asked_and_zero_is_no_limit() {
        for address in ["127.0.0.1", "127.83.0.1", "::1", "::ffff:127.0.0.1"] {
            let (exempt, counted) = (PerAddress::new(1, false), PerAddress::new(1, true));
            let places = [enter(&exempt, address), enter(&exempt, address), enter(&counted, address)];
            assert!(places.iter().all(Option::is_some) && enter(&counted, address).is_none(), "{address}");
        }
        let unlimited = PerAddress::new(0, true);
        let places: Vec<_> = (0..100).map(|_| enter(&unlimited, "192.0.2.1")).collect();
        assert!(places.iter().all(Option::is_some));
    }
}
