//! The store: wasmi's, with what the engine keeps for each one.
//!
//! [`StoreState`] is what wasmi holds as the store's data. It contains the embedder's data. A store
//! installs the [`limiter`] in wasmi, which bounds what a guest may create. Calls between host and
//! guest pass the gate in [`state`].
//!
//! The handles of this layer wrap wasmi's and take the engine's own [contexts](context), so that
//! safe code reaches neither the engine's state nor the parts of wasmi that go past its checks.

mod caller;
mod context;
mod error;
mod fuel;
mod func;
mod heap;
mod instance;
mod into_func;
mod items;
mod limiter;
mod memory;
mod migration;
mod owner;
mod pause;
#[cfg(feature = "snapshots")]
mod snapshot;
mod snapshot_data;
mod state;

use alloc::boxed::Box;

#[cfg(feature = "snapshots")]
pub(crate) use self::snapshot::{Recording, Reference, handles, list_functions, table, unpaid};
#[cfg(feature = "snapshots")]
pub use self::snapshot::{Snapshot, SnapshotError, SnapshotReadError, Unrecordable};
pub use self::{
    caller::Caller,
    context::{AsContext, AsContextMut, StoreContext, StoreContextMut},
    error::{
        GrowError, LentPageTouched, Lost, MemoryAccessError, MemoryError, OutOfFrames, OutOfHeap,
        ReentryTooDeep,
    },
    func::{Func, TypedFunc},
    instance::{Extern, Instance},
    into_func::IntoFunc,
    items::{ExternRef, Global, Table},
    memory::Memory,
    migration::Migration,
    pause::Pause,
    snapshot_data::{DataError, SnapshotData, StateBytes},
};
pub(crate) use self::{
    caller::ImporterMemory,
    fuel::charge,
    instance::InstanceRecord,
    memory::{MemoryRecord, Reserved, clear, grow, settle},
    owner::StoreId,
    pause::PauseKind,
    state::{StoreState, cross, serve},
};
use crate::{
    backing::{Cleared, Standing},
    config::{Commit, Limits},
    engine::Engine,
};

/// Everything that one program owns: instances, memories, tables, and the embedder's data `T`.
///
/// A store is entered by one CPU at a time (`&mut`). The frames and addresses of its memories are
/// released when it is dropped. Give every program its own store, because instances are freed only
/// together with their store.
#[derive(Debug)]
pub struct Store<T: 'static> {
    inner: wasmi::Store<StoreState<T>>,
}

