//! The private CA in the forms that runtimes read, beside the authorities they trust already, so
//! that the rest of a program's network stays as it was (`clients/admin-sdks.md` §0.1).

use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
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

/// Writes bundle and Java store beside the CA. `system` stands in for the system's bundle if it
/// can be read; `named` are bundles, or folders of them, that the environment names besides.
pub(crate) fn write(
    ca: &Path,
    folder: &Path,
    system: Option<PathBuf>,
    named: &[PathBuf],
) -> Result<TrustFiles, Failure> {
    let ours =
        std::fs::read(ca).map_err(|e| Failure::new(format!("cannot read the CA {}: {e}", ca.display())))?;
    let mut all = Vec::new();
    let system = system.into_iter().chain(SYSTEM_BUNDLES.iter().map(PathBuf::from));
    let found = system.map(|path| certificates_at(&path)).find(|found| !found.is_empty());
    for certificate in found.into_iter().chain(named.iter().map(|path| certificates_at(path))).flatten() {
        if !all.contains(&certificate) {
            all.push(certificate);
        }
    }
    if all.is_empty() {
        eprintln!(
            "cresset: this system's authorities were not found; the command will trust Cresset's CA alone"
        );
    }
    all.extend(certificates_in(&ours));
    let files = TrustFiles {
        ca: ca.to_owned(),
        bundle: folder.join("ca-bundle.pem"),
        java: folder.join("ca-bundle.jks"),
    };
    crate::data::write_public(&files.bundle, pem(&all).as_bytes())?;
    crate::data::write_public(&files.java, &java_key_store(&all))?;
    Ok(files)
}

/// What a bundle holds, or all files of a folder; nothing if it cannot be read.
fn certificates_at(path: &Path) -> Vec<CertificateDer<'static>> {
    let files = match std::fs::read_dir(path) {
        Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path()).collect(),
        Err(_) => vec![path.to_owned()],
    };
    files.iter().filter_map(|file| std::fs::read(file).ok()).flat_map(|text| certificates_in(&text)).collect()
}

fn certificates_in(text: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(text).filter_map(Result::ok).collect()
}

fn pem(certificates: &[CertificateDer<'_>]) -> String {
    let mut out = String::new();
    for certificate in certificates {
        out.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in BASE64_STANDARD.encode(certificate).as_bytes().chunks(64) {
            out.extend(line.iter().map(|byte| char::from(*byte)));
            out.push('\n');
        }
        out.push_str("-----END CERTIFICATE-----\n");
    }
    out
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

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(folder: &Path, name: &str) -> PathBuf {
        let place = folder.join(name);
        std::fs::create_dir(&place).unwrap();
        let now = cresset_message::Timestamp::from_secs(1_800_000_000);
        crate::pki::private(&place, &[], now).unwrap();
        place.join(crate::pki::CA_FILE)
    }

    #[test]
    fn whom_the_environment_trusted_is_trusted_still_and_once() {
        let place = tempfile::tempdir().unwrap();
        let ours = authority(place.path(), "ours");
        let (system, extra) = (authority(place.path(), "system"), authority(place.path(), "extra"));
        let many = place.path().join("many");
        std::fs::create_dir(&many).unwrap();
        let third = authority(place.path(), "third");
        std::fs::copy(&third, many.join("third.pem")).unwrap();
        let named = [system.clone(), extra.clone(), many, "/nowhere".into()];
        let files = write(&ours, &place.path().join("exec"), Some(system.clone()), &named).unwrap();
        let expected: Vec<_> =
            [&system, &extra, &third, &ours].into_iter().flat_map(|path| certificates_at(path)).collect();
        assert_eq!(expected.len(), 4);
        assert_eq!(certificates_at(&files.bundle), expected);
    }
}
