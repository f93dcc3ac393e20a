//! Linear memory in a byte slice: for firmware without an MMU, and for tests and fuzzing on a host.
//!
//! Regions are blocks of the slice, at the granularity of a frame. Nothing is paged, so a clear
//! zeroes the bytes and reports that their frames are retained. A memory that may grow without
//! bound gets its initial size and a headroom that the embedder chooses.

mod block;

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{alloc::Layout, any::Any, mem::MaybeUninit, ptr::NonNull, sync::atomic::AtomicBool};
use spin::Mutex;

use self::block::{Block, BlockHeap};
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

/// The alignment of blocks, in bytes: that of a frame.
const ALIGNMENT: usize = 4096;

/// A backing over a fixed slice of bytes.
///
/// # Examples
///
/// ```
/// use palimpsest_engine::Fixed;
/// use std::{boxed::Box, mem::MaybeUninit};
///
/// // Firmware would name a static or a linker section here.
/// let bytes = Box::leak(vec![MaybeUninit::<u8>::uninit(); 1 << 20].into_boxed_slice());
/// let backing = Fixed::new(bytes, 1 << 16);
/// ```
#[derive(Clone, Debug)]
pub struct Fixed {
    heap: BlockHeap,
    /// Bytes of the whole slice.
    available: u64,
    /// Bytes that a memory may grow beyond its initial size.
    headroom: u64,
}

impl Fixed {
    /// A backing over `bytes`. A memory gets its initial size and up to `headroom_bytes` to grow
    /// into.
    #[must_use]
    pub fn new(bytes: &'static mut [MaybeUninit<u8>], headroom_bytes: u64) -> Self {
        let available = bytes.len() as u64;
        Self { heap: BlockHeap::new(bytes), available, headroom: headroom_bytes }
    }

    /// Returns the number of bytes of the slice that no memory uses at present.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.heap.free_bytes()
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

    /// All of the slice. A memory has its frames from the start, so no store can lose a frame to
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

    fn charge(&self, needed: u64) -> Result<(), FrameShortage> {
        let mut frames = self.frames.lock();
        let (cap, held) = (self.cap, frames.held);
        let raised = held.checked_add(needed).filter(|&sum| sum <= cap);
        frames.held = raised.ok_or(FrameShortage::Cap { cap, held, needed })?;
        frames.peak = frames.peak.max(frames.held);
        Ok(())
    }

    fn refund(&self, frames: u64) {
        self.frames.lock().held -= frames;
    }
}

/// One store's share of the slice.
#[derive(Debug)]
struct Slots {
    backing: Fixed,
    account: Arc<Account>,
}

// SAFETY: its regions are [`Slot`]s. Each owns its block, and the block keeps the heap alive that
//         it came from.
#[allow(unsafe_code, reason = "the contract is argued above")]
unsafe impl Arena for Slots {
    fn reserve(&self, size: Reservation) -> Result<Box<dyn LinearRegion>, BackingError> {
        let requested = size.initial;
        let available = self.backing.available;
        let wanted = size.maximum.min(requested.saturating_add(self.backing.headroom)).max(1);
        let layout = wanted
            .checked_next_multiple_of(FRAME_BYTES)
            .filter(|_| requested <= available)
            .and_then(|bytes| Layout::from_size_align(usize::try_from(bytes).ok()?, ALIGNMENT).ok())
            .ok_or(BackingError::TooLarge { requested, available })?;
        let frames = layout.size() as u64 / FRAME_BYTES;
        self.account.charge(frames).map_err(|cause| BackingError::OutOfFrames { requested, cause })?;
        let Some(block) = self.backing.heap.allocate(layout) else {
            self.account.refund(frames);
            return Err(BackingError::NoAddresses { requested });
        };
        Ok(Box::new(Slot { block, limit: requested, account: Arc::clone(&self.account) }))
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
    account: Arc<Account>,
}

// SAFETY: 1. The heap gives the bytes of a block to no other block until the block is dropped, with
//            the slot.
//         2. `attach` writes the parts of the image, in their order, and nothing else.
//         3. [`LiveBytes::zero`] writes zeros over exactly the span.
#[allow(unsafe_code, reason = "the contract is argued above")]
unsafe impl LinearRegion for Slot {
    fn bytes(&self) -> NonNull<[u8]> {
        self.block.bytes()
    }

    fn set_limit(&mut self, bytes: u64) -> Result<(), LimitRefused> {
        if bytes > self.block.len() {
            return Err(LimitRefused::NoRoom);
        }
        self.limit = bytes;
        Ok(())
    }

    /// The slice bounds the time.
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

impl Drop for Slot {
    fn drop(&mut self) {
        self.account.refund(self.block.len() / FRAME_BYTES);
    }
}
