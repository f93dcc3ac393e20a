//! Images: pages that regions start with, and share until they write to them.
//!
//! An image is made of bytes, or by a [freeze](crate::Region::freeze) of a region, and attached to
//! any number of regions. The first read of a page of the image maps the image's frame, read-only.
//! The first write gives the region a copy of the frame. A page that was cleared reads as zero from
//! then on. Each region records in bits which pages it still takes from its image. The bits are
//! allocated when the image is attached, so a clear cannot fail.
//!
//! Images share clusters of 64 pages, and frames of clusters that differ. A frame is released with
//! the last image that has it.
//!
//! Invariants: a frame of an image is not written after the image was made. Every region that may
//! show such a frame keeps the image alive.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::sync::Arc;
use core::fmt;
use core::mem;
use core::ops::ControlFlow;
use core::sync::atomic::Ordering;

use thiserror::Error;
use x86_64::VirtAddr;
use x86_64::structures::paging::{Page, PhysFrame};

use super::AddressSpace;
use crate::frame::{Frame, FrameBatch, FrameReserveError, Shortage};
use crate::pages::{PAGE_BYTES, PAGE_LEN};
use crate::platform::Platform;
use crate::record::{CLUSTER_PAGES, Originals, Placed, Room, Share, each_bit, ones};

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
        let originals = Originals::of_frames(mem::take(&mut draft.frames));
        Ok(Image { space: self, originals: Arc::new(originals) })
    }
}

impl<P: Platform> AddressSpace<P> {
    /// Gives up the shares of a cluster that no image has any more. Passes the payers of the frames
    /// that no other cluster shares to `refund`, each with a number of frames.
    fn release_cluster(&self, cluster: &Placed, refund: &mut impl FnMut(u32, u64)) {
        let mut rest = cluster.shares();
        while let Some(first) = rest.first() {
            let payer = self.env.lock_shares(|shares| shares.payer(first, cluster.bundle.payer()));
            let (given_up, released) = self.release_shares(rest, payer, cluster.bundle.payer());
            rest = &rest[given_up..];
            refund(payer, released);
        }
    }

    /// Gives up shares up to the first one whose frame has another payer. `only` is that of frames
    /// that were never shared. Returns the number of shares, and that of frames that are released.
    fn release_shares(&self, given_up: &[Share], payer: u32, only: u32) -> (usize, u64) {
        let supply = self.uncharged_supply();
        let mut batch = FrameBatch::new();
        self.env.platform.without_interrupts(|| {
            let mut shares = self.env.shares.lock();
            let mut count = 0;
            let mut released = 0;
            for share in given_up {
                if shares.payer(share, only) != payer {
                    break;
                }
                count += 1;
                let Some(frame) = shares.give_up(share) else { continue };
                if batch.is_full() {
                    supply.release_all(&mut batch);
                }
                batch.push(frame.into());
                released += 1;
            }
            supply.release_all(&mut batch);
            self.env.image_frames.fetch_sub(released, Ordering::Relaxed);
            self.env.past_released.fetch_add(released, Ordering::Relaxed);
            (count, released)
        })
    }

    /// Shares the frames of `kept` pages of a cluster with another one, which has the vacant shares
    /// `to` for them and for its `own` pages.
    pub(super) fn share_frames(
        &self,
        before: &Placed,
        kept: u64,
        own: u64,
        to: &[Share],
    ) -> Result<(), FreezeError> {
        let payer = before.bundle.payer();
        loop {
            let missing = self.env.lock_shares(|shares| {
                if shares.free_slots() < ones(kept) {
                    return Some(shares.block_count());
                }
                before.each_kept(kept, own, to, |from, to| shares.share(from, payer, to));
                None
            });
            let Some(block_count) = missing else { return Ok(()) };
            // The heap is used without the lock.
            let room = Room::new(block_count).map_err(|bytes| FreezeError::OutOfHeap { bytes })?;
            drop(self.env.lock_shares(|shares| shares.add(room)));
        }
    }
}

impl<'a, P: Platform> Image<'a, P> {
    /// An image without a page.
    pub(super) fn new(space: &'a AddressSpace<P>) -> Self {
        Self { space, originals: Arc::default() }
    }

