//! What the engine keeps for each store, and the gate between host and guest.
//!
//! Every call from the host into a guest passes [`cross`], which bounds how deeply such calls nest.
//! Every host function starts with [`StoreState::refuse_lost`]. wasmi has a hook for both, but it
//! runs twice for each call of a host function, and costs it half as much again.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU8, Ordering};
use wasmi::{Error, StoreContextMut};

use super::{
    InstanceRecord, LentPageTouched, Lost, MemoryRecord, OutOfFrames, OutOfHeap, ReentryTooDeep,
    heap::{self, HeapAccount},
    limiter::Limiter,
    memory::settle,
    owner::StoreId,
};
use crate::{
    backing::{Arena, Guest, Health, LOST, LinearRegion, Presence, Standing, WANTED},
    config::{Commit, Limits},
    engine::{Engine, EntryError, Pass},
};

/// The embedder's data, and what the engine keeps for a store. No public function returns a
/// reference to it, so that the embedder cannot exchange it for that of another store.
#[derive(Debug)]
pub(crate) struct StoreState<T> {
    pub(crate) data: T,
    /// The owner of all items in the store.
    pub(crate) id: StoreId,
    pub(crate) engine: Engine,
    /// What the gate must do: [`LOST`], [`WANTED`] and [`BUDGETED`]. The arena sets the first two,
    /// and the end of a stay that took too much heap sets the first. Every call of a host function
    /// reads them, so they are in easy reach.
    flags: Arc<AtomicU8>,
    pub(crate) arena: Box<dyn Arena>,
    /// Whether several CPUs use the backing.
    has_many_cpus: bool,
    pub(crate) memories: Vec<Arc<MemoryRecord>>,
    /// What the instances consist of, if the engine has snapshots.
    pub(super) instances: Vec<Arc<InstanceRecord>>,
    /// The limits, unless they are the engine's.
    own_limits: Option<Box<Limits>>,
    /// The limit on address space, which is a share of the backing by default.
    pub(crate) address_bytes: u64,
    pub(crate) limiter: Limiter,
    /// The account with the engine's heap budget, if it has one.
    heap: Option<Box<HeapAccount>>,
    /// The number of calls from the host into the guest that have not returned.
    depth: u32,
    /// Whether memories may have lent pages, which must come back before the guest is called.
    pub(crate) has_loan: bool,
    /// Whether memories may lend pages when the guest has stopped.
    pub(crate) must_settle: bool,
    /// Whether the store has entered its engine.
    is_inside: bool,
    /// Whether the guest has called `palimpsest.snapshot_ready`.
    pub(crate) is_snapshot_ready: bool,
    /// Whether a task has suspended a call.
    pub(crate) is_suspended: bool,
    /// Whether the first of these calls is a task's.
    pub(crate) in_task: bool,
    /// What the host function that is called again passed to its pause, until it takes the number.
    pub(crate) progress: u64,
    /// Units of fuel for work in a task that exceeded the fuel that was left. The next slices pay
    /// them.
    pub(crate) owed: u64,
}

impl<T> StoreState<T> {
    pub(super) fn new(data: T, engine: &Engine, own_limits: Option<Box<Limits>>, commit: Commit) -> Self {
        let limits = own_limits.as_deref().unwrap_or(engine.limits());
        let shares = engine.backing().shares();
        let address_bytes = limits.address_bytes.unwrap_or(shares.address_bytes);
        let cap_frames = limits.resident_frames.unwrap_or(shares.resident_frames);
        let heap = engine.config().heap.map(|ledger| Box::new(HeapAccount::new(ledger, limits.heap_bytes)));
        let flags = Arc::new(AtomicU8::new(if heap.is_some() { BUDGETED } else { 0 }));
        let arena = engine.backing().open(cap_frames, commit, &flags);
        let limiter = Limiter::new(limits);
        Self {
            data,
            id: StoreId::next(),
            engine: engine.clone(),
            flags,
            has_many_cpus: arena.has_many_cpus(),
            arena,
            memories: Vec::new(),
            instances: Vec::new(),
            own_limits,
            address_bytes,
            limiter,
            heap,
            depth: 0,
            has_loan: false,
            must_settle: false,
            is_inside: false,
            is_snapshot_ready: false,
            is_suspended: false,
            in_task: false,
            progress: 0,
            owed: 0,
        }
    }

