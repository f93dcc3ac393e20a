//! Linear memory on page tables: the ring-0 backing.
//!
//! Translates between the engine's bytes and the paging crate's pages, and adds nothing else. The
//! address space is the kernel's: its #PF handler passes faults to the same [`AddressSpace`].

use alloc::{boxed::Box, sync::Arc};
use core::{any::Any, fmt, ops::ControlFlow, ptr::NonNull, sync::atomic::AtomicU8};
use palimpsest_paging::{
    Account, AddressSpace, ChargeError, Decommitted, FrameReserveError, FrameSource, FreezeError, Frozen,
    Image, LimitError, PartCleared, Platform, Region, ReserveError, Shortage, Turnover,
    x86_64::structures::paging::{Page, page::PageRange},
};
use spin::Mutex;

use super::{
    Arena, Backing, BackingError, Cleared, DataImage, FillTime, FrameShortage, FreezeRefused, Guest, Health,
    ImageCharge, ImagePart, LOST, LimitRefused, LinearRegion, LiveBytes, MOST_FILLED_BYTES, MemoryResidency,
    PageBytes, Payers, Presence, Provider, Reservation, SharedRegion, Shares, Standing, WANTED,
};
use crate::{
    config::{Commit, Strategy},
    units::{FRAME_BYTES, Span},
};

/// A backing whose memories are demand-paged regions of an address space.
///
/// The #PF handler must pass page faults to the same address space. It should have the entry of
/// [`page_fault_entry`](palimpsest_paging::page_fault_entry), and call `handle_page_fault`. With
/// `handle_fault`, which cannot step over fills of zeros, no memory starts with more than 64 MiB or
/// grows by more at a time.
pub struct Paged<P: Platform + 'static> {
    space: &'static AddressSpace<P>,
}

impl<P: Platform> Paged<P> {
    /// A backing that reserves its regions in `space`.
    #[must_use]
    pub fn new(space: &'static AddressSpace<P>) -> Self {
        Self { space }
    }
}

impl<P: Platform + Send + Sync> From<Paged<P>> for Backing {
    fn from(paged: Paged<P>) -> Self {
        Self::new(paged)
    }
}

const _: () = assert!(LOST == Account::LOST && WANTED == Account::WANTED);

// SAFETY: `open` returns a [`Share`], which keeps the contract as argued there.
#[allow(unsafe_code, reason = "the contract is argued above")]
unsafe impl<P: Platform + Send + Sync> Provider for Paged<P> {
    fn open(&self, cap_frames: u64, commit: Commit, flags: &Arc<AtomicU8>) -> Box<dyn Arena> {
        let account = match commit {
            Commit::OnTouch => Account::new(Some(cap_frames)),
            Commit::Reserved => Account::reserved(Some(cap_frames)),
        };
        let account = Arc::new(account.with_flags(Arc::clone(flags)));
        Box::new(Share { space: self.space, account })
    }

    /// An eighth of the addresses, and three quarters of the frames that are free at present. A
    /// source that does not count its frames does not limit a store.
    fn shares(&self) -> Shares {
        Shares {
            address_bytes: self.space.window_bytes() / 8,
            resident_frames: self.space.frames().available_frames().map_or(u64::MAX, |free| free - free / 4),
        }
    }

    fn has_many_cpus(&self) -> bool {
        self.space.has_many_cpus()
    }

    fn cpu(&self) -> usize {
        self.space.cpu()
    }

    fn shares_images(&self) -> bool {
        true
    }

    fn image(&self, parts: &[ImagePart<'_>], charge: ImageCharge) -> Option<Arc<dyn DataImage>> {
        let parts = parts.iter().map(|part| (part.offset, part.bytes));
        // The call fails for want of frames. Its other error is a part that ends past 2^64 bytes,
        // and no segment of a memory does.
        let image = self.space.image(parts).ok()?;
        let (payers, _) = Payers::new(None, &charge);
        Payers::keep(charge, image.frames());
        Some(Arc::new(PagedImage { image: Some(Arc::new(image)), payers }))
    }
}

/// One store's share of the address space. The frames of its regions are charged to its account.
struct Share<P: Platform + 'static> {
    space: &'static AddressSpace<P>,
    account: Arc<Account>,
}

