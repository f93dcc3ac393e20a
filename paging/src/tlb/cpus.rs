//! Which CPU uses what, and what each of them has flushed.
//!
//! A clear flushes the CPU that it runs on, and no other. Another CPU that ran the region earlier
//! may still cache what was unmapped. That is harmless until it enters the region again, because an
//! address that is not accessed is not translated. So a CPU flushes when it enters, if anything was
//! unmapped since its last flush. No interrupt is sent.
//!
//! The clock counts the flushes of all CPUs that drop everything. What is unmapped gets the clock's
//! value as its stamp, after the entries were changed. A flush gets the next value as its number,
//! before it begins. So a CPU has dropped everything with a stamp below the number of its last
//! flush.
//!
//! A [`Seat`] records the CPUs that use the regions of an account. With one CPU no state is kept,
//! and every method returns at once.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use spin::Mutex;

use super::limbo::{Limbo, Wait};
use super::seat::{Holder, Seat, Word};
use crate::frame::PhysicalMemory;
use crate::platform::{MOST_CPUS, Platform};

/// The clock of a space, and what each CPU has flushed.
#[derive(Debug)]
pub(crate) struct Cpus {
    /// The number of flushes so far, of all CPUs, and one.
    clock: AtomicU64,
    /// The stamp of the last end of a region.
    ended: AtomicU64,
    memory: PhysicalMemory,
    /// The tables that wait until CPUs have flushed. Its lock is the last one before that of the
    /// frame source.
    limbo: Mutex<Limbo>,
    /// The CPUs that some of them may wait for.
    awaited: AtomicU64,
    /// The number of tables that waited and were released.
    released_tables: AtomicU64,
    /// One for each CPU. None if there is one CPU.
    states: Box<[CpuState]>,
}

/// What one CPU writes, and the others read. It has a cache line to itself.
#[derive(Debug)]
#[repr(align(64))]
struct CpuState {
    /// The number of the CPU's last flush.
    flushed: AtomicU64,
    /// Whether another CPU has requested frames of an account whose regions this CPU uses.
    is_wanted: AtomicBool,
}

/// The permission to unmap pages of an account from outside.
#[must_use = "no CPU can enter until the relief ends"]
#[derive(Debug)]
pub(crate) struct Relief {
    /// The word of the seat before. None if there is one CPU.
    before: Option<Word>,
}

impl Cpus {
    /// The state of as many CPUs as the platform has, none of which has seen the space.
    ///
    /// # Panics
    ///
    /// If the platform has more than [`MOST_CPUS`] or none.
    pub(crate) fn new(memory: PhysicalMemory, platform: &impl Platform) -> Self {
        let cpus = platform.cpus();
        assert!((1..=MOST_CPUS).contains(&cpus), "a space for {cpus} CPUs: have 1 to {MOST_CPUS}");
        let count = if cpus > 1 { cpus } else { 0 };
        let new = |_| CpuState { flushed: AtomicU64::new(1), is_wanted: AtomicBool::new(false) };
        Self {
            clock: AtomicU64::new(1),
            ended: AtomicU64::new(0),
            memory,
            limbo: Mutex::new(Limbo::new(memory)),
            awaited: AtomicU64::new(0),
            released_tables: AtomicU64::new(0),
            states: (0..count).map(new).collect(),
        }
    }

    /// Makes the calling CPU the one that uses the account's regions, and flushes it if it may
    /// cache anything of them that was changed.
    ///
    /// Returns whether it was another CPU before, or several.
    #[inline]
    pub(crate) fn enter(&self, seat: &Seat, platform: &impl Platform) -> bool {
        if platform.cpus() == 1 || seat.enter_again(platform.cpu()) {
            return false;
        }
        self.take_over(seat, platform)
    }

    /// As [`enter`](Self::enter), for a CPU that only reads, which others may do at the same time.
    #[inline]
    pub(crate) fn look(&self, seat: &Seat, platform: &impl Platform) -> bool {
        if platform.cpus() == 1 || seat.is_held_by(platform.cpu()) {
            return false;
        }
        self.join(seat, platform)
    }

    #[cold]
    fn take_over(&self, seat: &Seat, platform: &impl Platform) -> bool {
        self.arrive(seat, platform, |before, cpu| match before.holder() {
            Holder::Idle | Holder::Running | Holder::Several => Some(before.held_by(cpu)),
            Holder::Relieved => None,
        })
    }

