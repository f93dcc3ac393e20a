//! Images: pages that regions start with, and share until they write to them.
//!
//! An image is made once and attached to any number of regions. A page of it is shown read-only, straight from the
//! image's frame, when it is read first; the first write gives the region a frame of its own with the same bytes.
//! A page that was cleared reads as zero from then on: each region notes which pages it does not take from its
//! image any more, in bits that are allocated when the image is attached, so that clearing cannot fail.
//!
//! Invariants: nobody writes a frame of an image once it is made, and every region that may show one keeps the
//! image alive. Called by: the owner of a memory; the fault path and whatever clears pages use the [`Attached`].

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::mem;

use thiserror::Error;
use x86_64::VirtAddr;
use x86_64::structures::paging::Page;

use super::AddressSpace;
use crate::frame::{Frame, Shortage};
use crate::pages::{PAGE_BYTES, PAGE_LEN};
use crate::platform::Platform;
use crate::record::{Attached, Originals};
use crate::supply::Supply;

/// What regions of one address space can start with.
///
/// Its frames are in no account, whatever the number of regions that show them, and are counted once, in
/// [`Usage::image_frames`](crate::Usage::image_frames). They go back to the frame source with the last [`Arc`]:
/// each region that the image is attached to holds one.
pub struct Image<'a, P: Platform> {
    space: &'a AddressSpace<P>,
    originals: Arc<Originals>,
}

impl<P: Platform> AddressSpace<P> {
    /// Makes an image of parts, each with its distance in bytes from the start of a region. Where parts overlap the
    /// later one counts; what is between them is zero. It takes a frame for each page that a part reaches into.
    ///
    /// # Errors
    ///
    /// - [`ImageError::TooLarge`]: a part ends behind 2^64 bytes.
    /// - [`ImageError::OutOfFrames`]: there are too few frames.
    ///
    /// Nothing is left behind then.
    pub fn image<'b>(
        &self,
        parts: impl IntoIterator<Item = (u64, &'b [u8])>,
    ) -> Result<Image<'_, P>, ImageError> {
        let mut draft = Draft { space: self, frames: BTreeMap::new() };
        for (start, bytes) in parts {
            draft.write(start, bytes)?;
        }
        let frames = mem::take(&mut draft.frames).into_iter();
        let originals: Box<[_]> = frames.map(|(number, frame)| (number, frame.into_phys())).collect();
        self.with_state(|state, _| state.image_frames += originals.len() as u64);
        Ok(Image { space: self, originals: Arc::new(Originals::new(originals)) })
    }
}

impl<P: Platform> Image<'_, P> {
    /// The number of frames that it holds.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.originals.frames()
    }

    /// The bytes from the start of a region to the end of the image's last page.
    #[must_use]
    pub fn end_bytes(&self) -> u64 {
        self.originals.end_number() * PAGE_BYTES
    }

    /// Its pages in a region with this first page, in ascending order.
    pub(crate) fn pages(&self, start: Page) -> impl DoubleEndedIterator<Item = Page> {
        self.originals.iter().map(move |(number, _)| start + number)
    }

    pub(crate) fn is_of(&self, space: &AddressSpace<P>) -> bool {
        core::ptr::eq(self.space, space)
    }

    /// What a region notes of it: all pages are taken from the image.
    pub(crate) fn attach(&self) -> Attached {
        Attached::new(&self.originals)
    }
}

impl<P: Platform> Drop for Image<'_, P> {
    fn drop(&mut self) {
        let originals = &*self.originals;
        self.space.with_state(|state, platform| {
            let supply = Supply::new(platform.frames(), state.tables.memory(), None);
            for (_, frame) in originals.iter() {
                // SAFETY: 1. the frame was an owned one when the image was made, and is taken out of it once, here.
                //         2. nothing translates to it: the regions that showed it are gone, because each of them
                //            keeps the image alive, and the TLB was flushed when they went.
                supply.release(unsafe { Frame::from_phys(frame) });
            }
            state.image_frames -= originals.frames();
        });
    }
}

impl<P: Platform> fmt::Debug for Image<'_, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Image").field("frames", &self.frames()).finish_non_exhaustive()
    }
}

/// An image that is being made; what was not made into one goes back.
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
            let memory = self.space.memory;
            memory.write(self.frame(at / PAGE_BYTES)?, within, piece);
            (at, bytes) = (at + piece.len() as u64, rest);
        }
        Ok(())
    }

    /// The frame of a page, of zeros if it is new.
    fn frame(&mut self, number: u64) -> Result<&mut Frame, Shortage> {
        let space = self.space;
        let take = || space.with_state(|_, _| space.uncharged_supply().take());
        match self.frames.entry(number) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(take()?.into_frame())),
        }
    }
}

impl<P: Platform> Drop for Draft<'_, P> {
    fn drop(&mut self) {
        // The heap is used outside of the lock.
        let mut frames: Vec<_> = mem::take(&mut self.frames).into_values().collect();
        let supply = self.space.uncharged_supply();
        self.space.with_state(|_, _| frames.drain(..).for_each(|frame| supply.release(frame)));
    }
}

/// Why an image was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// There is no such address.
    #[error("a part of {part_bytes} bytes at {start_bytes} ends behind 2^64 bytes")]
    TooLarge {
        /// Where the part starts, in bytes.
        start_bytes: u64,
        /// How long it is, in bytes.
        part_bytes: u64,
    },
    /// There are too few frames.
    #[error("no frame for the image")]
    OutOfFrames(#[from] Shortage),
}

/// Why an image was not attached to a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The image's frames are not those of the region's address space.
    #[error("the image is of another address space")]
    OtherSpace,
    /// The image is larger than what can be used of the region.
    #[error("the image ends at {image_bytes} bytes, behind the region's limit of {limit_bytes}")]
    BeyondLimit {
        /// Where the image ends, in bytes from the start of the region.
        image_bytes: u64,
        /// The region's limit, in bytes.
        limit_bytes: u64,
    },
    /// A region starts with one image at most.
    #[error("the region has an image already")]
    Attached,
}
