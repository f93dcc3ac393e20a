//! The functions that a guest may import without the embedder defining them.
//!
//! Three clear memory 0. In their types, `i` is the memory's index type:
//!
//! | import | type | bad arguments |
//! | --- | --- | --- |
//! | `palimpsest.clear_pages` | `(start: i, count: i) -> i32`, in Wasm pages | trap |
//! | `palimpsest.discard` | `(addr: i, len: i) -> i32`, in bytes | trap |
//! | `env.__wbindgen_memory_discard` | `(addr: i, len: i)`, in bytes | trap |
//!
//! The `i32` is 0 if every frame was released, and 1 if some were retained or replaced.
//!
//! `palimpsest.snapshot_ready`, of type `()`, sets a flag of the store for the embedder, see
//! [`Store::take_snapshot_ready`](crate::Store::take_snapshot_ready).

use alloc::sync::Arc;
use wasmi::{AsContextMut, Caller, Func, FuncType, Val, ValType};

use crate::{
    module::IndexType,
    store::{MemoryRecord, Pause, StoreState, clear},
    units::{ClearError, Span},
};

/// A function that the engine provides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provided {
    /// `palimpsest.clear_pages`.
    ClearPages,
    /// `palimpsest.discard`.
    Discard,
    /// `env.__wbindgen_memory_discard`.
    DiscardVoid,
    /// `palimpsest.snapshot_ready`.
    SnapshotReady,
}

/// The unit of the two arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Pages of the memory's own page size.
    WasmPages,
    /// Bytes, in multiples of the page size.
    Bytes,
}

impl Provided {
    /// Returns the function with this name.
    pub(super) fn named(module: &str, name: &str) -> Option<Self> {
        match (module, name) {
            ("palimpsest", "clear_pages") => Some(Self::ClearPages),
            ("palimpsest", "discard") => Some(Self::Discard),
            ("env", "__wbindgen_memory_discard") => Some(Self::DiscardVoid),
            ("palimpsest", "snapshot_ready") => Some(Self::SnapshotReady),
            _ => None,
        }
    }

    /// Returns its type for a memory 0 with this index type. Returns `None` if it needs a memory
    /// and there is none.
    pub(super) fn ty(self, index: Option<IndexType>) -> Option<FuncType> {
        let param = |index| match index {
            IndexType::I32 => ValType::I32,
            IndexType::I64 => ValType::I64,
        };
        let params = index.map(|index| [param(index); 2]);
        match self {
            Self::ClearPages | Self::Discard => Some(FuncType::new(params?, [ValType::I32])),
            Self::DiscardVoid => Some(FuncType::new(params?, [])),
            Self::SnapshotReady => Some(FuncType::new([], [])),
        }
    }

    /// Allocates the function for a module with these memories. [`ty`](Self::ty) has returned its
    /// type.
    pub(super) fn make<T: 'static>(
        self,
        ctx: impl AsContextMut<Data = StoreState<T>>,
        memories: &[Arc<MemoryRecord>],
    ) -> Func {
        match self {
            Self::ClearPages => clear_with_status(ctx, Arc::clone(&memories[0]), Form::WasmPages),
            Self::Discard => clear_with_status(ctx, Arc::clone(&memories[0]), Form::Bytes),
            Self::DiscardVoid => discard(ctx, Arc::clone(&memories[0])),
            Self::SnapshotReady => snapshot_ready(ctx),
        }
    }
}

/// Allocates a function with a result: `palimpsest.clear_pages` or `palimpsest.discard`.
fn clear_with_status<T: 'static>(
    ctx: impl AsContextMut<Data = StoreState<T>>,
    record: Arc<MemoryRecord>,
    form: Form,
) -> Func {
    match record.ty().index() {
        IndexType::I32 => Func::wrap(ctx, move |caller: Caller<'_, StoreState<T>>, start: u32, len: u32| {
            let arguments = [start, len].map(|number| Val::I32(number.cast_signed()));
            cleared(caller, &record, form, [start.into(), len.into()], &arguments).map(i32::from)
        }),
        IndexType::I64 => Func::wrap(ctx, move |caller: Caller<'_, StoreState<T>>, start: u64, len: u64| {
            let arguments = [start, len].map(|number| Val::I64(number.cast_signed()));
            cleared(caller, &record, form, [start, len], &arguments).map(i32::from)
        }),
    }
}

