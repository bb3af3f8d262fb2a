//! Owns: the trace of where a step's time goes: spans of operations and of phases, by thread.
//! Must not know: who records it, how it is evaluated.
//! Invariant: while nothing is recorded, a span costs one relaxed load and leaves nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

static RECORDING: AtomicBool = AtomicBool::new(false);
static BUFFER: Mutex<TraceBuffer> = Mutex::new(TraceBuffer { events: Vec::new(), allocation_counter: None });
/// Spans that memory is reserved for at the start, so that a step does not pay for it.
const INITIAL_CAPACITY: usize = 1 << 14;

/// Returns the number of allocations of the whole process so far, and their bytes.
pub type AllocationCounter = fn() -> (u64, u64);

struct TraceBuffer {
    events: Vec<SpanRecord>,
    allocation_counter: Option<AllocationCounter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr, serde::Serialize)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    Step,
    #[strum(serialize = "part")]
    Phase,
    /// An operation's forward pass. On other devices than the CPU: the time to submit it.
    Forward,
    Backward,
    /// An operation outside of the autodiff graph.
    #[strum(serialize = "")]
    NoGraph,
}

impl SpanKind {
    /// Returns the label in tables and exports; empty for [`SpanKind::NoGraph`].
    pub fn name(self) -> &'static str {
        self.into()
    }

    pub fn is_operation(self) -> bool {
        !matches!(self, Self::Step | Self::Phase)
    }
}

#[derive(Clone, Debug)]
pub struct SpanRecord {
    pub name: &'static str,
    pub kind: SpanKind,
    /// The thread's number in this process, from 1.
    pub thread: usize,
    pub began: Instant,
    pub ended: Instant,
    /// Floating-point operations of its matrix products; 0 if it has none.
    pub flop: f64,
    /// Bytes that the process allocated during the span; 0 if they are not counted.
    pub allocated_bytes: u64,
    pub readback_bytes: u64,
}

impl SpanRecord {
    pub fn seconds(&self) -> f64 {
        (self.ended - self.began).as_secs_f64()
    }
}

/// Records spans until it is dropped. There is one recording in a process: starting another clears it.
#[must_use]
pub struct Recording(());

/// Starts recording spans, with the bytes that `allocated` counts.
pub fn start_recording(allocated: Option<AllocationCounter>) -> Recording {
    let mut buffer = lock_buffer();
    buffer.events = Vec::with_capacity(INITIAL_CAPACITY);
    buffer.allocation_counter = allocated;
    RECORDING.store(true, Ordering::Relaxed);
    Recording(())
}

impl Recording {
    /// Removes and returns the spans recorded since the start or the last call, in the order of their ends.
    pub fn drain(&self) -> Vec<SpanRecord> {
        lock_buffer().events.drain(..).collect()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        RECORDING.store(false, Ordering::Relaxed);
        lock_buffer().events = Vec::new();
    }
}

#[inline]
fn is_recording() -> bool {
    RECORDING.load(Ordering::Relaxed)
}

/// Ignores poisoning: no code that holds the lock can leave the buffer inconsistent.
fn lock_buffer() -> MutexGuard<'static, TraceBuffer> {
    BUFFER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running span, which ends and is recorded when it is dropped.
#[must_use]
pub struct Span(Option<OpenSpan>);

struct OpenSpan {
    name: &'static str,
    kind: SpanKind,
    flop: f64,
    readback_bytes: u64,
    /// Bytes that the process had allocated when the span began.
    allocated_before: u64,
    began: Instant,
}

/// Starts a span with matrix products of `flop` floating-point operations.
#[inline]
pub fn span(name: &'static str, kind: SpanKind, flop: f64) -> Span {
    Span(is_recording().then(|| open_span(name, kind, flop)))
}

#[cold]
fn open_span(name: &'static str, kind: SpanKind, flop: f64) -> OpenSpan {
    let allocated_before = bytes_so_far(&lock_buffer());
    OpenSpan { name, kind, flop, readback_bytes: 0, allocated_before, began: Instant::now() }
}

fn bytes_so_far(buffer: &TraceBuffer) -> u64 {
    buffer.allocation_counter.map_or(0, |counter| counter().1)
}

impl Span {
    pub fn add_readback(&mut self, bytes: u64) {
        if let Some(open) = &mut self.0 {
            open.readback_bytes += bytes;
        }
    }
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            close_span(&open);
        }
    }
}

#[cold]
fn close_span(open: &OpenSpan) {
    let (ended, mut buffer) = (Instant::now(), lock_buffer());
    let OpenSpan { name, kind, flop, readback_bytes, allocated_before, began } = *open;
    let event = SpanRecord {
        name,
        kind,
        thread: thread_number(),
        began,
        ended,
        flop,
        allocated_bytes: bytes_so_far(&buffer).saturating_sub(allocated_before),
        readback_bytes,
    };
    push(&mut buffer, event);
}

