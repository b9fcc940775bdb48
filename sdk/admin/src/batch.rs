use crate::Error;

/// What became of many messages.
#[derive(Clone, Debug)]
pub struct BatchResponse {
    /// One for each message, in the same order: its name, or why it was not sent.
    pub results: Vec<Result<String, Error>>,
}

impl BatchResponse {
    pub fn success_count(&self) -> usize {
        self.results.iter().filter(|result| result.is_ok()).count()
    }

    pub fn failure_count(&self) -> usize {
        self.results.len() - self.success_count()
    }
}
