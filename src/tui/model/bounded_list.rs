//! Owns: `BoundedList`, the newest items of a list that grows with the run.
//! Must not know: what the items are.
//! Invariant: at most `max_len` items are kept; every item ever pushed is counted.

use std::collections::VecDeque;
use std::ops::Deref;

/// The newest items, oldest first, and the number of items received so far.
#[derive(Clone, Debug)]
pub struct BoundedList<T> {
    items: VecDeque<T>,
    max_len: usize,
    total: u64,
}

impl<T> BoundedList<T> {
    pub fn new(max_len: usize) -> Self {
        Self { items: VecDeque::new(), max_len, total: 0 }
    }

    /// Appends `item`, and drops the oldest item if the list is full.
    pub fn push(&mut self, item: T) {
        if self.items.len() == self.max_len {
            self.items.pop_front();
        }
        self.items.push_back(item);
        self.total += 1;
    }

    pub fn last_mut(&mut self) -> Option<&mut T> {
        self.items.back_mut()
    }

    /// Returns the number of items pushed so far, including those that were dropped.
    pub fn total(&self) -> u64 {
        self.total
    }
}

impl<T> Deref for BoundedList<T> {
    type Target = VecDeque<T>;

    fn deref(&self) -> &VecDeque<T> {
        &self.items
    }
}
