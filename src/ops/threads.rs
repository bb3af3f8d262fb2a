//! Owns: the threads that share the work of an operation, and how rows are divided into chunks for them.
//! Must not know: tensors, arithmetic.
//! Invariant: the division into chunks depends on the size of the work and the number of threads alone.

use rayon::ThreadPoolBuilder;
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Fewest numbers that are worth waking up another thread.
const MIN_PARALLEL_NUMBERS: usize = 1 << 14;

/// Creates a pool of `threads` threads (0: one per CPU) and makes the calling thread one of them. So an
/// operation starts on the calling thread at once. Does nothing if the thread belongs to a pool already.
pub fn enter_pool(threads: usize) {
    if rayon::current_thread_index().is_some() {
        return;
    }
    let name = |index| format!("work-{index}");
    let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(name).use_current_thread().build();
    match pool {
        // Leaked on purpose: the pool lives as long as the thread does.
        Ok(pool) => std::mem::forget(pool),
        Err(error) => tracing::warn!("cannot create a thread pool, using the global one: {error}"),
    }
}

/// Keeps worker threads spinning until it is dropped.
#[must_use]
pub struct SpinGuard(Arc<AtomicBool>);

/// Keeps the pool's other threads from going to sleep: waking one up takes as long as a small operation.
pub fn keep_workers_spinning() -> SpinGuard {
    let stop = Arc::new(AtomicBool::new(false));
    if rayon::current_thread_index().is_some() {
        for _ in 1..rayon::current_num_threads() {
            let stop = stop.clone();
            rayon::spawn(move || spin_until(&stop));
        }
    }
    SpinGuard(stop)
}

impl Drop for SpinGuard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs the pool's tasks until `stop` is set.
fn spin_until(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        if rayon::yield_now() != Some(rayon::Yield::Executed) {
            // Lets other processes have the core.
            std::thread::yield_now();
        }
    }
}

/// Whether the operations of this process are to end as soon as they can.
static CANCELLED: AtomicBool = AtomicBool::new(false);

/// Makes long operations end early, with unspecified results. There is no way back: the process is about to end.
pub fn cancel_operations() {
    CANCELLED.store(true, Ordering::SeqCst);
}

/// Whether [`cancel_operations`] was called, so that no result since the last check may be used.
pub fn is_cancelled() -> bool {
    CANCELLED.load(Ordering::SeqCst)
}

/// Returns the rows of a chunk: a few chunks per thread, so that others compensate for a slow one.
pub fn rows_per_chunk(rows: usize, width: usize) -> usize {
    let threads = rayon::current_num_threads();
    match threads {
        1 => rows.max(1),
        _ if rows * width < MIN_PARALLEL_NUMBERS => rows.max(1),
        _ => rows.div_ceil(4 * threads).max(1),
    }
}

/// Calls `f` in parallel with chunks of `out`: the index of the first row, and rows of `width` numbers.
pub fn for_each_chunk(out: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    let chunk_rows = rows_per_chunk(out.len() / width.max(1), width);
    let chunks = out.par_chunks_mut(chunk_rows * width.max(1));
    chunks.enumerate().for_each(|(index, rows)| f(index * chunk_rows, rows));
}

/// Rows that are summed into one partial sum; the same on every machine, so that results are too.
pub const PARTIAL_SUM_ROWS: usize = 64;

/// Returns the sum of `parts`, `[count]` each, in their order, so that every run gives the same result.
pub fn sum_in_order<I>(count: usize, parts: I) -> Vec<f32>
where
    I: IndexedParallelIterator<Item = Vec<f32>>,
{
    let parts: Vec<Vec<f32>> = parts.collect();
    let mut sums = vec![0.0; count];
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    sums
}

/// Returns `count` numbers of unspecified value, without the time that writing zeros takes. The caller overwrites them.
pub fn unspecified_vec(count: usize) -> Vec<f32> {
    let mut numbers: Box<[MaybeUninit<f32>]> = Box::new_uninit_slice(count);
    initialize_unspecified(&mut numbers);
    // SAFETY: every number was initialised just now.
    unsafe { numbers.assume_init() }.into_vec()
}

/// Initialises numbers with whatever bits their memory holds; every bit pattern is an f32.
///
/// Memory that was never written may not be read in Rust, not even as an f32. The empty assembly takes the pointer and may
/// write to any memory, as far as the compiler knows: what it is defined to do here is to write unspecified bits to all
/// numbers. It costs nothing. Elsewhere, and under Miri, zeros are written.
fn initialize_unspecified(numbers: &mut [MaybeUninit<f32>]) {
    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
    // SAFETY: the assembly is empty: it touches no register, stack or memory that it does not name.
    unsafe {
        std::arch::asm!("/* {0} */", in(reg) numbers.as_mut_ptr(), options(nostack, preserves_flags));
    }
    #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
    numbers.fill(MaybeUninit::new(0.0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unspecified_numbers_can_be_read_and_written() {
        let mut numbers = unspecified_vec(1000);
        // Whatever they are, they are the same when read again.
        let bits: Vec<u32> = numbers.iter().map(|number| number.to_bits()).collect();
        assert!(numbers.iter().zip(&bits).all(|(number, bits)| number.to_bits() == *bits));
        numbers.iter_mut().enumerate().for_each(|(index, number)| *number = index as f32);
        assert_eq!(numbers.iter().sum::<f32>(), 499_500.0);
        assert!(unspecified_vec(0).is_empty());
    }
}
