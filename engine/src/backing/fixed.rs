//! Linear memory in byte slices: for firmware without an MMU, and for tests and fuzzing on a host.
//!
//! A memory owns the bytes of its size, rounded up to 16, and grows in place into free bytes after
//! it. [`books`] decides which bytes are whose, and [`arenas`] has the pointers to them.
//!
//! Nothing is paged, so no touch can fault. A clear zeroes the bytes. wasmi makes slices of the
//! whole memory while a guest runs, so cleared pages have another user only while it does not: they
//! are lent to the arenas, and taken back before the guest is called. Only pages that a memory
//! protection unit guards stay lent while it runs ([`guard`]).

mod arenas;
mod books;
mod copied;
mod guard;
mod lent;

use alloc::{boxed::Box, sync::Arc};
use core::{mem::MaybeUninit, ptr::NonNull, sync::atomic::AtomicU8};
use spin::Mutex;

use self::{
    arenas::{Arenas, Block, Loan, Room},
    books::GRANULE,
    copied::{CopiedImage, is_zero},
    guard::{Fate, Guard, Guarded},
};
pub use self::{
    guard::{GuardedPages, PageGuard},
    lent::{LendError, Lent},
};
use super::{
    Arena, Backing, BackingError, Cleared, DataImage, FillTime, FrameShortage, FreezeRefused, Guest, Health,
    ImageCharge, ImagePart, LentSpan, LimitRefused, LinearRegion, LiveBytes, MemoryResidency, Provider,
    Reservation, SharedRegion, Shares, Standing,
};
use crate::{
    config::{Commit, Strategy},
    units::{FRAME_BYTES, Span},
};

/// The bytes that one turn of a metered guest clears at a time: 1 MiB.
const PIECE_BYTES: u64 = 1 << 20;

/// A backing over fixed slices of bytes, its *arenas*, or over the global allocator.
///
/// A memory takes its initial size. It grows into the bytes after it that no other memory owns,
/// until the next memory or the end of the arena. Memories are placed where no other can grow as
/// long as there is room, and otherwise so that the memory before keeps up to half of what it could
/// grow into. A memory with a declared maximum takes away no more than that from another.
///
/// # Examples
///
/// ```
/// use palimpsest_engine::Fixed;
/// use std::{boxed::Box, mem::MaybeUninit};
///
/// // Firmware would name statics or linker sections here.
/// let sram = Box::leak(vec![MaybeUninit::<u8>::uninit(); 64 << 10].into_boxed_slice());
/// let psram = Box::leak(vec![MaybeUninit::<u8>::uninit(); 1 << 20].into_boxed_slice());
/// let backing = Fixed::new(sram).and(psram);
/// assert!(backing.largest_free_bytes() > 1_000_000);
/// ```
#[derive(Clone, Debug)]
pub struct Fixed {
    arenas: Arenas,
    guard: Option<Arc<Guard>>,
    /// Returns the number of the calling CPU, if there are several.
    cpu: Option<fn() -> usize>,
}

impl Fixed {
    /// A backing over `bytes`, which may have any length and alignment. Up to 15 bytes at each end
    /// are not used, because memories start at multiples of 16.
    #[must_use]
    pub fn new(bytes: &'static mut [MaybeUninit<u8>]) -> Self {
        Self { arenas: Arenas::default(), guard: None, cpu: None }.and(bytes)
    }

    /// A backing that takes chunks of `chunk_bytes` from the global allocator, or of the size of a
    /// memory that is larger. A chunk is freed with its last memory.
    ///
    /// A memory grows within its chunk. In an engine with a [`HeapBudget`](crate::HeapBudget) a
    /// chunk counts as heap of the store that caused it.
    #[must_use]
    pub fn on_heap(chunk_bytes: usize) -> Self {
        Self { arenas: Arenas::on_heap(chunk_bytes), guard: None, cpu: None }
    }

    /// Adds a slice to the backing and all of its clones.
    ///
    /// A memory is placed into the first slice that has room for its initial size, in the order in
    /// which they were added, so the fast memory comes first.
    #[must_use]
    pub fn and(self, bytes: &'static mut [MaybeUninit<u8>]) -> Self {
        self.arenas.add(bytes);
        self
    }

    /// Uses `guard` for pages that stay lent while their guest runs. The backing passes it to its
    /// later clones, and to the engines that are made from it.
    #[must_use]
    pub fn guarded_by(self, guard: impl PageGuard + 'static) -> Self {
        Self { guard: Some(Arc::new(Guard::new(guard))), ..self }
    }