/// Records a phase of a step that the caller has timed.
pub fn record_phase(name: &'static str, began: Instant, ended: Instant) {
    if is_recording() {
        let event = SpanRecord {
            name,
            kind: SpanKind::Phase,
            thread: thread_number(),
            began,
            ended,
            flop: 0.0,
            allocated_bytes: 0,
            readback_bytes: 0,
        };
        push(&mut lock_buffer(), event);
    }
}

fn push(buffer: &mut TraceBuffer, event: SpanRecord) {
    // Recording may have stopped meanwhile.
    if is_recording() {
        buffer.events.push(event);
    }
}

fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    thread_local!(static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number)
}

/// An operation's name in a trace, and the floating-point operations of its matrix products in either pass.
#[derive(Clone, Copy, Debug)]
pub struct OpCost {
    pub name: &'static str,
    pub forward_flop: f64,
    pub backward_flop: f64,
}

impl OpCost {
    /// Creates the cost of an operation without matrix products.
    pub const fn without_matmul(name: &'static str) -> Self {
        Self { name, forward_flop: 0.0, backward_flop: 0.0 }
    }

    #[inline]
    pub fn forward_span(&self) -> Span {
        span(self.name, SpanKind::Forward, self.forward_flop)
    }

    #[inline]
    pub fn backward_span(&self) -> Span {
        span(self.name, SpanKind::Backward, self.backward_flop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the spans of one name, because tests that run in parallel may record spans too.
    fn spans_named<'a>(events: &'a [SpanRecord], name: &str) -> Vec<&'a SpanRecord> {
        events.iter().filter(|event| event.name == name).collect()
    }

    /// Locks the one recording of the process for a test.
    fn lock_recording() -> MutexGuard<'static, ()> {
        static LOCK: Mutex<()> = Mutex::new(());
        LOCK.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn a_span_lies_within_the_one_around_it() {
        let _lock = lock_recording();
        let recording = start_recording(Some(|| (1, 2)));
        {
            let _outer = span("outer", SpanKind::Phase, 0.0);
            let mut inner = span("inner", SpanKind::NoGraph, 3.0);
            inner.add_readback(7);
        }
        let events = recording.drain();
        let (outer, inner) = (spans_named(&events, "outer")[0], spans_named(&events, "inner")[0]);
        assert!(outer.began <= inner.began && inner.ended <= outer.ended && outer.thread == inner.thread);
        assert_eq!(
            (inner.flop, inner.allocated_bytes, inner.readback_bytes, inner.kind),
            (3.0, 0, 7, SpanKind::NoGraph)
        );
        assert!(spans_named(&recording.drain(), "outer").is_empty());
    }

    #[test]
    fn every_thread_has_its_own_number() {
        let _lock = lock_recording();
        let recording = start_recording(None);
        let here = std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| drop(span("elsewhere", SpanKind::NoGraph, 0.0)));
            }
            drop(span("here", SpanKind::NoGraph, 0.0));
            thread_number()
        });
        let events = recording.drain();
        let mut threads: Vec<usize> = spans_named(&events, "elsewhere").iter().map(|event| event.thread).collect();
        threads.push(spans_named(&events, "here")[0].thread);
        assert_eq!(threads[3], here);
        threads.sort_unstable();
        threads.dedup();
        assert_eq!(threads.len(), 4);
    }

    #[test]
    fn nothing_is_recorded_without_a_recording() {
        let _lock = lock_recording();
        drop(span("silent", SpanKind::NoGraph, 0.0));
        record_phase("silent", Instant::now(), Instant::now());
        let late = span("late", SpanKind::NoGraph, 0.0);
        let recording = start_recording(None);
        drop(late);
        let open = span("cut", SpanKind::NoGraph, 0.0);
        let events = recording.drain();
        drop(recording);
        drop(open);
        let again = start_recording(None).drain();
        assert!(["silent", "late", "cut"].iter().all(|name| spans_named(&events, name).is_empty()));
        assert!(spans_named(&again, "cut").is_empty());
    }

    #[test]
    fn allocations_during_a_span_are_its_own() {
        static BYTES: AtomicUsize = AtomicUsize::new(100);
        let _lock = lock_recording();
        let recording = start_recording(Some(|| (1, BYTES.load(Ordering::Relaxed) as u64)));
        let span = span("allocates", SpanKind::NoGraph, 0.0);
        BYTES.fetch_add(64, Ordering::Relaxed);
        drop(span);
        let events = recording.drain();
        assert_eq!(spans_named(&events, "allocates")[0].allocated_bytes, 64);
    }
}