// SAFETY: its regions are [`PagedRegion`]s, which borrow the address space for `'static` and so do
//         not depend on the arena.
#[allow(unsafe_code, reason = "the contract is argued above")]
unsafe impl<P: Platform + Send + Sync> Arena for Share<P> {
    fn reserve(&self, size: Reservation) -> Result<SharedRegion, BackingError> {
        if size.initial > MOST_FILLED_BYTES && !self.space.steps_over_fills() {
            return Err(BackingError::Unfillable { requested: size.initial, limit: MOST_FILLED_BYTES });
        }
        let mut wanted = size.maximum;
        let reserved = loop {
            let reserved = self.space.reserve(wanted.max(1), &self.account);
            if wanted == size.initial || !is_out_of_addresses(&reserved) {
                break reserved;
            }
            wanted = (wanted / 2).max(size.initial);
        };
        let mut region = reserved.map_err(|error| self.backing_error(error, size))?;
        match region.set_limit(size.initial) {
            Ok(()) => Ok(Arc::new(Mutex::new(PagedRegion { space: self.space, region, image: None }))),
            Err(LimitError::Uncharged(cause)) => Err(self.uncharged(cause, size)),
            Err(error @ (LimitError::BeyondCapacity { .. } | LimitError::Resident { .. } | _)) => {
                unreachable!("the limit of a new region moves up to its capacity: {error}")
            }
        }
    }

    fn standing(&self) -> Standing {
        Standing {
            cap_frames: self.account.cap_frames().unwrap_or(u64::MAX),
            health: match self.account.lost_to() {
                None => Health::Sound,
                Some(shortage) => Health::Lost(self.frame_shortage(shortage)),
            },
            held_frames: self.account.held_frames(),
            peak_frames: self.account.peak_frames(),
            charged_frames: self.account.charged_frames(),
        }
    }

    fn again(&self) -> Box<dyn Arena> {
        Box::new(Self { space: self.space, account: Arc::clone(&self.account) })
    }

    fn has_many_cpus(&self) -> bool {
        self.space.has_many_cpus()
    }

    fn attend(&self, presence: Presence) {
        match presence {
            Presence::Enter => self.space.enter(&self.account),
            Presence::Look => self.space.look(&self.account),
            Presence::Leave => self.space.leave(&self.account),
            Presence::Migrate => self.space.migrate(&self.account),
            Presence::Yield => self.space.yield_frames(&self.account),
        }
    }
}

impl<P: Platform> Share<P> {
    fn backing_error(&self, error: ReserveError, size: Reservation) -> BackingError {
        let requested = size.initial;
        match error {
            ReserveError::TooLarge { largest_bytes, .. } => {
                BackingError::TooLarge { requested, available: largest_bytes }
            }
            ReserveError::NoAddresses { requested_bytes, free_bytes, largest_bytes } => {
                BackingError::WindowFull {
                    requested: requested_bytes,
                    free: free_bytes,
                    largest: largest_bytes,
                }
            }
            ReserveError::OutOfFrames(cause) => {
                BackingError::OutOfFrames { requested, cause: self.frame_shortage(cause) }
            }
            ReserveError::Uncharged(cause) => self.uncharged(cause, size),
            ReserveError::Cpu(cause) => BackingError::Cpu(cause),
            error @ (ReserveError::Empty | _) => {
                unreachable!("a region of at least one byte is requested: {error}")
            }
        }
    }

    fn frame_shortage(&self, cause: Shortage) -> FrameShortage {
        match cause {
            Shortage::CapReached { cap_frames } => {
                FrameShortage::Cap { cap: cap_frames, held: self.account.held_frames(), needed: 1 }
            }
            Shortage::SourceEmpty | _ => source_shortage(self.space, 0, 1),
        }
    }

