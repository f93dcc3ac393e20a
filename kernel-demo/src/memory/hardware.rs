//! The CPUs and the frames as the address space sees them, in a kernel for one CPU or for many.

use palimpsest_paging::{CpuError, FramePool};

/// The source of all frames.
#[cfg(feature = "many-cpus")]
pub type Frames = palimpsest_paging::CachedPool;

/// The source of all frames.
#[cfg(not(feature = "many-cpus"))]
pub type Frames = FramePool;

/// The CPUs and the frames of this machine.
#[cfg(feature = "many-cpus")]
pub type Hardware = palimpsest_paging::ManyCpus<&'static Frames, fn() -> usize>;

/// The CPU and the frames of this machine.
#[cfg(not(feature = "many-cpus"))]
pub type Hardware = palimpsest_paging::SingleCpu<&'static Frames>;

/// Whether the kernel uses more than the CPU that it starts on.
pub(crate) const USES_MANY_CPUS: bool = cfg!(feature = "many-cpus");

/// The number of the calling CPU.
#[cfg(feature = "many-cpus")]
fn number() -> usize {
    crate::cpu::this().index()
}

/// The frames of the pool, for as many CPUs.
pub(super) fn frames(pool: FramePool, cpus: usize) -> Frames {
    #[cfg(feature = "many-cpus")]
    return Frames::new(pool, cpus, number);
    #[cfg(not(feature = "many-cpus"))]
    {
        assert_eq!(cpus, 1, "this kernel is for one CPU");
        pool
    }
}

/// The platform of as many CPUs.
///
/// # Safety
///
/// The caller guarantees that the control registers of each CPU are set up as those of this one
/// are.
pub(super) unsafe fn hardware(frames: &'static Frames, cpus: usize) -> Result<Hardware, CpuError> {
    #[cfg(feature = "many-cpus")]
    // SAFETY: 1. The number is an index of `Cpu`, and each CPU has its own. `cpus::start` starts as
    // many as there are numbers. 2. The caller's guarantee.
    return unsafe { Hardware::new(frames, cpus, number) };
    #[cfg(not(feature = "many-cpus"))]
    {
        assert_eq!(cpus, 1, "this kernel is for one CPU");
        Hardware::new(frames)
    }
}
