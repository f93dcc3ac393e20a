//! Linear memory in a byte slice: for firmware without an MMU, and for tests and fuzzing on a host.
//!
//! Regions are blocks of the slice, at the granularity of a frame. Nothing is paged, so a clear zeroes the
//! bytes, retains the frames and says so. A memory that may grow without bound gets its initial size and a
//! headroom that the embedder chooses.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{alloc::Layout, mem::MaybeUninit, ptr::NonNull};
use spin::Mutex;

use super::{
    Cleared, Health, Image, ImagePart, LimitError, Reservation, ReserveError, Residency, Shortage, Standing,
};
use crate::{
    live::{Block, BlockHeap, LiveBytes},
    units::{FRAME_BYTES, Span},
};

/// Blocks start at multiples of a frame, in bytes.
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
    /// A backing over `bytes`. A memory gets its initial size and up to `headroom_bytes` to grow into.
    #[must_use]
    pub fn new(bytes: &'static mut [MaybeUninit<u8>], headroom_bytes: u64) -> Self {
        let available = bytes.len() as u64;
        Self { heap: BlockHeap::new(bytes), available, headroom: headroom_bytes }
    }

    /// Bytes of the slice that no memory has now.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.heap.free_bytes()
    }

    pub(super) fn slots(&self, cap_frames: Option<u64>) -> Slots {
        let account = Account::new(cap_frames.unwrap_or(u64::MAX));
        Slots { backing: self.clone(), account: Arc::new(account) }
    }
}

/// The frames of one store.
#[derive(Debug)]
struct Account {
    cap: u64,
    frames: Mutex<Frames>,
}

/// Frames that a store holds. The two figures are read together, so one lock protects both.
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

    fn charge(&self, needed: u64) -> Result<(), Shortage> {
        let mut frames = self.frames.lock();
        let (cap, held) = (self.cap, frames.held);
        let raised = held.checked_add(needed).filter(|&sum| sum <= cap);
        frames.held = raised.ok_or(Shortage::Cap { cap, held, needed })?;
        frames.peak = frames.peak.max(frames.held);
        Ok(())
    }

    fn release(&self, released: u64) {
        self.frames.lock().held -= released;
    }
}

/// One store's share of the slice.
#[derive(Debug)]
pub(super) struct Slots {
    backing: Fixed,
    account: Arc<Account>,
}

impl Slots {
    pub(super) fn account_standing(&self) -> Standing {
        let Frames { held, peak } = self.account.frames();
        Standing { health: Health::Sound, held_frames: held, peak_frames: peak, charged_frames: held }
    }

    pub(super) fn slot(&self, size: Reservation) -> Result<Slot, ReserveError> {
        let requested = size.initial;
        let available = self.backing.available;
        let wanted = size.maximum.min(requested.saturating_add(self.backing.headroom)).max(1);
        let layout = wanted
            .checked_next_multiple_of(FRAME_BYTES)
            .filter(|_| requested <= available)
            .and_then(|bytes| Layout::from_size_align(usize::try_from(bytes).ok()?, ALIGNMENT).ok())
            .ok_or(ReserveError::TooLarge { requested, available })?;
        let frames = layout.size() as u64 / FRAME_BYTES;
        self.account.charge(frames).map_err(|cause| ReserveError::OutOfFrames { requested, cause })?;
        let Some(block) = self.backing.heap.allocate(layout) else {
            self.account.release(frames);
            return Err(ReserveError::NoAddresses { requested });
        };
        Ok(Slot { block, limit: requested, account: Arc::clone(&self.account) })
    }
}

/// An image without an MMU: bytes on the heap, which each memory gets a copy of.
#[derive(Debug)]
pub(super) struct Copied {
    parts: Vec<(u64, Box<[u8]>)>,
}

impl Copied {
    pub(super) fn new(parts: &[ImagePart<'_>]) -> Self {
        Self { parts: parts.iter().map(|part| (part.offset, part.bytes.into())).collect() }
    }

    /// # Panics
    ///
    /// If a part ends behind `live`.
    pub(super) fn copy_to(&self, mut live: LiveBytes<'_>) {
        for (offset, bytes) in &self.parts {
            assert!(live.write(*offset, bytes), "an image is within its memory");
        }
    }
}

impl Image for Copied {
    /// None: every memory has its copy in its own frames.
    fn frames(&self) -> u64 {
        0
    }
}

/// The block of one linear memory.
#[derive(Debug)]
pub(super) struct Slot {
    block: Block,
    /// Bytes that may be touched.
    limit: u64,
    account: Arc<Account>,
}

impl Slot {
    pub(super) fn block(&self) -> NonNull<[u8]> {
        self.block.bytes()
    }

    pub(super) fn move_limit(&mut self, bytes: u64) -> Result<(), LimitError> {
        let capacity = self.block.len();
        if bytes > capacity {
            return Err(LimitError { requested: bytes, capacity });
        }
        self.limit = bytes;
        Ok(())
    }

    /// What clearing `span` did: zeroed, and every frame kept.
    pub(super) fn retained(span: Span) -> Cleared {
        if span.is_empty() {
            return Cleared::default();
        }
        let frames_retained = span.end().div_ceil(FRAME_BYTES) - span.start() / FRAME_BYTES;
        Cleared { frames_retained, ..Cleared::default() }
    }

    pub(super) fn held(&self) -> Residency {
        let frames = self.limit.div_ceil(FRAME_BYTES);
        Residency { resident_frames: frames, peak_resident_frames: frames, ..Residency::default() }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.account.release(self.block.len() / FRAME_BYTES);
    }
}
