//! The functions that a guest may import to use the heap of its memory 0, without the embedder's doing.
//!
//! | import | type, `i` being the memory's index type | |
//! | --- | --- | --- |
//! | `palimpsest.malloc` | `(size: i) -> i` | `malloc(0)` is a block like any other |
//! | `palimpsest.calloc` | `(count: i, size: i) -> i` | the block reads zero; 0 if the product overflows |
//! | `palimpsest.realloc` | `(pointer: i, size: i) -> i` | `realloc(p, 0)` makes `p` as small as a block can be |
//! | `palimpsest.aligned_alloc` | `(alignment: i, size: i) -> i` | any power of two, any size; 0 for other alignments |
//! | `palimpsest.free` | `(pointer: i)` | `free(0)` does nothing |
//! | `palimpsest.usable_size` | `(pointer: i) -> i` | `usable_size(0)` is 0 |
//!
//! They return 0 where there is no room, and do not trap for it. Blocks of 16 bytes and more are aligned to 16,
//! smaller ones to 8, those of more than 3840 bytes to a page. C leaves `realloc(p, 0)` open (C23 7.24.3.7):
//! programs that were written for dlmalloc go on using the pointer, and those that free it are right as well.
//!
//! A guest that writes to what is not its own block harms itself alone: what it brings back in free pages stays
//! until a block there is freed, and a later `calloc` may show it.

use alloc::sync::Arc;
use core::any::type_name;
use wasmi::{AsContextMut, Caller, Func, FuncType, ValType, WasmTy};

use super::call::Call;
use crate::{
    memory::{IndexType, MemoryRecord},
    store::StoreState,
};

/// One of the functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Import {
    /// `palimpsest.malloc`.
    Malloc,
    /// `palimpsest.calloc`.
    Calloc,
    /// `palimpsest.realloc`.
    Realloc,
    /// `palimpsest.aligned_alloc`.
    AlignedAlloc,
    /// `palimpsest.free`.
    Free,
    /// `palimpsest.usable_size`.
    UsableSize,
}

impl Import {
    /// The function that goes by this name.
    pub(crate) fn named(module: &str, name: &str) -> Option<Self> {
        match (module, name) {
            ("palimpsest", "malloc") => Some(Self::Malloc),
            ("palimpsest", "calloc") => Some(Self::Calloc),
            ("palimpsest", "realloc") => Some(Self::Realloc),
            ("palimpsest", "aligned_alloc") => Some(Self::AlignedAlloc),
            ("palimpsest", "free") => Some(Self::Free),
            ("palimpsest", "usable_size") => Some(Self::UsableSize),
            _ => None,
        }
    }

    /// Its type for a memory whose indices are `index`.
    pub(crate) fn ty(self, index: IndexType) -> FuncType {
        let index = match index {
            IndexType::I32 => ValType::I32,
            IndexType::I64 => ValType::I64,
        };
        match self {
            Self::Malloc | Self::UsableSize => FuncType::new([index], [index]),
            Self::Calloc | Self::Realloc | Self::AlignedAlloc => FuncType::new([index, index], [index]),
            Self::Free => FuncType::new([index], []),
        }
    }

    /// The function itself, acting on the heap of the memory of `record`.
    pub(crate) fn make<T: 'static>(
        self,
        ctx: impl AsContextMut<Data = StoreState<T>>,
        record: &Arc<MemoryRecord>,
    ) -> Func {
        let record = Arc::clone(record);
        match record.ty().index() {
            IndexType::I32 => self.indexed_by::<T, u32>(ctx, record),
            IndexType::I64 => self.indexed_by::<T, u64>(ctx, record),
        }
    }

    /// The function over a memory with addresses of type `I`.
    fn indexed_by<T: 'static, I>(
        self,
        ctx: impl AsContextMut<Data = StoreState<T>>,
        record: Arc<MemoryRecord>,
    ) -> Func
    where
        I: WasmTy + Into<u64> + TryFrom<u64>,
    {
        match self {
            Self::Malloc => Func::wrap(ctx, move |caller: Caller<'_, StoreState<T>>, size: I| {
                Call::run(caller, &record, |call| Ok(call.malloc(size.into()))).map(narrow::<I>)
            }),
            Self::Calloc => Func::wrap(ctx, move |caller: Caller<'_, StoreState<T>>, count: I, size: I| {
                let size = size.into();
                Call::run(caller, &record, |call| Ok(call.calloc(count.into(), size))).map(narrow::<I>)
            }),
            Self::Realloc => {
                Func::wrap(ctx, move |caller: Caller<'_, StoreState<T>>, pointer: I, size: I| {
                    let size = size.into();
                    Call::run(caller, &record, |call| call.realloc(pointer.into(), size)).map(narrow::<I>)
                })
            }
            Self::AlignedAlloc => {
                Func::wrap(ctx, move |caller: Caller<'_, StoreState<T>>, alignment: I, size: I| {
                    let size = size.into();
                    let allocate = |call: &mut Call<'_, T>| Ok(call.aligned_alloc(alignment.into(), size));
                    Call::run(caller, &record, allocate).map(narrow::<I>)
                })
            }
            Self::Free => Func::wrap(ctx, move |caller: Caller<'_, StoreState<T>>, pointer: I| {
                Call::run(caller, &record, |call| call.free(pointer.into()))
            }),
            Self::UsableSize => Func::wrap(ctx, move |caller: Caller<'_, StoreState<T>>, pointer: I| {
                Call::run(caller, &record, |call| call.usable_size(pointer.into())).map(narrow::<I>)
            }),
        }
    }
}

/// An address or a size in the memory's own index type.
fn narrow<I: TryFrom<u64>>(number: u64) -> I {
    let narrow = I::try_from(number).ok();
    narrow.unwrap_or_else(|| unreachable!("{number:#x} is inside a memory indexed by {}", type_name::<I>()))
}
