//! Who may, by a server key: what stands behind `Authorization: key=` in the legacy protocols.

use cresset_message::{ProjectNumber, Rejection};

use crate::{Identity, Sender};

impl Identity {
    /// The project whose server key this is.
    pub fn authenticate_server_key(&self, key: &str) -> Result<Sender, Rejection> {
        let project = self.directory().by_server_key(key).ok_or(Rejection::CredentialsInvalid)?;
        Ok(Sender::of(&project))
    }

    /// The same, if it is the project of that number.
    pub fn authorize_server_key(&self, key: &str, number: ProjectNumber) -> Result<Sender, Rejection> {
        let sender = self.authenticate_server_key(key)?;
        if sender.number == number {
            Ok(sender)
        } else {
            Err(Rejection::PermissionDenied { project: number.to_string() })
        }
    }
}
