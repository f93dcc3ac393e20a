//! What the engine keeps for each store, and the gate between host and guest.
//!
//! wasmi calls a hook whenever a call enters or leaves a guest. The hook here is the one place
//! where a lost store is stopped and where the depth of nested calls is bounded.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::ops::{Deref, DerefMut};
use wasmi::CallHook;

use super::{MemoryRecord, OutOfFrames, ReentryTooDeep, limiter::Limiter};
use crate::{
    backing::{Arena, Health, Standing},
    engine::Engine,
};

/// The embedder's data, to which this derefs, and what the engine keeps for a store.
#[derive(Debug)]
pub struct StoreState<T> {
    data: T,
    pub(crate) engine: Engine,
    pub(crate) arena: Box<dyn Arena>,
    pub(crate) memories: Vec<Arc<MemoryRecord>>,
    pub(crate) limiter: Limiter,
    /// The number of calls from the host into the guest that have not returned.
    depth: u32,
}

impl<T> StoreState<T> {
    pub(super) fn new(data: T, engine: Engine, arena: Box<dyn Arena>, limiter: Limiter) -> Self {
        Self { data, engine, arena, memories: Vec::new(), limiter, depth: 0 }
    }

    /// The call hook.
    ///
    /// It runs twice for each call of a host function. Its arms are calls that are not inlined, and
    /// two cases share one arm, so that the cases with little to do need neither a stack frame nor
    /// a jump table.
    pub(super) fn on_call(&mut self, hook: &CallHook) -> Result<(), wasmi::Error> {
        match hook {
            CallHook::ReturningFromHost => Ok(()),
            CallHook::CallingHost => self.refuse_lost(),
            CallHook::CallingWasm | CallHook::ReturningFromWasm => self.cross_from_host(hook),
        }
    }

    /// Handles both ends of a call from the host into the guest.
    #[inline(never)]
    fn cross_from_host(&mut self, hook: &CallHook) -> Result<(), wasmi::Error> {
        if matches!(hook, CallHook::ReturningFromWasm) {
            self.depth -= 1;
            return self.refuse_lost();
        }
        self.refuse_lost()?;
        self.enter()
    }

    /// Fails if the store is lost. After the first write into the sink no effect may leave the
    /// guest.
    #[inline(never)]
    fn refuse_lost(&self) -> Result<(), wasmi::Error> {
        match self.arena.health() {
            Health::Sound => Ok(()),
            Health::Lost => Err(self.out_of_frames()),
        }
    }

    #[cold]
    #[inline(never)]
    fn out_of_frames(&self) -> wasmi::Error {
        let Standing { held_frames, .. } = self.arena.standing();
        wasmi::Error::host(OutOfFrames { held_frames })
    }

    fn enter(&mut self) -> Result<(), wasmi::Error> {
        let limit = self.limiter.limits.reentry_depth;
        if self.depth >= limit {
            return Err(wasmi::Error::host(ReentryTooDeep { limit }));
        }
        self.depth += 1;
        Ok(())
    }
}

impl<T> Deref for StoreState<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T> DerefMut for StoreState<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.data
    }
}