    #[cold]
    fn join(&self, seat: &Seat, platform: &impl Platform) -> bool {
        self.arrive(seat, platform, |before, cpu| match before.holder() {
            Holder::Idle => Some(before.held_by(cpu)),
            Holder::Running if before.is_of(cpu) => Some(before),
            Holder::Running | Holder::Several => Some(before.held_by_several()),
            Holder::Relieved => None,
        })
    }

    /// Continues on the calling CPU what another CPU did when its thread was interrupted.
    pub(crate) fn migrate(&self, seat: &Seat, platform: &impl Platform) -> bool {
        if platform.cpus() == 1 {
            return false;
        }
        self.arrive(seat, platform, |before, cpu| match before.holder() {
            // The thread may be about to enter, and may have read the number of the other CPU
            // already.
            Holder::Idle if before.is_of(cpu) => Some(before),
            Holder::Idle => Some(before.of_no_cpu()),
            Holder::Running => Some(before.held_by(cpu)),
            Holder::Several => Some(before),
            Holder::Relieved => None,
        })
    }

    /// Replaces the seat's word by what `next` returns for it, as soon as that is something.
    ///
    /// If a CPU uses the account then, it flushes the calling CPU if that may cache what was
    /// changed. It returns whether that was another CPU before, or several.
    fn arrive(
        &self,
        seat: &Seat,
        platform: &impl Platform,
        next: impl Fn(Word, usize) -> Option<Word>,
    ) -> bool {
        loop {
            // The thread stays on this CPU until the CPU is flushed.
            let arrived = platform.without_interrupts(|| {
                let cpu = platform.cpu();
                let before = seat.exchange(|word| next(word, cpu))?;
                // An idle account stays idle until a CPU enters, and that CPU flushes.
                let is_used = next(before, cpu).is_some_and(|after| after.holder() != Holder::Idle);
                let is_new = is_used && !before.is_of(cpu);
                if is_new {
                    self.forget_flushed(seat, before);
                    seat.record_stop(before, || self.now());
                    self.refresh(seat, cpu, platform);
                }
                Some(is_new)
            });
            if let Some(is_new) = arrived {
                return is_new;
            }
            // Another CPU reclaims frames of the account. It has interrupts off, and waits for
            // nothing that this CPU has.
            core::hint::spin_loop();
        }
    }

    /// Flushes the calling CPU if anything of the account was changed since its last flush.
    ///
    /// Nothing of the account is changed meanwhile, because the seat has a CPU, and this one has
    /// interrupts off. Several CPUs that begin to read may do this at the same time.
    fn refresh(&self, seat: &Seat, cpu: usize, platform: &impl Platform) {
        seat.stamp_changes(|| self.now());
        seat.record_run(cpu);
        if self.flushed(cpu) <= seat.changed() {
            self.flush(cpu, platform);
        }
    }

    /// Drops everything that the calling CPU caches of the window. Returns the number of tables
    /// that were released, because they have waited for this CPU alone.
    fn flush(&self, cpu: usize, platform: &impl Platform) -> u64 {
        let number = self.clock.fetch_add(1, Ordering::SeqCst) + 1;
        platform.flush_all();
        self.states[cpu].flushed.store(number, Ordering::Release);
        let is_awaited = self.awaited.load(Ordering::Acquire) & (1 << cpu) != 0;
        if is_awaited { self.release(RELEASED_IN_ENTRY, platform) } else { 0 }
    }

    /// The CPUs other than the calling one that may cache that a frame is a table of the account's
    /// regions.
    ///
    /// A CPU may do so if it has used the regions, and has not flushed since it stopped.
    #[inline]
    pub(crate) fn may_cache(&self, seat: &Seat, platform: &impl Platform) -> u64 {
        if platform.cpus() == 1 { 0 } else { self.awaited_by(seat.ran(), platform) }
    }

    /// As [`may_cache`](Self::may_cache), for CPUs that stopped at this stamp.
    pub(crate) fn awaited_by(&self, stopped: Wait, platform: &impl Platform) -> u64 {
        self.unflushed(stopped) & !(1 << platform.cpu())
    }

    /// The CPUs of the set whose last flush began before the stamp.
    pub(crate) fn unflushed(&self, Wait { cpus, stamp }: Wait) -> u64 {
        let mut left = cpus;
        let mut rest = cpus;
        while rest != 0 {
            let cpu = rest.trailing_zeros();
            rest &= rest - 1;
            if self.flushed(cpu as usize) > stamp {
                left &= !(1 << cpu);
            }
        }
        left
    }

