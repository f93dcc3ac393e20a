//! The address space: a window of virtual addresses that is handed out in regions.
//!
//! It owns the level-3 tables of the window, the shared zero frame, the sink, the directory of regions, the
//! free addresses and the policies. Two locks: `placement`, for addresses and for the heap behind the
//! directory, taken by reserve and drop only; and `state`, for tables and records, which the fault path takes
//! too. The order is placement, then state, then the frame source's own. `state` is held with interrupts off and
//! never while a heap is used or a region is touched.
//!
//! Called by: the embedder, who keeps one in its registry and passes every page fault to it.

mod image;
mod layout;
mod pressure;
mod region;
mod reserve;
mod usage;

use core::fmt;
use core::mem::ManuallyDrop;

use spin::Mutex;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::{Page, PhysFrame};

pub use self::image::{AttachError, Image, ImageError};
pub use self::layout::{Layout, SpaceError};
pub use self::pressure::Pressure;
pub use self::region::{LimitError, RangeError, Region, ZeroFill};
pub use self::reserve::ReserveError;
pub use self::usage::Usage;
use crate::fault::{Fault, Interrupted, Outcome, StringRegisters, nowhere, resolve, resolve_or_lose};
use crate::frame::{Frame, FrameSource, PhysicalMemory, Shortage};
use crate::platform::Platform;
use crate::record::{Directory, Placement};
use crate::state::{Policies, State};
use crate::supply::Supply;
use crate::table::{Sink, WindowTables};
use crate::tlb::FlushBatch;

/// A window of virtual addresses, and the page tables behind it.
pub struct AddressSpace<P: Platform> {
    window: PageRange,
    root: PhysFrame,
    memory: PhysicalMemory,
    platform: P,
    pressure: Option<Pressure<P>>,
    placement: Mutex<Placement>,
    /// Taken apart by the drop of the space.
    state: Mutex<ManuallyDrop<State>>,
}

impl<P: Platform> AddressSpace<P> {
    /// Makes the window usable for regions.
    ///
    /// Takes one frame for the shared zero frame, three for the sink, and one for the level-3 table of each
    /// 512 GiB that the window touches. The root's entries for them are written once, here: a kernel may copy
    /// them into other roots.
    ///
    /// # Errors
    ///
    /// - [`SpaceError::Empty`], [`SpaceError::Unaligned`], [`SpaceError::BothHalves`], [`SpaceError::Null`]:
    ///   the window does not fit, see [`Layout::window`].
    /// - [`SpaceError::InUse`]: the root has an entry already where the window is.
    /// - [`SpaceError::OutOfFrames`]: the frame source is empty.
    ///
    /// Nothing has changed then.
    ///
    /// # Safety
    ///
    /// The caller guarantees that
    /// 1. `layout.root` is a level-4 table, and nothing else uses its entries for the window, or writes the
    ///    table while this function or the drop of the space runs;
    /// 2. the root, and every frame that the frame source ever allocates, is mapped at `layout.physical_offset` plus
    ///    its physical address, outside of the window, readable and writable, as ordinary write-back memory,
    ///    for as long as the space lives;
    /// 3. `platform` flushes every CPU that uses the window (the contract of [`Platform`]);
    /// 4. before the space is dropped, the entries are gone from all other roots that they were copied into.
    pub unsafe fn new(layout: Layout, platform: P) -> Result<Self, SpaceError> {
        let window = layout.pages()?;
        // SAFETY: the caller's guarantee 2.
        let memory = unsafe { PhysicalMemory::new(layout.physical_offset) };
        let mut tables = WindowTables::new(window, memory);
        // SAFETY: the caller's guarantee 1.
        let own = platform.without_interrupts(|| unsafe { take_window(layout.root, &mut tables, &platform) });
        let (zero, sink) = own?;
        let (directory, policies) = (Directory::default(), Policies::default());
        let placement = Mutex::new(Placement::new(window));
        let state = State { tables, directory, zero, sink, image_frames: 0, policies };
        let state = Mutex::new(ManuallyDrop::new(state));
        Ok(Self { window, root: layout.root, memory, platform, pressure: None, placement, state })
    }

    /// Handles a page fault, from its address and error code alone.
    ///
    /// May be called with interrupts off or on. It takes no heap, waits for nothing but its own lock and the
    /// frame source, and touches no region. For an address outside of the window it takes no lock.
    ///
    /// Where there is no frame, deferred frames are reclaimed, and then those that were committed ahead and
    /// are still zero: if the frame source is empty, of any region whose account is charged on touch; if the
    /// account's cap is reached, of the account's regions. If that gives none, and the source is empty, the
    /// [pressure callback](Self::with_pressure) has its chance, once. Only then the access goes into the
    /// sink, and the account is lost.
    pub fn handle_fault(&self, fault: Fault) -> Outcome {
        self.handle(fault, None)
    }

