//! `memory.grow`: moves the region's limit and wasmi's length. Takes no frame, whatever the size.
//!
//! wasmi zeroes the grown range itself, which is zero already; the region's zero-fill guard absorbs that.

use alloc::sync::Arc;
use wasmi::AsContextMut;

use super::MemoryRecord;
use crate::{
    store::{GrowError, StoreState, limiter::Growth},
    units::Span,
};

/// Grows the memory of `record` by `delta` Wasm pages, and returns the size before, in Wasm pages.
///
/// # Errors
///
/// See [`GrowError`]; the memory is then as it was.
pub(crate) fn grow<T: 'static>(
    mut ctx: impl AsContextMut<Data = StoreState<T>>,
    record: &Arc<MemoryRecord>,
    delta: u64,
) -> Result<u64, GrowError> {
    let mut ctx = ctx.as_context_mut();
    let memory = record.memory().wasmi();
    let size = memory.size(&ctx);
    let maximum = record.maximum_wasm_pages();
    let grown = size.checked_add(delta).filter(|&grown| grown <= maximum).ok_or(GrowError::AboveMaximum {
        size,
        delta,
        maximum,
    })?;
    if delta == 0 {
        return Ok(size);
    }
    let page_size = record.ty().page_size();
    let bytes = |pages| page_size.bytes_of(pages).expect("both sizes are within what was reserved");
    let span = Span::growth(bytes(size), bytes(grown));
    let refused = GrowError::Refused { size, delta };
    record.region().with(|region| {
        region.set_limit(span.end()).map_err(|_| refused)?;
        let mut done = Err(refused);
        ctx.data_mut().limiter.growth = Growth::Open;
        region.zero_fill(span, &mut || done = memory.grow(&mut ctx, delta).map_err(|_| refused));
        ctx.data_mut().limiter.growth = Growth::Closed;
        if done.is_err() {
            // Lowering to where the limit just was cannot fail: nothing above it was touched.
            region.set_limit(span.start()).expect("the limit goes back to where it was");
        }
        done
    })
}
