//! Check-in, where a device gets its identity (`protocol/device-registration.md` §1).

use prost::Message;

/// Why a check-in body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an AndroidCheckinRequest: {0}")]
pub struct CheckinError(#[from] prost::DecodeError);

/// What a device tells. Fields that a server has no use for are skipped when read; device
/// configuration alone can be kilobytes.
#[derive(Clone, PartialEq, Message)]
pub struct AndroidCheckinRequest {
    /// Zero or absent asks for a new device. Some clients print ids as signed, hence `int64`.
    #[prost(int64, optional, tag = "2")]
    pub id: Option<i64>,
    #[prost(string, optional, tag = "3")]
    pub digest: Option<String>,
    #[prost(message, required, tag = "4")]
    pub checkin: AndroidCheckin,
    #[prost(string, optional, tag = "6")]
    pub locale: Option<String>,
    #[prost(string, optional, tag = "12")]
    pub time_zone: Option<String>,
    #[prost(fixed64, optional, tag = "13")]
    pub security_token: Option<u64>,
    /// 3 everywhere.
    #[prost(int32, optional, tag = "14")]
    pub version: Option<i32>,
    #[prost(int32, optional, tag = "20")]
    pub fragment: Option<i32>,
    #[prost(int32, optional, tag = "22")]
    pub user_serial_number: Option<i32>,
}

/// `AndroidCheckinProto`.
#[derive(Clone, PartialEq, Message)]
pub struct AndroidCheckin {
    #[prost(message, optional, tag = "1")]
    pub build: Option<AndroidBuild>,
    #[prost(int64, optional, tag = "2")]
    pub last_checkin_msec: Option<i64>,
    #[prost(enumeration = "DeviceType", optional, tag = "12")]
    pub r#type: Option<i32>,
    #[prost(message, optional, tag = "13")]
    pub chrome_build: Option<ChromeBuild>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AndroidBuild {
    #[prost(string, optional, tag = "1")]
    pub fingerprint: Option<String>,
    #[prost(int32, optional, tag = "10")]
    pub sdk_version: Option<i32>,
    #[prost(string, optional, tag = "11")]
    pub model: Option<String>,
    #[prost(string, optional, tag = "12")]
    pub manufacturer: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum DeviceType {
    AndroidOs = 1,
    IosOs = 2,
    ChromeBrowser = 3,
    ChromeOs = 4,
}

#[derive(Clone, PartialEq, Message)]
pub struct ChromeBuild {
    /// 1 Windows, 2 Mac, 3 Linux, 4 ChromeOS, 5 iOS, 6 Android.
    #[prost(int32, optional, tag = "1")]
    pub platform: Option<i32>,
    #[prost(string, optional, tag = "2")]
    pub chrome_version: Option<String>,
    /// 1 stable, 2 beta, 3 dev, 4 canary, 5 unknown.
    #[prost(int32, optional, tag = "3")]
    pub channel: Option<i32>,
}

impl AndroidCheckinRequest {
    pub fn parse(body: &[u8]) -> Result<Self, CheckinError> {
        Ok(Self::decode(body)?)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// The identity the device claims to have; `None` when it has none yet. An id or a token
    /// alone is none: some receivers send one as zero.
    pub fn identity(&self) -> Option<(u64, u64)> {
        let id = self.id.filter(|id| *id != 0)? as u64;
        let token = self.security_token.filter(|token| *token != 0)?;
        Some((id, token))
    }
}

/// A value for Chromium's settings table (`checkin_url`, `gcm_hostname`, …).
#[derive(Clone, PartialEq, Eq, Message)]
pub struct GservicesSetting {
    #[prost(bytes = "vec", required, tag = "1")]
    pub name: Vec<u8>,
    #[prost(bytes = "vec", required, tag = "2")]
    pub value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AndroidCheckinResponse {
    #[prost(bool, required, tag = "1")]
    pub stats_ok: bool,
    /// Milliseconds since 1970; with zero microG refuses to register.
    #[prost(int64, optional, tag = "3")]
    pub time_msec: Option<i64>,
    #[prost(string, optional, tag = "4")]
    pub digest: Option<String>,
    #[prost(message, repeated, tag = "5")]
    pub setting: Vec<GservicesSetting>,
    #[prost(bool, optional, tag = "6")]
    pub market_ok: Option<bool>,
    #[prost(fixed64, optional, tag = "7")]
    pub android_id: Option<u64>,
    #[prost(fixed64, optional, tag = "8")]
    pub security_token: Option<u64>,
    /// False replaces the settings table, true merges into it, absent leaves it alone.
    #[prost(bool, optional, tag = "9")]
    pub settings_diff: Option<bool>,
    #[prost(string, optional, tag = "11")]
    pub version_info: Option<String>,
}

impl AndroidCheckinResponse {
    /// The least that every client accepts.
    pub fn identifying(android_id: u64, security_token: u64, time_msec: u64) -> Self {
        Self {
            stats_ok: true,
            time_msec: Some(time_msec as i64),
            android_id: Some(android_id),
            security_token: Some(security_token),
            ..Self::default()
        }
    }

    /// Puts `settings` in the place of the client's table.
    pub fn replacing_settings<'a>(mut self, settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let pair = |(name, value): (&str, &str)| GservicesSetting { name: name.into(), value: value.into() };
        self.setting = settings.into_iter().map(pair).collect();
        self.settings_diff = Some(false);
        self
    }

    pub fn parse(body: &[u8]) -> Result<Self, CheckinError> {
        Ok(Self::decode(body)?)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A first check-in as Chromium makes it, written by hand from the field table.
    #[test]
    fn a_first_checkin_is_read() {
        let body = [
            0x10, 0, // id 0
            0x22, 10, 0x60, 3, 0x6a, 6, 0x08, 3, 0x12, 2, b'1', b'5', // checkin { type, chrome_build }
            0x70, 3, // version
            0x92, 0x01, 1, 0xff, // device_configuration, skipped unread
            0xb0, 0x01, 0, // user_serial_number
        ];
        let request = AndroidCheckinRequest::parse(&body).unwrap();
        assert_eq!(request.identity(), None);
        assert_eq!(request.version, Some(3));
        assert_eq!(request.checkin.r#type, Some(DeviceType::ChromeBrowser.into()));
        assert_eq!(request.checkin.chrome_build.unwrap().chrome_version.as_deref(), Some("15"));
    }

    #[test]
    fn an_identity_needs_both_halves() {
        let request = |id, security_token| {
            AndroidCheckinRequest { id, security_token, ..Default::default() }.identity()
        };
        assert_eq!(request(Some(7), Some(9)), Some((7, 9)));
        assert_eq!(request(Some(-1), Some(9)), Some((u64::MAX, 9)));
        for none in [request(None, None), request(Some(0), Some(9)), request(Some(7), Some(0))] {
            assert_eq!(none, None);
        }
    }

    /// Field by field as `protocol/device-registration.md` §1 lists it: ids are fixed64 here.
    #[test]
    fn an_answer_is_the_bytes_of_the_protocol() {
        let answer = AndroidCheckinResponse::identifying(1, 2, 3).replacing_settings([("a", "b")]);
        let bytes = [
            &[0x08, 1, 0x18, 3, 0x2a, 6, 0x0a, 1, b'a', 0x12, 1, b'b'][..],
            &[0x39, 1, 0, 0, 0, 0, 0, 0, 0],
            &[0x41, 2, 0, 0, 0, 0, 0, 0, 0],
            &[0x48, 0],
        ]
        .concat();
        assert_eq!(answer.to_bytes(), bytes);
        assert_eq!(AndroidCheckinResponse::parse(&bytes), Ok(answer));
    }

    #[test]
    fn rubbish_is_an_error() {
        assert!(AndroidCheckinRequest::parse(b"<html>").is_err());
    }
}