    /// The frames of a [`Commit::Reserved`] store cannot be reserved for a new memory.
    fn uncharged(&self, cause: ChargeError, size: Reservation) -> BackingError {
        BackingError::OutOfFrames { requested: size.initial, cause: charge_shortage(self.space, cause) }
    }
}

/// Returns whether a smaller region may find addresses.
fn is_out_of_addresses<T>(reserved: &Result<T, ReserveError>) -> bool {
    matches!(reserved, Err(ReserveError::TooLarge { .. } | ReserveError::NoAddresses { .. }))
}

fn limit_refused<P: Platform>(space: &AddressSpace<P>, error: LimitError) -> LimitRefused {
    match error {
        LimitError::Uncharged(cause) => LimitRefused::OutOfFrames(Box::new(charge_shortage(space, cause))),
        LimitError::BeyondCapacity { .. } | LimitError::Resident { .. } | _ => LimitRefused::NoRoom,
    }
}

/// The frames of a [`Commit::Reserved`] store cannot be reserved.
fn charge_shortage<P: Platform>(space: &AddressSpace<P>, cause: ChargeError) -> FrameShortage {
    match cause {
        ChargeError::CapReached { requested_frames, charged_frames, cap_frames } => {
            FrameShortage::Cap { cap: cap_frames, held: charged_frames, needed: requested_frames }
        }
        ChargeError::Unreserved(FrameReserveError::TooFew { requested_frames, available_frames }) => {
            source_shortage(space, available_frames, requested_frames)
        }
        ChargeError::Unreserved(FrameReserveError::Unsupported { .. }) => FrameShortage::Unsupported,
        ChargeError::Unreserved(_) | _ => source_shortage(space, 0, 1),
    }
}

/// The frame source of `space` has `available` frames, and `needed` were requested.
fn source_shortage<P: Platform>(space: &AddressSpace<P>, available: u64, needed: u64) -> FrameShortage {
    let Turnover { taken_frames: taken, released_frames: released } = space.turnover();
    FrameShortage::Source { available, needed, taken, released }
}

/// Frames that memories share until they write to them.
///
/// Images may have frames in common, and each is charged once. A frame is refunded when the last
/// image that has it releases it.
struct PagedImage<P: Platform + 'static> {
    /// Taken by the drop.
    image: Option<Arc<Image<'static, P>>>,
    payers: Payers,
}

impl<P: Platform> PagedImage<P> {
    /// The image that is known as a [`DataImage`].
    ///
    /// # Panics
    ///
    /// Panics if another backing made it.
    fn of(image: &dyn DataImage) -> &Self {
        let any: &dyn Any = image;
        any.downcast_ref().expect("an image is made by the engine's own backing")
    }

    fn image(&self) -> &Arc<Image<'static, P>> {
        self.image.as_ref().expect("the drop takes it, and nothing follows")
    }
}

impl<P: Platform> Drop for PagedImage<P> {
    fn drop(&mut self) {
        // A region that shows the image drops it before this value, of which it has a reference.
        if let Some(image) = self.image.take().and_then(Arc::into_inner) {
            image.release(|payer, frames| self.payers.refund(payer, frames));
        }
    }
}

impl<P: Platform + Send + Sync> DataImage for PagedImage<P> {
    fn frames(&self) -> u64 {
        self.image().frames()
    }

    fn each_change(
        &self,
        base: Option<&dyn DataImage>,
        visit: &mut dyn FnMut(u64, &PageBytes) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let base = base.map(|base| &**Self::of(base).image());
        self.image().each_change(base, |page, bytes| visit(page * FRAME_BYTES, bytes))
    }
}

/// The region of one linear memory.
struct PagedRegion<P: Platform + 'static> {
    space: &'static AddressSpace<P>,
    region: Region<'static, P>,
    /// The image that the region shows, which stays charged as long.
    image: Option<Arc<dyn DataImage>>,
}

