//! The metadata server of a machine at Google, or of a host that plays it (`protocol/oauth.md` §5).

use super::SCOPES;

/// Where it is on machines at Google.
pub(super) const HOST: &str = "metadata.google.internal";

#[derive(Debug)]
pub(crate) struct MetadataServer {
    host: String,
}

impl MetadataServer {
    pub(super) fn at(host: &str) -> Self {
        Self { host: host.to_owned() }
    }

    #[cfg(test)]
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn token_url(&self) -> String {
        let scopes: String = form_urlencoded::byte_serialize(SCOPES.join(",").as_bytes()).collect();
        self.url(&format!("instance/service-accounts/default/token?scopes={scopes}"))
    }

    pub(crate) fn project_url(&self) -> String {
        self.url("project/project-id")
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/computeMetadata/v1/{path}", self.host)
    }
}
