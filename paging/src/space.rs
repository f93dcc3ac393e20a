//! The address space: a window of virtual addresses that is handed out in regions.
//!
//! A space owns the level-3 tables of the window, the zero frame, a sink for each CPU, the free
//! addresses and the policies. The rest is divided into [`Shard`](crate::state::Shard)s, which are
//! parts of the window. The directory of the shards is read without a lock.
//!
//! # Locks
//!
//! A lock is taken only inside of those to its left:
//!
//! ```text
//! placement < shard < sink < limbo, shares < frame source
//! ```
//!
//! - `placement` guards the free addresses, and the opening and closing of shards. Only the reserve
//!   and the drop of a region take it.
//! - The lock of a *shard* guards the tables and the records of its regions. Faults and clears take
//!   it. A shard is one region of 1 GiB or more, or 1 GiB that smaller regions of one CPU share. So
//!   faults and clears of different stores take different locks. A CPU never holds the locks of two
//!   shards. A fault that needs something from another shard gets it between two attempts, with no
//!   lock held.
//! - The lock of a *sink* guards its loan.
//! - *Limbo* is the queue of table frames that wait until other CPUs have flushed. Its lock is held
//!   for a bounded number of them.
//! - The lock of the *shares* guards the counts of frames that images share. It is taken for one
//!   cluster of 64 pages at a time, and inside of no other lock.
//!
//! All but `placement` are held with interrupts off, and never while the heap is used or a region
//! is touched.

mod cpu;
mod image;
mod layout;
mod pressure;
mod probe;
mod region;
mod reserve;
mod usage;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::mem::{self, ManuallyDrop};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrayvec::ArrayVec;
use spin::Mutex;
use x86_64::structures::paging::page_table::PageTableLevel;
use x86_64::structures::paging::{Page, PhysFrame};

pub use self::image::{AttachError, FreezeError, Image, ImageError};
pub use self::layout::{Layout, SpaceError};
pub use self::pressure::Pressure;
pub use self::region::{Frozen, LimitError, RangeError, Region, ZeroFill};
pub use self::reserve::ReserveError;
pub use self::usage::{Turnover, Usage};
#[cfg(target_arch = "x86_64")]
use crate::fault::PageFault;
use crate::fault::{Fault, Interrupted, Outcome, StringRegisters, attempt, nowhere};
use crate::frame::{Frame, FrameSource, PhysicalMemory, ZeroedFrame};
use crate::pages::pieces;
use crate::platform::Platform;
use crate::record::{Placement, Shares};
use crate::state::{Directory, Env, Policies, PoliciesInForce};
use crate::supply::Supply;
use crate::table::{Sink, Window};
use crate::tlb::{Cpus, FlushBatch};

/// A window of virtual addresses, with the page tables that map it.
pub struct AddressSpace<P: Platform> {
    root: PhysFrame,
    env: Env<P>,
    pressure: Option<Pressure<P>>,
    placement: Mutex<Placement>,
    directory: Directory,
    /// Whether a store of zeros was stepped over since the space was made.
    has_stepped_over: AtomicBool,
}

