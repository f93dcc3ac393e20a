//! Frames of neighbouring clusters in one allocation.
//!
//! A freeze makes the clusters of 256 pages at once, and most of their pages may have frames. So
//! the frames of up to four clusters are allocated together. The clusters end one by one: the
//! frames of each are given up when no image has the cluster any more. The heap is freed with the
//! last.

use alloc::vec::Vec;
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

    /// Moves frames to the first vacant shares from this place on. Returns the place after them.
    pub(crate) fn fill(&self, from: usize, frames: &mut FrameRun) -> usize {
        let vacant = self.shares[from..].iter().position(Share::is_vacant);
        let start = vacant.map_or(self.shares.len(), |place| from + place);
        start + Share::fill(&self.shares[start..], frames)
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

impl Drop for Bundle {
    /// Panics in a debug build if frames are left, because they are lost.
    fn drop(&mut self) {
        let is_empty = || self.shares.iter().all(Share::is_vacant);
        debug_assert!(is_empty(), "a bundle of frames was dropped: give them up");
    }
}
