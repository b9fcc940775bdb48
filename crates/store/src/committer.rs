//! The queue in front of the one committer.
//!
//! Writers push, the committer's thread takes what has gathered. One commit costs one fsync however
//! many share it: gathering is worth 40 to 90 times a lone writer.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::StoreError;

/// Something that occupies memory while it waits.
pub(crate) trait Weigh {
    fn bytes(&self) -> usize;
}

/// How much may wait, and how much of it one commit takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) waiting: usize,
    pub(crate) waiting_bytes: usize,
    pub(crate) commit: usize,
    pub(crate) commit_bytes: usize,
}

/// A bounded queue with many writers and one reader, who takes many at a time.
///
/// A mutex and a condition variable rather than a channel: the reader takes a whole commit under
/// one lock, bytes are bounded as well as entries, and closing keeps what already waits.
#[derive(Debug)]
pub(crate) struct Queue<J> {
    bounds: Bounds,
    state: Mutex<State<J>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct State<J> {
    jobs: VecDeque<J>,
    bytes: usize,
    closed: bool,
}

impl<J: Weigh> Queue<J> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let state = State { jobs: VecDeque::new(), bytes: 0, closed: false };
        Self { bounds, state: Mutex::new(state), arrived: Condvar::new() }
    }

    /// Queues a job, or says why not. A single job is admitted to an empty queue whatever its size:
    /// what a batch may weigh is decided elsewhere.
    pub(crate) fn push(&self, job: J) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.closed {
            return Err(StoreError::Closed);
        }
        let bytes = state.bytes + job.bytes();
        let full = state.jobs.len() >= self.bounds.waiting || bytes > self.bounds.waiting_bytes;
        if full && !state.jobs.is_empty() {
            return Err(StoreError::Overloaded);
        }
        state.bytes = bytes;
        state.jobs.push_back(job);
        if state.jobs.len() == 1 {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits for work and takes one commit's worth, oldest first. `None`: closed, and nothing is left.
    pub(crate) fn take(&self) -> Option<Vec<J>> {
        let waits = |state: &mut State<J>| state.jobs.is_empty() && !state.closed;
        let state = self.arrived.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner);
        self.gather(state)
    }

    /// As [`take`](Self::take), but comes back with nothing when nobody came for `patience`.
    pub(crate) fn take_within(&self, patience: Duration) -> Option<Vec<J>> {
        let waits = |state: &mut State<J>| state.jobs.is_empty() && !state.closed;
        let (state, timeout) = self
            .arrived
            .wait_timeout_while(self.lock(), patience, waits)
            .unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() { Some(Vec::new()) } else { self.gather(state) }
    }

    /// Refuses what comes from now on; what waits can still be taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    /// How many wait, and their bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.jobs.len(), state.bytes)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn gather(&self, mut state: MutexGuard<'_, State<J>>) -> Option<Vec<J>> {
        if state.jobs.is_empty() {
            return None;
        }
        let (mut taken, mut bytes) = (Vec::with_capacity(state.jobs.len().min(self.bounds.commit)), 0);
        while taken.len() < self.bounds.commit {
            match state.jobs.front() {
                Some(job) if taken.is_empty() || bytes + job.bytes() <= self.bounds.commit_bytes => {
                    bytes += job.bytes();
                    taken.extend(state.jobs.pop_front());
                }
                _ => break,
            }
        }
        state.bytes -= bytes;
        Some(taken)
    }

    /// Nothing panics while the lock is held, so a poisoned lock still guards a whole state.
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weigh for usize {
        fn bytes(&self) -> usize {
            *self
        }
    }

    fn queue() -> Queue<usize> {
        Queue::new(Bounds { waiting: 3, waiting_bytes: 100, commit: 2, commit_bytes: 50 })
    }

    #[test]
    fn takes_oldest_first_and_no_more_than_a_commit() {
        let queue = queue();
        for job in [1, 2, 3] {
            queue.push(job).unwrap();
        }
        assert_eq!(queue.push(4), Err(StoreError::Overloaded));
        assert_eq!(queue.take(), Some(vec![1, 2]));
        assert_eq!(queue.take(), Some(vec![3]));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let queue = queue();
        queue.push(40).unwrap();
        queue.push(60).unwrap();
        assert_eq!(queue.push(1), Err(StoreError::Overloaded));
        assert_eq!(queue.take(), Some(vec![40]));
        assert_eq!(queue.take(), Some(vec![60]));
        queue.push(1_000).unwrap();
        assert_eq!(queue.take(), Some(vec![1_000]));
    }

    #[test]
    fn closing_keeps_what_waits() {
        let queue = queue();
        queue.push(1).unwrap();
        queue.close();
        assert_eq!(queue.push(2), Err(StoreError::Closed));
        assert_eq!(queue.take_within(Duration::ZERO), Some(vec![1]));
        assert_eq!(queue.take(), None);
    }
}
