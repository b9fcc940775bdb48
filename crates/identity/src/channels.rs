//! Channels of a browser that speaks Mozilla's protocol (`protocol/web-push.md` §2.4): each is a bare
//! subscription of its own, as register3 makes them for Chromium.

use base64::Engine as _;
use cresset_message::{DeviceId, ProjectNumber, Timestamp};

use crate::Identity;
use crate::checkin::CheckIn;
use crate::register3::{BASE64_LENIENT, Register3, Register3Error, Shown};

impl Identity {
    /// Who a browser is that has nothing yet. Nothing is written of it before its first channel: a browser
    /// without one comes as a new one each time.
    pub fn new_browser(&self) -> CheckIn {
        self.draw_device()
    }

    /// Subscribes a channel, or finds it again: the token in its endpoint. With a `key`, only who has that
    /// may send to it.
    pub async fn subscribe_channel(
        &self,
        browser: CheckIn,
        channel: &str,
        key: Option<&[u8; 65]>,
        now: Timestamp,
    ) -> Result<String, Register3Error> {
        self.keep_device(browser, now).await?;
        let form = Register3 {
            app: channel.to_owned(),
            sender: key
                .map(|key| BASE64_LENIENT.encode(key).trim_end_matches('=').to_owned())
                .unwrap_or_default(),
            ..Register3::default()
        };
        let shown = Shown { mozilla: true, ..Shown::default() };
        self.register_as(ProjectNumber::SYSTEM, browser.device, &form, &shown, now).await
    }

    /// Ends a channel; that there is none is success.
    pub async fn unsubscribe_channel(
        &self,
        browser: DeviceId,
        channel: &str,
        now: Timestamp,
    ) -> Result<(), Register3Error> {
        let form = Register3 { app: channel.to_owned(), ..Register3::default() };
        self.unregister3(browser, &form, now).await.map(|_| ())
    }
}
