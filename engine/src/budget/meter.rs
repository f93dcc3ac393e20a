//! Counts the bytes that are allocated while a store is served.

use core::sync::atomic::{AtomicIsize, AtomicU8, Ordering::Relaxed};

/// The ceiling when no store is served. No count exceeds it.
const AT_REST: isize = isize::MAX;

/// Counts what one thread of the kernel allocates.
///
/// At rest it counts for no store. A stay in a store has a ceiling, and counts from zero.
#[derive(Debug)]
pub struct HeapMeter {
    /// Bytes that were allocated minus bytes that were freed since the present stay began. It may
    /// be negative, because a thread may free what another one has allocated.
    count: AtomicIsize,
    /// The count above which the store that is served exceeds its limit, or [`AT_REST`].
    ceiling: AtomicIsize,
    /// The [`Verdict`] of the present stay.
    verdict: AtomicU8,
}

/// Returns the meter of the running thread.
///
/// A kernel with one CPU that does not preempt needs no implementation, because [`HeapMeter`] is
/// one. Other kernels choose by what can happen between the start of a guest's call and its return:
///
/// | meanwhile the kernel may | meters |
/// | --- | --- |
/// | run guests on other CPUs | one for each CPU |
/// | switch to another thread that calls guests, or move a thread | one for each thread |
///
/// [`current`](Self::current) must return the same meter from the start of a call to its return. If
/// it does not, stores are charged for what others allocate. A [`Task`](crate::Task) is one call
/// for each slice, so a kernel with a meter for each CPU may resume it on any of them.
///
/// # Safety
///
/// [`current`](Self::current) is called by every allocation and every release of a block. The
/// implementer guarantees that it does not unwind, because an allocator must not (contract of
/// [`GlobalAlloc`](core::alloc::GlobalAlloc)), and that it neither allocates nor frees.
#[allow(unsafe_code, reason = "an allocator calls it")]
pub unsafe trait HeapMeters: Sync {
    /// Returns the meter of the running thread. It should take a few instructions, for example one
    /// load from the control block of the thread or CPU.
    fn current(&self) -> &HeapMeter;

    /// Returns how many stores may be served at the same time: the number of meters that calls of
    /// guests use.
    ///
    /// When the heap is exhausted each of them may allocate until its guest is stopped, so the
    /// reserve has room for as many. The number must not rise after an engine was created.
    fn stores_at_once(&self) -> usize;
}

// SAFETY: it returns a reference.
#[allow(unsafe_code, reason = "the contract is argued above")]
unsafe impl HeapMeters for HeapMeter {
    fn current(&self) -> &HeapMeter {
        self
    }

    fn stores_at_once(&self) -> usize {
        1
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
    outer_count: isize,
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
        self.begin(allowance.min(AT_REST - 1))
    }

    fn begin(&self, ceiling: isize) -> Stay {
        let stay = Stay {
            outer_count: self.count.load(Relaxed),
            outer_ceiling: self.ceiling.load(Relaxed),
            outer_verdict: self.verdict.load(Relaxed),
        };
        self.count.store(0, Relaxed);
        self.ceiling.store(ceiling, Relaxed);
        self.verdict.store(Verdict::Sound as u8, Relaxed);
        stay
    }

    /// Ends a stay. Returns the bytes that the store has taken, which are negative if it has freed
    /// more, and the verdict.
    ///
    /// A stay of another store around this one is not charged for them.
    pub(crate) fn leave(&self, stay: &Stay) -> (isize, Verdict) {
        let taken = self.taken();
        let verdict = self.verdict();
        self.count.store(stay.outer_count, Relaxed);
        self.ceiling.store(stay.outer_ceiling, Relaxed);
        self.verdict.store(stay.outer_verdict, Relaxed);
        (taken, verdict)
    }

    /// Returns the bytes that the present stay has taken so far.
    pub(crate) fn taken(&self) -> isize {
        self.count.load(Relaxed)
    }

    /// Returns the verdict of the present stay.
    pub(crate) fn verdict(&self) -> Verdict {
        Verdict::from_bits(self.verdict.load(Relaxed))
    }

    pub(super) fn unattributed<R>(&self, f: impl FnOnce() -> R) -> R {
        let stay = self.begin(AT_REST);
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
