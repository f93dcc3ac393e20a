//! The frames that images hold, which no store is charged for, and who pays for them.
//!
//! An engine has a budget, and the embedder may make others for snapshots. Images may have frames
//! in common. Each frame is charged once, to the budget of the image that was the first to have it,
//! and refunded when the last image that has it releases it. So an image records the [`Payers`] of
//! all frames that it may have, its own and those of the images before it.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A number of frames that images may hold together.
///
/// It has no lock, because an interrupt handler may drop a module.
#[derive(Debug)]
pub(crate) struct ImageBudget {
    limit: usize,
    charged: AtomicUsize,
}

impl ImageBudget {
    /// A budget of `limit` frames.
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit: usize::try_from(limit).unwrap_or(usize::MAX), charged: AtomicUsize::new(0) }
    }

    /// Charges `frames` frames, or returns `None` if fewer are left.
    pub(crate) fn charge(self: &Arc<Self>, frames: u64) -> Option<ImageCharge> {
        let frames = usize::try_from(frames).ok()?;
        let sum = |charged: usize| charged.checked_add(frames).filter(|&sum| sum <= self.limit);
        self.charged.fetch_update(Relaxed, Relaxed, sum).ok()?;
        Some(ImageCharge { budget: Arc::clone(self), frames })
    }

    fn refund(&self, frames: usize) {
        self.charged.fetch_sub(frames, Relaxed);
    }
}

/// The number of frames that snapshots may hold together, of one tenant for example. A clone is the
/// same budget.
///
/// [`Store::snapshot_within`](crate::Store::snapshot_within) and
/// [`Snapshot::read_from_within`](crate::Snapshot::read_from_within) charge one. Other snapshots,
/// and modules, count against [`Limits::image_frames`](crate::Limits::image_frames) of their
/// engine. Snapshots of several engines may share a budget.
///
/// A frame is charged once, to the budget of the snapshot that was the first to have it. If a fork
/// of that snapshot is snapshotted within another budget, the other one is charged for the frames
/// that the fork has written, and the first one for the rest until no snapshot and no store shows
/// them. On a [`Fixed`](crate::Fixed) backing every snapshot has its own copies on the heap, and is
/// charged for a frame for each 4 KiB that are not zero.
///
/// # Examples
///
/// ```
/// # use palimpsest_engine::{Config, Engine, Fixed, Linker, Module, Store};
/// # use palimpsest_engine::{SnapshotBudget, SnapshotError};
/// # use std::{boxed::Box, mem::MaybeUninit};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
/// # let engine = Engine::new(Config::default().snapshots(true), Fixed::new(bytes))?;
/// # let wasm = wat::parse_str(r#"(module (memory (export "memory") 1))"#)?;
/// # let module = Module::new(&engine, &wasm)?;
/// # let mut store = Store::new(&engine, ());
/// # let instance = Linker::new().instantiate(&mut store, &module)?;
/// let memory = instance.get_memory(&store, "memory").expect("it is exported");
/// memory.write(&mut store, 0, b"a page")?;
/// let tenant = SnapshotBudget::new(1);
/// let snapshot = store.snapshot_within(instance, &tenant)?;
/// assert_eq!(tenant.charged_frames(), 1);
/// memory.write(&mut store, 0, b"a page that has changed")?;
/// let refused = store.snapshot_within(instance, &tenant);
/// assert!(matches!(refused, Err(SnapshotError::Budget { .. })));
/// # drop((snapshot, store));
/// # assert_eq!(tenant.charged_frames(), 0);
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "snapshots")]
#[derive(Clone, Debug)]
pub struct SnapshotBudget(Arc<ImageBudget>);

#[cfg(feature = "snapshots")]
impl SnapshotBudget {
    /// A budget of `frames` frames.
    #[must_use]
    pub fn new(frames: u64) -> Self {
        Self(Arc::new(ImageBudget::new(frames)))
    }

    /// Returns the number of frames that snapshots may hold together.
    #[must_use]
    pub fn limit_frames(&self) -> u64 {
        self.0.limit as u64
    }

    /// Returns the number of frames that are charged at present.
    #[must_use]
    pub fn charged_frames(&self) -> u64 {
        self.0.charged.load(Relaxed) as u64
    }

    /// Charges `frames` frames, or returns `None` if fewer are left.
    pub(crate) fn charge(&self, frames: u64) -> Option<ImageCharge> {
        self.0.charge(frames)
    }
}

/// Frames of an image that are charged until this is dropped.
#[must_use = "a dropped charge is refunded"]
#[derive(Debug)]
pub(crate) struct ImageCharge {
    budget: Arc<ImageBudget>,
    frames: usize,
}

impl ImageCharge {
    /// Returns the number of frames that are charged.
    pub(crate) fn frames(&self) -> u64 {
        self.frames as u64
    }

    /// Splits off the charge for `frames` frames.
    ///
    /// # Panics
    ///
    /// Panics if fewer are charged.
    #[cfg_attr(not(feature = "snapshots"), allow(dead_code, reason = "snapshots are charged by it"))]
    pub(crate) fn split_off(&mut self, frames: u64) -> Self {
        let split = usize::try_from(frames).ok().filter(|split| *split <= self.frames);
        let frames = split.expect("the caller has charged as many");
        self.frames -= frames;
        Self { budget: Arc::clone(&self.budget), frames }
    }
}