    /// Handles the fault of an access to `address`. Returns whether it was on pages that a guard
    /// closes. The store of their memory is then lost with
    /// [`LentPageTouched`](crate::LentPageTouched), and the handler must let the interrupted code
    /// continue as [`PageGuard`] requires.
    ///
    /// It waits for no lock and allocates nothing, so that any handler can call it.
    #[must_use]
    pub fn handle_fault(&self, address: usize) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.handle_fault(address))
    }

    /// Lets each CPU make a call of the same engine at the same time. `cpu` returns the number of
    /// the CPU that calls it, from 0 on.
    ///
    /// Without it all calls count as those of one CPU, and fail with
    /// [`EntryError::InUse`](crate::EntryError::InUse) while another one runs.
    #[must_use]
    pub fn on_cpus(self, cpu: fn() -> usize) -> Self {
        Self { cpu: Some(cpu), ..self }
    }

    /// Returns the number of bytes of all arenas that no memory owns at present.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.arenas.room().free
    }

    /// Returns the number of bytes of the largest range that no memory owns at present, which is
    /// the largest memory that can be created.
    #[must_use]
    pub fn largest_free_bytes(&self) -> u64 {
        self.arenas.room().largest
    }
}

impl From<Fixed> for Backing {
    fn from(fixed: Fixed) -> Self {
        Self::new(fixed)
    }
}

// SAFETY: `open` returns a [`Slots`], which keeps the contract as argued there.
#[allow(unsafe_code, reason = "the contract is argued above")]
unsafe impl Provider for Fixed {
    /// No store is lost for want of frames, because they are charged when a memory is created or
    /// grows.
    fn open(&self, cap_frames: u64, commit: Commit, flags: &Arc<AtomicU8>) -> Box<dyn Arena> {
        let account = Arc::new(Account::new(cap_frames));
        Box::new(Slots { backing: self.clone(), account, commit, fate: Arc::new(Fate::new(flags)) })
    }

    /// Sets no limit. A memory has its frames from the start, so no store can take a frame from
    /// another.
    fn shares(&self) -> Shares {
        Shares { address_bytes: u64::MAX, resident_frames: u64::MAX }
    }

    fn has_many_cpus(&self) -> bool {
        self.cpu.is_some()
    }

    fn cpu(&self) -> usize {
        self.cpu.map_or(0, |cpu| cpu())
    }

    fn image(&self, parts: &[ImagePart<'_>], _charge: ImageCharge) -> Option<Arc<dyn DataImage>> {
        Some(Arc::new(CopiedImage::of_parts(parts)))
    }
}

/// The frames of one store.
#[derive(Debug)]
struct Account {
    cap: u64,
    frames: Mutex<Frames>,
}

/// Frames that a store holds. The two figures are read together, so one lock protects both. Atomics
/// would not do, because 32-bit targets have none of 64 bits.
#[derive(Clone, Copy, Debug, Default)]
struct Frames {
    /// Charged to the store, lent ones included.
    held: u64,
    peak: u64,
    lent: u64,
}

impl Account {
    fn new(cap: u64) -> Self {
        Self { cap, frames: Mutex::default() }
    }

    fn frames(&self) -> Frames {
        *self.frames.lock()
    }

    /// Charges `now` frames in place of `before`. If the cap does not allow it, nothing changes.
    fn recharge(&self, before: u64, now: u64) -> Result<(), FrameShortage> {
        let mut frames = self.frames.lock();
        let cap = self.cap;
        let held = frames.held;
        let sum = (held - before).checked_add(now).filter(|&sum| sum <= cap || now <= before);
        frames.held = sum.ok_or(FrameShortage::Cap { cap, held, needed: now - before })?;
        frames.peak = frames.peak.max(frames.held);
        Ok(())
    }
}

/// The frames that one memory holds of its store's account. A frame that it has a part of counts
/// as a whole.
#[derive(Debug)]
struct Held {
    frames: u64,
    account: Arc<Account>,
}

impl Held {
    /// The frames of `bytes`.
    fn new(account: &Arc<Account>, bytes: u64) -> Result<Self, FrameShortage> {
        let mut held = Self { frames: 0, account: Arc::clone(account) };
        held.set(bytes)?;
        Ok(held)
    }

