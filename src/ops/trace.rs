//! Owns: the record of where a step's time goes: spans of time on a thread, of operations and of what they are parts of.
//! Must not know: who asks for it, what is made of it.
//! Invariant: while nobody asks, a span is one relaxed load and leaves nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

static ON: AtomicBool = AtomicBool::new(false);
static RECORD: Mutex<Record> = Mutex::new(Record { events: Vec::new(), allocated: None });
/// Events that there is room for from the beginning on, so that a step does not pay for it.
const ROOM: usize = 1 << 14;

/// How often memory was allocated so far, and how many bytes; by the whole process.
pub type Allocated = fn() -> (u64, u64);

struct Record {
    events: Vec<Event>,
    allocated: Option<Allocated>,
}

/// What a span is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// A step of training.
    Step,
    /// A part of a step.
    Part,
    /// An operation's way forward. Elsewhere than on the CPU, handing it to the device.
    Forward,
    /// Its way back.
    Backward,
    /// An operation that has no graph.
    Whole,
}

impl Of {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Part => "part",
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Whole => "",
        }
    }

    /// Whether it is an operation, and no more than that.
    pub fn is_operation(self) -> bool {
        !matches!(self, Self::Step | Self::Part)
    }
}

/// A span that is over.
#[derive(Clone, Debug)]
pub struct Event {
    pub name: &'static str,
    pub of: Of,
    /// A number of the thread's own.
    pub thread: usize,
    pub began: Instant,
    pub ended: Instant,
    /// Floating-point operations of its products; 0 where there are none.
    pub flop: f64,
    /// Bytes that were allocated meanwhile; 0 where nobody counts them.
    pub allocated: u64,
    /// Bytes that came back from the device.
    pub read: u64,
}

impl Event {
    /// How long it took.
    pub fn seconds(&self) -> f64 {
        (self.ended - self.began).as_secs_f64()
    }
}

/// While it lives, spans are recorded. There is one record: who begins anew takes it over.
#[must_use]
pub struct Recording(());

/// Records from now on, what is `allocated` too.
pub fn start(allocated: Option<Allocated>) -> Recording {
    let mut record = record();
    record.events = Vec::with_capacity(ROOM);
    record.allocated = allocated;
    ON.store(true, Ordering::Relaxed);
    Recording(())
}

impl Recording {
    /// What was recorded since the start, or since it was last taken, in the order of its ends.
    pub fn take(&self) -> Vec<Event> {
        record().events.drain(..).collect()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        ON.store(false, Ordering::Relaxed);
        record().events = Vec::new();
    }
}

#[inline]
fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// No code that holds it can fail halfway.
fn record() -> MutexGuard<'static, Record> {
    RECORD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lasts until it is dropped, and is recorded then.
#[must_use]
pub struct Span(Option<Open>);

struct Open {
    name: &'static str,
    of: Of,
    flop: f64,
    read: u64,
    before: u64,
    began: Instant,
}

/// A span from now on, of products of `flop` floating-point operations.
#[inline]
pub fn span(name: &'static str, of: Of, flop: f64) -> Span {
    Span(is_on().then(|| open(name, of, flop)))
}

#[cold]
fn open(name: &'static str, of: Of, flop: f64) -> Open {
    let before = bytes(&record());
    Open { name, of, flop, read: 0, before, began: Instant::now() }
}

fn bytes(record: &Record) -> u64 {
    record.allocated.map_or(0, |allocated| allocated().1)
}

impl Span {
    /// So many bytes came back from the device.
    pub fn brought(&mut self, bytes: u64) {
        if let Some(open) = &mut self.0 {
            open.read += bytes;
        }
    }
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            close(&open);
        }
    }
}

#[cold]
fn close(open: &Open) {
    let (ended, mut record) = (Instant::now(), record());
    let Open { name, of, flop, read, before, began } = *open;
    let allocated = bytes(&record).saturating_sub(before);
    push(&mut record, Event { name, of, thread: thread(), began, ended, flop, allocated, read });
}

