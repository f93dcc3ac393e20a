//! Page faults: what the embedder hands in, what comes back, and how a fault is resolved.
//!
//! The embedder's handler calls [`AddressSpace::handle_fault`](crate::AddressSpace::handle_fault) or its
//! register-aware form. On [`Outcome::Handled`] it returns to the interrupted instruction, which runs again;
//! on [`Outcome::NotOurs`] nothing has changed, and the fault is the kernel's own affair.
//!
//! The path is closed: one spin lock, which is never held while the memory of a region is touched; no heap, no log,
//! nothing that can fault or wait. The embedder's pressure callback runs between two attempts, with the lock free.
//!
//! [`resolve`] first tries the one fault that nearly all are, in `first_write`. For all others [`classify()`] decides,
//! as a pure function, `commit` edits the tables, and `fast_forward` steps over a fill of zeros.
//!
//! [`classify()`]: classify::classify

mod classify;
mod commit;
mod fast_forward;
mod first_write;
mod resolve;

use thiserror::Error;
use x86_64::VirtAddr;
use x86_64::registers::rflags::RFlags;
use x86_64::structures::idt::PageFaultErrorCode;

pub(crate) use self::fast_forward::Interrupted;
pub(crate) use self::resolve::{nowhere, resolve, resolve_or_lose};

/// A page fault as the CPU reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The faulting address: the content of CR2.
    pub address: VirtAddr,
    /// The error code that the CPU pushed (Intel SDM Vol 3A, 4.7).
    pub code: PageFaultErrorCode,
}

/// The registers of the interrupted code that a string store uses.
///
/// The handler may change `rcx` and `rdi`, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StringRegisters {
    /// The address of the interrupted instruction.
    pub rip: VirtAddr,
    /// What is stored: all of it, or its lowest byte.
    pub rax: u64,
    /// How many elements are left to store.
    pub rcx: u64,
    /// Where the next element goes.
    pub rdi: u64,
    /// The direction flag is in here.
    pub rflags: RFlags,
}

/// What became of a fault.
#[must_use = "a fault that is not ours is to be handled by the kernel"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The interrupted instruction can run again.
    Handled,
    /// Nothing was changed, for this reason.
    NotOurs(NotOurs),
}

/// Why a fault is not for the address space to handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotOurs {
    /// The address is in no region.
    #[error("the address is in no region")]
    Stray,
    /// The address is in a region, behind its limit.
    #[error("the address is behind the limit of its region")]
    BeyondLimit,
    /// Code was to be executed there; regions hold data only.
    #[error("an instruction was fetched from there, and regions hold no code")]
    InstructionFetch,
    /// An entry on the way has a reserved bit set: the tables are damaged.
    #[error("an entry on the way has a reserved bit set")]
    ReservedBit,
    /// A protection key, the shadow stack, HLAT, SGX or RMP refused the access; regions use none of them.
    #[error("a check that regions do not use refused the access")]
    ForeignCheck,
    /// User-mode code accessed it; regions belong to the kernel.
    #[error("user-mode code accessed a region")]
    UserMode,
    /// The page is present and does not allow the access.
    #[error("the page is present and does not allow the access")]
    Protection,
}
