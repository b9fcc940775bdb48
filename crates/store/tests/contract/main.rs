//! What every engine promises, run for each of them.

mod conditions;
mod differential;
mod disk_full;
mod expiry;
mod folder;
mod life;
mod rows;
mod support;
