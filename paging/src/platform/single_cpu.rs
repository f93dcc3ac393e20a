//! The platform of a kernel in which one CPU uses the address space, and the check of that CPU.
//!
//! It executes privileged instructions, so it must run in ring 0.

use core::fmt;

use x86_64::VirtAddr;
use x86_64::instructions::{interrupts, tlb};
use x86_64::registers::control::{Cr0, Cr0Flags, Cr3, Cr4, Cr4Flags};
use x86_64::registers::model_specific::{Efer, EferFlags};
use x86_64::structures::paging::{Page, PhysFrame};

use super::{CpuError, Platform, reach};
use crate::frame::FrameSource;

/// The platform of a kernel in which one CPU uses the address space.
///
/// It flushes the calling CPU only. [`ManyCpus`](crate::ManyCpus) is for several CPUs.
pub struct SingleCpu<S> {
    frames: S,
}

impl<S: FrameSource> SingleCpu<S> {
    /// Checks that the calling CPU enforces what the page tables say, and makes a platform with
    /// this frame source.
    ///
    /// The kernel must leave the CPU as it is, and
    /// [`AddressSpace::reserve`](crate::AddressSpace::reserve) checks it again. Outside of ring 0
    /// the first read of a control register raises a general-protection exception.
    ///
    /// # Errors
    ///
    /// - [`CpuError::WriteProtectOff`]: CR0.WP is clear, so ring 0 would write through the
    ///   read-only mapping of the shared zero frame.
    /// - [`CpuError::NoExecuteOff`]: EFER.NXE is clear, so bit 63 of every entry would be a
    ///   reserved bit.
    /// - [`CpuError::FiveLevelPaging`]: CR4.LA57 is set, so the root would be read as a level-5
    ///   table.
    /// - [`CpuError::ProcessContexts`]: CR4.PCIDE is set, so a flush would leave the translations
    ///   of other process contexts in place.
    pub fn new(frames: S) -> Result<Self, CpuError> {
        check_cpu().map(|()| Self { frames })
    }
}

fn check_cpu() -> Result<(), CpuError> {
    check(Cr0::read(), Efer::read(), Cr4::read())
}

/// Checks the values of the control registers.
fn check(cr0: Cr0Flags, efer: EferFlags, cr4: Cr4Flags) -> Result<(), CpuError> {
    if !cr0.contains(Cr0Flags::WRITE_PROTECT) {
        return Err(CpuError::WriteProtectOff);
    }
    if !efer.contains(EferFlags::NO_EXECUTE_ENABLE) {
        return Err(CpuError::NoExecuteOff);
    }
    if cr4.contains(Cr4Flags::L5_PAGING) {
        return Err(CpuError::FiveLevelPaging);
    }
    if cr4.contains(Cr4Flags::PCID) {
        return Err(CpuError::ProcessContexts);
    }
    Ok(())
}

impl<S> fmt::Debug for SingleCpu<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SingleCpu").finish_non_exhaustive()
    }
}

// SAFETY:
// 1. INVLPG drops the translation of the page and all paging-structure caches of the current
//    process context (Intel SDM Vol 3A, 4.10.4.1). There is one context, because `SingleCpu::new`
//    refuses CR4.PCIDE.
// 2. Loading CR3 drops all translations that are not global (same section), and this crate maps no
//    global page.
// 3. With interrupts off, nothing else runs on this CPU except for exceptions, which only its code
//    raises, and NMIs, whose handlers must not use the address space.
// 4. The field never changes.
// 5. The table in CR3 is a root that the window is used through, and the caller of
//    `AddressSpace::new` guarantees that each of these is mapped.
unsafe impl<S: FrameSource> Platform for SingleCpu<S> {
    type Frames = S;

    #[inline]
    fn frames(&self) -> &S {
        &self.frames
    }

    fn flush(&self, page: Page) {
        tlb::flush(page.start_address());
    }

    fn flush_all(&self) {
        tlb::flush_all();
    }

    fn active_root(&self) -> Option<PhysFrame> {
        Some(Cr3::read().0)
    }

    fn is_mapped(&self, address: VirtAddr) -> bool {
        reach::is_mapped(address)
    }

    fn check_cpu(&self) -> Result<(), CpuError> {
        check_cpu()
    }

    fn without_interrupts<R>(&self, work: impl FnOnce() -> R) -> R {
        let were_enabled = interrupts::are_enabled();
        // Not `interrupts::without_interrupts`: its two calls of `work` are too many to be inlined.
        interrupts::disable();
        let result = work();
        if were_enabled {
            interrupts::enable();
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EFER.NXE cannot be cleared in a kernel whose data is mapped no-execute, so the values are
    /// made up here.
    #[test]
    fn a_cpu_that_does_not_enforce_what_the_tables_say_is_refused() {
        let cr0 = Cr0Flags::WRITE_PROTECT;
        let efer = EferFlags::NO_EXECUTE_ENABLE;
        let all_cr0 = Cr0Flags::all();
        let all_efer = EferFlags::all();
        let cr4 = Cr4Flags::all() - Cr4Flags::L5_PAGING - Cr4Flags::PCID;
        assert_eq!(check(cr0, efer, Cr4Flags::empty()), Ok(()));
        assert_eq!(check(all_cr0, all_efer, cr4), Ok(()));
        assert_eq!(check(all_cr0 - cr0, all_efer, cr4), Err(CpuError::WriteProtectOff));
        assert_eq!(check(all_cr0, all_efer - efer, cr4), Err(CpuError::NoExecuteOff));
        assert_eq!(check(cr0, efer, Cr4Flags::L5_PAGING), Err(CpuError::FiveLevelPaging));
        assert_eq!(check(cr0, efer, Cr4Flags::PCID), Err(CpuError::ProcessContexts));
    }
}
