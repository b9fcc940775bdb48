//! The roots that programs have compiled in, read from `SSL_CERT_FILE` instead.

use std::sync::LazyLock;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor};

/// None, if there is no such file: then nobody is trusted.
pub static TLS_SERVER_ROOTS: LazyLock<Vec<TrustAnchor<'static>>> = LazyLock::new(|| {
    #[expect(clippy::disallowed_methods, reason = "as programs are told whom to trust")]
    let file = std::env::var_os("SSL_CERT_FILE").unwrap_or_default();
    let certificates = CertificateDer::pem_file_iter(file).into_iter().flatten().filter_map(Result::ok);
    certificates
        .filter_map(|certificate| Some(webpki::anchor_from_trusted_cert(&certificate).ok()?.to_owned()))
        .collect()
});
