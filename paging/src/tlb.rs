//! The translation lookaside buffer: the trait, the flush of this CPU, and the batch that makes few flushes
//! of many.
//!
//! Invariant of the crate: an entry that was present is cleared or changed first, then its page is flushed,
//! and only then its frame is released. Mapping an absent page needs no flush, because the CPU does not cache
//! entries that are not present (Intel SDM Vol 3A, 4.10.2.3).
//!
//! Called by: the fault path (upgrade of a zero page, the sink) and everything that clears pages.

mod batch;
#[cfg(target_arch = "x86_64")]
mod cpu;

use x86_64::structures::paging::Page;

pub(crate) use self::batch::{FLUSH_SINGLY, FlushBatch, Flushed};
#[cfg(target_arch = "x86_64")]
pub use self::cpu::{CpuError, CpuTlb};

/// How stale translations are dropped.
///
/// # Safety
///
/// The implementer guarantees that when a method returns, no CPU on which the address space may be used
/// translates by entries that were changed before the call:
/// 1. [`flush`](Self::flush) for the translation of this page and for every cached reference to a table on
///    the way to it, as `INVLPG` does (Intel SDM Vol 3A, 4.10.4.1);
/// 2. [`flush_all`](Self::flush_all) for every page of the window;
///
/// and that [`uninterrupted`](Self::uninterrupted) runs the closure exactly once, on the calling CPU, and
/// that nothing else runs on that CPU until it returns.
pub unsafe trait Tlb {
    /// Drops what is cached for `page`.
    fn flush(&self, page: Page);

    /// Drops what is cached for every page of the window.
    fn flush_all(&self);

    /// Runs `work` so that nothing else runs on this CPU meanwhile.
    ///
    /// The page-fault handler takes the address space's lock. A holder that is preempted on the same CPU, by
    /// code that then faults, would be waited for forever. The default, which only calls `work`, is for
    /// embedders without preemption.
    fn uninterrupted<R>(&self, work: impl FnOnce() -> R) -> R {
        work()
    }
}

// SAFETY: all methods are those of `T`, whose implementer gives the guarantees.
unsafe impl<T: Tlb> Tlb for &T {
    fn flush(&self, page: Page) {
        (**self).flush(page);
    }

    fn flush_all(&self) {
        (**self).flush_all();
    }

    fn uninterrupted<R>(&self, work: impl FnOnce() -> R) -> R {
        (**self).uninterrupted(work)
    }
}
