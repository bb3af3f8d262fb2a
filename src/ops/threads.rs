//! Owns: the threads that share the work of an operation, and how rows are dealt out to them.
//! Must not know: tensors, arithmetic.
//! Invariant: how work is dealt out depends on its size and the number of threads alone.

use rayon::ThreadPoolBuilder;
use rayon::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Numbers below which nobody else is woken up.
const WORTH: usize = 1 << 14;

/// Makes the calling thread one of the threads, `threads` in all (0: as many as the machine has): its operations begin at
/// once, and it wakes up the others alone. Does nothing on a thread that is one already.
pub fn join(threads: usize) {
    if rayon::current_thread_index().is_some() {
        return;
    }
    let name = |index| format!("work-{index}");
    let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(name).use_current_thread().build();
    match pool {
        // Leaked on purpose: it lives as long as the thread does.
        Ok(pool) => std::mem::forget(pool),
        Err(error) => tracing::warn!("operations run on the common threads: {error}"),
    }
}

/// While it lives, the other threads wait for work without going to sleep: waking one up takes as long as a small
/// operation.
#[must_use]
pub struct Awake(Arc<AtomicBool>);

/// Keeps the threads awake that work for the calling one.
pub fn awake() -> Awake {
    let over = Arc::new(AtomicBool::new(false));
    if rayon::current_thread_index().is_some() {
        for _ in 1..rayon::current_num_threads() {
            let over = over.clone();
            rayon::spawn(move || wait(&over));
        }
    }
    Awake(over)
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does what there is to do until it is over.
fn wait(over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        if rayon::yield_now() != Some(rayon::Yield::Executed) {
            // Whoever else wants the core may have it.
            std::thread::yield_now();
        }
    }
}

/// Rows a part, of `rows` of `width` numbers each: a few parts a thread, so that a slow one is made up for.
pub fn deal(rows: usize, width: usize) -> usize {
    let threads = rayon::current_num_threads();
    match threads {
        1 => rows.max(1),
        _ if rows * width < WORTH => rows.max(1),
        _ => rows.div_ceil(4 * threads).max(1),
    }
}

/// Runs `part` on parts of `out`, which has rows of `width`: the first row's number, and the rows.
pub fn rows(out: &mut [f32], width: usize, part: impl Fn(usize, &mut [f32]) + Sync) {
    let each = deal(out.len() / width.max(1), width);
    let parts = out.par_chunks_mut(each * width.max(1));
    parts.enumerate().for_each(|(index, rows)| part(index * each, rows));
}

/// Rows that are summed up in one go: as many on every machine.
pub const SUMMED: usize = 64;

/// The sum of `parts`, `[count]` each, in their order: the same in every run.
pub fn summed<I>(count: usize, parts: I) -> Vec<f32>
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

/// Numbers that an operation is about to write, every one of them, before it reads any.
#[allow(clippy::uninit_vec)]
pub fn unwritten(count: usize) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(count);
    // SAFETY: the capacity is there, and every pattern of bits is an f32; who asks writes before reading.
    unsafe { numbers.set_len(count) };
    numbers
}
