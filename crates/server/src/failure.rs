//! Why the program ends: one line for the person who started it, and an exit code.

/// Shown as `cresset: <message>`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub(crate) message: String,
    pub exit_code: u8,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: 1 }
    }

    /// Another program's exit code, or a usage error's.
    pub fn with_code(message: impl Into<String>, exit_code: u8) -> Self {
        Self { message: message.into(), exit_code }
    }
}
