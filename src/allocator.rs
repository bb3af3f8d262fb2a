//! Owns: the process's memory allocator and its one setting.
//! Must not know: what is allocated.
//! Invariant: freed memory stays with the process.
//!
//! Burn's CPU device allocates every result anew. An allocator that gives large blocks back to the system pays for
//! them again with page faults at the next step: a quarter of the step where the vocabulary is large
//! (docs/performance.md has the measurement).

use libmimalloc_sys::{mi_option_set, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`, versions 2 and 3; the binding has no name for it.
const PURGE_DELAY: mi_option_t = 15;

/// From now on nothing is given back to the system.
pub fn keep_memory() {
    // SAFETY: sets one number in mimalloc's option table, which it allows at any time.
    unsafe { mi_option_set(PURGE_DELAY, -1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_that_of_the_purge_delay() {
        // Its default, in milliseconds; no other option near it has one above 2.
        // SAFETY: reads one number of mimalloc's option table.
        let before = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert!(before >= 10, "{before}");
        keep_memory();
        // SAFETY: as above.
        assert_eq!(unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) }, -1);
    }
}
