//! Deliveries over the push services of others: Web Push, APNs.