    /// Returns the limits, in which shares of the backing may be `None`.
    #[inline]
    pub(crate) fn limits(&self) -> &Limits {
        self.own_limits.as_deref().unwrap_or_else(|| self.engine.limits())
    }

    /// Fails if the store is lost. After the first write into the sink, or the first allocation
    /// above the limit, no effect may leave the guest.
    ///
    /// # Errors
    ///
    /// [`OutOfFrames`], [`OutOfHeap`] or [`LentPageTouched`].
    #[inline]
    pub(crate) fn refuse_lost(&self) -> Result<(), Error> {
        if self.is_flagged() { self.read_flags() } else { Ok(()) }
    }

    /// Returns whether the store is lost or has another flag that
    /// [`refuse_lost`](Self::refuse_lost) acts on.
    #[inline]
    pub(super) fn is_flagged(&self) -> bool {
        match self.flags.load(Ordering::Acquire) {
            0 => false,
            BUDGETED => self.heap.as_ref().is_some_and(|heap| heap.is_marked()),
            _ => true,
        }
    }

    /// Returns `params` unless the store is lost.
    ///
    /// # Errors
    ///
    /// Those of [`refuse_lost`](Self::refuse_lost).
    #[cold]
    #[inline(never)]
    pub(super) fn admit_flagged<P>(&self, params: P) -> Result<P, Error> {
        self.refuse_lost().map(|()| params)
    }

    /// Fails if a call of this CPU uses the engine that is not one of this store.
    ///
    /// # Errors
    ///
    /// [`EntryError::InUse`].
    pub(super) fn refuse_in_use(&self) -> Result<(), EntryError> {
        if !self.is_inside && self.engine.is_in_use() {
            return Err(EntryError::InUse);
        }
        Ok(())
    }

    /// Enters the engine, unless the store is there already, and starts a stay of the heap's
    /// account.
    ///
    /// # Errors
    ///
    /// [`EntryError`], or [`OutOfHeap`] if the reserve of the heap is in use.
    #[inline]
    fn enter<E: From<EntryError> + From<OutOfHeap>>(&mut self) -> Result<Entry, E> {
        self.engine.check_stack_for_call()?;
        let mut pass = None;
        if !self.is_inside {
            pass = Some(self.engine.enter()?);
            self.attend(Presence::Enter);
        }
        match self.heap.as_mut().map_or(Ok(false), |heap| heap.enter()) {
            Ok(is_stay) => {
                self.is_inside = true;
                Ok(Entry { pass, is_stay })
            }
            Err(error) => {
                if let Some(pass) = pass {
                    self.attend(Presence::Leave);
                    self.engine.leave(&pass);
                }
                Err(error.into())
            }
        }
    }

    /// Returns whether the embedder may not have the bytes of the memories, because the store is
    /// lost: what the guest wrote last was not kept.
    ///
    /// A host function of a call that still runs has them. It may have checked a range already, and
    /// no other CPU uses them.
    #[inline]
    pub(super) fn hides_bytes(&self) -> bool {
        !self.is_inside && self.flags.load(Ordering::Acquire) & LOST != 0
    }

    /// Prepares the calling CPU for reading the memories.
    #[inline]
    pub(crate) fn look(&self) {
        if !self.is_inside {
            self.attend(Presence::Look);
        }
    }

    /// Prepares the calling CPU for reading and writing the memories. No other CPU uses them.
    #[inline]
    pub(crate) fn touch(&self) {
        if !self.is_inside {
            self.attend(Presence::Enter);
        }
    }

    /// Ends what [`touch`](Self::touch) began. No borrow of the memories is left, so another CPU
    /// may take back frames that they hold ahead of need.
    #[inline]
    pub(crate) fn end_touch(&self) {
        if !self.is_inside {
            self.attend(Presence::Leave);
        }
    }

