//! Demand-paged regions of virtual memory on x86_64 page tables, for kernels.
//!
//! An [`AddressSpace`] owns a window of virtual addresses and hands out [`Region`]s of it. A new
//! region of any size holds no data frame. The kernel's page-fault handler passes every fault to
//! the space, which maps a zeroed frame at the first write to a page. [`Region::decommit`] unmaps
//! pages, and releases their frames and the page tables that this empties.
//!
//! # Principles
//!
//! 1. Frames are owned. A [`Frame`] moves into a page-table entry when it is mapped, and out of the
//!    entry when it is unmapped.
//! 2. Types carry the orders that safety depends on: a frame is zeroed before it is mapped, and the
//!    TLB is flushed before a frame is released.
//! 3. Decisions are pure functions over plain enums, tested over every combination. The walks and
//!    the fault handler execute what the functions return.
//! 4. The fault path is closed: no heap, no log, and no lock that is held while a region is
//!    touched.
//! 5. A clear cannot fail, because it allocates nothing.
//! 6. Folders are layers, and a file imports only from the layers below its own.
//!
//! # The life of a page
//!
//! ```text
//!                                 read                     write
//!                         ┌─────────────► shows zeros ───────────┐
//!                         │              (a shared frame)        ▼
//! reserve, set_limit ──► absent ──────────── write ───────► resident ◄──┐
//!                         ▲  ▲                               │    │     │
//!                         │  └──────────── decommit ─────────┘  defer   │ read or write
//!                         │                                      ▼      │ (zeroed first)
//!                         └────────── decommit, reclaim ───── deferred ─┘
//! ```
//!
//! Pages are cleared in one of four ways, and read as zero afterwards. [`Region::decommit`]
//! releases their frames, [`Region::recommit`] replaces the frames by fresh ones,
//! [`Region::zero_in_place`] keeps them, and [`Region::defer`] leaves the zeroing and the releasing
//! for later.
//!
//! # Running out of frames
//!
//! Every region has an [`Account`], which counts and limits the frames of its owner. An account
//! that is charged on touch ([`Account::new`]) lets a region of any size be made, and a write may
//! find no frame, because the source is empty or the account's cap is reached. The space then
//! reclaims deferred frames, then frames that were committed ahead and never written, and then
//! calls the embedder's [pressure callback](AddressSpace::with_pressure). If all of this fails, the
//! write goes into the *sink*, a frame whose content is not kept, and the account is marked as
//! lost. [`AddressSpace::turnover`] shows whether the source uses again what is released to it.
//!
//! A [reserved](Account::reserved) account is charged by [`Region::set_limit`], which may fail. A
//! touch cannot fail then.
//!
//! # Fewer faults
//!
//! [`Policies`] trade frames for faults, and each of them can be switched off. A sequential run of
//! first writes commits pages ahead of it ([`FaultAround`]). A `rep stos` of zeros is moved to the
//! end of the pages that read as zero anyway ([`ZeroStores`]). An idle loop can zero free frames
//! ([`FramePool::scrub`]).
//!
//! # Initial content
//!
//! An [`Image`] is made of bytes, or by [`Region::freeze`] of what a region contains, in place. It
//! is attached to any number of regions, which share its frames until they write to them. A page of
//! an image that was cleared reads as zero. Images of which one was made from the other share what
//! has not changed, and [`Image::each_change`] visits what has.
//!
//! # What the embedder provides
//!
//! - A [`FrameSource`]: its own, two functions in [`FromFns`], an allocator of the `x86_64` crate
//!   in [`FromX86`], or a [`FramePool`], which has a cache for each CPU in a [`CachedPool`].
//!   Reserved accounts need one that can [reserve](FrameSource::reserve) frames, as the pools can.
//! - A [`Platform`], which has the frame source, flushes the TLB and switches interrupts off.
//!   [`SingleCpu`] is one for a single CPU, and checks that the CPU is set up for it.
//! - A [`Layout`]: the window, the offset at which all physical memory is mapped, and the level-4
//!   table.
//! - A global allocator. Reserving and dropping regions uses it, and the fault path does not.
//! - A page-fault handler that makes one call, and the entry of [`page_fault_entry`] in vector 14
//!   of the IDT, with a stack that is mapped at all times.
//!
//! # Example
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use palimpsest_paging::x86_64::registers::control::Cr3;
//! use palimpsest_paging::x86_64::{PhysAddr, VirtAddr};
//! use palimpsest_paging::{Account, AddressSpace, FramePool, Layout, Outcome, PageFault};
//! use palimpsest_paging::SingleCpu;
//!
//! type Space = AddressSpace<SingleCpu<FramePool>>;
//!
//! fn boot() -> Result<Space, Box<dyn std::error::Error>> {
//!     let usable = [PhysAddr::new(0x10_0000)..PhysAddr::new(0x800_0000)];
//!     let physical_offset = VirtAddr::new(0xffff_8000_0000_0000);
//!     // SAFETY 1: the memory map reports the range as unused RAM.
//!     // 2: boot mapped it at the offset.
//!     let frames = unsafe { FramePool::new(&usable, physical_offset) }?;
//!     let window = VirtAddr::new(0x1000_0000_0000)..VirtAddr::new(0x2000_0000_0000);
//!     let layout = Layout { window, physical_offset, root: Cr3::read().0 };
//!     // SAFETY 1: nothing else uses the window. 2: boot mapped all RAM at the offset. 3: there is
//!     // one CPU. 4: there is one root.
//!     Ok(unsafe { AddressSpace::new(layout, SingleCpu::new(frames)?) }?)
//! }
//!
//! fn page_fault(space: &Space, fault: &mut PageFault) {
//!     match space.handle_page_fault(fault) {
//!         Outcome::Handled => {}
//!         Outcome::NotOurs(reason) => panic!("{fault}: {reason}"),
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
//! A file imports only from its own layer and from the layers below, which stand to its left here.
//! Layers with a comma between them do not import from each other. A test reads this line and
//! checks every source file.
//!
//! ```text
//! pages < frame < platform < pool, tlb < supply < table < record < state < clear < fault < space
//! ```
//!
//! # Where to audit
//!
//! | Fact | Where it is decided |
//! | --- | --- |
//! | The address of a frame becomes a pointer | `frame/memory.rs` |
//! | An entry owns a frame, and what each bit means | `table/entry.rs` |
//! | Every frame that is mapped, or becomes a table, was zeroed | the type `ZeroedFrame` in `frame/memory.rs` |
//! | The TLB was flushed before a frame left its entry | the types `FlushBatch` and `Flushed` in `tlb.rs` |
//! | What a sweep does with an entry | `table/sweep.rs` |
//! | What a fault means | `fault/classify.rs` |
//! | What a page fault saves of the interrupted code | `fault/entry.rs` |

