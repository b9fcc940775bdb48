//! Configuration: one commented TOML file, which is also the manual of its keys.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cresset_delivery::{Bucket, Quotas};
use serde::Deserialize;

use crate::failure::Failure;
use crate::spans::Endpoint;

/// The file with every key at its default. `--print-config` prints it; a test holds it to `Default`.
pub const TEMPLATE: &str = include_str!("cresset.toml");

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub data: PathBuf,
    pub listen: Listen,
    pub tls: Tls,
    pub log: Log,
    pub limits: Limits,
    pub quotas: QuotaConfig,
    pub trace: Trace,
    pub outgoing: Outgoing,
    pub telemetry: Telemetry,
    pub shutdown: Shutdown,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    pub https: SocketAddr,
    pub http: SocketAddr,
    pub mcs: SocketAddr,
    /// Empty: not served. The second is the port for testing, and empty if left out.
    pub xmpp: String,
    pub xmpp_testing: String,
    /// An address of its own on loopback for `cresset exec`; empty: none.
    pub exec: String,
    /// The origin of endpoints; empty: by the name that a browser came by.
    pub public: String,
}

#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub http_connections: usize,
    pub device_connections: usize,
    pub xmpp_connections: usize,
    pub xmpp_connections_per_sender: usize,
    pub device_days: u32,
    pub connections_per_address: usize,
    pub http_connections_per_address: usize,
    pub logins_per_address: usize,
    pub count_loopback: bool,
    pub waiting_writes: usize,
    pub store_cache_mb: u64,
    pub live_fanouts: usize,
    pub fanout_memory_mb: usize,
    pub topic_memory_mb: usize,
}

/// A profile, and the numbers that differ from it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuotaConfig {
    pub profile: QuotaProfile,
    pub project_per_minute: Option<u32>,
    pub device_per_minute: Option<u32>,
    pub device_per_hour: Option<u32>,
    pub collapsible_burst: Option<u32>,
    pub collapsible_refill_seconds: Option<u32>,
    pub collapse_keys: Option<u32>,
    pub stored: Option<u32>,
    pub subscriptions_per_second: Option<u32>,
    pub remembered: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum QuotaProfile {
    /// FCM's own limits.
    #[default]
    Fcm,
    /// No limit but those of this file.
    Off,
}