    fn set(&mut self, bytes: u64) -> Result<(), FrameShortage> {
        let frames = bytes.div_ceil(FRAME_BYTES);
        self.account.recharge(self.frames, frames)?;
        self.frames = frames;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.account.frames.lock().held -= self.frames;
    }
}

/// One store's share of the arenas.
#[derive(Clone, Debug)]
struct Slots {
    backing: Fixed,
    account: Arc<Account>,
    commit: Commit,
    fate: Arc<Fate>,
}

// SAFETY: its regions are [`Slot`]s. Each owns its block, and the block keeps the arenas alive that
//         it came from.
#[allow(unsafe_code, reason = "the contract is argued above")]
unsafe impl Arena for Slots {
    fn reserve(&self, size: Reservation) -> Result<SharedRegion, BackingError> {
        let requested = size.initial;
        let Room { free, largest, longest } = self.backing.arenas.room();
        if requested > longest {
            return Err(BackingError::TooLarge { requested, available: longest });
        }
        let allocated = self.backing.arenas.allocate(requested, size.maximum);
        let block = allocated.ok_or(BackingError::NoRoom { requested, free, largest })?;
        let held = Held::new(&self.account, block.len());
        let held = held.map_err(|cause| BackingError::OutOfFrames { requested, cause })?;
        let block = Arc::new(block);
        Ok(Arc::new(Mutex::new(Slot {
            block,
            backing: self.backing.clone(),
            fate: Arc::clone(&self.fate),
            limit: requested,
            held,
            lends: self.commit == Commit::OnTouch,
            loan: None,
            guarded: None,
            cleared: None,
            frames_released: 0,
            image: None,
        })))
    }

    fn again(&self) -> Box<dyn Arena> {
        Box::new(self.clone())
    }

    fn standing(&self) -> Standing {
        let Frames { held, peak, lent } = self.account.frames();
        Standing {
            cap_frames: self.account.cap,
            health: self.fate.touched().map_or(Health::Sound, |offset| Health::Touched { offset }),
            held_frames: held - lent,
            peak_frames: peak,
            charged_frames: held,
        }
    }
}

/// The block of one linear memory.
#[derive(Debug)]
struct Slot {
    block: Arc<Block>,
    backing: Fixed,
    fate: Arc<Fate>,
    /// Bytes that may be touched.
    limit: u64,
    held: Held,
    /// Whether clears lend their pages. In a store with [`Commit::Reserved`] they do not.
    lends: bool,
    /// Pages that are lent, unless their user has dropped them.
    loan: Option<Loan>,
    /// The same pages, if a guard closes them while the guest runs.
    guarded: Option<Guarded>,
    /// Pages that the guest has cleared while it ran.
    cleared: Option<Span>,
    /// Frames that clears have lent.
    frames_released: u64,
    /// The image that the memory started with, or that was made of it last.
    image: Option<Arc<dyn DataImage>>,
}

impl Slot {
    /// Returns the bytes that are lent, from the start of the memory.
    fn lent(&self) -> Option<Span> {
        let range = self.loan.as_ref()?.range();
        let offset = |address: usize| (address - self.block.address()) as u64;
        Some(Span::growth(offset(range.start), offset(range.end)))
    }

    /// Lends the whole granules of `live`, which are zero. Nothing may be lent yet. Returns whether
    /// it has lent some.
    fn lend_zeros(&mut self, live: LiveBytes<'_>) -> bool {
        let loan = self.backing.arenas.lend(live.bytes(), &self.block);
        loan.map(|loan| self.record(loan)).is_some()
    }

    fn record(&mut self, loan: Loan) {
        self.loan = Some(loan);
        let frames = self.lent_frames();
        self.held.account.frames.lock().lent += frames;
        self.frames_released += frames;
    }

    fn lent_frames(&self) -> u64 {
        self.lent().map_or(0, |lent| self.whole_frames(lent))
    }

    /// Returns how many frames lie wholly inside `span`. The last frame of the memory ends with it.
    fn whole_frames(&self, span: Span) -> u64 {
        let ends_memory = span.end().next_multiple_of(GRANULE as u64) >= self.block.len();
        let end = if ends_memory { span.end().div_ceil(FRAME_BYTES) } else { span.end() / FRAME_BYTES };
        end.saturating_sub(span.start().div_ceil(FRAME_BYTES))
    }

    /// Visits the pages of `live`, which is at `start` and has no lent byte, that differ from those
    /// of the image.
    fn each_written_in(&self, mut start: u64, mut live: LiveBytes<'_>, visit: &mut dyn FnMut(Span)) {
        let image = self.image.as_deref().map(CopiedImage::of);
        for page in live.pages() {
            let end = start + page.len() as u64;
            if !image.map_or_else(|| is_zero(page), |image| image.contains(start, page)) {
                visit(Span::growth(start, end));
            }
            start = end;
        }
    }