    /// Handles a page fault, and steps over a fill of zeros if the registers show one.
    ///
    /// As [`handle_fault`](Self::handle_fault); and while a [`ZeroFill`] guard is up, or
    /// always if [`ZeroStores`](crate::ZeroStores) says so, RCX and RDI of a `rep stosb` or `rep stosq` of
    /// zeros that runs over pages without a frame of their own are moved to the end of such pages. The caller
    /// puts both registers back into the interrupted context.
    ///
    /// # Safety
    ///
    /// The caller guarantees that `registers` is what the interrupted code had in its registers when this CPU
    /// raised this fault, and that `fault.code` is the error code of it: the code at `rip` is read.
    pub unsafe fn handle_fault_with(&self, fault: Fault, registers: &mut StringRegisters) -> Outcome {
        // SAFETY: forwarded from this function's contract.
        let interrupted = unsafe { Interrupted::new(registers) };
        self.handle(fault, Some(interrupted))
    }

    /// The policies in force.
    pub fn policies(&self) -> Policies {
        self.with_state(|state, _| state.policies)
    }

    /// Sets the policies, for all faults from now on. At first they are [`Policies::default`].
    pub fn set_policies(&self, policies: Policies) {
        self.with_state(|state, _| state.policies = policies);
    }

    /// The frame source of the platform.
    pub fn frames(&self) -> &P::Frames {
        self.platform.frames()
    }

    #[inline]
    fn handle(&self, fault: Fault, interrupted: Option<Interrupted<'_>>) -> Outcome {
        let page = Page::containing_address(fault.address);
        // No lock for a fault elsewhere: it may be the kernel's own, raised by code that holds the lock.
        if page < self.window.start || self.window.end <= page {
            return nowhere(fault.code);
        }
        let outcome = self.with_state(|state, platform| resolve(state, fault, interrupted, platform));
        outcome.unwrap_or_else(|| self.handle_under_pressure(fault))
    }

    #[cold]
    fn handle_under_pressure(&self, fault: Fault) -> Outcome {
        if let Some(pressure) = self.pressure {
            pressure(self);
        }
        self.with_state(|state, platform| resolve_or_lose(state, fault, platform))
    }

    /// Frames that are charged to no account.
    fn uncharged_supply(&self) -> Supply<'_, P::Frames> {
        Supply::new(self.platform.frames(), self.memory, None)
    }

    /// Runs `work` under the lock that the fault path takes.
    fn with_state<R>(&self, work: impl FnOnce(&mut State, &P) -> R) -> R {
        self.platform.without_interrupts(|| work(&mut self.state.lock(), &self.platform))
    }
}

impl<P: Platform> Drop for AddressSpace<P> {
    fn drop(&mut self) {
        // SAFETY: the field is not used after this. The value leaves it once, because a drop runs once.
        let state = unsafe { ManuallyDrop::take(self.state.get_mut()) };
        let State { mut tables, zero, sink, .. } = state;
        let supply = self.uncharged_supply();
        self.platform.without_interrupts(|| {
            let mut batch = FlushBatch::new();
            // SAFETY: guarantees 1 and 4 of `new`; no region is alive, because each of them borrows the space.
            unsafe { tables.detach(self.root, &mut batch) };
            tables.release_level3(&supply, &batch.flush(&self.platform));
            sink.into_frames().into_iter().for_each(|frame| supply.release(frame));
            supply.release(zero);
        });
    }
}

/// Takes the frames that the space keeps, and makes the root refer to the level-3 tables. Returns the zero frame and
/// the sink.
///
/// # Safety
///
/// The caller guarantees that `root` is a level-4 table whose entries for the window are the caller's to use, and that
/// nothing else writes it meanwhile.
unsafe fn take_window<P: Platform>(
    root: PhysFrame,
    tables: &mut WindowTables,
    platform: &P,
) -> Result<(Frame, Sink), SpaceError> {
    // SAFETY: forwarded from this function's contract.
    if let Some(index) = unsafe { tables.used_entry(root) } {
        return Err(SpaceError::InUse { index });
    }
    let supply = Supply::new(platform.frames(), tables.memory(), None);
    tables.take_level3(&supply, platform)?;
    let own = take_own(&supply).inspect_err(|_| {
        // No table was attached, so there is nothing to flush.
        tables.release_level3(&supply, &FlushBatch::new().flush(platform));
    })?;
    // SAFETY: forwarded from this function's contract; the entries were just seen to be unused.
    unsafe { tables.attach(root) };
    Ok(own)
}

fn take_own<S: FrameSource>(supply: &Supply<'_, S>) -> Result<(Frame, Sink), Shortage> {
    let zero = supply.take()?.into_frame();
    match Sink::set_aside(supply) {
        Ok(sink) => Ok((zero, sink)),
        Err(shortage) => {
            supply.release(zero);
            Err(shortage)
        }
    }
}

impl<P: Platform> fmt::Debug for AddressSpace<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AddressSpace").field("usage", &self.usage()).finish_non_exhaustive()
    }
}
