//! What stands for the host heap in a build without the feature `heap`: its imports are unknown, and there is
//! nothing to choose and nothing to keep.

use alloc::sync::Arc;
use wasmi::{AsContextMut, Func, FuncType};

use crate::{
    memory::{IndexType, MemoryRecord},
    store::StoreState,
};

/// No function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Import {}

impl Import {
    /// None is provided.
    pub(crate) fn named(_module: &str, _name: &str) -> Option<Self> {
        None
    }

    pub(crate) fn ty(self, _index: IndexType) -> FuncType {
        match self {}
    }

    pub(crate) fn make<T: 'static>(
        self,
        _ctx: impl AsContextMut<Data = StoreState<T>>,
        _record: &Arc<MemoryRecord>,
    ) -> Func {
        match self {}
    }
}

/// No heap.
#[derive(Debug)]
pub(crate) struct HeapCell;

impl HeapCell {
    pub(crate) fn new(_options: HeapOptions, _most_entries: usize) -> Self {
        Self
    }
}

/// No options.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeapOptions;
