//! The CPUs that use the regions of an account.
//!
//! One word records which CPU that is, and in which way. So a CPU that had the account last enters
//! with one exchange of the word.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::limbo::Wait;

/// The CPUs of one account.
#[derive(Debug)]
pub(crate) struct Seat {
    word: AtomicU32,
    /// Whether an entry of a region was changed that a CPU may cache, since the seat had another
    /// CPU.
    is_changed: AtomicBool,
    /// Whether a page of a region may lead to the sink.
    is_covered: AtomicBool,
    /// The stamp of the last change that a CPU must have flushed before it enters.
    changed: AtomicU64,
    /// The CPUs that have used the regions.
    ran_on: AtomicU64,
    /// The stamp at which the last of them stopped, unless one uses them now.
    stopped: AtomicU64,
}

/// The CPU that has an account, and how it has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u32);

/// Who may use the regions of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// No CPU does, until one enters.
    Idle,
    /// The word's CPU does.
    Running,
    /// Several CPUs read.
    Several,
    /// A CPU takes frames back, and runs no region of the account.
    Relieved,
}

/// The part of a word that is the number of a CPU and one, or zero.
const CPU: u32 = 0xff;
const RUNNING: u32 = 1 << 8;
const SEVERAL: u32 = 2 << 8;
const RELIEVED: u32 = 3 << 8;
const HOLDER: u32 = 3 << 8;
/// Another CPU has requested frames that the account holds.
const WANTED: u32 = 1 << 10;

impl Word {
    fn idle_on(cpu: usize) -> Self {
        Self(number(cpu))
    }

    pub(super) fn holder(self) -> Holder {
        match self.0 & HOLDER {
            RUNNING => Holder::Running,
            SEVERAL => Holder::Several,
            RELIEVED => Holder::Relieved,
            _ => Holder::Idle,
        }
    }

    /// Whether this CPU was the last one that used the regions.
    pub(super) fn is_of(self, cpu: usize) -> bool {
        self.0 & CPU == number(cpu)
    }

    /// The set of the CPU that runs, if it is one.
    fn running(self) -> u64 {
        match self.holder() {
            Holder::Running => 1 << ((self.0 & CPU) - 1),
            Holder::Idle | Holder::Several | Holder::Relieved => 0,
        }
    }

    pub(super) fn held_by(self, cpu: usize) -> Self {
        Self(self.0 & !(CPU | HOLDER) | RUNNING | number(cpu))
    }

    pub(super) fn held_by_several(self) -> Self {
        Self(self.0 & !(CPU | HOLDER) | SEVERAL)
    }

    pub(super) fn of_no_cpu(self) -> Self {
        Self(self.0 & !CPU)
    }

    pub(super) fn relieved(self) -> Self {
        Self(self.0 & !HOLDER | RELIEVED)
    }

    pub(super) fn wanted(self) -> Self {
        Self(self.0 | WANTED)
    }

    /// The CPU that was the last one.
    pub(super) fn cpu(self) -> Option<usize> {
        (self.0 & CPU).checked_sub(1).map(|cpu| cpu as usize)
    }
}

/// The number of a CPU in a word.
#[inline]
fn number(cpu: usize) -> u32 {
    u32::try_from(cpu).map_or(CPU, |cpu| cpu + 1)
}

impl Seat {
    /// A seat that no CPU had.
    pub(crate) const fn new() -> Self {
        Self {
            word: AtomicU32::new(0),
            is_changed: AtomicBool::new(false),
            is_covered: AtomicBool::new(false),
            changed: AtomicU64::new(0),
            ran_on: AtomicU64::new(0),
            stopped: AtomicU64::new(0),
        }
    }

