//! What the engine keeps for each store, and the gate between host and guest.
//!
//! Every call from the host into a guest passes [`cross`], which bounds how deeply such calls nest.
//! Every host function starts with [`StoreState::refuse_lost`]. wasmi has a hook for both, but it
//! runs twice for each call of a host function, and costs it half as much again.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, Ordering};
use wasmi::{Error, StoreContextMut};

use super::{
    Lost, MemoryRecord, OutOfFrames, OutOfHeap, ReentryTooDeep,
    heap::{self, HeapAccount},
    limiter::Limiter,
    owner::StoreId,
};
use crate::{
    backing::{Arena, Health, Standing},
    config::{Commit, Limits},
    engine::Engine,
};

/// The embedder's data, and what the engine keeps for a store. No public function returns a
/// reference to it, so that the embedder cannot exchange it for that of another store.
#[derive(Debug)]
pub(crate) struct StoreState<T> {
    pub(crate) data: T,
    /// The owner of all items in the store.
    pub(crate) id: StoreId,
    pub(crate) engine: Engine,
    /// Whether the store is lost. The arena sets it, and so does the end of a stay that took too
    /// much heap. Every call of a host function reads it, so it is in easy reach.
    lost: Arc<AtomicBool>,
    pub(crate) arena: Box<dyn Arena>,
    pub(crate) memories: Vec<Arc<MemoryRecord>>,
    pub(crate) limiter: Limiter,
    pub(crate) heap: HeapAccount,
    /// The number of calls from the host into the guest that have not returned.
    depth: u32,
    /// Whether the first of these calls is a task's.
    pub(crate) in_task: bool,
    /// What the host function that is called again passed to its pause, until it takes the number.
    pub(crate) progress: u64,
    /// Units of fuel for work in a task that exceeded the fuel that was left. The next slices pay
    /// them.
    pub(crate) owed: u64,
}

impl<T> StoreState<T> {
    pub(super) fn new(data: T, engine: &Engine, limits: Limits, commit: Commit) -> Self {
        let lost = Arc::default();
        let arena = engine.backing().open(limits.resident_frames, commit, &lost);
        let heap = HeapAccount::new(engine.config().heap, limits.heap_bytes);
        let limiter = Limiter::new(limits);
        Self {
            data,
            id: StoreId::next(),
            engine: engine.clone(),
            lost,
            arena,
            memories: Vec::new(),
            limiter,
            heap,
            depth: 0,
            in_task: false,
            progress: 0,
            owed: 0,
        }
    }

    /// Fails if the store is lost. After the first write into the sink, or the first allocation
    /// above the limit, no effect may leave the guest.
    ///
    /// # Errors
    ///
    /// [`OutOfFrames`] or [`OutOfHeap`].
    #[inline]
    pub(crate) fn refuse_lost(&self) -> Result<(), Error> {
        if self.lost.load(Ordering::Acquire) || self.heap.is_marked() {
            return Err(self.lost_error());
        }
        Ok(())
    }

    /// Ends the stay in the store, in which `passed_on` bytes were allocated for the caller.
    fn leave_heap(&mut self, passed_on: usize) {
        self.heap.leave(passed_on);
        if self.heap.lost().is_some() {
            self.lost.store(true, Ordering::Release);
        }
    }

    /// Returns why the store is lost, if it is.
    pub(super) fn lost(&self) -> Option<Lost> {
        let Standing { health, held_frames, .. } = self.arena.standing();
        match health {
            Health::Sound => self.heap.lost().map(Lost::OutOfHeap),
            Health::Lost => Some(Lost::OutOfFrames(OutOfFrames { held_frames })),
        }
    }

    /// Returns whether a pause suspends the call that runs: it is a task's, and not nested.
    pub(crate) fn can_pause(&self) -> bool {
        self.in_task && self.depth == 1
    }

    #[cold]
    #[inline(never)]
    fn lost_error(&self) -> Error {
        match self.lost().expect("the store is lost") {
            Lost::OutOfFrames(error) => Error::host(error),
            Lost::OutOfHeap(error) => Error::host(error),
        }
    }
}

/// Runs `call`, which calls into the guest or resumes it.
///
/// # Errors
///
/// [`OutOfFrames`] or [`OutOfHeap`] if the store is lost before the call or after it, whatever the
/// call returned; [`OutOfHeap`] if the reserve of the heap is in use; [`ReentryTooDeep`] if too
/// many calls have not returned; and what `call` fails with.
pub(crate) fn cross<T: 'static, R>(
    ctx: &mut StoreContextMut<'_, StoreState<T>>,
    call: impl FnOnce(&mut StoreContextMut<'_, StoreState<T>>) -> Result<R, Error>,
) -> Result<R, Error> {
    let state = ctx.data_mut();
    state.refuse_lost()?;
    let (depth, limit) = (state.depth, state.limiter.limits.reentry_depth);
    if depth >= limit {
        return Err(Error::host(ReentryTooDeep { limit }));
    }
    let is_stay = state.heap.enter().map_err(Error::host)?;
    state.depth = depth + 1;
    let returned = call(ctx);
    let state = ctx.data_mut();
    state.depth = depth;
    if is_stay {
        state.leave_heap(returned.as_ref().err().map_or(0, heap::bytes_of));
    }
    state.refuse_lost()?;
    returned
}

/// Runs `work`, which allocates for the store without calling the guest.
///
/// # Errors
///
/// [`OutOfHeap`] if the reserve of the heap is in use, or if the store has taken too much of the
/// heap afterwards, whatever `work` returned.
pub(crate) fn serve<T: 'static, R>(
    ctx: &mut StoreContextMut<'_, StoreState<T>>,
    work: impl FnOnce(&mut StoreContextMut<'_, StoreState<T>>) -> R,
) -> Result<R, OutOfHeap> {
    let is_stay = ctx.data_mut().heap.enter()?;
    let done = work(ctx);
    let state = ctx.data_mut();
    if is_stay {
        state.leave_heap(0);
    }
    state.heap.lost().map_or(Ok(done), Err)
}