// SAFETY: 1. The address space reserves a range for one region at a time, until the region is
//            dropped. Its fault handler commits every page below the limit that is touched.
//         2. The paging crate maps each page of the image, or a copy of it, until the page is
//            cleared.
//         3. Under every strategy the paging crate leaves each page zeroed, or absent so that it
//            reads as zero at the next touch. `Region::zero_part` or [`LiveBytes::zero`] zeroes
//            the parts of pages at the ends.
#[allow(unsafe_code, reason = "the contract is argued above")]
unsafe impl<P: Platform + Send + Sync> LinearRegion for PagedRegion<P> {
    fn capacity(&self) -> u64 {
        self.region.capacity_bytes()
    }

    fn establish(&mut self, initial: u64, make: &mut dyn FnMut(NonNull<[u8]>)) {
        let len = usize::try_from(self.capacity()).expect("addresses have 64 bits");
        let start = NonNull::new(self.region.base().as_mut_ptr()).expect("no region is at address 0");
        let pages = self.pages(0, initial.div_ceil(FRAME_BYTES));
        let guard = self.region.zero_fill(pages).expect("the initial size is within the region");
        make(NonNull::slice_from_raw_parts(start, len));
        drop(guard);
    }

    fn set_limit(&mut self, bytes: u64) -> Result<(), LimitRefused> {
        self.region.set_limit(bytes).map_err(|error| limit_refused(self.space, error))
    }

    fn fill_time(&self) -> FillTime {
        if self.space.steps_over_fills() { FillTime::Bounded } else { FillTime::ByteByByte }
    }

    /// The guard of the paging crate covers the pages at the ends of `span` too. It absorbs writes
    /// to absent pages only, and an absent page reads as zero throughout, even if the span contains
    /// a part of it.
    fn grow(&mut self, span: Span, fill: &mut dyn FnMut()) -> Result<(), LimitRefused> {
        let space = self.space;
        let guard = self.region.grow(span.end()).map_err(|error| limit_refused(space, error))?;
        fill();
        drop(guard);
        Ok(())
    }

    fn attach(&mut self, image: &Arc<dyn DataImage>, _live: LiveBytes<'_>) {
        let paged = PagedImage::of(&**image);
        self.region.attach(paged.image()).expect("a new region of the same address space has no image yet");
        self.image = Some(Arc::clone(image));
    }

    fn freezable_frames(&mut self, _live: LiveBytes<'_>) -> u64 {
        self.region.freezable_frames()
    }

    fn freeze(
        &mut self,
        charge: ImageCharge,
        _live: LiveBytes<'_>,
    ) -> Result<Arc<dyn DataImage>, FreezeRefused> {
        let before = self.image.as_deref().map(PagedImage::<P>::of);
        let (payers, payer) = Payers::new(before.map(|before| &before.payers), &charge);
        let Frozen { image, frames_moved } = self.region.freeze_for(payer).map_err(|error| match error {
            FreezeError::Unreserved(cause) => {
                FreezeRefused::OutOfFrames(charge_shortage(self.space, ChargeError::Unreserved(cause)))
            }
            FreezeError::OutOfHeap { .. } | _ => FreezeRefused::NoHeap,
        })?;
        Payers::keep(charge, frames_moved);
        let is_same = |before: &&Arc<dyn DataImage>| Arc::ptr_eq(&image, PagedImage::of(&***before).image());
        let unchanged = self.image.as_ref().filter(is_same);
        let frozen = match unchanged {
            Some(before) => Arc::clone(before),
            None => Arc::new(PagedImage { image: Some(image), payers }),
        };
        self.image = Some(Arc::clone(&frozen));
        Ok(frozen)
    }

    fn each_written(&self, live: LiveBytes<'_>, visit: &mut dyn FnMut(Span)) {
        self.region.each_written(|pages| visit(self.span(pages, &live)));
    }

    fn mark(&mut self) {
        self.region.mark();
    }