    /// Informs the arena of what the calling CPU does with the memories, if there are other CPUs.
    #[inline]
    fn attend(&self, presence: Presence) {
        if self.has_many_cpus {
            self.arena.attend(presence);
        }
    }

    /// Ends what [`enter`](Self::enter) began. Meanwhile `passed_on` bytes were allocated for the
    /// caller.
    #[inline]
    fn leave(&mut self, entry: &Entry, passed_on: usize) {
        if let Some(heap) = &mut self.heap
            && entry.is_stay
        {
            heap.leave(passed_on);
            if heap.lost().is_some() {
                self.flags.fetch_or(LOST, Ordering::Release);
            }
        }
        if let Some(pass) = &entry.pass {
            self.is_inside = false;
            self.attend(Presence::Leave);
            self.engine.leave(pass);
        }
    }

    /// Returns how the store has exceeded its heap, if it has.
    fn heap_lost(&self) -> Option<OutOfHeap> {
        self.heap.as_ref()?.lost()
    }

    /// Returns the bytes of the kernel heap that the store takes, or 0 without a heap budget.
    pub(super) fn heap_bytes(&self) -> usize {
        self.heap.as_ref().map_or(0, |heap| heap.bytes())
    }

    /// Returns why the store is lost, if it is.
    pub(super) fn lost(&self) -> Option<Lost> {
        let Standing { health, held_frames, .. } = self.arena.standing();
        match health {
            Health::Sound => self.heap_lost().map(Lost::OutOfHeap),
            Health::Lost(cause) => Some(Lost::OutOfFrames(OutOfFrames { held_frames, cause })),
            Health::Touched { offset } => Some(Lost::LentPageTouched(LentPageTouched { offset })),
        }
    }

    /// Returns whether a call of the guest has not returned.
    pub(crate) fn guest(&self) -> Guest {
        if self.depth > 0 { Guest::Running } else { Guest::Stopped }
    }

    /// Takes back all pages that are lent, except guarded ones that are in use.
    ///
    /// # Errors
    ///
    /// [`EntryError::Lent`] if others are in use.
    #[inline]
    pub(crate) fn recall(&mut self) -> Result<(), EntryError> {
        if self.has_loan { self.recall_all() } else { Ok(()) }
    }

    /// Takes back all pages that are lent, guarded ones as well.
    ///
    /// # Errors
    ///
    /// [`EntryError::Lent`] if some are in use.
    #[cfg(feature = "snapshots")]
    pub(super) fn recall_guarded(&mut self) -> Result<(), EntryError> {
        self.recall()?;
        let lent = |record: &Arc<MemoryRecord>| record.region().with(|region| region.recall()).err();
        let bytes = self.memories.iter().filter_map(lent).map(|lent| lent.len).sum();
        if bytes > 0 { Err(EntryError::Lent { bytes }) } else { Ok(()) }
    }

    #[cold]
    #[inline(never)]
    fn recall_all(&mut self) -> Result<(), EntryError> {
        let mut bytes = 0;
        self.has_loan = false;
        for record in &self.memories {
            record.region().with(|region| {
                match region.recall() {
                    Err(lent) if !region.is_guarded() => bytes += lent.len,
                    _ => {}
                }
                self.has_loan |= region.has_loan();
            });
        }
        if bytes > 0 { Err(EntryError::Lent { bytes }) } else { Ok(()) }
    }

    /// Passes each region to `change`, which closes or opens its guarded pages.
    #[cold]
    #[inline(never)]
    fn change_guarded(&self, change: impl Fn(&mut dyn LinearRegion)) {
        self.memories.iter().for_each(|record| record.region().with(&change));
    }

    /// Returns whether a pause suspends the call that runs: it is a task's, and not nested.
    pub(crate) fn can_pause(&self) -> bool {
        self.in_task && self.depth == 1
    }

