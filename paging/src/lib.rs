//! Demand-paged regions on x86_64 page tables, for kernels: reserve addresses, get frames on first touch,
//! give them back by range.
//!
//! An [`AddressSpace`] owns a window of virtual addresses. It hands out [`Region`]s of any size, which hold
//! no data frame when they are new. The kernel's page-fault handler passes every fault on; a page that is
//! written for the first time gets a zeroed frame, and [`Region::decommit`] takes frames and emptied tables
//! back.
//!
//! # The life of a page
//!
//! ```text
//! reserve ──► reserved ── set_limit ──► absent ────────────── write ──────────────► resident
//!                                        │  ▲                                        ▲   │
//!                                   read │  └──── decommit ──┬───────────────────────│───┘
//!                                        ▼                   │                       │
//!                               shows the zero frame ────────┘                       │
//!                                        └─────────────────── write ─────────────────┘
//! ```
//!
//! There are four ways to clear pages, after which they read as zero. [`Region::decommit`] releases their
//! frames, [`Region::recommit`] exchanges them for fresh ones, [`Region::zero_in_place`] keeps them, and
//! [`Region::defer`] leaves both the zeroing and the releasing for later:
//!
//! ```text
//! resident ── defer ──► deferred ── read or write ──► resident, of zeros
//!                          └─────── reclaim, decommit ──► absent
//! ```
//!
//! Two more ways lead into the space's *sink*, a frame whose content is not kept: a write for which there is
//! no frame, which marks the [`Account`] as lost; and, while a [`ZeroFill`] guard is up, a write of zeros to
//! a page that reads as zero anyway. There is one sink; it is lent to one region at a time.
//!
//! # Faster than one fault for each page
//!
//! What a space does beyond what it must is a matter of its [`Policies`], each of which can be switched off.
//! A run of first writes to neighbouring pages commits pages ahead of them ([`FaultAround`]); their frames
//! are given back before anybody finds none. A `rep stos` of zeros over pages that read as zero is stepped
//! over ([`ZeroStores`]). And an idle loop can have frames zeroed ahead of need ([`FramePool::scrub`]).
//!
//! # Starting with something else than zeros
//!
//! An [`Image`] is made once and attached to any number of regions, which share its frames until they write to them.
//! A page that was cleared reads as zero from then on, and not as the image.
//!
//! # Running out of frames
//!
//! An [`Account::new`] is charged on touch: size costs nothing, and a touch may find no frame, because the
//! source is empty or the account's cap is reached. Then deferred frames are reclaimed, then frames that were
//! committed ahead and are still zero, then the embedder's [pressure
//! callback](AddressSpace::with_pressure) is called, and only then the account is lost. An
//! [`Account::reserved`] is charged by [`Region::set_limit`], which may fail; a touch cannot.
//!
//! # What the embedder provides
//!
//! - A [`FrameSource`]: its own, an allocator of the `x86_64` crate in [`FromX86`], or a [`FramePool`]. For
//!   reserved accounts it must be able to [reserve](FrameSource::reserve) frames, as the pool is.
//! - A [`Platform`], which has the frame source, flushes the TLB and switches interrupts off: [`SingleCpu`] for
//!   one CPU, which checks that the CPU is set up for it.
//! - A [`Layout`]: the window, the offset at which all physical memory is mapped, and the level-4 table.
//! - A global allocator, which is used by `reserve` and by the drop of a region, never by the fault path.
//! - One call in the page-fault handler, on a stack that is mapped whatever happens.
//!
//! # Example
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use palimpsest_paging::x86_64::registers::control::{Cr2, Cr3};
//! use palimpsest_paging::x86_64::structures::idt::PageFaultErrorCode;
//! use palimpsest_paging::x86_64::{PhysAddr, VirtAddr};
//! use palimpsest_paging::{Account, AddressSpace, Fault, FramePool, Layout, Outcome, SingleCpu};
//!
//! type Space = AddressSpace<SingleCpu<FramePool>>;
//!
//! fn boot() -> Result<Space, Box<dyn std::error::Error>> {
//!     let usable = [PhysAddr::new(0x10_0000)..PhysAddr::new(0x800_0000)];
//!     let physical_offset = VirtAddr::new(0xffff_8000_0000_0000);
//!     // SAFETY 1: the range is unused RAM, says the memory map. 2: boot mapped it at the offset.
//!     let frames = unsafe { FramePool::new(&usable, physical_offset) }?;
//!     let window = VirtAddr::new(0x1000_0000_0000)..VirtAddr::new(0x2000_0000_0000);
//!     let layout = Layout { window, physical_offset, root: Cr3::read().0 };
//!     // SAFETY 1: nothing else uses the window. 2: as above. 3: there is one CPU. 4: there is one root.
//!     Ok(unsafe { AddressSpace::new(layout, SingleCpu::new(frames)?) }?)
//! }
//!
//! fn page_fault(space: &Space, code: PageFaultErrorCode) {
//!     let address = Cr2::read().expect("the CPU reports canonical addresses");
//!     match space.handle_fault(Fault { address, code }) {
//!         Outcome::Handled => {}
//!         Outcome::NotOurs(reason) => panic!("page fault at {address:?}: {reason}"),
//!     }
//! }
//!
//! fn use_memory(space: &Space) -> Result<(), Box<dyn std::error::Error>> {
//!     let account = Arc::new(Account::new(Some(1024)));
//!     let mut region = space.reserve(4 << 30, &account)?;
//!     region.set_limit(64 << 10)?;
//!     // SAFETY 1: the byte is below the limit. 2: nothing else refers to the region.
//!     unsafe { region.base().as_mut_ptr::<u8>().write(1) };
//!     assert_eq!(region.residency().resident_frames, 1);
//!     assert_eq!(region.decommit(region.pages())?.frames_released, 1);
//!     Ok(())
//! }
//! ```
//!
//! # Layers
//!
//! A file imports only from its own layer and from those below it, which stand to the left of it here. Layers with a
//! comma between them do not know each other. A test reads this line and checks every source file.
//!
//! ```text
//! pages < frame < platform < pool, tlb < supply < table < record < state < clear < fault < space
//! ```
//!
//! # Where to audit
//!
//! The address of a frame becomes a pointer in one module, `frame::memory`; tables are reached through owned entries
//! in one layer, `table`. Frames are owned values. A frame is zeroed before it is mapped by its type, or, if it stayed
//! in its entry, by `Table::take_back`. It is released after the TLB was flushed by the order in two functions,
//! `clear::sweep` and `release_stale` in `clear::recommit`; it is searched for zeros after a flush by the order in
//! `clear::demote_ahead`.

#![no_std]

extern crate alloc;

mod clear;
mod fault;
mod frame;
mod pages;
mod platform;
mod pool;
mod record;
mod space;
mod state;
mod supply;
mod table;
mod tlb;

/// The crate whose types the public items use, so that versions agree.
pub use x86_64;

pub use self::clear::{Decommitted, Recommitted};
pub use self::fault::{Fault, NotOurs, Outcome, StringRegisters};
pub use self::frame::{
    Allocation, Frame, FrameBatch, FrameReserveError, FrameRun, FrameSource, FromX86, Request, Shortage,
};
pub use self::platform::Platform;
#[cfg(target_arch = "x86_64")]
pub use self::platform::{CpuError, SingleCpu};
pub use self::pool::{FramePool, PoolError};
pub use self::record::Residency;
pub use self::space::{
    AddressSpace, AttachError, Image, ImageError, Layout, LimitError, Pressure, RangeError, Region,
    ReserveError, SpaceError, Usage, ZeroFill,
};
pub use self::state::{FaultAround, Policies, ZeroStores};
pub use self::supply::{Account, ChargeError};
