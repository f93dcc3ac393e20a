//! Which Wasm pages of a memory were written and accessed.

use core::ops::Range;
use wasmi::AsContextMut as _;

use super::{Memory, MemoryRecord, region::live_bytes};
use crate::{
    backing::{LinearRegion, LiveBytes},
    store::AsContextMut,
    units::{Span, WasmPageSize},
};

impl Memory {
    /// Passes the Wasm pages that may differ from the last snapshot of the memory to `visit`, as
    /// ranges in ascending order. Without a snapshot they may differ from the image that the memory
    /// started with, or from zeros.
    ///
    /// A page that was written or cleared since is among them. On a `Paged` backing the call reads
    /// page tables and touches no page of the memory. On a [`Fixed`](crate::Fixed) backing it
    /// compares all bytes, except for those that are lent and in use, whose pages are among them.
    ///
    /// # Examples
    ///
    /// ```
    /// # use palimpsest_engine::{Config, Engine, Fixed, Memory, MemoryType, Store};
    /// # use std::{boxed::Box, mem::MaybeUninit};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
    /// # let engine = Engine::new(Config::default(), Fixed::new(bytes))?;
    /// let mut store = Store::new(&engine, ());
    /// let memory = Memory::new(&mut store, MemoryType::new(8, None))?;
    /// memory.write(&mut store, 3 * 65_536 - 1, b"in two pages")?;
    /// let mut written = Vec::new();
    /// memory.each_written(&mut store, |wasm_pages| written.push(wasm_pages));
    /// assert_eq!(written, [2..4]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn each_written(&self, ctx: impl AsContextMut, visit: impl FnMut(Range<u64>)) {
        self.each(ctx, visit, |region, live, visit| region.each_written(live, visit));
    }

    /// Begins to record which pages are written, cleared and accessed. What was recorded before is
    /// forgotten. A snapshot of the store forgets it too, and recording begins anew.
    ///
    /// On a [`Fixed`](crate::Fixed) backing nothing is recorded.
    pub fn mark(&self, mut ctx: impl AsContextMut) {
        let ctx = ctx.as_context_mut().into_wasmi();
        ctx.data().touch();
        MemoryRecord::of(*self, &ctx).region().with(|region| region.mark());
        ctx.data().end_touch();
    }

    /// Passes the Wasm pages that were written or cleared since the last [`mark`](Self::mark) to
    /// `visit`, as ranges in ascending order. All other pages that the memory had at the mark have
    /// not changed. Pages that it has grown by since read as zero unless they are among them.
    ///
    /// Cleared pages are recorded as up to eight ranges. If a guest clears more, pages between them
    /// are visited too. So a visited page may contain the same bytes as at the mark.
    ///
    /// The time depends on the pages that are resident, and not on the size of the memory. On a
    /// [`Fixed`](crate::Fixed) backing the whole memory is visited.
    pub fn each_written_since_mark(&self, ctx: impl AsContextMut, visit: impl FnMut(Range<u64>)) {
        self.each(ctx, visit, |region, live, visit| region.each_written_since_mark(live, visit));
    }

    /// As [`each_written_since_mark`](Self::each_written_since_mark), for pages that were read or
    /// written: an estimate of the working set. A page that was cleared since, and not used again,
    /// is not part of it.
    pub fn each_accessed_since_mark(&self, ctx: impl AsContextMut, visit: impl FnMut(Range<u64>)) {
        self.each(ctx, visit, |region, live, visit| region.each_accessed_since_mark(live, visit));
    }

    /// Passes what `each` finds to `visit`, as Wasm pages.
    fn each(
        self,
        mut ctx: impl AsContextMut,
        visit: impl FnMut(Range<u64>),
        each: impl FnOnce(&dyn LinearRegion, LiveBytes<'_>, &mut dyn FnMut(Span)),
    ) {
        let mut ctx = ctx.as_context_mut().into_wasmi();
        ctx.data().touch();
        // Takes back what is lent and no longer used, so that it is compared.
        let _ = self.first_lent(&ctx);
        let (record, size) = MemoryRecord::with_size(self, &ctx);
        let mut ranges = Ranges { page_size: record.ty().page_size(), pending: 0..0, visit };
        let mut ctx = ctx.as_context_mut();
        let live = live_bytes(record.wasmi(), &mut ctx, Span::growth(0, size));
        record.region().with(|region| each(region, live, &mut |span| ranges.add(span)));
        ranges.finish();
        ctx.data().end_touch();
    }
}

/// Joins spans to ranges of Wasm pages.
struct Ranges<V> {
    page_size: WasmPageSize,
    /// The range that the next span may belong to.
    pending: Range<u64>,
    visit: V,
}

impl<V: FnMut(Range<u64>)> Ranges<V> {
    /// Adds a span, which begins where the one before ends or after it.
    fn add(&mut self, span: Span) {
        let start = self.page_size.pages_in(span.start());
        let end = self.page_size.pages_in(span.end() + self.page_size.bytes() - 1);
        if start > self.pending.end || self.pending.is_empty() {
            self.finish();
            self.pending = start..end;
        }
        self.pending.end = end;
    }

    fn finish(&mut self) {
        let pending = core::mem::take(&mut self.pending);
        if !pending.is_empty() {
            (self.visit)(pending);
        }
    }
}
