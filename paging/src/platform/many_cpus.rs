//! The implementation of [`Platform`] for a kernel in which several CPUs use the address space.

use core::fmt;

use x86_64::VirtAddr;
use x86_64::structures::paging::{Page, PhysFrame};

use super::{CpuError, Platform, SingleCpu};
use crate::frame::FrameSource;

/// The platform of a kernel in which several CPUs use the address space.
///
/// It flushes the calling CPU only, and sends no interrupt to another one. The space records what
/// each CPU has flushed, and flushes a CPU when it [enters](crate::AddressSpace::enter) a region
/// that was changed elsewhere.
pub struct ManyCpus<S, C> {
    this: SingleCpu<S>,
    cpus: usize,
    cpu: C,
}

impl<S: FrameSource, C: Fn() -> usize> ManyCpus<S, C> {
    /// Checks that the calling CPU enforces what the page tables say, and makes a platform for
    /// `cpus` CPUs with this frame source. `cpu` returns the number of the CPU that calls it.
    ///
    /// # Errors
    ///
    /// Those of [`SingleCpu::new`], and [`CpuError::TooMany`] if `cpus` is zero or above 64.
    ///
    /// # Safety
    ///
    /// The caller guarantees that
    /// 1. `cpu` returns a number below `cpus`, and another one on each CPU;
    /// 2. the control registers of each CPU are set up as those of this one are.
    pub unsafe fn new(frames: S, cpus: usize, cpu: C) -> Result<Self, CpuError> {
        if !(1..=super::MOST_CPUS).contains(&cpus) {
            return Err(CpuError::TooMany { cpus });
        }
        Ok(Self { this: SingleCpu::new(frames)?, cpus, cpu })
    }
}

impl<S, C> fmt::Debug for ManyCpus<S, C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ManyCpus").field("cpus", &self.cpus).finish_non_exhaustive()
    }
}

// SAFETY: 1 to 5 are as in [`SingleCpu`], because no two CPUs have the same number, by guarantee 1
// of [`ManyCpus::new`]. 6 is that guarantee. The field `cpus` never changes.
unsafe impl<S: FrameSource, C: Fn() -> usize> Platform for ManyCpus<S, C> {
    type Frames = S;

    #[inline]
    fn frames(&self) -> &S {
        self.this.frames()
    }

    fn flush(&self, page: Page) {
        self.this.flush(page);
    }

    fn flush_all(&self) {
        self.this.flush_all();
    }

    #[inline]
    fn cpu(&self) -> usize {
        (self.cpu)()
    }

    #[inline]
    fn cpus(&self) -> usize {
        self.cpus
    }

    fn active_root(&self) -> Option<PhysFrame> {
        self.this.active_root()
    }

    fn is_mapped(&self, address: VirtAddr) -> bool {
        self.this.is_mapped(address)
    }

    fn check_cpu(&self) -> Result<(), CpuError> {
        self.this.check_cpu()
    }

    fn without_interrupts<R>(&self, work: impl FnOnce() -> R) -> R {
        self.this.without_interrupts(work)
    }
}