    fn each_written_since_mark(&self, live: LiveBytes<'_>, visit: &mut dyn FnMut(Span)) {
        self.region.each_written_since_mark(|pages| visit(self.span(pages, &live)));
    }

    fn each_accessed_since_mark(&self, live: LiveBytes<'_>, visit: &mut dyn FnMut(Span)) {
        self.region.each_accessed_since_mark(|pages| visit(self.span(pages, &live)));
    }

    fn first_piece(&self, span: Span, strategy: Strategy) -> Span {
        let pages = self.pages(span.start().div_ceil(FRAME_BYTES), span.end() / FRAME_BYTES);
        let piece = match strategy {
            Strategy::Decommit | Strategy::Deferred => self.region.first_released(pages),
            Strategy::Recommit | Strategy::ZeroNow => self.region.first_zeroed(pages),
        };
        let end = piece.expect("a span is within the region").end;
        if end >= pages.end { span } else { span.up_to(end.start_address() - self.region.base()) }
    }

    /// The strategy is applied to the pages that lie wholly inside `span`. A span may start or end
    /// inside a page; the bytes there are zeroed, and their frames, one for each end, are retained.
    /// An end in a page of an image takes a frame, as a write there does.
    fn clear(&mut self, span: Span, strategy: Strategy, live: LiveBytes<'_>, _guest: Guest) -> Cleared {
        const WITHIN: &str = "a span is within the region";
        let pages = self.pages(span.start().div_ceil(FRAME_BYTES), span.end() / FRAME_BYTES);
        let whole_start = pages.start.start_address() - self.region.base();
        let (head, rest) = live.split_at(whole_start.saturating_sub(span.start()));
        let (_, tail) = rest.split_at(pages.size());
        // A clear of whole pages has neither end.
        let mut ends = 0;
        if head.len() > 0 {
            ends += self.clear_part(span.start(), head);
        }
        if tail.len() > 0 {
            ends += self.clear_part(span.end() - tail.len(), tail);
        }
        let region = &mut self.region;
        let mut cleared = match strategy {
            Strategy::Decommit => released(region.decommit(pages).expect(WITHIN)),
            Strategy::Recommit => {
                let renewed = region.recommit(pages).expect(WITHIN);
                Cleared {
                    frames_released: renewed.frames_released,
                    frames_retained: renewed.frames_retained,
                    frames_committed: renewed.frames_committed,
                    ..Cleared::default()
                }
            }
            Strategy::ZeroNow => retained(region.zero_in_place(pages).expect(WITHIN)),
            Strategy::Deferred => retained(region.defer(pages).expect(WITHIN)),
        };
        cleared.frames_retained += ends;
        cleared
    }

    fn reclaim(&mut self, budget_frames: u64) -> Cleared {
        released(self.region.reclaim(budget_frames))
    }

    fn residency(&self) -> MemoryResidency {
        let held = self.region.residency();
        MemoryResidency {
            resident_frames: held.resident_frames,
            ahead_frames: held.ahead_frames,
            peak_resident_frames: held.peak_resident_frames,
            table_frames: held.table_frames,
            deferred_frames: held.deferred_frames,
            lent_frames: 0,
            faults: held.faults,
            frames_released: held.frames_released,
            tables_released: held.tables_released,
            tables_waited: held.tables_waited,
        }
    }
}

impl<P: Platform> PagedRegion<P> {
    /// Zeroes at least one byte of one page, from `start` on, and returns how many frames had other
    /// bytes there.
    ///
    /// The guest's own clears touch no memory and so cannot fault: they contain whole pages, or the
    /// page size of the memory is smaller and the memory has no image.
    fn clear_part(&mut self, start: u64, live: LiveBytes<'_>) -> u64 {
        let page = self.region.pages().start + start / FRAME_BYTES;
        let [from, to] = [start % FRAME_BYTES, start % FRAME_BYTES + live.len()]
            .map(|at| usize::try_from(at).expect("at most the bytes of a page"));
        match self.region.zero_part(page, from..to).expect("a span is within the region") {
            PartCleared::WasZero => 0,
            PartCleared::Zeroed => 1,
            PartCleared::Shown => {
                live.zero();
                1
            }
        }
    }