/// Allocates the function without a result, for the import `env.__wbindgen_memory_discard` and for
/// the instruction `memory.discard`.
pub(super) fn discard<T: 'static>(
    ctx: impl AsContextMut<Data = StoreState<T>>,
    record: Arc<MemoryRecord>,
) -> Func {
    match record.ty().index() {
        IndexType::I32 => Func::wrap(ctx, move |caller: Caller<'_, StoreState<T>>, addr: u32, len: u32| {
            let arguments = [addr, len].map(|number| Val::I32(number.cast_signed()));
            cleared(caller, &record, Form::Bytes, [addr.into(), len.into()], &arguments).map(drop)
        }),
        IndexType::I64 => Func::wrap(ctx, move |caller: Caller<'_, StoreState<T>>, addr: u64, len: u64| {
            let arguments = [addr, len].map(|number| Val::I64(number.cast_signed()));
            cleared(caller, &record, Form::Bytes, [addr, len], &arguments).map(drop)
        }),
    }
}

/// Allocates the function that marks the store as ready for a snapshot.
fn snapshot_ready<T: 'static>(ctx: impl AsContextMut<Data = StoreState<T>>) -> Func {
    Func::wrap(ctx, |mut caller: Caller<'_, StoreState<T>>| {
        caller.data().refuse_lost()?;
        caller.data_mut().is_snapshot_ready = true;
        Ok::<(), wasmi::Error>(())
    })
}

/// Clears the range, or traps with a [`ClearError`], or ends a guest whose store is lost. Returns
/// whether frames were retained or replaced.
///
/// In a task one call clears a piece of the range. The guest is suspended until the last piece is
/// cleared, so it sees the range as it was before or as it is afterwards. `arguments` are those of
/// the call, which the task repeats.
///
/// # Errors
///
/// [`ClearError`]; [`Pause`] if another call continues; [`OutOfFrames`](crate::OutOfFrames) or
/// [`OutOfHeap`](crate::OutOfHeap).
fn cleared<T: 'static>(
    mut caller: Caller<'_, StoreState<T>>,
    record: &Arc<MemoryRecord>,
    form: Form,
    [start, count]: [u64; 2],
    arguments: &[Val],
) -> Result<bool, wasmi::Error> {
    caller.data().refuse_lost()?;
    let size = record.wasmi().data_size(&caller) as u64;
    let page_size = record.ty().page_size();
    let span: Result<Span, ClearError> = match form {
        Form::WasmPages => Span::of_wasm_pages(start, count, page_size, size),
        Form::Bytes => Span::of_bytes(start, count, page_size, size),
    };
    let span = span.map_err(wasmi::Error::host)?;
    let strategy = record.strategy();
    if !caller.data().can_pause() {
        return Ok(!clear(caller, record, span, strategy).is_released());
    }
    let done = Progress::decode(core::mem::take(&mut caller.data_mut().progress));
    let left = span.from(done.end);
    let piece = record.region().with(|region| region.first_piece(left, strategy));
    let cleared = clear(caller, record, piece, strategy);
    let is_retained = done.is_retained || !cleared.is_released();
    if piece.end() == span.end() {
        return Ok(is_retained);
    }
    let done = Progress { end: piece.end(), is_retained };
    Err(wasmi::Error::host(Pause::again(arguments, done.encode())))
}

/// How far a clear in pieces has come.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// The end of the last piece, which is the end of a page of 4 KiB. 0 before the first.
    end: u64,
    /// Whether frames were retained or replaced.
    is_retained: bool,
}

impl Progress {
    fn decode(number: u64) -> Self {
        Self { end: number & !1, is_retained: number & 1 == 1 }
    }

    fn encode(self) -> u64 {
        self.end | u64::from(self.is_retained)
    }
}