    /// Yields frames if they are wanted, and fails if the store is lost.
    #[cold]
    #[inline(never)]
    fn read_flags(&self) -> Result<(), Error> {
        if self.flags.fetch_and(!WANTED, Ordering::AcqRel) & WANTED != 0 {
            self.attend(Presence::Yield);
        }
        let Some(lost) = self.lost() else { return Ok(()) };
        Err(match lost {
            Lost::OutOfFrames(error) => Error::host(error),
            Lost::OutOfHeap(error) => Error::host(error),
            Lost::LentPageTouched(error) => Error::host(error),
        })
    }
}

/// The flag of a store that has an account with the engine's heap budget.
const BUDGETED: u8 = 1 << 2;

/// What a call has begun, and ends when it returns.
#[derive(Debug)]
#[must_use]
struct Entry {
    /// The use of the engine, if this entry has begun it.
    pass: Option<Pass>,
    /// It has started a stay of the heap's account.
    is_stay: bool,
}

/// A call that has entered the store. Dropping it leaves the store, also while a panic unwinds: the
/// use of another store's item panics.
struct Inside<'a, 'b, T: 'static> {
    ctx: &'a mut StoreContextMut<'b, StoreState<T>>,
    entry: Entry,
    /// The number of calls around this one.
    depth: u32,
    /// Bytes that were allocated for the caller.
    passed_on: usize,
}

impl<T: 'static> Drop for Inside<'_, '_, T> {
    #[inline]
    fn drop(&mut self) {
        let state = self.ctx.data_mut();
        state.depth = self.depth;
        if state.has_loan && state.depth == 0 {
            state.change_guarded(|region| region.open());
        }
        state.leave(&self.entry, self.passed_on);
    }
}

/// Runs `call`, which calls into the guest or resumes it.
///
/// # Errors
///
/// [`OutOfFrames`], [`OutOfHeap`] or [`LentPageTouched`] if the store is lost before the call or
/// after it, even if the call succeeded; [`OutOfHeap`] if the reserve of the heap is in use;
/// [`EntryError`] if the engine was not entered; [`ReentryTooDeep`] if too many calls have not
/// returned; and what `call` fails with.
pub(crate) fn cross<T: 'static, R>(
    ctx: &mut StoreContextMut<'_, StoreState<T>>,
    call: impl FnOnce(&mut StoreContextMut<'_, StoreState<T>>) -> Result<R, Error>,
) -> Result<R, Error> {
    let state = ctx.data_mut();
    state.refuse_lost()?;
    let depth = state.depth;
    let limit = state.limits().reentry_depth;
    if depth >= limit {
        return Err(Error::host(ReentryTooDeep { limit }));
    }
    state.recall()?;
    let entry = state.enter::<Error>()?;
    if state.has_loan && depth == 0 {
        state.change_guarded(|region| region.close());
    }
    state.depth = depth + 1;
    let mut inside = Inside { ctx, entry, depth, passed_on: 0 };
    let returned = call(inside.ctx);
    inside.passed_on = returned.as_ref().err().map_or(0, heap::bytes_of);
    drop(inside);
    // A task that is suspended keeps its pages until it is over.
    if ctx.data().must_settle && depth == 0 && !ctx.data().in_task {
        settle(ctx);
    }
    ctx.data().refuse_lost()?;
    returned
}

/// Runs `work`, which allocates for the store without calling the guest.
///
/// # Errors
///
/// [`EntryError`] if the engine was not entered; [`OutOfHeap`] if the reserve of the heap is in
/// use, or if the store has taken too much of the heap afterwards, even if `work` succeeded; and
/// what `work` fails with.
pub(crate) fn serve<T: 'static, R, E: From<EntryError> + From<OutOfHeap>>(
    ctx: &mut StoreContextMut<'_, StoreState<T>>,
    work: impl FnOnce(&mut StoreContextMut<'_, StoreState<T>>) -> Result<R, E>,
) -> Result<R, E> {
    let state = ctx.data_mut();
    let entry = state.enter::<E>()?;
    let depth = state.depth;
    let inside = Inside { ctx, entry, depth, passed_on: 0 };
    let done = work(inside.ctx);
    drop(inside);
    ctx.data().heap_lost().map_or(done, |lost| Err(lost.into()))
}