    /// Returns the bytes of some of the region's pages, up to the limit. `live` is the whole region
    /// below it.
    fn span(&self, pages: PageRange, live: &LiveBytes<'_>) -> Span {
        let [start, end] = [pages.start, pages.end].map(|page| page.start_address() - self.region.base());
        Span::growth(start, end.min(live.len()))
    }

    /// Returns pages `start..end` of the region, counted from its first; none if `end` is below
    /// `start`.
    #[inline]
    fn pages(&self, start: u64, end: u64) -> PageRange {
        let first = self.region.pages().start;
        Page::range(first + start, first + end.max(start))
    }
}

fn released(decommitted: Decommitted) -> Cleared {
    Cleared {
        frames_released: decommitted.frames_released,
        tables_released: decommitted.tables_released,
        tables_waiting: decommitted.tables_waiting,
        ..Cleared::default()
    }
}

fn retained(frames_retained: u64) -> Cleared {
    Cleared { frames_retained, ..Cleared::default() }
}

// It is not derived, because a derived implementation would require `Debug` of the frame source and
// the TLB.
impl<P: Platform> fmt::Debug for Paged<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paged").field("space", self.space).finish()
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicUsize, Ordering};
    use palimpsest_paging::{
        Fault, FramePool, Layout, Outcome,
        x86_64::{
            PhysAddr, VirtAddr,
            structures::{
                idt::PageFaultErrorCode,
                paging::{PageTable, PhysFrame},
            },
        },
    };
    use std::vec::Vec;

    use super::*;

    /// Three CPUs without a TLB, of which one runs.
    struct Cpus {
        frames: FramePool,
        running: AtomicUsize,
    }

    // SAFETY: No CPU translates an address, so none caches an entry. There are no interrupts.
    #[allow(unsafe_code, reason = "the contract is argued above")]
    unsafe impl Platform for Cpus {
        type Frames = FramePool;

        fn frames(&self) -> &FramePool {
            &self.frames
        }

        fn flush(&self, _page: Page) {}

        fn flush_all(&self) {}

        fn cpu(&self) -> usize {
            self.running.load(Ordering::Relaxed)
        }

        fn cpus(&self) -> usize {
            3
        }
    }

    /// A store with a deferred page on three CPUs.
    struct Machine {
        cpus: &'static Cpus,
        space: &'static AddressSpace<&'static Cpus>,
        arena: Box<dyn Arena>,
        flags: Arc<AtomicU8>,
        region: SharedRegion,
    }

    impl Machine {
        #[allow(unsafe_code, reason = "physical memory is a block of the heap")]
        fn new() -> Self {
            const FRAMES: u64 = 256;
            let block: Vec<PageTable> = (0..FRAMES).map(|_| PageTable::new()).collect();
            let start = block.leak().as_mut_ptr().expose_provenance() as u64;
            let physical_offset = VirtAddr::new(start);
            // The first frame is the root.
            let usable = PhysAddr::new(FRAME_BYTES)..PhysAddr::new(FRAMES * FRAME_BYTES);
            // SAFETY: The block is leaked, and nothing else uses it. It is all of physical memory.
            let frames = unsafe { FramePool::new(&[usable], physical_offset) };
            let frames = frames.expect("the range has frames");
            let cpus = &*Box::leak(Box::new(Cpus { frames, running: AtomicUsize::new(0) }));
            let window = VirtAddr::new(1 << 44)..VirtAddr::new(2 << 44);
            let layout =
                Layout { window, physical_offset, root: PhysFrame::containing_address(PhysAddr::new(0)) };
            // SAFETY: The root is a zeroed table, and the block is mapped at the offset. The space
            //         lives forever, and no region is touched but by its fault handler.
            let space = unsafe { AddressSpace::new(layout, cpus) }.expect("there are frames for its tables");
            let space = &*Box::leak(Box::new(space));

            let flags = Arc::default();
            let arena = Paged::new(space).open(u64::MAX, Commit::OnTouch, &flags);
            let size = Reservation { initial: FRAME_BYTES, maximum: FRAME_BYTES };
            let region = arena.reserve(size).expect("there are addresses");
            let mut address = VirtAddr::zero();
            region.lock().establish(FRAME_BYTES, &mut |bytes| {
                address = VirtAddr::from_ptr(bytes.cast::<u8>().as_ptr());
            });
            let fault = Fault { address, code: PageFaultErrorCode::CAUSED_BY_WRITE };
            assert_eq!(space.handle_fault(fault), Outcome::Handled);
            let page = Span::growth(0, FRAME_BYTES);
            let _ = region.lock().clear(page, Strategy::Deferred, LiveBytes::all(&mut []), Guest::Stopped);
            let machine = Self { cpus, space, arena, flags, region };
            assert_eq!(machine.deferred(), 1);
            machine.attend(0, Presence::Enter);
            machine.attend(0, Presence::Leave);
            machine
        }

        /// Reports what this CPU does.
        fn attend(&self, cpu: usize, presence: Presence) {
            self.cpus.running.store(cpu, Ordering::Relaxed);
            self.arena.attend(presence);
        }

        /// Lets this CPU take frames of other stores. Returns whether it has taken the page, and
        /// whether it has requested the page of the store.
        fn relieve(&self, cpu: usize) -> (bool, bool) {
            self.cpus.running.store(cpu, Ordering::Relaxed);
            let released = self.space.reclaim(1);
            (released.frames_released == 1, self.flags.load(Ordering::Relaxed) == WANTED)
        }

        fn deferred(&self) -> u64 {
            self.region.lock().residency().deferred_frames
        }
    }

    const TAKEN: (bool, bool) = (true, false);
    const ASKED: (bool, bool) = (false, true);

    #[test]
    fn a_store_on_page_tables_reports_its_cpus() {
        let machine = Machine::new();
        let provider = Paged::new(machine.space);
        assert!(machine.arena.has_many_cpus() && machine.arena.again().has_many_cpus());
        assert!(provider.has_many_cpus());
        machine.cpus.running.store(2, Ordering::Relaxed);
        assert_eq!(provider.cpu(), 2);
    }

    #[test]
    fn other_cpus_take_frames_of_a_store_that_no_cpu_uses() {
        assert_eq!(Machine::new().relieve(2), TAKEN);
        let machine = Machine::new();
        machine.attend(1, Presence::Enter);
        machine.attend(1, Presence::Leave);
        assert_eq!(machine.relieve(2), TAKEN);
    }

    #[test]
    fn other_cpus_ask_a_store_for_frames_that_a_cpu_uses() {
        let machine = Machine::new();
        machine.attend(1, Presence::Enter);
        machine.attend(2, Presence::Enter);
        assert_eq!(machine.relieve(1), ASKED);
        machine.attend(2, Presence::Yield);
        assert_eq!(machine.deferred(), 0);
    }

    #[test]
    fn frames_of_a_store_that_cpus_read_stay() {
        let machine = Machine::new();
        machine.attend(1, Presence::Enter);
        machine.attend(2, Presence::Look);
        assert_eq!(machine.relieve(0), ASKED);
        // None of them is alone, so none may release frames.
        machine.attend(1, Presence::Yield);
        machine.attend(2, Presence::Yield);
        assert_eq!(machine.deferred(), 1);
    }

    #[test]
    fn a_call_that_moves_continues_on_the_new_cpu() {
        let machine = Machine::new();
        machine.attend(1, Presence::Enter);
        machine.attend(2, Presence::Migrate);
        assert_eq!(machine.relieve(2), TAKEN);
        let machine = Machine::new();
        machine.attend(2, Presence::Migrate);
        assert_eq!(machine.relieve(1), TAKEN);
    }
}
