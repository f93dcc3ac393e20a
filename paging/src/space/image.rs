//! Images: pages that regions start with, and share until they write to them.
//!
//! An image is made once and attached to any number of regions. The first read of a page of the
//! image maps the image's frame, read-only. The first write gives the region a copy of the frame. A
//! page that was cleared reads as zero from then on. Each region records in bits which pages it
//! still takes from its image. The bits are allocated when the image is attached, so a clear cannot
//! fail.
//!
//! Invariants: a frame of an image is not written after the image was made. Every region that may
//! show such a frame keeps the image alive.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::mem;
use core::sync::atomic::Ordering;

use thiserror::Error;
use x86_64::VirtAddr;
use x86_64::structures::paging::Page;

use super::AddressSpace;
use crate::frame::{Frame, Shortage};
use crate::pages::{PAGE_BYTES, PAGE_LEN};
use crate::platform::Platform;
use crate::record::{Attached, Originals};

/// The number of frames that are released with interrupts off.
const RELEASE_BATCH: usize = 1024;

/// Initial content that regions of one address space share, copy-on-write.
///
/// No account is charged for the frames of an image. They are counted once, in
/// [`Usage::image_frames`](crate::Usage::image_frames), even if many regions show them. Each region
/// that the image is attached to has an [`Arc`] of it, and the last one releases the frames.
pub struct Image<'a, P: Platform> {
    space: &'a AddressSpace<P>,
    originals: Arc<Originals>,
}

impl<P: Platform> AddressSpace<P> {
    /// Makes an image of parts, each with its distance in bytes from the start of a region.
    ///
    /// Later parts overwrite earlier ones, and bytes between the parts are zero. The image takes a
    /// frame for each page that a part reaches into.
    ///
    /// # Errors
    ///
    /// - [`ImageError::TooLarge`]: a part ends beyond 2^64 bytes.
    /// - [`ImageError::OutOfFrames`]: the frame source has too few frames.
    ///
    /// Nothing has changed after an error.
    pub fn image<'b>(
        &self,
        parts: impl IntoIterator<Item = (u64, &'b [u8])>,
    ) -> Result<Image<'_, P>, ImageError> {
        let mut draft = Draft { space: self, frames: BTreeMap::new() };
        for (start, bytes) in parts {
            draft.write(start, bytes)?;
        }
        let originals: Box<[_]> = mem::take(&mut draft.frames).into_iter().collect();
        Ok(Image { space: self, originals: Arc::new(Originals::new(originals)) })
    }
}

impl<P: Platform> AddressSpace<P> {
    /// Releases frames of an image, with interrupts off for some of them at a time.
    fn release_in_batches(&self, mut frames: Vec<Frame>) {
        let supply = self.uncharged_supply();
        while !frames.is_empty() {
            let first = frames.len().saturating_sub(RELEASE_BATCH);
            let count = (frames.len() - first) as u64;
            self.env.platform.without_interrupts(|| {
                frames.drain(first..).for_each(|frame| supply.release(frame));
                self.env.image_frames.fetch_sub(count, Ordering::Relaxed);
                self.env.past_released.fetch_add(count, Ordering::Relaxed);
            });
        }
    }
}

impl<P: Platform> Image<'_, P> {
    /// The number of frames of the image.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.originals.frames()
    }

    /// The bytes from the start of a region to the end of the image's last page.
    #[must_use]
    pub fn end_bytes(&self) -> u64 {
        self.originals.end_number() * PAGE_BYTES
    }

    /// The pages of the image in a region with this first page, in ascending order.
    pub(crate) fn pages(&self, start: Page) -> impl DoubleEndedIterator<Item = Page> {
        self.originals.numbers().map(move |number| start + number)
    }

    pub(crate) fn is_of(&self, space: &AddressSpace<P>) -> bool {
        core::ptr::eq(self.space, space)
    }

    /// The bits of a region that takes all pages from the image.
    pub(crate) fn attach(&self) -> Attached {
        Attached::new(&self.originals)
    }
}

impl<P: Platform> Drop for Image<'_, P> {
    fn drop(&mut self) {
        // No CPU translates to a frame of the image: every region that showed one has ended,
        // because it kept the image alive, and its pages were flushed.
        let originals = Arc::get_mut(&mut self.originals);
        let originals = originals.expect("a region drops its record before its image");
        // The heap is used with interrupts on.
        let frames = originals.take_frames();
        self.space.release_in_batches(frames);
    }
}

impl<P: Platform> fmt::Debug for Image<'_, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Image").field("frames", &self.frames()).finish_non_exhaustive()
    }
}

/// An image that is being made. Dropping it releases its frames.
struct Draft<'a, P: Platform> {
    space: &'a AddressSpace<P>,
    frames: BTreeMap<u64, Frame>,
}

impl<P: Platform> Draft<'_, P> {
    fn write(&mut self, start: u64, mut bytes: &[u8]) -> Result<(), ImageError> {
        let too_large = ImageError::TooLarge { start_bytes: start, part_bytes: bytes.len() as u64 };
        start.checked_add(bytes.len() as u64).ok_or(too_large)?;
        let mut at = start;
        while !bytes.is_empty() {
            let within = usize::from(VirtAddr::new_truncate(at).page_offset());
            let (piece, rest) = bytes.split_at(bytes.len().min(PAGE_LEN - within));
            let memory = self.space.env.window.memory();
            memory.write(self.frame(at / PAGE_BYTES)?, within, piece);
            (at, bytes) = (at + piece.len() as u64, rest);
        }
        Ok(())
    }

    /// The frame of a page. A new one is zeroed.
    fn frame(&mut self, number: u64) -> Result<&mut Frame, Shortage> {
        let space = self.space;
        let take = || {
            let taken = space.env.platform.without_interrupts(|| space.uncharged_supply().take());
            taken.inspect(|_| {
                space.env.image_frames.fetch_add(1, Ordering::Relaxed);
            })
        };
        match self.frames.entry(number) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(take()?.into_frame())),
        }
    }
}

impl<P: Platform> Drop for Draft<'_, P> {
    fn drop(&mut self) {
        // The heap is used with interrupts on.
        self.space.release_in_batches(mem::take(&mut self.frames).into_values().collect());
    }
}

/// Why an image was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A part ends beyond the last address.
    #[error("a part of {part_bytes} bytes at {start_bytes} ends beyond 2^64 bytes: move it, or cut it")]
    TooLarge {
        /// The distance of the part from the start of a region, in bytes.
        start_bytes: u64,
        /// The length of the part, in bytes.
        part_bytes: u64,
    },
    /// The frame source has too few frames.
    #[error("no frame for a page of the image: release frames, or make the image smaller")]
    OutOfFrames(#[from] Shortage),
}

/// Why an image was not attached to a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// Another address space made the image.
    #[error("the image is of another address space: make one in the space of the region")]
    OtherSpace,
    /// The image ends beyond the region's limit.
    #[error(
        "the image ends at {image_bytes} bytes, beyond the region's limit of {limit_bytes}: raise the limit"
    )]
    BeyondLimit {
        /// The end of the image, in bytes from the start of the region.
        image_bytes: u64,
        /// The region's limit, in bytes.
        limit_bytes: u64,
    },
    /// The region has an image already.
    #[error("the region has an image already: reserve another region for this one")]
    Attached,
}