impl<T: 'static> Store<T> {
    /// Creates an empty store with the engine's limits and [`Commit::OnTouch`].
    pub fn new(engine: &Engine, data: T) -> Self {
        Self::create(engine, data, None, Commit::default())
    }

    /// Creates an empty store with its own limits and commit policy.
    ///
    /// The limits of modules and of stacks are always the engine's, because modules are loaded
    /// before there is a store, and stacks are reused by all stores of an engine.
    pub fn with_options(engine: &Engine, data: T, options: StoreOptions) -> Self {
        Self::create(engine, data, options.limits.map(Box::new), options.commit)
    }

    fn create(engine: &Engine, data: T, limits: Option<Box<Limits>>, commit: Commit) -> Self {
        let state = StoreState::new(data, engine, limits, commit);
        let fuel = state.limits().fuel;
        let mut inner = wasmi::Store::new(engine.wasmi(), state);
        inner.limiter(|state| &mut state.limiter);
        if let Some(units) = fuel {
            // An engine that is not metered returns an error. The limit has no effect there.
            let _ = inner.set_fuel(units);
        }
        Self { inner }
    }

    /// Returns the engine that the store belongs to.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.inner.data().engine
    }

    /// Returns what the store may use up. The shares of the backing that are the default have been
    /// computed.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let state = self.inner.data();
        Limits {
            address_bytes: Some(state.address_bytes),
            resident_frames: Some(state.arena.standing().cap_frames),
            ..*state.limits()
        }
    }

    /// Returns the embedder's data.
    #[must_use]
    pub fn data(&self) -> &T {
        &self.inner.data().data
    }

    /// Returns the embedder's data, exclusively.
    pub fn data_mut(&mut self) -> &mut T {
        &mut self.inner.data_mut().data
    }

    /// Returns how many units of fuel are left.
    ///
    /// # Errors
    ///
    /// Fails if the engine is not metered.
    pub fn get_fuel(&self) -> Result<u64, wasmi::Error> {
        self.inner.get_fuel()
    }

    /// Sets how many units of fuel are left. A guest that uses them up traps with
    /// [`TrapCode::OutOfFuel`](crate::TrapCode::OutOfFuel).
    ///
    /// # Errors
    ///
    /// Fails if the engine is not metered.
    pub fn set_fuel(&mut self, units: u64) -> Result<(), wasmi::Error> {
        self.inner.set_fuel(units)
    }

    /// Returns the units of fuel that a task's guest owes.
    pub(crate) fn owed_fuel(&self) -> u64 {
        self.inner.data().owed
    }

    /// Returns whether a guest of this store has called `palimpsest.snapshot_ready` since this
    /// method was last called.
    ///
    /// A guest calls that import when it is initialized, at the point from which its forks should
    /// start. A snapshot needs a store in which no call is active, so the import only sets a flag
    /// and returns. It neither pauses a task nor ends the call. An embedder that makes snapshots
    /// calls this method when a call of the guest has returned. The snapshot then contains what the
    /// guest did until that return, so the import should be the last thing that the called function
    /// does. A command of WASI cannot use it, because its only call is the whole program: it must
    /// export a function for its initialization and another one for its work.
    ///
    /// An embedder that needs more than a flag defines the import in its linker.
    ///
    /// # Examples
    ///
    /// ```
    /// # use palimpsest_engine::{Config, Engine, Fixed, Linker, Module, Store};
    /// # use std::{boxed::Box, mem::MaybeUninit};
    /// # let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
    /// # let engine = Engine::new(Config::default(), Fixed::new(bytes))?;
    /// let wasm = wat::parse_str(r#"(module
    ///     (import "palimpsest" "snapshot_ready" (func $ready))
    ///     (func (export "initialize") (call $ready)))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = Linker::new().instantiate(&mut store, &Module::new(&engine, &wasm)?)?;
    /// assert!(!store.take_snapshot_ready());
    /// instance.get_typed_func::<(), ()>(&store, "initialize")?.call(&mut store, ())?;
    /// assert!(store.take_snapshot_ready());
    /// assert!(!store.take_snapshot_ready());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_snapshot_ready(&mut self) -> bool {
        core::mem::take(&mut self.inner.data_mut().is_snapshot_ready)
    }

    /// Returns the memories of the store in the order of their creation.
    pub fn memories(&self) -> impl Iterator<Item = Memory> {
        self.inner.data().memories.iter().map(|record| record.memory())
    }

    /// Returns what a kernel calls when it moves a thread to another CPU in the middle of a call
    /// of this store.
    #[must_use]
    pub fn migration(&self) -> Migration {
        Migration::new(self.inner.data().arena.again())
    }

    /// Releases up to `budget_frames` of the frames that
    /// [`Strategy::Deferred`](crate::Strategy::Deferred) has marked. An idle loop may call this.
    pub fn reclaim(&mut self, budget_frames: u64) -> Cleared {
        let mut sum = Cleared::default();
        for record in &self.inner.data().memories {
            let left = budget_frames - sum.frames_released;
            let reclaimed = record.region().with(|region| region.reclaim(left));
            sum.frames_released += reclaimed.frames_released;
            sum.tables_released += reclaimed.tables_released;
            sum.tables_waiting += reclaimed.tables_waiting;
        }
        sum
    }

    /// Returns what the store holds, summed over its memories.
    #[must_use]
    pub fn report(&self) -> StoreReport {
        let state = self.inner.data();
        let Standing { held_frames, peak_frames, charged_frames, .. } = state.arena.standing();
        let mut report = StoreReport {
            held_frames,
            peak_frames,
            charged_frames,
            heap_bytes: state.heap_bytes(),
            lost: state.lost(),
            ..StoreReport::default()
        };
        for record in &state.memories {
            let held = record.residency();
            report.reserved_bytes += record.capacity();
            report.committed_bytes += record.memory().size_bytes(self);
            report.resident_frames += held.resident_frames;
            report.ahead_frames += held.ahead_frames;
            report.table_frames += held.table_frames;
            report.deferred_frames += held.deferred_frames;
            report.lent_frames += held.lent_frames;
            report.faults += held.faults;
            report.frames_released += held.frames_released;
            report.tables_released += held.tables_released;
            report.tables_waited += held.tables_waited;
        }
        report.frames_taken =
            report.held_frames + report.frames_released + report.tables_released + report.tables_waited;
        report
    }
}

impl<T: 'static> AsContext for Store<T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext::from_wasmi(wasmi::AsContext::as_context(&self.inner))
    }
}

impl<T: 'static> AsContextMut for Store<T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut::from_wasmi(wasmi::AsContextMut::as_context_mut(&mut self.inner))
    }
}

/// The limits of a store, and when its frames are charged.
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

/// The resources of a store, summed over its memories.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct StoreReport {
    /// Bytes of reserved address space.
    pub reserved_bytes: u64,
    /// Bytes that the guest can use, which is the sum of the sizes of its memories.
    pub committed_bytes: u64,
    /// Frames charged: those held, or under [`Commit::Reserved`] those reserved.
    pub charged_frames: u64,
    /// Frames held, table frames included.
    pub held_frames: u64,
    /// The most frames that were held at a time.
    pub peak_frames: u64,
    /// Data frames of pages that were written.
    pub resident_frames: u64,
    /// Data frames that were committed ahead of a run of writes and never written.
    pub ahead_frames: u64,
    /// Table frames that the memories own.
    pub table_frames: u64,
    /// Frames of cleared pages that wait to be reclaimed.
    pub deferred_frames: u64,
    /// Frames of cleared pages that others may use until the store is next called, on a
    /// [`Fixed`](crate::Fixed) backing.
    pub lent_frames: u64,
    /// Page faults that were resolved.
    pub faults: u64,
    /// Frames that were taken from the frame source, table frames included: those held, and those
    /// that clears have released.
    pub frames_taken: u64,
    /// Data frames that clears have released.
    pub frames_released: u64,
    /// Table frames that clears have released.
    pub tables_released: u64,
    /// Table frames that clears have emptied and that were released, or will be, when other CPUs
    /// have flushed their TLBs.
    pub tables_waited: u64,
    /// Bytes of the kernel heap that were allocated while the store was served and not freed, or 0
    /// if the engine has no [`HeapBudget`](crate::HeapBudget).
    pub heap_bytes: usize,
    /// Why the store is lost, if it is. A lost store refuses all calls.
    pub lost: Option<Lost>,
}