    /// Takes the seat for the CPU that had it last. Returns false if that is another one.
    #[inline]
    pub(super) fn enter_again(&self, cpu: usize) -> bool {
        let idle = Word::idle_on(cpu);
        let held = idle.held_by(cpu);
        self.word.compare_exchange(idle.0, held.0, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    pub(super) fn is_held_by(&self, cpu: usize) -> bool {
        self.word.load(Ordering::Acquire) == Word(0).held_by(cpu).0
    }

    /// Replaces the word by what `next` returns for it. Returns the one before, or `None` if `next`
    /// does.
    pub(super) fn exchange(&self, next: impl Fn(Word) -> Option<Word>) -> Option<Word> {
        let next = |word| next(Word(word)).map(|word| word.0);
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok().map(Word)
    }

    /// Gives the seat up. It stays that of the same CPU. `now` returns the stamp.
    #[inline]
    pub(super) fn leave(&self, now: impl Fn() -> u64) {
        self.exchange(|word| match word.holder() {
            Holder::Running => {
                // Before the word is free, because another CPU may read it from then on.
                self.stopped.store(now(), Ordering::Release);
                Some(Word(word.0 & CPU))
            }
            Holder::Idle | Holder::Several | Holder::Relieved => None,
        });
    }

    /// Records that entries of a region were changed.
    #[inline]
    pub(super) fn record_change(&self) {
        self.is_changed.store(true, Ordering::Release);
    }

    /// Ends a relief. The word becomes `before`.
    pub(super) fn end_relief(&self, before: Word) {
        self.word.store(before.0, Ordering::Release);
    }

    /// Whether another CPU has wanted frames that the account holds since the last call.
    pub(crate) fn take_wanted(&self) -> bool {
        self.word.fetch_and(!WANTED, Ordering::AcqRel) & WANTED != 0
    }

    /// Makes every CPU but this one enter as if it had never had the seat.
    #[inline]
    pub(super) fn forget_other(&self, cpu: usize, now: impl Fn() -> u64) {
        let before = self.exchange(|word| match word.holder() {
            Holder::Idle | Holder::Running if !word.is_of(cpu) => Some(Word(word.0 & !(CPU | HOLDER))),
            Holder::Idle | Holder::Running | Holder::Several | Holder::Relieved => None,
        });
        if let Some(before) = before {
            self.record_stop(before, now);
        }
    }

    /// Records that the CPUs which had the seat according to `before` have stopped.
    pub(super) fn record_stop(&self, before: Word, now: impl Fn() -> u64) {
        match before.holder() {
            Holder::Running | Holder::Several => self.stopped.store(now(), Ordering::Release),
            // The stamp was stored when the CPU left.
            Holder::Idle | Holder::Relieved => {}
        }
    }

    pub(super) fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// The CPUs that have used the regions, and the stamp at which all but the present one have
    /// stopped.
    pub(super) fn ran(&self) -> Wait {
        self.ran_as(self.word())
    }

    fn ran_as(&self, word: Word) -> Wait {
        let stamp = match word.holder() {
            // None of them has stopped.
            Holder::Several => u64::MAX,
            Holder::Idle | Holder::Running | Holder::Relieved => self.stopped.load(Ordering::Acquire),
        };
        Wait { cpus: self.ran_on.load(Ordering::Acquire), stamp }
    }

    /// The set of the CPU that runs, if it is one.
    pub(super) fn running(&self) -> u64 {
        self.word().running()
    }

    /// Whether more than one CPU is remembered to have used the regions.
    #[inline]
    pub(super) fn ran_on_several(&self) -> bool {
        let cpus = self.ran_on.load(Ordering::Acquire);
        cpus & cpus.wrapping_sub(1) != 0
    }

    /// Forgets the CPUs that have used the regions, except for the one that runs according to
    /// `word`, and for those that `unflushed` returns.
    pub(super) fn keep(&self, unflushed: impl FnOnce(Wait) -> u64, word: Word) {
        self.ran_on.fetch_and(unflushed(self.ran_as(word)) | word.running(), Ordering::AcqRel);
    }

    /// Gives the changes since the last call the stamp that `now` returns.
    ///
    /// They are forgotten after that, so that another CPU which finds none finds their stamp.
    pub(super) fn stamp_changes(&self, now: impl FnOnce() -> u64) {
        if self.is_changed.load(Ordering::Acquire) {
            self.raise_changed(now());
            self.is_changed.store(false, Ordering::Release);
        }
    }

    /// The stamp of the last change that has one.
    pub(super) fn changed(&self) -> u64 {
        self.changed.load(Ordering::Acquire)
    }

    pub(super) fn raise_changed(&self, stamp: u64) {
        self.changed.fetch_max(stamp, Ordering::AcqRel);
    }

    /// Records that the CPU uses the regions.
    pub(super) fn record_run(&self, cpu: usize) {
        self.ran_on.fetch_or(1 << cpu, Ordering::AcqRel);
    }

    /// Makes the CPU the last one that had the seat, if none ever had it. Returns whether it did.
    ///
    /// No other CPU changes the word meanwhile, because the account has no region before.
    pub(super) fn begin(&self, cpu: usize) -> bool {
        let is_new = self.ran_on.compare_exchange(0, 1 << cpu, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if is_new {
            self.word.store(Word::idle_on(cpu).0, Ordering::Release);
        }
        is_new
    }

    /// Records that a page of a region leads to the sink.
    pub(crate) fn record_cover(&self) {
        self.is_covered.store(true, Ordering::Release);
    }

    /// Whether a page of a region may have led to the sink since the last call.
    pub(crate) fn take_cover(&self) -> bool {
        self.is_covered.swap(false, Ordering::AcqRel)
    }
}
