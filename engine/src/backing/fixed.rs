//! Linear memory in byte slices: for firmware without an MMU, and for tests and fuzzing on a host.
//!
//! A memory owns the bytes of its size, rounded up to 16, and grows in place into free bytes after
//! it. [`books`] decides which bytes are whose, and [`arenas`] has the pointers to them. Nothing is
//! paged, so a clear zeroes the bytes and reports that their frames are retained.

mod arenas;
mod books;

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{any::Any, mem::MaybeUninit, ptr::NonNull, sync::atomic::AtomicBool};
use spin::Mutex;

use self::arenas::{Arenas, Block, Room};
use super::{
    Arena, Backing, BackingError, Cleared, DataImage, FillTime, FrameShortage, Health, ImageCharge,
    ImagePart, LimitRefused, LinearRegion, LiveBytes, MemoryResidency, Provider, Reservation, Shares,
    Standing,
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
}

impl Fixed {
    /// A backing over `bytes`, which may have any length and alignment. Up to 15 bytes at each end
    /// are not used, because memories start at multiples of 16.
    #[must_use]
    pub fn new(bytes: &'static mut [MaybeUninit<u8>]) -> Self {
        Self { arenas: Arenas::default() }.and(bytes)
    }

    /// A backing that takes chunks of `chunk_bytes` from the global allocator, or of the size of a
    /// memory that is larger. A chunk is freed with its last memory.
    ///
    /// A memory grows within its chunk. In an engine with a [`HeapBudget`](crate::HeapBudget) a
    /// chunk counts as heap of the store that caused it.
    #[must_use]
    pub fn on_heap(chunk_bytes: usize) -> Self {
        Self { arenas: Arenas::on_heap(chunk_bytes) }
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
    /// A store is never lost, because its frames are charged when a memory is created or grows.
    fn open(&self, cap_frames: u64, _commit: Commit, _lost: &Arc<AtomicBool>) -> Box<dyn Arena> {
        let account = Account::new(cap_frames);
        Box::new(Slots { backing: self.clone(), account: Arc::new(account) })
    }

    /// Everything. A memory has its frames from the start, so no store can lose a frame to
    /// another.
    fn shares(&self) -> Shares {
        Shares { address_bytes: u64::MAX, resident_frames: u64::MAX }
    }

    fn image(&self, parts: &[ImagePart<'_>], _charge: ImageCharge) -> Option<Arc<dyn DataImage>> {
        let parts = parts.iter().map(|part| (part.offset, part.bytes.into())).collect();
        Some(Arc::new(CopiedImage { parts }))
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
    held: u64,
    peak: u64,
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
        let (cap, held) = (self.cap, frames.held);
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
#[derive(Debug)]
struct Slots {
    backing: Fixed,
    account: Arc<Account>,
}

// SAFETY: its regions are [`Slot`]s. Each owns its block, and the block keeps the arenas alive that
//         it came from.
#[allow(unsafe_code, reason = "the contract is argued above")]
unsafe impl Arena for Slots {
    fn reserve(&self, size: Reservation) -> Result<Box<dyn LinearRegion>, BackingError> {
        let requested = size.initial;
        let Room { free, largest, longest } = self.backing.arenas.room();
        if requested > longest {
            return Err(BackingError::TooLarge { requested, available: longest });
        }
        let allocated = self.backing.arenas.allocate(requested, size.maximum);
        let block = allocated.ok_or(BackingError::NoRoom { requested, free, largest })?;
        let held = Held::new(&self.account, block.len());
        let held = held.map_err(|cause| BackingError::OutOfFrames { requested, cause })?;
        Ok(Box::new(Slot { block, limit: requested, held }))
    }

    fn standing(&self) -> Standing {
        let Frames { held, peak } = self.account.frames();
        Standing {
            cap_frames: self.account.cap,
            health: Health::Sound,
            held_frames: held,
            peak_frames: peak,
            charged_frames: held,
        }
    }
}

/// An image without an MMU: bytes on the heap, which are copied into each memory.
#[derive(Debug)]
struct CopiedImage {
    parts: Vec<(u64, Box<[u8]>)>,
}

impl DataImage for CopiedImage {
    fn frames(&self) -> u64 {
        // Every memory has its copy in its own frames.
        0
    }
}

/// The block of one linear memory.
#[derive(Debug)]
struct Slot {
    block: Block,
    /// Bytes that may be touched.
    limit: u64,
    held: Held,
}

// SAFETY: 1. [`Block::with_span`] passes bytes that no other block owns, and places none there
//            until they are passed on. Of these, the block owns those below the limit until it is
//            dropped. A block that is placed above takes the bytes out of the reach for good, so
//            that the limit never rises over them.
//         2. `attach` writes the parts of the image, in their order, and nothing else.
//         3. [`LiveBytes::zero`] writes zeros over exactly the span.
#[allow(unsafe_code, reason = "the contract is argued above")]
unsafe impl LinearRegion for Slot {
    fn capacity(&self) -> u64 {
        self.block.reach()
    }

    fn establish(&mut self, _initial: u64, make: &mut dyn FnMut(NonNull<[u8]>)) {
        self.block.with_span(make);
    }

    fn set_limit(&mut self, bytes: u64) -> Result<(), LimitRefused> {
        let owned = self.block.len();
        if !self.block.resize(bytes) {
            return Err(LimitRefused::NoRoom);
        }
        if let Err(cause) = self.held.set(self.block.len()) {
            assert!(self.block.resize(owned), "it had these bytes before");
            return Err(LimitRefused::OutOfFrames(cause));
        }
        self.limit = bytes;
        Ok(())
    }

    /// The arena bounds the time.
    fn fill_time(&self) -> FillTime {
        FillTime::Bounded
    }

    fn zero_fill(&mut self, _span: Span, fill: &mut dyn FnMut()) {
        fill();
    }

    fn attach(&mut self, image: &Arc<dyn DataImage>, mut live: LiveBytes<'_>) {
        let image: &dyn Any = &**image;
        let image =
            image.downcast_ref::<CopiedImage>().expect("an image is made by the engine's own backing");
        for (offset, bytes) in &image.parts {
            assert!(live.write(*offset, bytes), "an image is made for the initial size of its memory");
        }
    }

    fn first_piece(&self, span: Span, _strategy: Strategy) -> Span {
        span.up_to(span.start().saturating_add(PIECE_BYTES) / FRAME_BYTES * FRAME_BYTES)
    }

    fn clear(&mut self, span: Span, _strategy: Strategy, live: LiveBytes<'_>) -> Cleared {
        live.zero();
        if span.is_empty() {
            return Cleared::default();
        }
        let frames_retained = span.end().div_ceil(FRAME_BYTES) - span.start() / FRAME_BYTES;
        Cleared { frames_retained, ..Cleared::default() }
    }

    fn reclaim(&mut self, _budget_frames: u64) -> Cleared {
        Cleared::default()
    }

    fn residency(&self) -> MemoryResidency {
        let frames = self.limit.div_ceil(FRAME_BYTES);
        MemoryResidency {
            resident_frames: frames,
            peak_resident_frames: frames,
            ..MemoryResidency::default()
        }
    }
}
