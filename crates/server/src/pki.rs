//! The private CA and the leaf, made once and kept in the data folder; or the operator's own.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use cresset_message::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use time::OffsetDateTime;

use crate::failure::Failure;
use crate::names;

/// Longest life that browsers take of a leaf: 398 days; one less, for clocks that differ.
const LEAF_DAYS: i64 = 397;
/// The leaf is made anew when less than this is left of it.
const RENEW_DAYS: i64 = 30;
const CA_DAYS: i64 = 3_650;

/// A chain and its key, ready for listeners.
#[derive(Debug)]
pub(crate) struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Identity {
    /// The DNS names of the leaf, but those with a wildcard.
    pub(crate) fn names(&self) -> Vec<String> {
        let Some(leaf) = self.chain.first() else { return Vec::new() };
        let Ok(leaf) = webpki::EndEntityCert::try_from(leaf) else { return Vec::new() };
        leaf.valid_dns_names().filter(|name| !name.starts_with('*')).map(str::to_owned).collect()
    }
}

/// Files in the data folder.
pub(crate) const CA_FILE: &str = "ca.pem";
const CA_KEY_FILE: &str = "ca.key";
const LEAF_FILE: &str = "leaf.pem";
const LEAF_KEY_FILE: &str = "leaf.key";
/// What the leaf was made for: names, and the second its life ends.
const LEAF_FACTS_FILE: &str = "leaf.facts";

