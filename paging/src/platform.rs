//! The trait that the embedder implements, and its implementations for one CPU and for many.

mod cpu_error;
#[cfg(target_arch = "x86_64")]
mod many_cpus;
#[cfg(target_arch = "x86_64")]
mod reach;
#[cfg(target_arch = "x86_64")]
mod single_cpu;

use x86_64::VirtAddr;
use x86_64::structures::paging::{Page, PhysFrame};

pub use self::cpu_error::CpuError;
#[cfg(target_arch = "x86_64")]
pub use self::many_cpus::ManyCpus;
#[cfg(target_arch = "x86_64")]
pub(crate) use self::reach::is_mapped;
#[cfg(target_arch = "x86_64")]
pub use self::single_cpu::SingleCpu;
use crate::frame::FrameSource;

/// The largest number of CPUs: a set of CPUs is a word of 64 bits.
pub(crate) const MOST_CPUS: usize = 64;

/// Other CPUs run the simulated machines of the tests only.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn is_mapped(_: VirtAddr) -> bool {
    true
}

/// The services of the kernel that an address space needs: frames, TLB flushes, and interrupts off.
///
/// [`SingleCpu`] is the platform of a kernel in which one CPU uses the address space, and
/// [`ManyCpus`] that of a kernel in which several do.
///
/// # Safety
///
/// The implementer guarantees that
/// 1. when [`flush`](Self::flush) returns, the calling CPU, and every other CPU with the same
///    [number](Self::cpu), does not translate the page by an entry that was changed before the
///    call, or walk a table on the way to the page that was taken out of its entry before the call
///    (`INVLPG` drops both: Intel SDM Vol 3A, 4.10.4.1);
/// 2. when [`flush_all`](Self::flush_all) returns, the same is true for every page of the window;
/// 3. [`without_interrupts`](Self::without_interrupts) calls the closure once, on the calling CPU,
///    and nothing else that uses the address space or its frame source runs on that CPU meanwhile;
/// 4. [`frames`](Self::frames) always returns the same frame source;
/// 5. [`active_root`](Self::active_root) returns a level-4 table that is mapped as the contract of
///    [`AddressSpace::new`](crate::AddressSpace::new) requires of the root;
/// 6. [`cpus`](Self::cpus) always returns the same number, from 1 to 64, and [`cpu`](Self::cpu) a
///    smaller one, which the calling CPU has as long as interrupts are off.
pub unsafe trait Platform {
    /// The source of all frames of the address space.
    type Frames: FrameSource;

    /// Returns the frame source.
    fn frames(&self) -> &Self::Frames;

    /// Drops the cached translation of `page`, and cached references to the tables on the way to
    /// it.
    fn flush(&self, page: Page);

    /// Drops what is cached for every page of the window.
    fn flush_all(&self);

    /// Returns the number of the calling CPU. The default returns 0.
    fn cpu(&self) -> usize {
        0
    }

    /// Returns the number of CPUs that may use the address space. The default returns 1.
    fn cpus(&self) -> usize {
        1
    }

    /// Returns the level-4 table that the calling CPU uses, or `None` if the platform cannot read
    /// it. The default returns `None`.
    ///
    /// A fault that was resolved before, and occurs again, is compared with it. So a kernel that
    /// loads a root without the entries of the window gets
    /// [`NotOurs::OtherRoot`](crate::NotOurs::OtherRoot), and not the same fault forever.
    fn active_root(&self) -> Option<PhysFrame> {
        None
    }

    /// Returns whether an address can be read. The default returns true.
    ///
    /// [`AddressSpace::new`](crate::AddressSpace::new) calls it for the root and for one frame, so
    /// that a wrong physical-memory offset is an error and not a page fault of the kernel.
    fn is_mapped(&self, address: VirtAddr) -> bool {
        let _ = address;
        true
    }

    /// Checks that the calling CPU enforces what the page tables say.
    ///
    /// Each reserve calls it, because a kernel may have changed the CPU's state since it made the
    /// platform. The default has nothing to check.
    ///
    /// # Errors
    ///
    /// The first error in the order of [`CpuError`] that applies.
    fn check_cpu(&self) -> Result<(), CpuError> {
        Ok(())
    }

    /// Calls `work` with interrupts off on this CPU.
    ///
    /// The page-fault handler takes the lock of the region, which small regions share. If the
    /// holder of the lock were interrupted by code that faults in such a region, that fault would
    /// wait for the lock forever.
    /// The default only calls `work`, for kernels in which interrupt handlers touch no region.
    fn without_interrupts<R>(&self, work: impl FnOnce() -> R) -> R {
        work()
    }
}

// SAFETY: every method is that of `P`, whose implementer gives the guarantees.
unsafe impl<P: Platform> Platform for &P {
    type Frames = P::Frames;

    #[inline]
    fn frames(&self) -> &P::Frames {
        (**self).frames()
    }

    fn flush(&self, page: Page) {
        (**self).flush(page);
    }

    fn flush_all(&self) {
        (**self).flush_all();
    }

    #[inline]
    fn cpu(&self) -> usize {
        (**self).cpu()
    }

    #[inline]
    fn cpus(&self) -> usize {
        (**self).cpus()
    }

    fn active_root(&self) -> Option<PhysFrame> {
        (**self).active_root()
    }

    fn is_mapped(&self, address: VirtAddr) -> bool {
        (**self).is_mapped(address)
    }

    fn check_cpu(&self) -> Result<(), CpuError> {
        (**self).check_cpu()
    }

    fn without_interrupts<R>(&self, work: impl FnOnce() -> R) -> R {
        (**self).without_interrupts(work)
    }
}
