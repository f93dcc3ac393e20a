//! The store: wasmi's, with what the engine keeps for each one.
//!
//! [`StoreState`] stands where wasmi has the embedder's data, and derefs to it. The call hook and the limiter
//! that are installed here are the places where limits take effect and where a lost store is stopped: every
//! way into a guest and every way out of it to the host goes through the hook.

mod caller;
mod error;
mod fuel;
mod instance;
mod limiter;
mod memory;

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::ops::{Deref, DerefMut};
use wasmi::{AsContext, AsContextMut, CallHook, StoreContext, StoreContextMut};

use self::limiter::{Growth, Limiter};
pub use self::{
    caller::Caller,
    error::{GrowError, MemoryAccessError, MemoryError, OutOfFrames, ReentryTooDeep},
    instance::{Extern, Instance},
    memory::Memory,
};
pub(crate) use self::{
    caller::ImporterMemory,
    fuel::charge,
    memory::{MemoryRecord, Reserved, clear, grow},
};
use crate::{
    backing::{Arena, Cleared, Health, Standing},
    config::{Commit, Limits},
    engine::Engine,
};

/// Everything that one program owns: instances, memories, tables, and the embedder's data `T`.
///
/// A store is entered by one CPU at a time (`&mut`). Its memories' frames and addresses go back when it is
/// dropped. Give every program a store of its own: instances are freed with their store alone.
#[derive(Debug)]
pub struct Store<T: 'static> {
    inner: wasmi::Store<StoreState<T>>,
}

impl<T: 'static> Store<T> {
    /// An empty store with the engine's limits, whose frames are taken as they are touched.
    pub fn new(engine: &Engine, data: T) -> Self {
        Self::with_options(engine, data, StoreOptions::default())
    }

    /// An empty store with limits and a commit policy of its own.
    ///
    /// The limits that concern modules are those of the engine: a module is loaded before there is a store.
    pub fn with_options(engine: &Engine, data: T, options: StoreOptions) -> Self {
        let limits = options.limits.unwrap_or(*engine.limits());
        let state = StoreState {
            data,
            engine: engine.clone(),
            arena: engine.backing().open(limits.resident_frames, options.commit),
            memories: Vec::new(),
            limiter: Limiter { limits, growth: Growth::Closed },
            depth: 0,
        };
        let mut inner = wasmi::Store::new(engine.wasmi(), state);
        inner.limiter(|state| &mut state.limiter);
        inner.call_hook(|state, hook| state.on_call(&hook));
        if let Some(units) = limits.fuel {
            // An engine without fuel answers with an error, and the limit has no meaning there.
            let _ = inner.set_fuel(units);
        }
        Self { inner }
    }

    /// The engine that the store belongs to.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.inner.data().engine
    }

    /// What the store may use up.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.data().limiter.limits
    }

    /// The embedder's data.
    #[must_use]
    pub fn data(&self) -> &T {
        self.inner.data()
    }

    /// The embedder's data, exclusively.
    pub fn data_mut(&mut self) -> &mut T {
        self.inner.data_mut()
    }

    /// How many units of fuel are left.
    ///
    /// # Errors
    ///
    /// If the engine is not metered.
    pub fn get_fuel(&self) -> Result<u64, wasmi::Error> {
        self.inner.get_fuel()
    }

    /// Sets how many units of fuel are left. A guest that has used them up ends in `TrapCode::OutOfFuel`.
    ///
    /// # Errors
    ///
    /// If the engine is not metered.
    pub fn set_fuel(&mut self, units: u64) -> Result<(), wasmi::Error> {
        self.inner.set_fuel(units)
    }

    /// The memories that were made in the store, in the order of their creation.
    pub fn memories(&self) -> impl Iterator<Item = Memory> {
        self.inner.data().memories.iter().map(|record| record.memory())
    }

    /// Releases up to `budget_frames` of the frames that [`Strategy::Deferred`](crate::Strategy::Deferred) left
    /// behind: something for an idle loop.
    pub fn reclaim(&mut self, budget_frames: u64) -> Cleared {
        let mut sum = Cleared::default();
        for record in &self.inner.data().memories {
            let left = budget_frames - sum.frames_released;
            let reclaimed = record.region().with(|region| region.reclaim(left));
            sum.frames_released += reclaimed.frames_released;
            sum.tables_released += reclaimed.tables_released;
        }
        sum
    }

    /// What the store holds, all of its memories together.
    #[must_use]
    pub fn report(&self) -> StoreReport {
        let state = self.inner.data();
        let Standing { health, held_frames, peak_frames, charged_frames } = state.arena.standing();
        let lost = match health {
            Health::Sound => None,
            Health::Lost => Some(OutOfFrames { held_frames }),
        };
        let mut report =
            StoreReport { held_frames, peak_frames, charged_frames, lost, ..StoreReport::default() };
        for record in &state.memories {
            let held = record.residency();
            report.reserved_bytes += record.capacity();
            report.committed_bytes += record.memory().size_bytes(&self.inner);
            report.resident_frames += held.resident_frames;
            report.table_frames += held.table_frames;
            report.deferred_frames += held.deferred_frames;
            report.faults += held.faults;
            report.frames_released += held.frames_released;
        }
        report
    }
}

