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

/// Frames of an image that are charged until this is dropped.
#[must_use = "a dropped charge is refunded"]
#[derive(Debug)]
pub(crate) struct ImageCharge {
    budget: Arc<ImageBudget>,
    frames: usize,
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
}
