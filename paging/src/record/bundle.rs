//! Frames of neighbouring clusters in one allocation.
//!
//! A freeze makes the clusters of 256 pages at once, and most of their pages may have frames. So
//! the frames of up to four clusters are allocated together. The clusters end one by one: the
//! frames of each are given up when no image has the cluster any more. The heap is freed with the
//! last.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::slice;
use core::sync::atomic::{AtomicU32, Ordering};

use super::Share;
use super::originals::CLUSTER_PAGES;
use crate::frame::FrameRun;

/// The most clusters of a bundle. Their numbers differ in the lowest bits only.
///
/// With more, the heap of frames that were given up could be more than one percent of the frames
/// that are left.
pub(crate) const BUNDLE_CLUSTERS: usize = 4;
const CLUSTERS: u64 = BUNDLE_CLUSTERS as u64;

/// The number of pages of so many clusters.
pub(crate) const BUNDLE_PAGES: u64 = CLUSTERS * CLUSTER_PAGES;

/// A word of bits for each cluster that a bundle may have, with a bit for each page.
pub(crate) type BundleBits = [u64; BUNDLE_CLUSTERS];

/// The place of the cluster with this number among those that may be in the same bundle.
pub(crate) const fn place_in_bundle(cluster: u64) -> usize {
    (cluster % CLUSTERS) as usize
}

/// Shares of the frames of up to four clusters, in the order of their pages.
///
/// It must not be dropped before all frames were given up.
#[derive(Debug)]
pub(crate) struct Bundle {
    shares: Vec<Share>,
    /// The payer of the frames that no other bundle has had.
    payer: u32,
    /// The number of images that have each cluster.
    users: [AtomicU32; BUNDLE_CLUSTERS],
}

impl Bundle {
    /// A bundle with these shares, whose clusters no image has yet. Frames that have no other share
    /// get this payer.
    pub(crate) const fn new(shares: Vec<Share>, payer: u32) -> Self {
        Self { shares, payer, users: [const { AtomicU32::new(0) }; _] }
    }

    /// As [`new`](Self::new), with vacant shares for this number of frames. The error is the number
    /// of bytes that the heap does not have in a row.
    pub(crate) fn vacant(frames: usize, payer: u32) -> Result<Self, usize> {
        let mut shares = Vec::new();
        shares.try_reserve_exact(frames).map_err(|_| frames * size_of::<Share>())?;
        shares.resize_with(frames, Share::vacant);
        Ok(Self::new(shares, payer))
    }

    /// The shares.
    pub(crate) fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// The payer of the frames that no other bundle has had.
    pub(crate) const fn payer(&self) -> u32 {
        self.payer
    }

    /// Counts one more image that has the cluster with this number.
    pub(crate) fn add_user(&self, cluster: u64) {
        self.users_of(cluster).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one image less that has the cluster with this number. Returns whether that was the
    /// last one, whose caller must give up the shares of the cluster.
    pub(crate) fn remove_user(&self, cluster: u64) -> bool {
        self.users_of(cluster).fetch_sub(1, Ordering::AcqRel) == 1
    }

    fn users_of(&self, cluster: u64) -> &AtomicU32 {
        &self.users[place_in_bundle(cluster)]
    }
}

/// The vacant shares of some bundles, in order.
#[derive(Debug)]
pub(crate) struct Vacancies<'b> {
    /// Each with the number of its vacant shares.
    bundles: slice::Iter<'b, (Arc<Bundle>, usize)>,
    /// The shares of a bundle that were not passed yet, and how many of them are vacant.
    rest: &'b [Share],
    vacant: usize,
}

impl<'b> Vacancies<'b> {
    /// The vacant shares of these bundles, of which each comes with their number.
    pub(crate) fn of(bundles: &'b [(Arc<Bundle>, usize)]) -> Self {
        Self { bundles: bundles.iter(), rest: &[], vacant: 0 }
    }

    /// Moves frames to the next vacant shares.
    ///
    /// Not for inlining: the walk that takes the frames out keeps more values in registers.
    ///
    /// # Panics
    ///
    /// If there are more frames than vacant shares.
    #[inline(never)]
    pub(crate) fn fill(&mut self, frames: FrameRun) {
        // A guest that has written its pages in no order has many such runs.
        if frames.len() == 1 {
            Share::fill(slice::from_ref(self.next()), frames);
        } else {
            self.fill_many(frames);
        }
    }

    #[inline(never)]
    fn fill_many(&mut self, mut frames: FrameRun) {
        while frames.len() > 0 {
            if self.vacant == 0 || self.vacant < self.rest.len() {
                Share::fill(slice::from_ref(self.next()), frames.take_front(1));
                continue;
            }
            // All of the rest are vacant.
            let count = usize::try_from(frames.len()).map_or(self.vacant, |count| count.min(self.vacant));
            let (filled, rest) = self.rest.split_at(count);
            Share::fill(filled, frames.take_front(count as u64));
            (self.rest, self.vacant) = (rest, rest.len());
        }
    }

    #[inline]
    fn next(&mut self) -> &'b Share {
        loop {
            let mut rest = self.rest.iter();
            if let Some(share) = rest.find(|share| share.is_vacant()) {
                self.rest = rest.as_slice();
                self.vacant -= 1;
                return share;
            }
            let (bundle, vacant) = self.bundles.next().expect("each frame has a vacant share");
            (self.rest, self.vacant) = (bundle.shares(), *vacant);
        }
    }
}

impl Drop for Bundle {
    /// Panics in a debug build if frames are left, because they are lost.
    fn drop(&mut self) {
        let is_empty = || self.shares.iter().all(Share::is_vacant);
        debug_assert!(is_empty(), "a bundle of frames was dropped: give them up");
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use x86_64::structures::paging::PhysFrame;

    use super::*;
    use crate::frame::Frame;
    use crate::record::Shares;

    /// A run from this frame on. The tests neither access nor map the frames.
    fn run(first: u64, count: u64) -> FrameRun {
        // SAFETY: the frames are not accessed, and each number is given to one owner at a time.
        unsafe { FrameRun::from_phys(PhysFrame::from_pfn(first), count) }
    }

    fn share(number: u64) -> Share {
        let share = Share::vacant();
        Share::fill(slice::from_ref(&share), run(number, 1));
        share
    }

    #[test]
    fn frames_fill_the_vacant_shares_in_order_in_whatever_runs_they_come() {
        for runs in [&[1, 3, 25][..], &[29], &[2, 2, 8, 17], &[1; 29]] {
            let mixed = vec![Share::vacant(), share(5), Share::vacant(), Share::vacant(), share(6)];
            let vacant = Bundle::vacant(26, 0).expect("the host has heap");
            let bundles = [(Arc::new(Bundle::new(mixed, 0)), 3), (Arc::new(vacant), 26)];
            let (mut vacancies, mut next) = (Vacancies::of(&bundles), 100);
            for count in runs {
                vacancies.fill(run(next, *count));
                next += count;
            }
            let shares = bundles.iter().flat_map(|(bundle, _)| bundle.shares());
            let frames = shares.filter_map(|share| Shares::new().give_up(share));
            let expected = [100, 5, 101, 102, 6].into_iter().chain(103..129).map(PhysFrame::from_pfn);
            assert!(frames.map(Frame::into_phys).eq(expected), "{runs:?}");
        }
    }
}