    /// The CPUs that may cache tables because of regions that have ended: those of `past` that have
    /// not flushed, and those of one more region that ends now.
    ///
    /// The caller has the lock of the shard that keeps `past`. The region ends, so no other CPU
    /// uses the account.
    pub(crate) fn join_past(&self, past: Wait, seat: &Seat) -> Wait {
        self.wait(self.unflushed(past) | self.unflushed(seat.ran()) | seat.running())
    }

    /// What tables wait for that these CPUs may cache, and that were taken out of their entries
    /// before the call.
    #[inline]
    pub(crate) fn wait(&self, cpus: u64) -> Wait {
        Wait { cpus, stamp: if cpus == 0 { 0 } else { self.now() } }
    }

    /// An empty queue.
    pub(crate) fn queue(&self) -> Limbo {
        Limbo::new(self.memory)
    }

    /// Makes the tables of the queue, which wait for these CPUs, wait.
    pub(crate) fn detain(&self, tables: Limbo, cpus: u64) {
        let mut limbo = self.limbo.lock();
        limbo.append(tables);
        self.awaited.fetch_or(cpus, Ordering::AcqRel);
    }

    /// Releases tables for which all CPUs have flushed, of the `most` that were looked at the
    /// longest time ago. Returns their number.
    fn release(&self, most: u64, platform: &impl Platform) -> u64 {
        let mut limbo = self.limbo.lock();
        let is_all = limbo.frames() <= most;
        let (released, cpus) = limbo.release(most, platform.frames(), |wait| self.unflushed(wait));
        if is_all {
            self.awaited.store(cpus, Ordering::Release);
        }
        self.released_tables.fetch_add(released, Ordering::Relaxed);
        released
    }

    /// The tables that wait, and those that waited and were released.
    pub(crate) fn tables(&self, platform: &impl Platform) -> (u64, u64) {
        if platform.cpus() == 1 {
            return (0, 0);
        }
        // The timer's interrupt may take the lock.
        platform.without_interrupts(|| {
            let limbo = self.limbo.lock();
            (limbo.frames(), self.released_tables.load(Ordering::Relaxed))
        })
    }

    /// Releases every table, at the end of the space, before which every CPU has flushed.
    pub(crate) fn release_all(&self, platform: &impl Platform) {
        let mut limbo = self.limbo.lock();
        let all = limbo.frames();
        limbo.release(all, platform.frames(), |_| 0);
    }

    /// The stamp of entries that were changed before the call.
    ///
    /// The fence orders the changes before the read of the clock. A CPU whose flush has a greater
    /// number has raised the clock after this read, so its flush began after the changes.
    fn now(&self) -> u64 {
        fence(Ordering::SeqCst);
        self.clock.load(Ordering::SeqCst)
    }

    fn flushed(&self, cpu: usize) -> u64 {
        self.states[cpu].flushed.load(Ordering::Acquire)
    }

    /// Ends the use of the account's regions by the calling CPU.
    #[inline]
    pub(crate) fn leave(&self, seat: &Seat, platform: &impl Platform) {
        if platform.cpus() > 1 {
            if seat.ran_on_several() {
                platform.without_interrupts(|| self.forget_flushed(seat, seat.word()));
            }
            seat.leave(|| self.clock.load(Ordering::SeqCst));
        }
    }

    /// Forgets the CPUs of the seat that have flushed since they stopped, before another one stops.
    fn forget_flushed(&self, seat: &Seat, word: Word) {
        seat.keep(|ran| self.unflushed(ran), word);
    }

    /// Records that entries of the account's regions were changed, which the calling CPU has
    /// flushed. If it is not the CPU of the seat, that one will have to flush as well.
    #[inline]
    pub(crate) fn record_change(&self, seat: &Seat, platform: &impl Platform) {
        if platform.cpus() > 1 {
            seat.record_change();
            seat.forget_other(platform.cpu(), || self.now());
        }
    }

    /// Begins to unmap pages of the account from outside, for frames that are short. Returns `None`
    /// if another CPU uses the account's regions. That CPU is requested to release frames itself.
    ///
    /// The caller has interrupts off until the relief [ends](Self::end_relief), because other CPUs
    /// wait for that when they enter.
    pub(crate) fn begin_relief(&self, seat: &Seat, platform: &impl Platform) -> Option<Relief> {
        if platform.cpus() == 1 {
            return Some(Relief { before: None });
        }
        let cpu = platform.cpu();
        let before = seat.exchange(|word| match word.holder() {
            Holder::Idle => Some(word.relieved()),
            // The thread that runs may be interrupted now, and another CPU may continue it.
            Holder::Running if word.is_of(cpu) => Some(word.relieved()),
            Holder::Running => Some(word.wanted()),
            // A request reaches one CPU, and several read.
            Holder::Several | Holder::Relieved => None,
        })?;
        match (before.holder(), before.cpu()) {
            (Holder::Running, Some(other)) if other != cpu => {
                self.states[other].is_wanted.store(true, Ordering::Release);
                None
            }
            _ => Some(Relief { before: Some(before) }),
        }
    }

