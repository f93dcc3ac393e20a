//! Frames of physical memory as owned values, and the trait through which the address space gets them.
//!
//! A [`Frame`] is neither `Copy` nor `Clone`: whoever holds it owns 4 KiB of RAM, mapping it moves it into a
//! page-table entry, and unmapping moves it out again. A double free is a type error, a leak is a warning.
//!
//! Called by: the address space (every data and table frame), and the embedder, who implements
//! [`FrameSource`], or wraps an `x86_64` allocator in [`FromX86`], or uses the [`FramePool`](crate::FramePool).

mod adapter;
mod batch;
mod memory;
mod promise;
mod run;
mod shortage;

use alloc::sync::Arc;

use x86_64::structures::paging::PhysFrame;

pub use self::adapter::{FromX86, ToX86};
pub use self::batch::FrameBatch;
pub(crate) use self::memory::{Blank, PhysicalMemory};
pub use self::promise::{PromiseError, Promises};
pub use self::run::FrameRun;
pub use self::shortage::Shortage;

/// An owned 4 KiB frame of physical memory.
///
/// There is no destructor, because a frame does not know where it came from: give it back with
/// [`FrameSource::release`]. Dropping it leaks 4 KiB until the machine is reset.
#[must_use = "a dropped frame is leaked: give it back to its frame source"]
#[derive(Debug)]
pub struct Frame(PhysFrame);

impl Frame {
    /// Takes the ownership of a frame.
    ///
    /// # Safety
    ///
    /// The caller guarantees that
    /// 1. the frame is usable RAM, and
    /// 2. nothing else owns it, accesses it or maps it for as long as the returned value lives.
    pub const unsafe fn from_phys(frame: PhysFrame) -> Self {
        Self(frame)
    }

    /// The frame's place in physical memory.
    #[must_use]
    pub const fn phys(&self) -> PhysFrame {
        self.0
    }

    /// Gives up the ownership: the caller keeps the frame's address in a place that stands for it.
    #[must_use = "the address is all that is left of the frame"]
    pub const fn into_phys(self) -> PhysFrame {
        self.0
    }
}

/// Frames that follow each other, and what is known of their content.
#[must_use = "dropped frames are leaked: give them back to their frame source"]
#[derive(Debug)]
pub enum Fresh {
    /// They hold zeros, for every CPU: they were zeroed ahead of need.
    Blank(FrameRun),
    /// They may hold anything.
    Used(FrameRun),
}

/// Where frames come from and go back to.
///
/// The methods are called from the page-fault handler among others, always within
/// [`Tlb::uninterrupted`](crate::Tlb::uninterrupted) and often with the address space's lock held. So they
/// must not touch the memory of a region, must not fault, and must not wait for what the interrupted code may
/// hold: a lock inside is to be taken with interrupts off by whoever else takes it.
///
/// # Safety
///
/// The implementer guarantees that
/// 1. every frame that [`allocate`](Self::allocate) returns is usable RAM that nothing else owns or accesses,
///    until it comes back through [`release`](Self::release), and
/// 2. it does not read or write a frame while that is allocated, and
/// 3. the frames that [`allocate_fresh`](Self::allocate_fresh) returns are such that `allocate` could return,
///    and hold what it says.
///
/// The content of a frame from `allocate` may be anything.
pub unsafe trait FrameSource {
    /// Takes a frame out of the source, or returns `None` when there is none left.
    fn allocate(&self) -> Option<Frame>;

    /// Takes a frame back, which may then be allocated again.
    fn release(&self, frame: Frame);

    /// As [`allocate`](Self::allocate), for somebody who will fill the frames with zeros and takes up to
    /// `most` of them, which is not zero: preferably some that were zeroed ahead of need. The default takes
    /// one frame and knows nothing of its content.
    fn allocate_fresh(&self, most: u64) -> Option<Fresh> {
        debug_assert!(most > 0, "nobody asks for no frame");
        self.allocate().map(|frame| Fresh::Used(frame.into()))
    }

    /// Takes all frames of the batch back. The default releases them one by one.
    fn release_all(&self, frames: &mut FrameBatch) {
        while let Some(run) = frames.next_run() {
            run.for_each(|frame| self.release(frame));
        }
    }

    /// The promises that the source makes of its frames, if it does: always, or never.
    ///
    /// Without them there are no reserved accounts; the default is to make none.
    fn promises(&self) -> Option<&dyn Promises> {
        None
    }
}

// SAFETY: all methods are those of `S`, whose implementer gives the guarantees.
unsafe impl<S: FrameSource + ?Sized> FrameSource for &S {
    fn allocate(&self) -> Option<Frame> {
        (**self).allocate()
    }

    fn release(&self, frame: Frame) {
        (**self).release(frame);
    }

    #[inline(always)]
    fn allocate_fresh(&self, most: u64) -> Option<Fresh> {
        (**self).allocate_fresh(most)
    }

    fn release_all(&self, frames: &mut FrameBatch) {
        (**self).release_all(frames);
    }

    fn promises(&self) -> Option<&dyn Promises> {
        (**self).promises()
    }
}

// SAFETY: all methods are those of `S`, whose implementer gives the guarantees.
unsafe impl<S: FrameSource + ?Sized> FrameSource for Arc<S> {
    fn allocate(&self) -> Option<Frame> {
        (**self).allocate()
    }

    fn release(&self, frame: Frame) {
        (**self).release(frame);
    }

    #[inline(always)]
    fn allocate_fresh(&self, most: u64) -> Option<Fresh> {
        (**self).allocate_fresh(most)
    }

    fn release_all(&self, frames: &mut FrameBatch) {
        (**self).release_all(frames);
    }

    fn promises(&self) -> Option<&dyn Promises> {
        (**self).promises()
    }
}
