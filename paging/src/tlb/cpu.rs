//! The TLB of the CPU that executes the code, and the check that this CPU is set up as the crate needs it.
//!
//! The only module with privileged instructions: nothing in it may be called outside of ring 0.

use core::fmt;

use thiserror::Error;
use x86_64::instructions::{interrupts, tlb};
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
use x86_64::registers::model_specific::{Efer, EferFlags};
use x86_64::structures::paging::Page;

use super::Tlb;

/// The TLB of the calling CPU.
///
/// It flushes this CPU only. That is enough where one CPU uses the address space. It is also enough where one
/// CPU at a time uses a region, and flushes when it takes the region over from another, provided that nothing
/// is [deferred](crate::Region::defer) or [committed ahead](crate::FaultAround) and no account is lost: a
/// fault in any region may take back frames of the first two, and the sink, from regions that other CPUs use.
pub struct CpuTlb {
    /// Keeps the constructor private: a value is the proof that the CPU was checked.
    _checked: (),
}

impl CpuTlb {
    /// Checks that the calling CPU enforces what the page tables say.
    ///
    /// Outside of ring 0 the first read of a control register raises a general-protection exception.
    ///
    /// # Errors
    ///
    /// - [`CpuError::WriteProtectOff`]: CR0.WP is clear, so ring 0 would write through the read-only mapping
    ///   of the shared zero frame.
    /// - [`CpuError::NoExecuteOff`]: EFER.NXE is clear, so bit 63 of every entry would be a reserved bit.
    /// - [`CpuError::FiveLevelPaging`]: CR4.LA57 is set, so the root would be read as a level-5 table.
    /// - [`CpuError::ProcessContexts`]: CR4.PCIDE is set, so a flush would leave the translations of other
    ///   process contexts in place.
    pub fn new() -> Result<Self, CpuError> {
        if !Cr0::read().contains(Cr0Flags::WRITE_PROTECT) {
            return Err(CpuError::WriteProtectOff);
        }
        if !Efer::read().contains(EferFlags::NO_EXECUTE_ENABLE) {
            return Err(CpuError::NoExecuteOff);
        }
        let cr4 = Cr4::read();
        if cr4.contains(Cr4Flags::L5_PAGING) {
            return Err(CpuError::FiveLevelPaging);
        }
        if cr4.contains(Cr4Flags::PCID) {
            return Err(CpuError::ProcessContexts);
        }
        Ok(Self { _checked: () })
    }
}

impl fmt::Debug for CpuTlb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CpuTlb")
    }
}

// SAFETY:
// 1. INVLPG drops the translation of the page and all paging-structure caches of the current process context
//    (Intel SDM Vol 3A, 4.10.4.1); there is one context, because `new` refused CR4.PCIDE.
// 2. Loading CR3 drops all translations that are not global (same section); this crate maps no global page.
// 3. With interrupts off nothing else runs on this CPU but exceptions and NMIs, which its own code raises or
//    which must not use the address space at all.
unsafe impl Tlb for CpuTlb {
    fn flush(&self, page: Page) {
        tlb::flush(page.start_address());
    }

    fn flush_all(&self) {
        tlb::flush_all();
    }

    fn uninterrupted<R>(&self, work: impl FnOnce() -> R) -> R {
        let were_enabled = interrupts::are_enabled();
        // Off even if they are off already: to ask first, as `without_interrupts` does, makes two copies of `work`, too
        // many to be inlined.
        interrupts::disable();
        let result = work();
        if were_enabled {
            interrupts::enable();
        }
        result
    }
}

/// Why a CPU cannot be used with this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CpuError {
    /// Ring 0 ignores read-only entries.
    #[error("CR0.WP is clear: set it, so that ring 0 cannot write the shared zero frame")]
    WriteProtectOff,
    /// The no-execute bit is a reserved bit.
    #[error("EFER.NXE is clear: set it, so that pages can be mapped no-execute")]
    NoExecuteOff,
    /// The CPU walks five levels of tables.
    #[error("CR4.LA57 is set: only 4-level paging is supported")]
    FiveLevelPaging,
    /// Translations are tagged with process contexts.
    #[error("CR4.PCIDE is set: process-context identifiers are not supported")]
    ProcessContexts,
}