impl<T: 'static> AsContext for Store<T> {
    type Data = StoreState<T>;

    fn as_context(&self) -> StoreContext<'_, StoreState<T>> {
        self.inner.as_context()
    }
}

impl<T: 'static> AsContextMut for Store<T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, StoreState<T>> {
        self.inner.as_context_mut()
    }
}

/// What a store may use up, and when its frames are charged.
///
/// # Examples
///
/// ```
/// use palimpsest_engine::{Commit, StoreOptions};
///
/// let options = StoreOptions { commit: Commit::Reserved, ..StoreOptions::default() };
/// assert!(options.limits.is_none());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreOptions {
    /// The limits, or `None` for those of the engine.
    pub limits: Option<Limits>,
    /// The commit policy.
    pub commit: Commit,
}

/// What a store holds: the figures of all its memories together.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct StoreReport {
    /// Bytes of address space.
    pub reserved_bytes: u64,
    /// Bytes that the guest can use: the sizes of its memories.
    pub committed_bytes: u64,
    /// Frames charged: those held, or under [`Commit::Reserved`] those reserved.
    pub charged_frames: u64,
    /// Frames held, table frames included.
    pub held_frames: u64,
    /// The most frames that were held at a time.
    pub peak_frames: u64,
    /// Data frames that are mapped.
    pub resident_frames: u64,
    /// Table frames that the memories own.
    pub table_frames: u64,
    /// Frames of cleared pages that wait to be reclaimed.
    pub deferred_frames: u64,
    /// Page faults that were resolved.
    pub faults: u64,
    /// Data frames that clears have released.
    pub frames_released: u64,
    /// Why the store refuses calls, if it does.
    pub lost: Option<OutOfFrames>,
}

/// The embedder's data and, out of its sight, what the engine keeps for a store. Derefs to the data.
#[derive(Debug)]
pub struct StoreState<T> {
    data: T,
    pub(crate) engine: Engine,
    pub(crate) arena: Box<dyn Arena>,
    pub(crate) memories: Vec<Arc<MemoryRecord>>,
    pub(crate) limiter: Limiter,
    /// Calls from the host into the guest that have not returned.
    depth: u32,
}

impl<T> StoreState<T> {
    /// Runs twice for each call of a host function: its arms are calls of their own and one stands for two, so
    /// that neither a stack frame nor a jump table is in the way of those that have little to do.
    fn on_call(&mut self, hook: &CallHook) -> Result<(), wasmi::Error> {
        match hook {
            CallHook::ReturningFromHost => Ok(()),
            CallHook::CallingHost => self.refuse_lost(),
            CallHook::CallingWasm | CallHook::ReturningFromWasm => self.cross_from_host(hook),
        }
    }

    /// At both ends of a call from the host into the guest.
    #[inline(never)]
    fn cross_from_host(&mut self, hook: &CallHook) -> Result<(), wasmi::Error> {
        if matches!(hook, CallHook::ReturningFromWasm) {
            self.depth -= 1;
            return self.refuse_lost();
        }
        self.refuse_lost()?;
        self.enter()
    }

    /// Ends what a lost store wants to do: from the first write into the sink on nothing leaves the guest.
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
