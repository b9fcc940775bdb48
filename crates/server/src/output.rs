//! Standard output of commands that end by themselves.

use std::io::Write as _;

/// Prints; a reader that has left (`cresset project list | head -1`) is no error.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
