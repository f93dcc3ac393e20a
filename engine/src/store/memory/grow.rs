//! `memory.grow`: moves the region's limit and wasmi's length in constant time, without a frame.
//!
//! wasmi fills the new range with zeros, although it reads as zero already. The region absorbs
//! those writes. Where that takes time for each byte, a growth is bounded, and paid for.

use alloc::sync::Arc;
use wasmi::AsContextMut;

use super::MemoryRecord;
use crate::{
    backing::{FillTime, LimitRefused, MOST_FILLED_BYTES},
    store::{GrowError, StoreState, charge, limiter::Growth},
    units::Span,
};

/// The bytes that cost one unit of fuel where growing takes time for each byte: as many as in
/// wasmi's `memory.fill`.
const BYTES_PER_FUEL: u64 = 64;

/// Growth by so many bytes, one Wasm page, takes no longer than a few calls.
const UNPAID_BYTES: u64 = 64 << 10;

/// Grows the memory, which has `size_bytes` bytes, by `delta` Wasm pages, and returns the old size
/// in Wasm pages.
///
/// # Errors
///
/// See [`GrowError`]. The memory has not changed then.
pub(crate) fn grow<T: 'static>(
    mut ctx: impl AsContextMut<Data = StoreState<T>>,
    record: &Arc<MemoryRecord>,
    size_bytes: u64,
    delta: u64,
) -> Result<u64, GrowError> {
    let mut ctx = ctx.as_context_mut();
    let memory = record.wasmi();
    let page_size = record.ty().page_size();
    let size = page_size.pages_in(size_bytes);
    let maximum = record.maximum_wasm_pages();
    let Some(grown) = size.checked_add(delta).filter(|&grown| grown <= maximum) else {
        return Err(GrowError::AboveMaximum { size, delta, maximum });
    };
    if delta == 0 {
        return Ok(size);
    }
    let grown_bytes = page_size.bytes_of(grown).expect("the maximum is within what was reserved");
    let span = Span::growth(size_bytes, grown_bytes);
    let refused = || GrowError::Refused { size, delta };
    ctx.data().touch();
    let grown = record.region().with(|region| {
        let more = span.end() - span.start();
        if more > UNPAID_BYTES && region.fill_time() == FillTime::ByteByByte {
            if more > MOST_FILLED_BYTES {
                return Err(refused());
            }
            charge(&mut ctx, more / BYTES_PER_FUEL);
        }
        let mut has_grown = false;
        ctx.data_mut().limiter.growth = Growth::Open;
        let moved = region.grow(span, &mut || has_grown = memory.grow(&mut ctx, delta).is_ok());
        ctx.data_mut().limiter.growth = Growth::Closed;
        moved.map_err(|error| match error {
            LimitRefused::NoRoom => refused(),
            LimitRefused::OutOfFrames(cause) => GrowError::OutOfFrames { size, delta, cause: *cause },
        })?;
        if has_grown {
            return Ok(size);
        }
        region.set_limit(span.start()).expect("no page above the old limit was touched");
        Err(refused())
    });
    ctx.data().end_touch();
    grown
}

#[cfg(test)]
mod tests {
    use crate::{
        backing::Fixed,
        config::Config,
        engine::Engine,
        module::MemoryType,
        store::{AsContextMut as _, Memory, Store},
    };
    use core::mem::MaybeUninit;
    use std::{boxed::Box, vec};

    #[test]
    fn a_memory_cannot_grow_without_the_engine() {
        let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
        let engine = Engine::new(Config::default(), Fixed::new(bytes)).expect("a test build is flat");
        let mut store = Store::new(&engine, ());
        let memory = Memory::new(&mut store, MemoryType::new(1, Some(4))).expect("there is room");
        let ctx = store.as_context_mut().into_wasmi();
        let grown = memory.wasmi(ctx.data()).grow(ctx, 1);
        assert!(grown.is_err());
        assert_eq!(memory.size(&store), 1);
        assert_eq!(memory.grow(&mut store, 1), Ok(1));
    }
}
