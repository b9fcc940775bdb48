//! What the listener needs of `identity`: who a browser is, and its subscriptions.

use cresset_identity::{CheckIn, Identity};
use cresset_message::{DeviceId, Timestamp};
use cresset_wire::mozilla::Uaid;

use crate::backend::Answer;

pub trait Channels: Send + Sync + 'static {
    /// Whether this was given out here, and its browser subscribed to something.
    fn known(&self, uaid: Uaid, now: Timestamp) -> Answer<'_, bool>;

    /// Who a browser is that has nothing yet. Nothing is kept of it.
    fn newcomer(&self) -> Uaid;

    /// Subscribes; gives what the endpoint names it by.
    fn subscribe<'a>(
        &'a self,
        uaid: Uaid,
        channel: &'a str,
        key: Option<[u8; 65]>,
        now: Timestamp,
    ) -> Answer<'a, String>;

    fn unsubscribe<'a>(&'a self, uaid: Uaid, channel: &'a str, now: Timestamp) -> Answer<'a, ()>;
}

impl Channels for Identity {
    fn known(&self, uaid: Uaid, now: Timestamp) -> Answer<'_, bool> {
        Box::pin(async move {
            let Some(device) = DeviceId::new(uaid.device) else { return Ok(false) };
            Ok(self.authenticate_device(device, uaid.secret, now).await?)
        })
    }

    fn newcomer(&self) -> Uaid {
        let CheckIn { device, security_token } = self.new_browser();
        Uaid { device: device.get(), secret: security_token }
    }

    fn subscribe<'a>(
        &'a self,
        uaid: Uaid,
        channel: &'a str,
        key: Option<[u8; 65]>,
        now: Timestamp,
    ) -> Answer<'a, String> {
        Box::pin(async move {
            let device = DeviceId::new(uaid.device).ok_or("there is no such device")?;
            let browser = CheckIn { device, security_token: uaid.secret };
            Ok(self.subscribe_channel(browser, channel, key.as_ref(), now).await?)
        })
    }

    fn unsubscribe<'a>(&'a self, uaid: Uaid, channel: &'a str, now: Timestamp) -> Answer<'a, ()> {
        Box::pin(async move {
            let device = DeviceId::new(uaid.device).ok_or("there is no such device")?;
            Ok(self.unsubscribe_channel(device, channel, now).await?)
        })
    }
}
