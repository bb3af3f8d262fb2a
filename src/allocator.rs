//! Owns: the process's memory allocator, its one setting, and the count of allocations for who asks.
//! Must not know: what is allocated.
//! Invariant: freed memory stays with the process; while nobody has asked, an allocation costs one relaxed load more.
//!
//! Burn's CPU device allocates every result anew. An allocator that gives large blocks back to the system pays for
//! them again with page faults at the next step: a quarter of the step where the vocabulary is large
//! (docs/performance.md has the measurement).

use libmimalloc_sys::{mi_option_set, mi_option_t};
use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ASKED: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// Allocations since this was first asked, and their bytes. A block that is made larger is one of its new size.
pub fn allocated() -> (u64, u64) {
    ASKED.store(true, Ordering::Relaxed);
    (CALLS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed))
}

/// mimalloc, counted.
struct Counting;

#[inline]
fn count(bytes: usize) {
    if ASKED.load(Ordering::Relaxed) {
        CALLS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

// SAFETY: mimalloc does it all; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises; the block is mimalloc's.
        unsafe { MiMalloc.dealloc(at, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as the caller promises; the block is mimalloc's.
        unsafe { MiMalloc.realloc(at, layout, size) }
    }
}

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
    fn what_is_allocated_is_counted_once_somebody_asked() {
        let before = allocated();
        drop(std::hint::black_box(vec![1_u8; 1000]));
        let after = allocated();
        assert!(after.0 > before.0 && after.1 >= before.1 + 1000, "{before:?} {after:?}");
    }

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