    /// The number of frames of the image.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.originals.frame_count() as u64
    }

    /// The bytes from the start of a region to the end of the image's last page.
    #[must_use]
    pub fn end_bytes(&self) -> u64 {
        self.originals.end_number() * PAGE_BYTES
    }

    /// Visits the pages whose bytes differ from those of `base`, or from zeros if there is none, in
    /// ascending order, until a visit breaks. Each comes with its number in a region.
    ///
    /// Clusters and frames that both images have are passed over, so this takes time for what
    /// differs, and for each cluster of 64 pages.
    ///
    /// # Panics
    ///
    /// If another address space made `base`.
    pub fn each_change(
        &self,
        base: Option<&Self>,
        mut visit: impl FnMut(u64, &[u8; 4096]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        assert!(base.is_none_or(|base| base.is_of(self.space)), "the images are of two address spaces");
        let none = Originals::default();
        let base = base.map_or(&none, |base| &*base.originals);
        let (mut own, mut others) =
            (self.originals.clusters().iter().peekable(), base.clusters().iter().peekable());
        while let Some(number) = own.peek().into_iter().chain(others.peek()).map(|placed| placed.number).min()
        {
            let own = own.next_if(|placed| placed.number == number);
            let other = others.next_if(|placed| placed.number == number);
            if let (Some(own), Some(other)) = (own, other)
                && Arc::ptr_eq(&own.bundle, &other.bundle)
            {
                continue;
            }
            for bit in each_bit(own.map_or(0, |own| own.present) | other.map_or(0, |other| other.present)) {
                let number = number * CLUSTER_PAGES + bit;
                let [own, other] = [own, other].map(|placed| placed?.frame(bit));
                if own != other {
                    let [own, other] = [own, other].map(|frame| self.bytes(frame));
                    if own != other {
                        visit(number, own)?;
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// The bytes of a frame of this image, or of another one that lives as long, or zeros.
    fn bytes(&self, frame: Option<PhysFrame>) -> &[u8; PAGE_LEN] {
        match frame {
            None => &[0; PAGE_LEN],
            // SAFETY: a frame of an image is never written. The frame is of an image of this space,
            // which is borrowed for as long as its bytes are used, so the frame is mapped.
            Some(frame) => unsafe { self.space.env.window.memory().bytes(frame) },
        }
    }

    /// Releases the frames that no other image has. Passes their
    /// [payers](crate::Region::freeze_for) to `refund`, each with a number of frames, any number of
    /// times. A drop of the image releases them too.
    pub fn release(mut self, mut refund: impl FnMut(u32, u64)) {
        self.release_frames(&mut refund);
    }

    fn release_frames(&mut self, refund: &mut impl FnMut(u32, u64)) {
        // No CPU translates to a frame of the image: every region that showed one has ended, or
        // shows another image, because it kept the image alive, and its pages were flushed.
        let space = self.space;
        for placed in self.originals_mut().clusters_mut().drain(..) {
            if placed.bundle.remove_user(placed.number) {
                space.release_cluster(&placed, refund);
            }
        }
    }

    /// The pages of the image in a region with this first page, in ascending order.
    pub(super) fn pages(&self, start: Page) -> impl Iterator<Item = Page> {
        self.originals.numbers().map(move |number| start + number)
    }

    pub(super) fn is_of(&self, space: &AddressSpace<P>) -> bool {
        core::ptr::eq(self.space, space)
    }

    pub(super) const fn space(&self) -> &'a AddressSpace<P> {
        self.space
    }

    pub(super) const fn originals(&self) -> &Arc<Originals> {
        &self.originals
    }

    /// The frames of an image that no region has attached.
    pub(super) fn originals_mut(&mut self) -> &mut Originals {
        Arc::get_mut(&mut self.originals).expect("a region drops its record before its image")
    }
}

impl<P: Platform> Drop for Image<'_, P> {
    fn drop(&mut self) {
        self.release_frames(&mut |_, _| ());
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
        // What was made becomes an image, which releases its frames.
        let originals = Originals::of_frames(mem::take(&mut self.frames));
        drop(Image { space: self.space, originals: Arc::new(originals) });
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

/// Why a region was not frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FreezeError {
    /// The heap has no room for the bookkeeping of the image.
    #[error("the heap has no {bytes} bytes in a row for the bookkeeping of an image: free some")]
    OutOfHeap {
        /// The number of bytes that were requested.
        bytes: usize,
    },
    /// The account is reserved, and the frame source cannot reserve frames in place of those that
    /// would become the image's.
    #[error("the account cannot give up its frames, because others cannot be reserved in their place")]
    Unreserved(#[from] FrameReserveError),
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