/// A part of a step that was timed already.
pub fn part(name: &'static str, began: Instant, ended: Instant) {
    if is_on() {
        let event =
            Event { name, of: Of::Part, thread: thread(), began, ended, flop: 0.0, allocated: 0, read: 0 };
        push(&mut record(), event);
    }
}

fn push(record: &mut Record, event: Event) {
    // Somebody may have stopped meanwhile.
    if is_on() {
        record.events.push(event);
    }
}

/// The calling thread's number.
fn thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    thread_local!(static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed));
    OWN.with(|own| *own)
}

/// An operation with a way back: its name, and the floating-point operations of its products.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub name: &'static str,
    pub forward: f64,
    pub backward: f64,
}

impl Work {
    /// One without products.
    pub const fn light(name: &'static str) -> Self {
        Self { name, forward: 0.0, backward: 0.0 }
    }

    /// Its way forward begins.
    #[inline]
    pub fn goes(&self) -> Span {
        span(self.name, Of::Forward, self.forward)
    }

    /// Its way back begins.
    #[inline]
    pub fn returns(&self) -> Span {
        span(self.name, Of::Backward, self.backward)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of one name: other tests run beside, and may leave spans too.
    fn named<'a>(events: &'a [Event], name: &str) -> Vec<&'a Event> {
        events.iter().filter(|event| event.name == name).collect()
    }

    /// There is one record: whoever asks for it has it alone.
    fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn a_span_lies_within_the_one_around_it() {
        let _alone = alone();
        let recording = start(Some(|| (1, 2)));
        {
            let _outer = span("outer", Of::Part, 0.0);
            let mut inner = span("inner", Of::Whole, 3.0);
            inner.brought(7);
        }
        let events = recording.take();
        let (outer, inner) = (named(&events, "outer")[0], named(&events, "inner")[0]);
        assert!(outer.began <= inner.began && inner.ended <= outer.ended && outer.thread == inner.thread);
        assert_eq!((inner.flop, inner.allocated, inner.read, inner.of), (3.0, 0, 7, Of::Whole));
        assert!(named(&recording.take(), "outer").is_empty());
    }

    #[test]
    fn every_thread_has_a_number_of_its_own() {
        let _alone = alone();
        let recording = start(None);
        let here = std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| drop(span("elsewhere", Of::Whole, 0.0)));
            }
            drop(span("here", Of::Whole, 0.0));
            thread()
        });
        let events = recording.take();
        let mut threads: Vec<usize> = named(&events, "elsewhere").iter().map(|event| event.thread).collect();
        threads.push(named(&events, "here")[0].thread);
        assert_eq!(threads[3], here);
        threads.sort_unstable();
        threads.dedup();
        assert_eq!(threads.len(), 4);
    }

    #[test]
    fn nothing_is_recorded_while_nobody_asks() {
        let _alone = alone();
        drop(span("silent", Of::Whole, 0.0));
        part("silent", Instant::now(), Instant::now());
        let late = span("late", Of::Whole, 0.0);
        let recording = start(None);
        drop(late);
        let open = span("cut", Of::Whole, 0.0);
        let events = recording.take();
        drop(recording);
        drop(open);
        let again = start(None).take();
        assert!(["silent", "late", "cut"].iter().all(|name| named(&events, name).is_empty()));
        assert!(named(&again, "cut").is_empty());
    }

    #[test]
    fn what_is_allocated_meanwhile_is_that_of_the_span() {
        static BYTES: AtomicUsize = AtomicUsize::new(100);
        let _alone = alone();
        let recording = start(Some(|| (1, BYTES.load(Ordering::Relaxed) as u64)));
        let span = span("allocates", Of::Whole, 0.0);
        BYTES.fetch_add(64, Ordering::Relaxed);
        drop(span);
        let events = recording.take();
        assert_eq!(named(&events, "allocates")[0].allocated, 64);
    }
}