#![no_std]
// The page-fault entry of a build without SSE saves no float register.
#![deny(clippy::float_arithmetic)]

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

/// The crate whose types the public items use. A kernel on another version of it needs this one for
/// [`FramePool::new`], [`FromX86`] and [`Platform::flush`]. [`Fault::new`], [`Layout::new`],
/// [`StringRegisters`] and [`FromFns`] take numbers.
pub use x86_64;

pub use self::clear::{Decommitted, PartCleared, Recommitted};
pub use self::fault::{Fault, NotOurs, Outcome, StringRegisters};
#[cfg(target_arch = "x86_64")]
pub use self::fault::{PageFault, page_fault_entry};
pub use self::frame::{
    Allocation, Frame, FrameBatch, FrameReserveError, FrameRun, FrameSource, FromFns, FromX86, Request,
    Shortage,
};
pub use self::platform::{CpuError, Platform};
#[cfg(target_arch = "x86_64")]
pub use self::platform::{ManyCpus, SingleCpu};
pub use self::pool::{CacheUsage, CachedPool, FramePool, PoolError};
pub use self::record::Residency;
pub use self::space::{
    AddressSpace, AttachError, FreezeError, Frozen, Image, ImageError, Layout, LimitError, Pressure,
    RangeError, Region, ReserveError, SpaceError, Turnover, Usage, ZeroFill,
};
pub use self::state::{FaultAround, Policies, ZeroStores};
pub use self::supply::{Account, ChargeError};