    /// Zeroes what of `span` is not lent.
    fn zero(&self, span: Span, live: LiveBytes<'_>) {
        let Some(lent) = self.lent() else {
            return live.zero();
        };
        let from = lent.start().clamp(span.start(), span.end());
        let to = lent.end().clamp(from, span.end());
        let (head, rest) = live.split_at(from - span.start());
        let (_, tail) = rest.split_at(to - from);
        head.zero();
        tail.zero();
    }
}

/// Returns how many frames have a part of `span`.
fn frames_of(span: Span) -> u64 {
    if span.is_empty() { 0 } else { span.end().div_ceil(FRAME_BYTES) - span.start() / FRAME_BYTES }
}

// SAFETY: 1. [`Block::with_span`] passes bytes that no other block owns, and no other block is
//            placed there before it returns. The block owns the bytes below its limit until it is
//            dropped. A block that is placed into its reach lowers the reach for good, so the limit
//            never rises over that block.
//         2. `attach` writes the parts of the image, in their order, and nothing else. `freeze`
//            copies bytes, and writes none.
//         3. [`LiveBytes::zero`] writes zeros over exactly the span. [`Arenas::recall`] zeroes lent
//            bytes before they are read.
#[allow(unsafe_code, reason = "the contract is argued above")]
unsafe impl LinearRegion for Slot {
    fn capacity(&self) -> u64 {
        self.block.reach()
    }

    fn establish(&mut self, _initial: u64, make: &mut dyn FnMut(NonNull<[u8]>)) {
        self.block.with_span(make);
    }

    fn set_limit(&mut self, bytes: u64) -> Result<(), LimitRefused> {
        // A limit is moved for wasmi's growth, which makes a slice of the whole memory.
        self.recall().map_err(|_| LimitRefused::NoRoom)?;
        let owned = self.block.len();
        if !self.block.resize(bytes) {
            return Err(LimitRefused::NoRoom);
        }
        if let Err(cause) = self.held.set(self.block.len()) {
            assert!(self.block.resize(owned), "it had these bytes before");
            return Err(LimitRefused::OutOfFrames(Box::new(cause)));
        }
        self.limit = bytes;
        Ok(())
    }

    /// The arena bounds the time.
    fn fill_time(&self) -> FillTime {
        FillTime::Bounded
    }

    fn grow(&mut self, span: Span, fill: &mut dyn FnMut()) -> Result<(), LimitRefused> {
        self.set_limit(span.end())?;
        fill();
        Ok(())
    }

    fn attach(&mut self, image: &Arc<dyn DataImage>, mut live: LiveBytes<'_>) {
        CopiedImage::of(&**image).write_to(&mut live);
        self.image = Some(Arc::clone(image));
    }

    fn freezable_frames(&mut self, mut live: LiveBytes<'_>) -> u64 {
        live.pages().filter(|page| !is_zero(page)).count() as u64
    }

    fn freeze(
        &mut self,
        charge: ImageCharge,
        mut live: LiveBytes<'_>,
    ) -> Result<Arc<dyn DataImage>, FreezeRefused> {
        let copied = CopiedImage::of_bytes(&mut live, charge).ok_or(FreezeRefused::NoHeap)?;
        let image: Arc<dyn DataImage> = Arc::new(copied);
        self.image = Some(Arc::clone(&image));
        Ok(image)
    }

    /// Lent bytes are not read, because they have another user.
    fn each_written(&self, live: LiveBytes<'_>, visit: &mut dyn FnMut(Span)) {
        let lent = self.lent().unwrap_or(Span::growth(live.len(), live.len()));
        let (head, rest) = live.split_at(lent.start());
        let (_, tail) = rest.split_at(lent.end() - lent.start());
        self.each_written_in(0, head, visit);
        if !lent.is_empty() {
            visit(lent);
        }
        self.each_written_in(lent.end(), tail, visit);
    }

    fn first_piece(&self, span: Span, _strategy: Strategy) -> Span {
        span.up_to(span.start().saturating_add(PIECE_BYTES) / FRAME_BYTES * FRAME_BYTES)
    }