impl Drop for ImageCharge {
    fn drop(&mut self) {
        self.budget.refund(self.frames);
    }
}

/// The budgets that the frames of an image are charged to.
///
/// Frames are marked with the index of their budget. An image that is made of a memory with an
/// image has the budgets of that one first, so that the marks of common frames mean the same.
#[cfg(all(feature = "paging", target_arch = "x86_64"))]
#[derive(Clone, Debug)]
pub(crate) struct Payers(Arc<[Arc<ImageBudget>]>);

#[cfg(all(feature = "paging", target_arch = "x86_64"))]
impl Payers {
    /// The payers of an image for which `charge` is. `before` are those of the image before it.
    /// Returns the index of the charge's budget as well.
    ///
    /// A budget that is charged for nothing gives up its index, because no frame is marked with it.
    pub(crate) fn new(before: Option<&Self>, charge: &ImageCharge) -> (Self, u32) {
        let known = before.map_or(&[][..], |before| &before.0);
        let index = known.iter().position(|budget| Arc::ptr_eq(budget, &charge.budget));
        let (payers, index) = match (before, index) {
            (Some(before), Some(index)) => (before.clone(), index),
            _ => {
                let unused = known.iter().position(|budget| budget.charged.load(Relaxed) == 0);
                let mut all = known.to_vec();
                all.push(Arc::clone(&charge.budget));
                if let Some(unused) = unused {
                    // The new budget is the last one, and takes its place.
                    all.swap_remove(unused);
                }
                (Self(all.into()), unused.unwrap_or(known.len()))
            }
        };
        (payers, u32::try_from(index).expect("each budget is on the heap"))
    }

    /// Ends a charge. An image keeps `frames` frames of it, which are refunded when they are
    /// released, and the rest is refunded now.
    ///
    /// # Panics
    ///
    /// Panics if fewer are charged.
    pub(crate) fn keep(mut charge: ImageCharge, frames: u64) {
        let kept = usize::try_from(frames).ok().filter(|kept| *kept <= charge.frames);
        charge.frames -= kept.expect("an image has no more frames than it is charged for");
    }

    /// Refunds released frames with this index.
    pub(crate) fn refund(&self, index: u32, frames: u64) {
        let frames = usize::try_from(frames).expect("as many were charged");
        self.0[index as usize].refund(frames);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_charged_up_to_the_limit_and_refunded_when_they_are_dropped() {
        let budget = Arc::new(ImageBudget::new(10));
        let first = budget.charge(6).expect("10 frames are left");
        assert!(budget.charge(5).is_none());
        assert!(budget.charge(u64::MAX).is_none());
        let second = budget.charge(4).expect("4 frames are left");
        assert!(budget.charge(1).is_none());
        drop(first);
        let third = budget.charge(6).expect("6 frames are left again");
        drop((second, third));
        assert!(budget.charge(10).is_some());
    }

    #[test]
    fn the_parts_of_a_charge_are_refunded_apart() {
        let budget = Arc::new(ImageBudget::new(10));
        let mut charge = budget.charge(9).expect("10 frames are left");
        let part = charge.split_off(4);
        assert_eq!((charge.frames(), part.frames()), (5, 4));
        drop(part);
        assert!(budget.charge(6).is_none());
        assert!(budget.charge(5).is_some());
    }

    #[cfg(all(feature = "paging", target_arch = "x86_64"))]
    #[test]
    fn frames_that_images_keep_are_refunded_to_the_budget_that_was_charged_first() {
        let budgets = [20, 30].map(|limit| Arc::new(ImageBudget::new(limit)));
        let charged = || budgets.each_ref().map(|budget| budget.charged.load(Relaxed));
        let charge = |budget: usize| budgets[budget].charge(8).expect("frames are left");
        let (first, mark) = Payers::new(None, &charge(0));
        assert_eq!((mark, charged()), (0, [0, 0]));
        Payers::keep(charge(0), 5);
        let (second, mark) = Payers::new(Some(&first), &charge(1));
        assert_eq!(mark, 1);
        Payers::keep(charge(1), 8);
        let (third, mark) = Payers::new(Some(&second), &charge(0));
        assert_eq!((mark, third.0.len(), charged()), (0, 2, [5, 8]));
        third.refund(1, 3);
        first.refund(0, 2);
        assert_eq!(charged(), [3, 5]);
    }

    #[cfg(all(feature = "paging", target_arch = "x86_64"))]
    #[test]
    fn budgets_whose_frames_were_released_are_forgotten() {
        let mut last: Option<(Payers, u32)> = None;
        for _ in 0..10 {
            let charge = Arc::new(ImageBudget::new(8)).charge(8).expect("frames are left");
            let (payers, mark) = Payers::new(last.as_ref().map(|(payers, _)| payers), &charge);
            Payers::keep(charge, 5);
            assert!(payers.0.len() <= 2 && payers.0[mark as usize].charged.load(Relaxed) == 5);
            // The next image has other frames than this one.
            if let Some((before, mark)) = last.replace((payers, mark)) {
                before.refund(mark, 5);
            }
        }
    }
}
