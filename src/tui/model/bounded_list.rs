//! Owns: `BoundedList`, the newest items of a list that grows with the run.
//! Must not know: what the items are.
//! Invariant: at most `MAX` items are kept; every item ever pushed is counted.

use std::collections::VecDeque;
use std::ops::Deref;

/// The newest `MAX` items, oldest first, and the number of items received so far.
#[derive(Clone, Debug)]
pub struct BoundedList<T, const MAX: usize> {
    items: VecDeque<T>,
    total: u64,
}

impl<T, const MAX: usize> Default for BoundedList<T, MAX> {
    fn default() -> Self {
        Self { items: VecDeque::new(), total: 0 }
    }
}

impl<T, const MAX: usize> BoundedList<T, MAX> {
    /// Appends `item`, and drops the oldest item if the list is full.
    pub fn push(&mut self, item: T) {
        if self.items.len() == MAX {
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

impl<T, const MAX: usize> Deref for BoundedList<T, MAX> {
    type Target = VecDeque<T>;

    fn deref(&self) -> &VecDeque<T> {
        &self.items
    }
}