/// The operator's own certificate.
pub(crate) fn read_own(certificate: &Path, key: &Path) -> Result<Identity, Failure> {
    let unreadable = |what: &str, path: &Path, e: &dyn std::fmt::Display| {
        Failure::new(format!("cannot read the {what} {}: {e}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| unreadable("certificate", certificate, &e))?;
    if chain.is_empty() {
        return Err(unreadable("certificate", certificate, &"no PEM certificate is in it"));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable("certificate's key", key, &e))?;
    Ok(Identity { chain, key })
}

/// The leaf of the private CA; CA and leaf are made where they are missing, and the leaf again when
/// it is about to expire or should carry other names.
pub(crate) fn private(folder: &Path, extra_names: &[String], now: Timestamp) -> Result<Identity, Failure> {
    if !folder.join(CA_FILE).exists() {
        make_ca(folder, now)?;
    }
    let names = leaf_names(extra_names);
    if !leaf_is_good(folder, &names, now) {
        make_leaf(folder, &names, now)?;
    }
    let mut identity = read_own(&folder.join(LEAF_FILE), &folder.join(LEAF_KEY_FILE))?;
    let ca = CertificateDer::from_pem_file(folder.join(CA_FILE))
        .map_err(|e| Failure::new(format!("cannot read {}: {e}", folder.join(CA_FILE).display())))?;
    identity.chain.push(ca);
    Ok(identity)
}

fn leaf_names(extra: &[String]) -> Vec<String> {
    let mut all: Vec<String> = names::all().map(str::to_owned).collect();
    all.extend(["localhost", "127.0.0.1", "::1", crate::exec::ADDRESS].map(str::to_owned));
    for name in extra {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    all
}

fn leaf_is_good(folder: &Path, names: &[String], now: Timestamp) -> bool {
    let Ok(facts) = std::fs::read_to_string(folder.join(LEAF_FACTS_FILE)) else { return false };
    let Some((expires, made_for)) = facts.split_once('\n') else { return false };
    let left = expires.parse::<i64>().unwrap_or(0) - now.as_secs() as i64;
    made_for == names.join("\n") && left > RENEW_DAYS * 86_400 && folder.join(LEAF_FILE).exists()
}

fn day(now: Timestamp, offset: i64) -> OffsetDateTime {
    let seconds = now.as_secs() as i64 + offset * 86_400;
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// The CA but its key; what it signs names it by these.
fn ca_params(now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Cresset private CA");
    params.distinguished_name.push(DnType::OrganizationName, "Cresset");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = day(now, -1);
    params.not_after = day(now, CA_DAYS);
    params
}

fn make_ca(folder: &Path, now: Timestamp) -> Result<(), Failure> {
    let key = KeyPair::generate().map_err(|e| crypto(&e))?;
    let ca = ca_params(now).self_signed(&key).map_err(|e| crypto(&e))?;
    crate::data::write_secret(&folder.join(CA_KEY_FILE), key.serialize_pem().as_bytes())?;
    crate::data::write_public(&folder.join(CA_FILE), ca.pem().as_bytes())
}

fn make_leaf(folder: &Path, names: &[String], now: Timestamp) -> Result<(), Failure> {
    let path = folder.join(CA_KEY_FILE);
    let ca_key = std::fs::read_to_string(&path)
        .map_err(|e| Failure::new(format!("cannot read {}: {e}", path.display())))?;
    let ca_key = KeyPair::from_pem(&ca_key).map_err(|e| crypto(&e))?;
    let issuer = Issuer::new(ca_params(now), ca_key);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Cresset");
    for name in names {
        let san = match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(
                name.as_str()
                    .try_into()
                    .map_err(|_| Failure::new(format!("tls.names: `{name}` is not a host name")))?,
            ),
        };
        params.subject_alt_names.push(san);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = day(now, -1);
    params.not_after = day(now, LEAF_DAYS);
    let key = KeyPair::generate().map_err(|e| crypto(&e))?;
    let leaf = params.signed_by(&key, &issuer).map_err(|e| crypto(&e))?;
    let facts = format!("{}\n{}", day(now, LEAF_DAYS).unix_timestamp(), names.join("\n"));
    crate::data::write_secret(&folder.join(LEAF_KEY_FILE), key.serialize_pem().as_bytes())?;
    crate::data::write_public(&folder.join(LEAF_FILE), leaf.pem().as_bytes())?;
    crate::data::write_public(&folder.join(LEAF_FACTS_FILE), facts.as_bytes())
}

fn crypto(e: &rcgen::Error) -> Failure {
    Failure::new(format!("the private CA: {e}"))
}

/// TLS for the HTTP listener: HTTP/2 and HTTP/1.1 by ALPN; no SNI needed, the leaf is for all names.
pub(crate) fn https_config(identity: &Identity) -> Result<Arc<rustls::ServerConfig>, Failure> {
    let mut config = server_config(identity)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// XMPP knows no ALPN: whatever a client offers is ignored (`protocol/xmpp.md` §1).
pub(crate) fn xmpp_config(identity: &Identity) -> Result<Arc<rustls::ServerConfig>, Failure> {
    Ok(Arc::new(server_config(identity)?))
}

/// The one certificate, whatever name a client asks for, or none.
pub(crate) fn resolver(identity: &Identity) -> Result<Arc<dyn ResolvesServerCert>, Failure> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certified = CertifiedKey::from_der(identity.chain.clone(), identity.key.clone_key(), &provider);
    let certified =
        certified.map_err(|e| Failure::new(format!("the certificate and its key do not serve: {e}")))?;
    Ok(Arc::new(SingleCertAndKey::from(certified)))
}

fn server_config(identity: &Identity) -> Result<rustls::ServerConfig, Failure> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(resolver(identity)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leaf_is_kept_until_it_ages_or_its_names_change() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::from_secs(1_800_000_000);
        let leaf = || std::fs::read(folder.path().join(LEAF_FILE)).unwrap();
        let ca = || std::fs::read(folder.path().join(CA_FILE)).unwrap();
        https_config(&private(folder.path(), &[], now).unwrap()).unwrap();
        let (first_ca, first) = (ca(), leaf());
        private(folder.path(), &[], now + std::time::Duration::from_secs(86_400)).unwrap();
        assert_eq!(leaf(), first);
        private(folder.path(), &["push.example".into()], now).unwrap();
        let renamed = leaf();
        assert_ne!(renamed, first);
        let late = now + std::time::Duration::from_secs(86_400 * (LEAF_DAYS as u64 - 10));
        private(folder.path(), &["push.example".into()], late).unwrap();
        assert_ne!(leaf(), renamed);
        assert_eq!(ca(), first_ca, "the CA stays: clients trust it");
    }

    #[test]
    fn a_missing_certificate_is_named() {
        let error = read_own(Path::new("/nowhere/cert.pem"), Path::new("/nowhere/key.pem")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/cert.pem"));
    }
}
