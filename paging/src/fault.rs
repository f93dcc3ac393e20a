//! Page faults: what the embedder passes in, what it gets back, and how a fault is resolved.
//!
//! The embedder's handler gets a fault from the entry in `entry`, and passes it to
//! [`AddressSpace::handle_page_fault`](crate::AddressSpace::handle_page_fault). After
//! [`Outcome::Handled`] the handler returns to the interrupted instruction, which runs again. After
//! [`Outcome::NotOurs`] nothing has changed, and the fault is the kernel's.
//!
//! The path is closed: the spin lock of one shard at a time, and that of a sink inside of it, which
//! are never held while the memory of a region is touched; no heap, no log, nothing that can fault
//! or wait. The embedder's pressure callback runs between two attempts, with no lock held.
//!
//! `attempt` tries the most common fault first, in `first_write`. For all others the pure function
//! `classify` decides, `commit` edits the tables, and `fast_forward` steps over a fill of zeros.

mod classify;
mod commit;
#[cfg(target_arch = "x86_64")]
mod entry;
mod fast_forward;
mod first_write;
mod resolve;

use thiserror::Error;
use x86_64::VirtAddr;
use x86_64::structures::idt::PageFaultErrorCode;
use x86_64::structures::paging::PageTableIndex;

#[cfg(target_arch = "x86_64")]
pub use self::entry::{PageFault, page_fault_entry};
pub(crate) use self::fast_forward::Interrupted;
pub(crate) use self::resolve::{Unresolved, attempt, attempt_again, lose, nowhere};

/// A page fault as the CPU reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The faulting address: the content of CR2.
    pub address: VirtAddr,
    /// The error code that the CPU pushed (Intel SDM Vol 3A, 4.7).
    pub code: PageFaultErrorCode,
}

impl Fault {
    /// A fault at `address`, the content of CR2, with the error code that the CPU pushed.
    ///
    /// The CPU reports canonical addresses only. Of any other number, bits 48 to 63 are replaced by
    /// copies of bit 47.
    #[must_use]
    pub const fn new(address: u64, error_code: u64) -> Self {
        Self {
            address: VirtAddr::new_truncate(address),
            code: PageFaultErrorCode::from_bits_retain(error_code),
        }
    }
}

/// The registers of the interrupted code that a string store uses.
///
/// The handling of a fault changes `rcx` and `rdi` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StringRegisters {
    /// The address of the interrupted instruction.
    pub rip: u64,
    /// The value that is stored: all eight bytes, or the lowest one.
    pub rax: u64,
    /// The number of elements that are left to store.
    pub rcx: u64,
    /// The address of the next element.
    pub rdi: u64,
    /// The flags, with the direction flag: RFLAGS.
    pub rflags: u64,
}

/// The result of handling a fault.
#[must_use = "the kernel must handle a fault that is not ours"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The interrupted instruction can run again.
    Handled,
    /// The fault is not the address space's, for this reason. Nothing has changed.
    NotOurs(NotOurs),
}

/// Why a fault is not the address space's to handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotOurs {
    /// The address is in no region.
    #[error("the address is in no region")]
    Stray,
    /// The address is in a region, beyond its limit.
    #[error("the address is beyond the limit of its region")]
    BeyondLimit,
    /// An instruction was fetched from there. Regions are not executable.
    #[error("an instruction was fetched from a region, and regions are not executable")]
    InstructionFetch,
    /// An entry on the way to the page has a reserved bit set, so the tables are damaged.
    #[error("an entry on the way to the page has a reserved bit set")]
    ReservedBit,
    /// A protection key, the shadow stack, HLAT, SGX or RMP refused the access. Regions use none of
    /// them.
    #[error("a check that regions do not use refused the access")]
    ForeignCheck,
    /// User-mode code accessed a region. Regions belong to the kernel.
    #[error("user-mode code accessed a region")]
    UserMode,
    /// The page is present and does not allow the access.
    #[error("the page is present and does not allow the access")]
    Protection,
    /// The page is mapped, but the level-4 table in CR3 does not lead to it.
    ///
    /// The kernel must copy [`AddressSpace::root_entries`](crate::AddressSpace::root_entries) into
    /// each root before it is loaded.
    #[error(
        "the page is mapped, but entry {} of the level-4 table in CR3 does not lead to it: copy \
         `AddressSpace::root_entries` into each root before it is loaded",
        u16::from(*index)
    )]
    OtherRoot {
        /// The index of the entry that the table lacks.
        index: PageTableIndex,
    },
}
