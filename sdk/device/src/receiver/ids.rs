//! Which messages were received: what the server must still be told, and what is no news.

use std::collections::VecDeque;

/// What the server may not know. A login that lists as many has some 40 kB; a frame may have 64.
const MOST_UNTOLD: usize = 1_000;

/// Kept when the server knows: a server that lost its note of it sends a message once more.
const MOST_TOLD: usize = 100;

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    id: String,
    /// The server is known to have it.
    told: bool,
    /// Our frame of this connection that says it.
    frame: Option<u32>,
}

/// Persistent ids of messages that the app has handled, oldest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Handled(VecDeque<Entry>);

impl Handled {
    /// As they were kept: `(id, whether the server knows)`.
    pub(super) fn restore(kept: impl IntoIterator<Item = (String, bool)>) -> Self {
        let mut handled = Self(kept.into_iter().map(|(id, told)| Entry { id, told, frame: None }).collect());
        handled.trim();
        handled
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, bool)> {
        self.0.iter().map(|entry| (entry.id.as_str(), entry.told))
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.0.iter().rev().any(|entry| entry.id == id)
    }

    pub(super) fn push(&mut self, id: String) {
        self.0.push_back(Entry { id, told: false, frame: None });
        self.trim();
    }

    /// That `id` stands in our frame of this number.
    pub(super) fn said_in(&mut self, id: &str, frame: u32) {
        if let Some(entry) = self.0.iter_mut().rev().find(|entry| entry.id == id) {
            entry.frame = Some(frame);
        }
    }

    /// The server has so many of our frames.
    pub(super) fn server_has(&mut self, frames: u32) {
        for entry in &mut self.0 {
            entry.told |= entry.frame.is_some_and(|frame| frame <= frames);
        }
        self.trim();
    }

    /// What the next login says.
    pub(super) fn untold(&self) -> Vec<String> {
        self.0.iter().filter(|entry| !entry.told).map(|entry| entry.id.clone()).collect()
    }

    pub(super) fn count_untold(&self) -> usize {
        self.0.iter().filter(|entry| !entry.told).count()
    }

    /// A login that said all of them was accepted: frames are counted anew.
    pub(super) fn logged_in(&mut self) {
        for entry in &mut self.0 {
            (entry.told, entry.frame) = (true, None);
        }
        self.trim();
    }

    /// Forgets the oldest. What is forgotten untold may come again: at least once, as promised.
    fn trim(&mut self) {
        for (told, most) in [(true, MOST_TOLD), (false, MOST_UNTOLD)] {
            let count = self.0.iter().filter(|entry| entry.told == told).count();
            let mut excess = count.saturating_sub(most);
            self.0.retain(|entry| {
                let goes = excess > 0 && entry.told == told;
                excess -= usize::from(goes);
                !goes
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_has_is_not_told_again_but_known() {
        let mut handled = Handled::default();
        for (n, id) in ["a", "b", "c"].into_iter().enumerate() {
            handled.push(id.into());
            handled.said_in(id, n as u32 + 2);
        }
        handled.server_has(3);
        assert_eq!(handled.untold(), ["c"]);
        assert!(handled.contains("a"));
        handled.logged_in();
        assert_eq!(handled.count_untold(), 0);
        handled.push("d".into());
        // Its frame was one of the connection before.
        handled.server_has(100);
        assert_eq!(handled.untold(), ["d"]);
        let kept = handled.iter().map(|(id, told)| (id.to_owned(), told));
        assert_eq!(Handled::restore(kept.collect::<Vec<_>>()), handled);
    }

    #[test]
    fn there_is_a_bound() {
        let mut handled = Handled::default();
        for n in 0..5_000 {
            handled.push(n.to_string());
            if n % 7 == 0 {
                handled.said_in(&n.to_string(), 1);
                handled.server_has(1);
            }
        }
        assert_eq!(handled.count_untold(), MOST_UNTOLD);
        assert!(handled.iter().count() <= MOST_UNTOLD + MOST_TOLD);
        assert!(handled.contains("4999") && !handled.contains("1"));
    }
}
