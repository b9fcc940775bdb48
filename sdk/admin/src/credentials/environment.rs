//! Where Google's libraries look for credentials that nobody named.

use std::ffi::OsString;
use std::path::PathBuf;

use super::Credentials;
use super::metadata::HOST;
use crate::Error;

#[expect(clippy::disallowed_methods, reason = "the one constructor that says it reads the environment")]
pub(super) fn of_process(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

pub(super) fn look_up(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Credentials, Error> {
    let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let text = |name: &str| path(name).map(|value| value.display().to_string());
    let mut credentials = match path("GOOGLE_APPLICATION_CREDENTIALS") {
        Some(file) => Credentials::from_file(file)?,
        None => match gcloud_file(&path).filter(|file| file.exists()) {
            Some(file) => Credentials::from_file(file)?,
            None => Credentials::metadata_server(text("GCE_METADATA_HOST").as_deref().unwrap_or(HOST)),
        },
    };
    let named = text("GOOGLE_CLOUD_PROJECT").or_else(|| text("GCLOUD_PROJECT"));
    credentials.project = named.or(credentials.project);
    credentials.quota_project = text("GOOGLE_CLOUD_QUOTA_PROJECT").or(credentials.quota_project);
    Ok(credentials)
}

/// Of `gcloud auth application-default login`.
fn gcloud_file(path: &dyn Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let folder = path("CLOUDSDK_CONFIG").or_else(|| match cfg!(windows) {
        true => Some(path("APPDATA")?.join("gcloud")),
        false => Some(path("HOME")?.join(".config").join("gcloud")),
    });
    Some(folder?.join("application_default_credentials.json"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::credentials::Source;

    const USER: &str = r#"{"type":"authorized_user","client_id":"c","client_secret":"s",
        "refresh_token":"r","quota_project_id":"payer"}"#;

    fn found(variables: &[(&str, &Path)]) -> Result<Credentials, Error> {
        look_up(&|name| {
            let variable = variables.iter().find(|(known, _)| *known == name);
            variable.map(|(_, value)| value.as_os_str().to_owned())
        })
    }

    #[test]
    fn a_named_file_comes_before_gclouds_and_that_before_the_metadata_server() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".config/gcloud");
        std::fs::create_dir_all(&folder).unwrap();
        let well_known = folder.join("application_default_credentials.json");
        let (home, metadata) = (home.path(), Path::new("127.0.0.1:1"));

        let both = [("HOME", home), ("GCE_METADATA_HOST", metadata)];
        let Source::Metadata(server) = found(&both).unwrap().source else { panic!("no file is there yet") };
        assert_eq!(server.host(), "127.0.0.1:1");

        std::fs::write(&well_known, USER).unwrap();
        let user = found(&both).unwrap();
        assert!(matches!(user.source, Source::User(_)));
        assert_eq!(user.quota_project.as_deref(), Some("payer"));

        let missing = home.join("missing.json");
        let named = found(&[("HOME", home), ("GOOGLE_APPLICATION_CREDENTIALS", &missing)]);
        assert!(named.unwrap_err().to_string().contains("missing.json"), "a named file must be there");
        let config = found(&[("CLOUDSDK_CONFIG", &folder), ("GCLOUD_PROJECT", Path::new("demo"))]).unwrap();
        assert_eq!(config.project.as_deref(), Some("demo"));
        let Source::Metadata(server) = found(&[]).unwrap().source else { panic!("nothing is named") };
        assert_eq!(server.host(), HOST);
    }
}