impl<P: Platform> AddressSpace<P> {
    /// Makes an address space over a window.
    ///
    /// It takes one frame for the shared zero frame, five for the sink of each CPU, and one for
    /// the level-3 table of each 512 GiB that the window touches. It writes the root's entries for
    /// these tables once, here. A kernel with several roots must copy them, see
    /// [`root_entries`](Self::root_entries).
    ///
    /// # Errors
    ///
    /// - [`SpaceError::Empty`], [`SpaceError::Unaligned`], [`SpaceError::BothHalves`],
    ///   [`SpaceError::Null`]: the window is not as [`Layout::window`] requires.
    /// - [`SpaceError::InUse`]: an entry of the root that the window needs is in use.
    /// - [`SpaceError::Unmapped`]: the platform reports that the root, or the first frame of the
    ///   frame source, is not mapped at the offset.
    /// - [`SpaceError::OutOfFrames`]: the frame source has too few frames.
    ///
    /// Nothing has changed after an error.
    ///
    /// # Safety
    ///
    /// The caller guarantees that
    /// 1. `layout.root` is a level-4 table. Nothing else uses its entries for the window, or
    ///    accesses the table while this function or the drop of the space runs;
    /// 2. the root, every other level-4 table that is active when a region is touched, and every
    ///    frame that the frame source ever allocates, is mapped at
    ///    `layout.physical_offset` plus its physical address, outside of the window, readable and
    ///    writable, as ordinary write-back memory, for as long as the space lives;
    /// 3. only CPUs that `platform` has a number for use the window. If it has more than one, one
    ///    of them at a time accesses or changes the regions of an account, and
    ///    [enters](Self::enter) before. No other CPU enters, leaves or [migrates](Self::migrate)
    ///    the account meanwhile, and no other space has regions of the account;
    /// 4. before the space is dropped, the entries are removed from all other roots that they were
    ///    copied into, and every other CPU has [flushed](Self::flush_before_idle);
    /// 5. before the memory of a region is touched, and before
    ///    [`steps_over_fills`](Self::steps_over_fills) is called, the page-fault handlers of these
    ///    CPUs pass faults in the window to [`handle_fault`](Self::handle_fault) or
    ///    [`handle_fault_with`](Self::handle_fault_with), and return to the interrupted instruction
    ///    after [`Outcome::Handled`].
    pub unsafe fn new(layout: Layout, platform: P) -> Result<Self, SpaceError> {
        let pages = layout.pages()?;
        // SAFETY: the caller's guarantee 2.
        let memory = unsafe { PhysicalMemory::new(layout.physical_offset) };
        let cpus = Arc::new(Cpus::new(memory, &platform));
        let mut window = Window::new(pages, memory, Arc::clone(&cpus));
        // SAFETY: the caller's guarantee 1.
        let own = platform.without_interrupts(|| unsafe { take_window(&layout, &mut window, &platform) });
        let (zero, sinks) = own?;
        let placement = Mutex::new(Placement::new(pages, platform.cpus()));
        let directory = Directory::new(&window);
        let env = Env {
            cpus,
            platform,
            window,
            zero: ManuallyDrop::new(zero),
            policies: PoliciesInForce::new(Policies::default()),
            sinks: sinks.into_iter().map(Mutex::new).collect(),
            shares: Mutex::new(Shares::new()),
            image_frames: AtomicU64::new(0),
            past_released: AtomicU64::new(0),
        };
        Ok(Self {
            root: layout.root,
            env,
            pressure: None,
            placement,
            directory,
            has_stepped_over: AtomicBool::new(false),
        })
    }

    /// Handles a page fault that came through the entry of
    /// [`page_fault_entry`](crate::page_fault_entry).
    ///
    /// It uses no heap, touches no region, and waits for nothing but the lock of the region, which
    /// regions below 1 GiB may have in common, and the frame source. For an address at which no
    /// region was made it takes no lock.
    ///
    /// A store of zeros, by `rep stosb` or `rep stosq`, over pages that own no frame is moved to
    /// the end of those pages, by changing RCX and RDI of the interrupted code. This happens while
    /// a [`ZeroFill`] guard is up, and always with
    /// [`ZeroStores::StepOver`](crate::ZeroStores::StepOver). So a fill of any length takes one
    /// fault.
    ///
    /// If no frame is left, it reclaims deferred frames, and then frames that were committed ahead
    /// and never written. If the frame source is empty, these are frames of every region whose
    /// account is charged on touch. If the account's cap is reached, they are frames of the
    /// account's regions. If that yields none and the source is empty, it calls the [pressure
    /// callback](Self::with_pressure), once. If this does not help either, the access goes into the
    /// sink, and the account is marked as lost.
    #[cfg(target_arch = "x86_64")]
    pub fn handle_page_fault(&self, fault: &mut PageFault) -> Outcome {
        let mut registers = fault.string_registers();
        // SAFETY: the entry has saved the registers of the code that raised this fault, and a
        // `PageFault` does not leave its handler.
        let outcome = unsafe { self.handle_fault_with(fault.fault(), &mut registers) };
        // SAFETY: the registers are those of the same store, some elements later.
        unsafe { fault.put_back(&registers) };
        outcome
    }