impl QuotaConfig {
    pub fn quotas(&self) -> Quotas {
        let profile = match self.profile {
            QuotaProfile::Fcm => Quotas::FCM,
            QuotaProfile::Off => Quotas::OFF,
        };
        // 0 is no limit.
        let own = |own: Option<u32>, profile: Option<u32>| own.or(profile).filter(|limit| *limit > 0);
        let usual = Quotas::FCM.collapsible.map_or(0, |bucket| bucket.refill.as_secs());
        let refill = self.collapsible_refill_seconds.map_or(usual, u64::from);
        let burst = own(self.collapsible_burst, profile.collapsible.map(|bucket| bucket.burst));
        let collapsible = burst.filter(|_| refill > 0);
        Quotas {
            project_per_minute: own(self.project_per_minute, profile.project_per_minute),
            device_per_minute: own(self.device_per_minute, profile.device_per_minute),
            device_per_hour: own(self.device_per_hour, profile.device_per_hour),
            collapsible: collapsible.map(|burst| Bucket { burst, refill: Duration::from_secs(refill) }),
            collapse_keys: own(self.collapse_keys, profile.collapse_keys),
            stored: own(self.stored, profile.stored),
            subscriptions_per_second: own(self.subscriptions_per_second, profile.subscriptions_per_second),
            remembered: self.remembered.map_or(profile.remembered, |entries| entries as usize),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trace {
    pub keep_hours: u32,
}

impl Default for Trace {
    fn default() -> Self {
        Self { keep_hours: 72 }
    }
}

impl Trace {
    pub fn keep(self) -> Duration {
        Duration::from_secs(u64::from(self.keep_hours) * 3_600)
    }
}

/// What the server may connect to by itself.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outgoing {
    pub web_push: bool,
    pub apns: bool,
    pub contact: String,
    pub hosts: Vec<String>,
    pub private_hosts: Vec<String>,
    pub proxy: String,
    pub ca: Option<PathBuf>,
    pub apns_host: String,
    pub apns_sandbox_host: String,
    pub key_reuse_minutes: u32,
}

impl Outgoing {
    /// For trying things out: push services at `https://localhost`, with a certificate of the data folder's CA
    /// or of one that the system trusts; nothing beyond the machine.
    pub fn to_this_machine(folder: &Path) -> Self {
        let here = vec!["localhost".to_owned()];
        Self {
            web_push: true,
            contact: "mailto:nobody@example.com".into(),
            hosts: here.clone(),
            private_hosts: here,
            ca: Some(folder.join("ca.pem")),
            ..Self::default()
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Where an OpenTelemetry collector listens; empty: none.
    pub otlp_endpoint: String,
    pub sample_ratio: f64,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    pub drain_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "cresset-data".into(),
            listen: Listen::default(),
            tls: Tls::default(),
            log: Log::default(),
            limits: Limits::default(),
            quotas: QuotaConfig::default(),
            trace: Trace::default(),
            outgoing: Outgoing::default(),
            telemetry: Telemetry::default(),
            shutdown: Shutdown::default(),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
        Self {
            https: any(8443),
            http: SocketAddr::from(([127, 0, 0, 1], 8080)),
            mcs: any(5228),
            xmpp: any(5235).to_string(),
            xmpp_testing: String::new(),
            exec: String::new(),
            public: String::new(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}

impl Limits {
    /// How long a device may stay away; zero: for ever.
    pub fn device_life(&self) -> Duration {
        Duration::from_secs(u64::from(self.device_days) * 86_400)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            http_connections: 10_000,
            device_connections: 1_000_000,
            xmpp_connections: 10_000,
            xmpp_connections_per_sender: 2_500,
            device_days: 270,
            connections_per_address: 10_000,
            http_connections_per_address: 2_500,
            logins_per_address: 512,
            count_loopback: false,
            waiting_writes: 4_096,
            store_cache_mb: 256,
            live_fanouts: 10_000,
            fanout_memory_mb: 256,
            topic_memory_mb: 64,
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { otlp_endpoint: String::new(), sample_ratio: 1.0 }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { drain_seconds: 10 }
    }
}

impl Telemetry {
    fn check(&self) -> Result<(), String> {
        self.endpoint()?;
        match (0.0..=1.0).contains(&self.sample_ratio) {
            true => Ok(()),
            false => Err(format!("telemetry.sample_ratio is {}; it is from 0 to 1", self.sample_ratio)),
        }
    }

    pub(crate) fn endpoint(&self) -> Result<Option<Endpoint>, String> {
        if self.otlp_endpoint.is_empty() {
            return Ok(None);
        }
        let endpoint = Endpoint::parse(&self.otlp_endpoint);
        endpoint.map(Some).map_err(|e| format!("telemetry.otlp_endpoint: {e}"))
    }
}

impl Config {
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Failure::new(format!("cannot read the configuration {}: {e}", path.display())))?;
        Self::parse(&text)
            .map_err(|e| Failure::new(format!("the configuration {} is not good: {e}", path.display())))
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|e| one_line(&e, text))?;
        config.check_limits()?;
        config.xmpp_addresses().map_err(|e| e.to_string())?;
        config.telemetry.check()?;
        crate::outgoing::check(&config.outgoing)?;
        crate::push::check(&config.listen)?;
        match (&config.tls.certificate, &config.tls.key) {
            (Some(_), Some(_)) if !config.listen.exec.is_empty() => Err(
                "listen.exec needs the private CA, whose leaf has Google's names; leave tls.certificate out"
                    .into(),
            ),
            (Some(_), None) => Err("tls.key is missing beside tls.certificate".into()),
            (None, Some(_)) => Err("tls.certificate is missing beside tls.key".into()),
            _ => Ok(config),
        }
    }

    fn check_limits(&self) -> Result<(), String> {
        let within = |name: &str, value: u64, most: u64| match value {
            0 => Err(format!("limits.{name} must be at least 1")),
            value if value > most => Err(format!("limits.{name} is {value}; the most is {most}")),
            _ => Ok(()),
        };
        within("http_connections", self.limits.http_connections as u64, 100_000_000)?;
        within("device_connections", self.limits.device_connections as u64, 100_000_000)?;
        within("xmpp_connections", self.limits.xmpp_connections as u64, 1_000_000)?;
        within("xmpp_connections_per_sender", self.limits.xmpp_connections_per_sender as u64, 1_000_000)?;
        within("waiting_writes", self.limits.waiting_writes as u64, 1_000_000)?;
        within("store_cache_mb", self.limits.store_cache_mb, 1 << 20)?;
        within("live_fanouts", self.limits.live_fanouts as u64, 1_000_000)?;
        within("fanout_memory_mb", self.limits.fanout_memory_mb as u64, 1 << 20)?;
        within("topic_memory_mb", self.limits.topic_memory_mb as u64, 1 << 20)?;
        match self.quotas.remembered {
            Some(0) => Err("quotas.remembered must be at least 1".into()),
            Some(entries @ 100_000_001..) => {
                Err(format!("quotas.remembered is {entries}; the most is 100000000"))
            }
            _ => Ok(()),
        }
    }

    /// Where app servers connect by XMPP.
    pub fn xmpp_addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        let of = |key: &str, text: &str| {
            text.parse()
                .map_err(|_| Failure::new(format!("listen.{key}: `{text}` is not an address and a port")))
        };
        let keys = [("xmpp", &self.listen.xmpp), ("xmpp_testing", &self.listen.xmpp_testing)];
        keys.into_iter().filter(|(_, text)| !text.is_empty()).map(|(key, text)| of(key, text)).collect()
    }

    /// The address that `cresset exec` leads to, if there is to be one.
    pub fn exec_address(&self) -> Result<Option<std::net::IpAddr>, Failure> {
        let text = &self.listen.exec;
        if text.is_empty() {
            return Ok(None);
        }
        let address: std::net::IpAddr =
            text.parse().map_err(|_| Failure::new(format!("listen.exec: `{text}` is not an IP address")))?;
        if !address.is_loopback() {
            return Err(Failure::new(format!("listen.exec: {address} is not a loopback address")));
        }
        Ok(Some(address))
    }
}

/// Line and reason, without the drawing that the library makes of it.
fn one_line(error: &toml::de::Error, text: &str) -> String {
    let reason = error.message().replace('\n', " ");
    match error.span() {
        Some(span) => {
            let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
            format!("line {line}: {reason}")
        }
        None => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_configuration_is_the_default() {
        assert_eq!(Config::parse(TEMPLATE), Ok(Config::default()));
        assert_eq!(Config::parse(""), Ok(Config::default()));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = Config::parse("[listen]\nhttps = \"0.0.0.0:1\"\nhtpps = 1\n").unwrap_err();
        assert!(error.starts_with("line 3: ") && error.contains("htpps"), "{error}");
        assert!(Config::parse("[listne]\n").unwrap_err().contains("listne"));
    }

    #[test]
    fn half_a_certificate_is_an_error() {
        assert!(Config::parse("[tls]\ncertificate = \"a.pem\"\n").unwrap_err().contains("tls.key"));
    }

    #[test]
    fn numbers_that_cannot_serve_are_named() {
        for (key, value) in [("http_connections", "0"), ("store_cache_mb", "99999999999")] {
            let error = Config::parse(&format!("[limits]\n{key} = {value}\n")).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn quotas_are_a_profile_and_what_differs_from_it() {
        let quotas = |text: &str| Config::parse(&format!("[quotas]\n{text}")).unwrap().quotas.quotas();
        assert_eq!(quotas(""), Quotas::FCM);
        assert_eq!(quotas("profile = \"off\""), Quotas::OFF);
        assert_eq!(quotas("device_per_hour = 0"), Quotas { device_per_hour: None, ..Quotas::FCM });
        let own = quotas("profile = \"off\"\nproject_per_minute = 5\ncollapsible_burst = 2");
        let collapsible = Some(Bucket { burst: 2, refill: Duration::from_secs(180) });
        assert_eq!(own, Quotas { project_per_minute: Some(5), collapsible, ..Quotas::OFF });
        assert!(Config::parse("[quotas]\nprofile = \"gcm\"").unwrap_err().contains("fcm"));
        assert!(Config::parse("[quotas]\nremembered = 0").unwrap_err().contains("remembered"));
    }

    #[test]
    fn a_collector_is_named_by_a_plain_url() {
        let parse = |text: &str| Config::parse(&format!("[telemetry]\n{text}\n"));
        assert!(parse("otlp_endpoint = \"http://127.0.0.1:4318\"").is_ok());
        assert!(parse("otlp_endpoint = \"https://otel\"").unwrap_err().contains("telemetry.otlp_endpoint"));
        assert!(parse("sample_ratio = 1.5").unwrap_err().contains("telemetry.sample_ratio"));
    }

    #[test]
    fn exec_needs_the_private_ca() {
        let text = "[listen]\nexec = \"127.83.0.1\"\n[tls]\ncertificate = \"a\"\nkey = \"b\"\n";
        assert!(Config::parse(text).unwrap_err().contains("listen.exec"));
    }

    #[test]
    fn xmpp_is_served_where_it_is_asked_for() {
        let addresses = |text: &str| {
            let config = Config::parse(&format!("[listen]\n{text}\n")).unwrap();
            config.xmpp_addresses().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(addresses(""), ["0.0.0.0:5235"]);
        assert_eq!(addresses("xmpp_testing = \"[::1]:5236\""), ["0.0.0.0:5235", "[::1]:5236"]);
        assert!(addresses("xmpp = \"\"").is_empty());
        assert!(Config::parse("[listen]\nxmpp = \"5235\"").unwrap_err().contains("listen.xmpp"));
    }

    #[test]
    fn only_loopback_is_for_exec() {
        let config = Config::parse("[listen]\nexec = \"192.0.2.1\"\n").unwrap();
        assert!(config.exec_address().unwrap_err().to_string().contains("loopback"));
    }
}