    /// Ends a relief. The CPU that had the seat last must flush when it enters, unless the calling
    /// CPU is the same.
    pub(crate) fn end_relief(&self, relief: Relief, seat: &Seat, platform: &impl Platform) {
        if let Some(before) = relief.before {
            seat.end_relief(if before.is_of(platform.cpu()) { before } else { before.of_no_cpu() });
        }
    }

    /// Whether another CPU has wanted frames of an account whose regions the calling CPU uses,
    /// since the last call.
    #[inline]
    pub(crate) fn take_wanted(&self, platform: &impl Platform) -> bool {
        if platform.cpus() == 1 {
            return false;
        }
        let is_wanted = &self.states[platform.cpu()].is_wanted;
        is_wanted.load(Ordering::Relaxed) && is_wanted.swap(false, Ordering::AcqRel)
    }

    /// Records that a region has ended, so that another may get its addresses.
    pub(crate) fn record_end(&self, platform: &impl Platform) {
        if platform.cpus() > 1 {
            self.ended.fetch_max(self.now(), Ordering::AcqRel);
        }
    }

    /// Prepares a new region of the account, whose addresses may be those of one that has ended.
    ///
    /// The calling CPU flushes if a region has ended since its last flush, even if it has ended the
    /// region itself. It has flushed what it unmapped, but not what other CPUs had unmapped before.
    /// All other CPUs must flush when they enter.
    ///
    /// The caller has the lock of the placement. An end is [recorded](Self::record_end) before that
    /// lock is taken to free the addresses. So no end at these addresses is missed.
    pub(crate) fn record_reuse(&self, seat: &Seat, platform: &impl Platform) {
        if platform.cpus() == 1 {
            return;
        }
        platform.without_interrupts(|| {
            let this = platform.cpu();
            let ended = self.ended.load(Ordering::Acquire);
            if self.flushed(this) <= ended {
                self.flush(this, platform);
            }
            if !seat.begin(this) {
                seat.forget_other(this, || self.now());
            }
            seat.raise_changed(ended);
        });
    }

    /// Flushes the calling CPU, and releases the tables that have waited for it alone.
    pub(crate) fn flush_this(&self, platform: &impl Platform) {
        if platform.cpus() > 1 {
            platform.without_interrupts(|| self.flush(platform.cpu(), platform));
            self.release_more(u64::MAX, platform);
        }
    }

    /// As [`flush_this`](Self::flush_this), if a table waits for the calling CPU. Returns the
    /// number of tables that were released.
    #[inline]
    pub(crate) fn flush_if_awaited(&self, platform: &impl Platform) -> u64 {
        if platform.cpus() == 1 || self.awaited.load(Ordering::Acquire) & (1 << platform.cpu()) == 0 {
            return 0;
        }
        platform.without_interrupts(|| self.flush(platform.cpu(), platform))
            + self.release_more(RELEASED_IN_TICK, platform)
    }

    /// Releases tables that wait, because frames are short, and flushes the calling CPU for that if
    /// it has to. Returns their number.
    pub(crate) fn release_waiting(&self, platform: &impl Platform) -> u64 {
        if platform.cpus() == 1 || self.awaited.load(Ordering::Acquire) == 0 {
            return 0;
        }
        self.flush_if_awaited(platform) + self.release_more(RELEASED_IN_TICK, platform)
    }

    /// Releases up to about `most` tables for which all CPUs have flushed, some at a time. Returns
    /// their number.
    pub(crate) fn release_more(&self, most: u64, platform: &impl Platform) -> u64 {
        let (waiting, _) = self.tables(platform);
        let mut left = waiting.min(most);
        let mut released = 0;
        while left > 0 {
            let some = left.min(RELEASED_IN_ENTRY);
            released += platform.without_interrupts(|| self.release(some, platform));
            left -= some;
        }
        released
    }
}

/// The number of waiting tables that are looked at with the lock held once.
const RELEASED_IN_ENTRY: u64 = 128;

/// The number of waiting tables that a tick looks at.
const RELEASED_IN_TICK: u64 = 4096;
