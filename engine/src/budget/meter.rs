//! Counts the bytes that are allocated while a store is served.

use core::sync::atomic::{AtomicIsize, AtomicU8, Ordering::Relaxed};

/// The ceiling when no store is served. No count exceeds it.
const AT_REST: isize = isize::MAX;

/// Counts what one thread of the kernel allocates.
///
/// At rest it counts for no store. A stay in a store has a ceiling, and its count is the difference
/// between its end and its start.
#[derive(Debug)]
pub struct HeapMeter {
    /// Bytes that were allocated minus bytes that were freed. Only differences have a meaning,
    /// because a thread may free what another one has allocated.
    count: AtomicIsize,
    /// The count above which the store that is served exceeds its limit, or [`AT_REST`].
    ceiling: AtomicIsize,
    /// The [`Verdict`] of the present stay.
    verdict: AtomicU8,
}

/// Returns the meter of the running thread.
///
/// A kernel with one CPU that does not preempt needs no implementation, because [`HeapMeter`] is
/// one. A kernel that runs guests on several CPUs, or that switches threads during a guest's call,
/// returns the meter of the thread that the CPU executes. A stay in a store then keeps its meter
/// when the thread is preempted or moves to another CPU.
///
/// # Safety
///
/// [`current`](Self::current) is called by every allocation and every release of a block. The
/// implementer guarantees that it does not unwind, because an allocator must not (contract of
/// [`GlobalAlloc`](core::alloc::GlobalAlloc)), and that it neither allocates nor frees.
#[allow(unsafe_code, reason = "an allocator calls it")]
pub unsafe trait HeapMeters: Sync {
    /// Returns the meter of the running thread. It should take a few instructions, for example one
    /// load from the thread's control block.
    fn current(&self) -> &HeapMeter;
}

// SAFETY: it returns a reference.
#[allow(unsafe_code, reason = "the contract is argued above")]
unsafe impl HeapMeters for HeapMeter {
    fn current(&self) -> &HeapMeter {
        self
    }
}

/// What a stay has shown about its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The store is within its limit.
    Sound,
    /// An allocation took the store above its limit.
    AboveLimit,
    /// The heap had no block left, and the reserve served the store.
    Exhausted,
}

impl Verdict {
    fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Sound,
            1 => Self::AboveLimit,
            _ => Self::Exhausted,
        }
    }
}

/// The state of a meter before a stay. [`HeapMeter::leave`] takes it.
#[derive(Debug)]
#[must_use = "the stay must end"]
pub(crate) struct Stay {
    entry: isize,
    outer_ceiling: isize,
    outer_verdict: u8,
}

impl HeapMeter {
    /// Creates a meter at rest.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            count: AtomicIsize::new(0),
            ceiling: AtomicIsize::new(AT_REST),
            verdict: AtomicU8::new(Verdict::Sound as u8),
        }
    }

    /// Starts a stay in a store that may allocate `allowance` more bytes.
    pub(crate) fn enter(&self, allowance: isize) -> Stay {
        self.begin(|entry| entry.saturating_add(allowance).min(AT_REST - 1))
    }

    fn begin(&self, ceiling: impl FnOnce(isize) -> isize) -> Stay {
        let entry = self.count.load(Relaxed);
        let outer_ceiling = self.ceiling.load(Relaxed);
        let outer_verdict = self.verdict.load(Relaxed);
        self.ceiling.store(ceiling(entry), Relaxed);
        self.verdict.store(Verdict::Sound as u8, Relaxed);
        Stay { entry, outer_ceiling, outer_verdict }
    }

    /// Ends a stay. Returns the bytes that the store has taken, which are negative if it has freed
    /// more, and the verdict.
    ///
    /// A stay of another store around this one is not charged for them.
    pub(crate) fn leave(&self, stay: &Stay) -> (isize, Verdict) {
        let verdict = self.verdict();
        let taken = self.count.load(Relaxed).wrapping_sub(stay.entry);
        self.count.store(stay.entry, Relaxed);
        self.ceiling.store(stay.outer_ceiling, Relaxed);
        self.verdict.store(stay.outer_verdict, Relaxed);
        (taken, verdict)
    }

    /// Returns the bytes that the present stay has taken so far.
    pub(crate) fn taken(&self, stay: &Stay) -> isize {
        self.count.load(Relaxed).wrapping_sub(stay.entry)
    }

    /// Returns the verdict of the present stay.
    pub(crate) fn verdict(&self) -> Verdict {
        Verdict::from_bits(self.verdict.load(Relaxed))
    }

    pub(super) fn unattributed<R>(&self, f: impl FnOnce() -> R) -> R {
        let stay = self.begin(|_| AT_REST);
        let result = f();
        self.leave(&stay);
        result
    }

    pub(super) fn add(&self, bytes: usize) {
        let bytes = bytes.cast_signed();
        let count = self.count.fetch_add(bytes, Relaxed).wrapping_add(bytes);
        if count > self.ceiling.load(Relaxed) {
            self.mark_above_limit();
        }
    }

    pub(super) fn subtract(&self, bytes: usize) {
        self.count.fetch_sub(bytes.cast_signed(), Relaxed);
    }

    #[cold]
    fn mark_above_limit(&self) {
        if self.verdict() == Verdict::Sound {
            self.verdict.store(Verdict::AboveLimit as u8, Relaxed);
        }
    }

    /// Marks the store that is served, if there is one.
    pub(super) fn mark_exhausted(&self) {
        if self.ceiling.load(Relaxed) != AT_REST {
            self.verdict.store(Verdict::Exhausted as u8, Relaxed);
        }
    }
}

impl Default for HeapMeter {
    fn default() -> Self {
        Self::new()
    }
}
