//! Owns: the memory allocator of the process, its one setting, and an optional count of allocations.
//! Must not know: what is allocated.
//! Invariant: freed memory stays with the process. Until counting is enabled, it costs one relaxed load per
//! allocation.
//!
//! Burn's CPU device allocates a new buffer for every result. An allocator that returns large blocks to the
//! system causes page faults at the next step. With a large vocabulary they take a quarter of the step
//! (measured in docs/contributing/performance.md).

use libmimalloc_sys::{mi_option_set, mi_option_t};
use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// Returns the number of allocations and their total bytes since the first call, which enables counting. A
/// reallocation counts as an allocation of the new size.
pub fn allocation_counts() -> (u64, u64) {
    COUNTING.store(true, Ordering::Relaxed);
    (ALLOCATIONS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed))
}

/// mimalloc with a count of allocations.
struct CountingAllocator;

#[inline]
fn count_allocation(bytes: usize) {
    if COUNTING.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

// SAFETY: every call is forwarded to mimalloc; counting does not allocate.
unsafe impl GlobalAlloc for CountingAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_allocation(layout.size());
        // SAFETY: the caller upholds the contract of `GlobalAlloc`.
        unsafe { MiMalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_allocation(layout.size());
        // SAFETY: the caller upholds the contract of `GlobalAlloc`.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract of `GlobalAlloc`, and mimalloc allocated the block.
        unsafe { MiMalloc.dealloc(ptr, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_allocation(size);
        // SAFETY: the caller upholds the contract of `GlobalAlloc`, and mimalloc allocated the block.
        unsafe { MiMalloc.realloc(ptr, layout, size) }
    }
}

/// `mi_option_purge_delay` of `mimalloc.h`, versions 2 and 3, for which the binding has no constant.
const PURGE_DELAY: mi_option_t = 15;

/// Configures mimalloc to keep freed memory instead of returning it to the system.
pub fn keep_freed_memory() {
    // SAFETY: this sets a number in mimalloc's option table, which is allowed at any time.
    unsafe { mi_option_set(PURGE_DELAY, -1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_counted_after_the_first_query() {
        let before = allocation_counts();
        drop(std::hint::black_box(vec![1_u8; 1000]));
        let after = allocation_counts();
        assert!(after.0 > before.0 && after.1 >= before.1 + 1000, "{before:?} {after:?}");
    }

    #[test]
    fn the_option_number_is_that_of_the_purge_delay() {
        // The default is in milliseconds. No neighbouring option has a default above 2.
        // SAFETY: this reads a number from mimalloc's option table.
        let before = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert!(before >= 10, "{before}");
        keep_freed_memory();
        // SAFETY: as above.
        assert_eq!(unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) }, -1);
    }
}
