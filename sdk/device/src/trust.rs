//! Which servers a device believes.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::Error;

/// Which certificates are trusted. There are no built-in ones.
#[derive(Clone, Debug)]
pub struct Trust(RootCertStore);

impl Trust {
    /// Trusts what the system trusts, or what `SSL_CERT_FILE` names instead: for Google, and for
    /// servers with a certificate of a public authority.
    pub fn system() -> Self {
        let mut roots = RootCertStore::empty();
        // What cannot be read is not trusted; a server that needed it is told of by name then.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self(roots)
    }

    /// Trusts the certificates in a PEM text, and those that they signed.
    pub fn pem(text: &str) -> Result<Self, Error> {
        Self(RootCertStore::empty()).and_pem(text)
    }

    /// Trusts those in a PEM text as well.
    pub fn and_pem(mut self, text: &str) -> Result<Self, Error> {
        let before = self.0.len();
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let certificate = certificate.map_err(|error| Error::Roots(error.to_string()))?;
            self.0.add(certificate).map_err(|error| Error::Roots(error.to_string()))?;
        }
        if self.0.len() == before { Err(Error::Roots("no certificate in it".into())) } else { Ok(self) }
    }

    /// Trusts what is in `roots`.
    pub fn roots(roots: RootCertStore) -> Self {
        Self(roots)
    }

    pub(crate) fn config(self) -> Result<Arc<ClientConfig>, Error> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Roots(error.to_string()))?
            .with_root_certificates(self.0)
            .with_no_client_auth();
        // Thousands of devices in one process would share, and so falsify, one session cache.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}