    /// Handles a page fault as [`handle_page_fault`](Self::handle_page_fault) does, for a kernel
    /// whose own entry saves the registers of the interrupted code.
    ///
    /// It may be called with interrupts on or off. The caller must put RCX and RDI back into the
    /// interrupted context, because they change when a store of zeros is moved.
    ///
    /// # Safety
    ///
    /// The caller guarantees that `registers` has the values that the interrupted code had in its
    /// registers when this CPU raised this fault, and that `fault.code` is the fault's error code.
    /// The code at `rip` is read.
    pub unsafe fn handle_fault_with(&self, fault: Fault, registers: &mut StringRegisters) -> Outcome {
        let elements_before = registers.rcx;
        // SAFETY: forwarded from this function's contract.
        let interrupted = unsafe { Interrupted::new(registers) };
        let outcome = self.handle(fault, Some(interrupted));
        if registers.rcx != elements_before {
            self.has_stepped_over.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// Handles a page fault as [`handle_page_fault`](Self::handle_page_fault) does, from its
    /// address and error code alone, for a handler that cannot change the interrupted registers,
    /// such as one with the ABI `x86-interrupt`.
    ///
    /// Without the registers no store of zeros is moved. A fill under a [`ZeroFill`] guard then
    /// takes no frame, but time for each of its bytes.
    pub fn handle_fault(&self, fault: Fault) -> Outcome {
        self.handle(fault, None)
    }

    /// The entries of the level-4 table that lead to the window, each with its index.
    ///
    /// A kernel with several level-4 tables must copy them into each one before that is loaded into
    /// CR3, or at least before a region is touched in it. They do not change while the space lives.
    /// Otherwise the first touch of a page commits it, and its second fault is
    /// [`NotOurs::OtherRoot`](crate::NotOurs::OtherRoot). Before the space is dropped, the entries
    /// must be removed again.
    pub fn root_entries(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let window = &self.env.window;
        pieces(window.pages(), PageTableLevel::Four)
            .map(|piece| (usize::from(piece.start.p4_index()), window.root_entry(piece.start)))
    }

    /// The policies in force.
    pub fn policies(&self) -> Policies {
        self.env.policies.get()
    }

    /// Sets the policies for all later faults. A new space has [`Policies::default`].
    pub fn set_policies(&self, policies: Policies) {
        self.env.policies.set(policies);
    }

    /// Returns the number of bytes in the window.
    pub fn window_bytes(&self) -> u64 {
        self.env.window.pages().size()
    }

    /// The frame source of the platform.
    pub fn frames(&self) -> &P::Frames {
        self.env.platform.frames()
    }

    #[inline]
    fn handle(&self, fault: Fault, interrupted: Option<Interrupted<'_>>) -> Outcome {
        let page = Page::containing_address(fault.address);
        // A fault elsewhere takes no lock, because code that holds a lock may have raised it.
        let Some(shard) = self.directory.find(page) else { return Outcome::NotOurs(nowhere(fault.code)) };
        let attempted = self.env.lock(shard, |state| attempt(state, fault, interrupted, &self.env));
        let outcome = match attempted {
            Ok(()) => Outcome::Handled,
            Err(unresolved) => self.overcome(shard, fault, unresolved),
        };
        if self.env.cpus.take_wanted(&self.env.platform) {
            self.yield_frames_at(shard, fault.address);
        }
        outcome
    }

    /// Frames that are charged to no account.
    fn uncharged_supply(&self) -> Supply<'_, P::Frames> {
        self.env.supply(None)
    }
}

impl<P: Platform> Drop for AddressSpace<P> {
    fn drop(&mut self) {
        let Env { platform, cpus, window, zero, sinks, .. } = &mut self.env;
        // SAFETY: the field is not used after this. The value leaves it once, because a drop runs
        // once.
        let zero = unsafe { ManuallyDrop::take(zero) };
        let supply = Supply::new(platform.frames(), window.memory(), None);
        platform.without_interrupts(|| {
            let mut batch = FlushBatch::new();
            // SAFETY: guarantees 1 and 4 of `new`; no region is alive, because each of them borrows
            // the space.
            unsafe { window.detach(self.root, &mut batch) };
            window.release_level3(&supply, &batch.flush(platform));
            // Every other CPU has flushed, by guarantee 4.
            cpus.release_all(platform);
            release_sinks(mem::take(sinks).into_iter().map(Mutex::into_inner), &supply);
            supply.release(zero);
        });
    }
}

/// Takes the frames that the space keeps, and makes the root refer to the level-3 tables. Returns
/// the zero frame and the sinks.
///
/// # Safety
///
/// The caller guarantees that the root of the layout is a level-4 table whose entries for the
/// window are the caller's to use, and that nothing else accesses it meanwhile.
unsafe fn take_window<P: Platform>(
    layout: &Layout,
    window: &mut Window,
    platform: &P,
) -> Result<(Frame, Vec<Sink>), SpaceError> {
    let root = layout.root;
    let memory = window.memory();
    layout.refuse_unmapped(root, memory, platform)?;
    // SAFETY: forwarded from this function's contract.
    if let Some(index) = unsafe { window.used_entry(root) } {
        return Err(SpaceError::InUse { index });
    }
    let supply = Supply::new(platform.frames(), memory, None);
    let cpus = platform.cpus();
    let needed_frames = 1 + window.needed_frames() + cpus as u64 * Sink::FRAMES;
    let window_bytes = window.pages().size();
    let out_of_frames = |given_frames| SpaceError::OutOfFrames { window_bytes, needed_frames, given_frames };

    // The first frame of the source shows whether its frames are mapped, before one is written.
    let first = supply.take_to_overwrite().map_err(|_| out_of_frames(0))?;
    if let Err(error) = layout.refuse_unmapped(first.phys(), memory, platform) {
        supply.release(first);
        return Err(error);
    }
    if let Err(given) = window.take_level3(&supply, platform) {
        supply.release(first);
        return Err(out_of_frames(1 + given));
    }
    match take_sinks(cpus, first.phys(), &supply) {
        Ok(sinks) => {
            // SAFETY: forwarded from this function's contract; the entries were just seen to be
            // unused.
            unsafe { window.attach(root) };
            Ok((memory.zeroed(first).into_frame(), sinks))
        }
        Err(given) => {
            let given = 1 + window.level3_frames() + given;
            // No table was attached, so there is nothing to flush.
            window.release_level3(&supply, &FlushBatch::new().flush(platform));
            supply.release(first);
            Err(out_of_frames(given))
        }
    }
}

/// Takes the frames of so many sinks. The error is the number of frames that the source had.
fn take_sinks<S: FrameSource>(
    count: usize,
    zero: PhysFrame,
    supply: &Supply<'_, S>,
) -> Result<Vec<Sink>, u64> {
    let mut sinks = Vec::with_capacity(count);
    while sinks.len() < count {
        match take_sink(zero, supply) {
            Ok(sink) => sinks.push(sink),
            Err(given) => {
                let given = sinks.len() as u64 * Sink::FRAMES + given;
                release_sinks(sinks, supply);
                return Err(given);
            }
        }
    }
    Ok(sinks)
}

/// Takes the frames of a sink. The error is the number of frames that the source had.
fn take_sink<S: FrameSource>(zero: PhysFrame, supply: &Supply<'_, S>) -> Result<Sink, u64> {
    let taken: ArrayVec<ZeroedFrame, 5> = (0..5).map_while(|_| supply.take().ok()).collect();
    let given = taken.len() as u64;
    match taken.into_inner() {
        Ok(frames) => Ok(Sink::new(supply.memory, zero, frames)),
        Err(taken) => {
            taken.into_iter().for_each(|frame| supply.release(frame.into_frame()));
            Err(given)
        }
    }
}

fn release_sinks<S: FrameSource>(sinks: impl IntoIterator<Item = Sink>, supply: &Supply<'_, S>) {
    sinks.into_iter().flat_map(Sink::into_frames).for_each(|frame| supply.release(frame));
}

impl<P: Platform> fmt::Debug for AddressSpace<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AddressSpace").field("usage", &self.usage()).finish_non_exhaustive()
    }
}
