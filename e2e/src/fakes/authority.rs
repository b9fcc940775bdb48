//! A private CA, and the certificates that a fake and its clients need.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::FakeError;

/// `UID`, in which Apple writes the bundle id.
const UID: &[u64] = &[0, 9, 2_342, 19_200_300, 100, 1, 1];

/// Whom clients of the fake must trust.
pub struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that a client shows.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    pub certificate_pem: String,
    pub key_pem: String,
    pub der: Vec<u8>,
}

impl Authority {
    pub fn new() -> Result<Self, FakeError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "CA of a fake");
        let certificate = params.self_signed(&key)?;
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Ok(Self { pem, der, issuer: Issuer::new(params, key) })
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub fn roots(&self) -> Result<RootCertStore, FakeError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone())?;
        Ok(roots)
    }

    /// As Apple gives it out for an app: to push to its bundle id, in both environments.
    pub fn client(&self, bundle_id: &str) -> Result<ClientIdentity, FakeError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CustomDnType(UID.to_vec()), bundle_id);
        params.distinguished_name.push(DnType::CommonName, format!("Apple Push Services: {bundle_id}"));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        for environment in [1, 2] {
            let oid = [1, 2, 840, 113_635, 100, 6, 3, environment];
            // NULL: what it says is that it is there.
            params.custom_extensions.push(CustomExtension::from_oid_content(&oid, vec![5, 0]));
        }
        let certificate = params.signed_by(&key, &self.issuer)?;
        let der = certificate.der().to_vec();
        Ok(ClientIdentity { certificate_pem: certificate.pem(), key_pem: key.serialize_pem(), der })
    }

    /// For a listener with these names. Clients may show a certificate of this CA.
    pub(super) fn server(
        &self,
        names: &[String],
        protocols: &[&[u8]],
    ) -> Result<Arc<ServerConfig>, FakeError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()?;
        let key = PrivateKeyDer::try_from(key.serialize_der())?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], key)?;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}