    /// Under [`Strategy::Decommit`] the pages are lent if the guest does not run. If it runs,
    /// [`settle`](LinearRegion::settle) lends them afterwards.
    #[allow(unsafe_code, reason = "what is lent is a range of addresses")]
    fn clear(&mut self, span: Span, strategy: Strategy, live: LiveBytes<'_>, guest: Guest) -> Cleared {
        let released = strategy == Strategy::Decommit && self.lends && !span.is_empty();
        // What was lent before and is free joins the new range if they touch. If not, it comes
        // back.
        let before = self.lent().filter(|_| self.recall().is_ok() && self.loan.is_none());
        self.zero(span, live.again());
        let frames = frames_of(span);
        let retained = Cleared { frames_retained: frames, ..Cleared::default() };
        if !released || self.loan.is_some() {
            return retained;
        }
        if guest == Guest::Running {
            self.cleared = Some(self.cleared.and_then(|cleared| cleared.join(span)).unwrap_or(span));
            return retained;
        }
        let joined = before.and_then(|before| before.join(span)).unwrap_or(span);
        // SAFETY: Both spans are inside the memory, and `live` is by its pointer. The guest does
        //         not run, and the caller has exclusive use of the store, so nothing else uses
        //         them.
        let joined = unsafe { live.widen(span, joined) };
        if self.lend_zeros(joined) {
            let frames_released = self.whole_frames(span);
            let frames_retained = frames - frames_released;
            return Cleared { frames_released, frames_retained, ..Cleared::default() };
        }
        retained
    }

    fn can_lend(&self) -> bool {
        true
    }

    fn has_loan(&self) -> bool {
        self.loan.is_some()
    }

    fn recall(&mut self) -> Result<(), LentSpan> {
        let (Some(loan), Some(lent)) = (&self.loan, self.lent()) else {
            return Ok(());
        };
        // Their user may have dropped closed pages, but the guest runs and finds them closed.
        if self.guarded.as_ref().is_some_and(Guarded::is_closed) {
            return Ok(());
        }
        if !self.backing.arenas.recall(loan) {
            return Err(LentSpan { start: lent.start(), len: lent.end() - lent.start() });
        }
        self.held.account.frames.lock().lent -= self.lent_frames();
        self.loan = None;
        self.guarded = None;
        Ok(())
    }

    fn is_guarded(&self) -> bool {
        self.guarded.is_some()
    }

    fn close(&mut self) {
        if let Some(guarded) = &mut self.guarded {
            guarded.close();
        }
    }

    fn open(&mut self) {
        if let Some(guarded) = &mut self.guarded {
            guarded.open();
        }
    }

    fn must_settle(&self) -> bool {
        self.cleared.is_some()
    }

    fn settle(&mut self, live: LiveBytes<'_>) {
        let Some(cleared) = self.cleared.take() else {
            return;
        };
        let (_, rest) = live.split_at(cleared.start());
        let (mut part, _) = rest.split_at(cleared.end() - cleared.start());
        if self.loan.is_none() && part.is_zero() {
            // Without room for the record the memory keeps the pages.
            self.lend_zeros(part);
        }
    }

    fn lend(&mut self, live: LiveBytes<'_>) -> Result<Lent, LendError> {
        self.recall().map_err(|lent| LendError::Lent { bytes: lent.len })?;
        live.again().zero();
        let lent = self.backing.arenas.lend_to_owner(live.bytes(), &self.block);
        let (loan, block) = lent.ok_or(LendError::NoRoom)?;
        self.record(loan);
        Ok(Lent::new(block))
    }

    fn lend_guarded(&mut self, live: LiveBytes<'_>) -> Result<GuardedPages, LendError> {
        let guard = self.backing.guard.as_ref().map(Arc::clone).ok_or(LendError::Unguarded)?;
        self.recall().map_err(|lent| LendError::Lent { bytes: lent.len })?;
        live.again().zero();
        let lent = self.backing.arenas.lend_to_owner(live.bytes(), &self.block);
        let (loan, block) = lent.ok_or(LendError::NoRoom)?;
        let Some(guarded) = Guarded::new(&guard, loan.range(), self.block.address(), &self.fate) else {
            drop(block);
            self.backing.arenas.abandon(&loan);
            return Err(LendError::Unguarded);
        };
        self.guarded = Some(guarded);
        self.record(loan);
        Ok(GuardedPages::new(block))
    }

    fn reclaim(&mut self, _budget_frames: u64) -> Cleared {
        Cleared::default()
    }

    fn residency(&self) -> MemoryResidency {
        let frames = self.limit.div_ceil(FRAME_BYTES);
        let lent_frames = self.lent_frames();
        MemoryResidency {
            resident_frames: frames - lent_frames,
            peak_resident_frames: frames,
            lent_frames,
            frames_released: self.frames_released,
            ..MemoryResidency::default()
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(loan) = &self.loan {
            self.held.account.frames.lock().lent -= self.lent_frames();
            self.backing.arenas.abandon(loan);
        }
    }
}
