//! Whom we trust, and who we say that we are.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("a certificate cannot be read: {0}")]
    Certificate(String),
    #[error("the private key cannot be read: {0}")]
    Key(String),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// `roots` and those of a PEM bundle; as many as it has, and it must have one.
pub fn with_bundle(mut roots: RootCertStore, pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let all = certificates(pem)?;
    for certificate in all {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// A certificate that a client shows, with its chain and its key.
#[derive(Debug)]
pub struct ClientCertificate {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl ClientCertificate {
    /// Chain and key as PEM, in one text or in two.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| TlsError::Key(e.to_string()))?;
        Ok(Self { chain: certificates(chain)?, key })
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(TlsError::Certificate("there is none".into())),
        Err(e) => Err(TlsError::Certificate(e.to_string())),
    }
}

/// TLS 1.2 or later, with the protocols to choose from in order.
pub(crate) fn client(
    roots: RootCertStore,
    protocols: &[&[u8]],
    certificate: Option<&ClientCertificate>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match certificate {
        None => config.with_no_client_auth(),
        Some(shown) => config.with_client_auth_cert(shown.chain.clone(), shown.key.clone_key())?,
    };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}
