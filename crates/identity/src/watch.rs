//! What others want to know about registrations: that there is one more, or one less. Told after it
//! is durable. The fan-out keeps sets of them in memory.

use std::future::Future;
use std::pin::Pin;

use cresset_message::{DeviceId, ProjectNumber, RegistrationId, Timestamp};

pub type Told<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

pub trait Watch: Send + Sync + 'static {
    /// A registration is new, or is carried by another device than before.
    fn registered(&self, id: RegistrationId, device: DeviceId, now: Timestamp) -> Told<'_>;

    /// A registration is no more. What it had waiting is for nobody.
    fn ended(&self, id: RegistrationId, now: Timestamp) -> Told<'_>;

    /// A project is no more.
    fn project_deleted(&self, project: ProjectNumber, now: Timestamp) -> Told<'_>;
}
