//! Defines the heap functions in a linker: their names and types, which are those of the memory's
//! index type.

use core::any::type_name;
use palimpsest_engine::{Caller, DuplicateDefinition, Linker};

use crate::{call::serve, heap::Heap};

/// The module that the functions are imported from.
const MODULE: &str = "palimpsest";

/// Defines the functions for guests whose memory has addresses of type `$Index`.
macro_rules! define {
    ($linker:ident, $heap:ident, $Index:ty) => {{
        let heap = $heap.clone();
        $linker.func_wrap(MODULE, "malloc", move |caller: Caller<'_, T>, size: $Index| {
            serve(caller, &heap, &[size.into()], |call| Ok(call.malloc(size.into()))).map(narrow::<$Index>)
        })?;
        let heap = $heap.clone();
        $linker.func_wrap(MODULE, "calloc", move |caller: Caller<'_, T>, count: $Index, size: $Index| {
            serve(caller, &heap, &[count.into(), size.into()], |call| {
                Ok(call.calloc(count.into(), size.into()))
            })
            .map(narrow::<$Index>)
        })?;
        let heap = $heap.clone();
        $linker.func_wrap(
            MODULE,
            "realloc",
            move |caller: Caller<'_, T>, pointer: $Index, size: $Index| {
                serve(caller, &heap, &[pointer.into(), size.into()], |call| {
                    call.realloc(pointer.into(), size.into())
                })
                .map(narrow::<$Index>)
            },
        )?;
        let heap = $heap.clone();
        $linker.func_wrap(
            MODULE,
            "aligned_alloc",
            move |caller: Caller<'_, T>, alignment: $Index, size: $Index| {
                serve(caller, &heap, &[alignment.into(), size.into()], |call| {
                    Ok(call.aligned_alloc(alignment.into(), size.into()))
                })
                .map(narrow::<$Index>)
            },
        )?;
        let heap = $heap.clone();
        $linker.func_wrap(MODULE, "free", move |caller: Caller<'_, T>, pointer: $Index| {
            serve(caller, &heap, &[pointer.into()], |call| call.free(pointer.into())).map(drop)
        })?;
        let heap = $heap;
        $linker.func_wrap(MODULE, "usable_size", move |caller: Caller<'_, T>, pointer: $Index| {
            serve(caller, &heap, &[pointer.into()], |call| call.usable_size(pointer.into()))
                .map(narrow::<$Index>)
        })?;
        Ok(())
    }};
}

/// Defines the heap functions for guests with a 32-bit memory, and nothing else. `heap` returns the
/// heap in the store's data.
///
/// # Errors
///
/// [`DuplicateDefinition`] if one of the functions is defined already.
pub fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    heap: impl Fn(&mut T) -> &mut Heap + Clone + Send + Sync + 'static,
) -> Result<(), DuplicateDefinition> {
    define!(linker, heap, u32)
}

/// Defines the heap functions for guests with a 64-bit memory, like [`add_to_linker`]. The names
/// are the same, so a linker serves guests of one index type.
///
/// # Errors
///
/// [`DuplicateDefinition`] if one of the functions is defined already.
pub fn add_to_linker64<T: 'static>(
    linker: &mut Linker<T>,
    heap: impl Fn(&mut T) -> &mut Heap + Clone + Send + Sync + 'static,
) -> Result<(), DuplicateDefinition> {
    define!(linker, heap, u64)
}

/// Returns an address or a size in the memory's index type.
fn narrow<I: TryFrom<u64>>(number: u64) -> I {
    let narrow = I::try_from(number).ok();
    narrow.unwrap_or_else(|| unreachable!("{number:#x} is inside a memory indexed by {}", type_name::<I>()))
}
