//! The private CA in the forms that runtimes read, beside the authorities they trust already, so
//! that the rest of a program's network stays as it was (`clients/admin-sdks.md` §0.1).

use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::failure::Failure;

/// Where the distributions keep their bundle.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

/// Files of a data folder that `cresset exec` points runtimes to.
#[derive(Clone, Debug)]
pub(crate) struct TrustFiles {
    /// The CA alone.
    pub ca: PathBuf,
    /// The system's authorities and the CA, PEM.
    pub bundle: PathBuf,
    /// The same for Java.
    pub java: PathBuf,
}

/// Java insists on one; what is in the file is public.
pub(crate) const JAVA_PASSWORD: &str = "changeit";

/// Writes bundle and Java store beside the CA. `extra` is a bundle the environment already named.
pub(crate) fn write(ca: &Path, folder: &Path, extra: Option<&Path>) -> Result<TrustFiles, Failure> {
    let ours = std::fs::read_to_string(ca)
        .map_err(|e| Failure::new(format!("cannot read the CA {}: {e}", ca.display())))?;
    let system = extra
        .into_iter()
        .chain(SYSTEM_BUNDLES.iter().map(Path::new))
        .find_map(|path| std::fs::read_to_string(path).ok());
    let bundle_text = format!("{}\n{ours}", system.unwrap_or_default());
    let files = TrustFiles {
        ca: ca.to_owned(),
        bundle: folder.join("ca-bundle.pem"),
        java: folder.join("ca-bundle.jks"),
    };
    crate::data::write_public(&files.bundle, bundle_text.as_bytes())?;
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(bundle_text.as_bytes()).filter_map(Result::ok).collect();
    crate::data::write_public(&files.java, &java_key_store(&certificates))?;
    Ok(files)
}

/// A Java key store (JKS, version 2) of trusted certificates: the one form that every Java reads.
/// Big-endian; at the end SHA-1 over the password, a fixed phrase, and all that stands before.
fn java_key_store(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    const MAGIC: u32 = 0xFEED_FEED;
    const VERSION: u32 = 2;
    const TRUSTED_CERTIFICATE: u32 = 2;
    let mut out = Vec::new();
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend_from_slice(&(text.len() as u16).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    for number in [MAGIC, VERSION, certificates.len() as u32] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    for (index, certificate) in certificates.iter().enumerate() {
        out.extend_from_slice(&TRUSTED_CERTIFICATE.to_be_bytes());
        text(&mut out, &format!("authority-{index}"));
        out.extend_from_slice(&0u64.to_be_bytes());
        text(&mut out, "X.509");
        out.extend_from_slice(&(certificate.len() as u32).to_be_bytes());
        out.extend_from_slice(certificate);
    }
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    for unit in JAVA_PASSWORD.encode_utf16() {
        hash.update(&unit.to_be_bytes());
    }
    hash.update(b"Mighty Aphrodite");
    hash.update(&out);
    out.extend_from_slice(hash.finish().as_ref());
    out
}
