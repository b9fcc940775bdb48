//! What one address may have: so many connections, and so many newcomers among them.

use std::net::IpAddr;
use std::sync::Arc;

use crate::addresses::{PerAddress, Place};

/// The connections of each address, and those of them that have not shown who they are.
#[derive(Debug)]
pub struct Addresses {
    all: Arc<PerAddress>,
    newcomers: Arc<PerAddress>,
}

/// A connection's place among those of its address, and among the newcomers of its address.
#[derive(Debug)]
pub struct Places {
    pub open: Place,
    pub newcomer: Place,
}

/// An address has as many as it may have: so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    Connections(usize),
    Newcomers(usize),
}

impl Addresses {
    /// So many connections of each, and newcomers; 0 is no limit. `loopback` says whether this machine's
    /// own addresses are limited too.
    pub fn new(connections: usize, newcomers: usize, loopback: bool) -> Self {
        let per_address = |limit| PerAddress::new(limit, loopback);
        Self { all: per_address(connections), newcomers: per_address(newcomers) }
    }

    /// The places of one more connection, until they are dropped.
    pub fn enter(&self, address: IpAddr) -> Result<Places, TooMany> {
        let open = self.all.enter(address).ok_or(TooMany::Connections(self.all.limit()))?;
        let newcomer = self.newcomers.enter(address).ok_or(TooMany::Newcomers(self.newcomers.limit()))?;
        Ok(Places { open, newcomer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_that_is_too_many_takes_no_place_among_all() {
        let addresses = Addresses::new(2, 1, true);
        let enter = || addresses.enter("192.0.2.1".parse().unwrap());
        let first = enter().unwrap();
        assert_eq!(enter().unwrap_err(), TooMany::Newcomers(1));
        drop(first.newcomer);
        let second = enter().unwrap();
        assert_eq!(enter().unwrap_err(), TooMany::Connections(2));
        drop((first.open, second));
        assert!(enter().is_ok());
    }
}
