//! `cresset up --hello`.

use cresset_message::ProjectId;

use crate::failure::Failure;
use crate::server::Server;

pub(crate) async fn run(_server: &Server, _project: &ProjectId) -> Result<(), Failure> {
    Ok(())
}
