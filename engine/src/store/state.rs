//! What the engine keeps for each store, and the gate between host and guest.
//!
//! Every call from the host into a guest passes [`cross`], which bounds how deeply such calls nest.
//! Every host function starts with [`StoreState::refuse_lost`]. wasmi has a hook for both, but it
//! runs twice for each call of a host function, and costs it half as much again.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, Ordering};
use wasmi::{Error, StoreContextMut};

use super::{MemoryRecord, OutOfFrames, ReentryTooDeep, limiter::Limiter};
use crate::{
    backing::{Arena, Standing},
    config::{Commit, Limits},
    engine::Engine,
};

/// The embedder's data, and what the engine keeps for a store. No public function returns a
/// reference to it, so that the embedder cannot exchange it for that of another store.
#[derive(Debug)]
pub(crate) struct StoreState<T> {
    pub(crate) data: T,
    pub(crate) engine: Engine,
    /// Whether the store is lost. The arena sets it, and [`Arena::standing`] has the cause. Every
    /// call of a host function reads it, so it is in easy reach.
    lost: Arc<AtomicBool>,
    pub(crate) arena: Box<dyn Arena>,
    pub(crate) memories: Vec<Arc<MemoryRecord>>,
    pub(crate) limiter: Limiter,
    /// The number of calls from the host into the guest that have not returned.
    depth: u32,
}

impl<T> StoreState<T> {
    pub(super) fn new(data: T, engine: &Engine, limits: Limits, commit: Commit) -> Self {
        let lost = Arc::default();
        let arena = engine.backing().open(limits.resident_frames, commit, &lost);
        let limiter = Limiter::new(limits);
        Self { data, engine: engine.clone(), lost, arena, memories: Vec::new(), limiter, depth: 0 }
    }

    /// Fails if the store is lost. After the first write into the sink no effect may leave the
    /// guest.
    ///
    /// # Errors
    ///
    /// [`OutOfFrames`].
    #[inline]
    pub(crate) fn refuse_lost(&self) -> Result<(), Error> {
        if self.lost.load(Ordering::Acquire) { Err(self.out_of_frames()) } else { Ok(()) }
    }

    #[cold]
    #[inline(never)]
    fn out_of_frames(&self) -> Error {
        let Standing { held_frames, .. } = self.arena.standing();
        Error::host(OutOfFrames { held_frames })
    }
}

/// Runs `call`, which calls into the guest or resumes it.
///
/// # Errors
///
/// [`OutOfFrames`] if the store is lost before the call or after it, whatever the call returned;
/// [`ReentryTooDeep`] if too many calls have not returned; and what `call` fails with.
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
    state.depth = depth + 1;
    let returned = call(ctx);
    let state = ctx.data_mut();
    state.depth = depth;
    state.refuse_lost()?;
    returned
}
