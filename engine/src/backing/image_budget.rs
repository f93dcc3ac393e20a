//! The frames that the images of an engine hold, which no store is charged for.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The number of frames that the images of an engine may hold together.
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
}

#[cfg(all(feature = "paging", target_arch = "x86_64"))]
impl ImageBudget {
    /// Refunds frames that an image kept of its charge.
    pub(crate) fn refund(&self, frames: u64) {
        let frames = usize::try_from(frames).expect("as many were charged");
        self.charged.fetch_sub(frames, Relaxed);
    }
}

/// Frames of an image that are charged until this is dropped.
#[must_use = "a dropped charge is refunded"]
#[derive(Debug)]
pub(crate) struct ImageCharge {
    budget: Arc<ImageBudget>,
    frames: usize,
}

#[cfg(all(feature = "paging", target_arch = "x86_64"))]
impl ImageCharge {
    /// Refunds all but `frames` frames, which the caller refunds one by one when they are released.
    ///
    /// # Panics
    ///
    /// Panics if fewer are charged.
    pub(crate) fn keep(mut self, frames: u64) -> Arc<ImageBudget> {
        let kept = usize::try_from(frames).ok().filter(|kept| *kept <= self.frames);
        self.frames -= kept.expect("an image has no more frames than it is charged for");
        Arc::clone(&self.budget)
    }
}

impl Drop for ImageCharge {
    fn drop(&mut self) {
        self.budget.charged.fetch_sub(self.frames, Relaxed);
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

    #[cfg(all(feature = "paging", target_arch = "x86_64"))]
    #[test]
    fn frames_that_an_image_keeps_are_charged_until_each_is_refunded() {
        let budget = Arc::new(ImageBudget::new(10));
        let kept = budget.charge(8).expect("10 frames are left").keep(5);
        assert!(budget.charge(6).is_none());
        drop(budget.charge(5).expect("5 frames are left"));
        kept.refund(2);
        assert!(budget.charge(8).is_none());
        assert!(budget.charge(7).is_some());
    }
}
