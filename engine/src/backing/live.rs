//! Bytes of a linear memory that both wasmi and the engine can name.

use core::{marker::PhantomData, ptr::NonNull, slice};

use crate::units::{FRAME_LEN, Span};

/// A range of a linear memory, named by wasmi's own pointer, while its holder has exclusive use of
/// the store.
///
/// It keeps a pointer where a `&mut [u8]` could stand, because a region clears the same bytes by
/// their addresses.
#[derive(Debug)]
pub(crate) struct LiveBytes<'a> {
    start: NonNull<u8>,
    len: usize,
    exclusive: PhantomData<&'a mut [u8]>,
}

impl<'a> LiveBytes<'a> {
    /// The part `span` of the memory whose first byte wasmi's pointer `base` points to.
    ///
    /// # Safety
    ///
    /// `span` is inside the memory. For `'a` nothing else uses these bytes, except that a part of
    /// them may be lent.
    #[allow(unsafe_code, reason = "the range is a pointer and a length")]
    pub(crate) unsafe fn of_span(base: NonNull<u8>, span: Span) -> Self {
        let [start, len] = [span.start(), span.end() - span.start()]
            .map(|bytes| usize::try_from(bytes).expect("a span is inside a memory"));
        // SAFETY: The offset is inside the memory, by the caller.
        Self { start: unsafe { base.add(start) }, len, exclusive: PhantomData }
    }

    /// Extends the range, which is `span` of its memory, to `wider`.
    ///
    /// # Safety
    ///
    /// `wider` contains `span` and is inside the memory. For `'a` nothing else uses its bytes.
    #[allow(unsafe_code, reason = "the range is a pointer and a length")]
    pub(crate) unsafe fn widen(self, span: Span, wider: Span) -> Self {
        let [before, len] = [span.start() - wider.start(), wider.end() - wider.start()]
            .map(|bytes| usize::try_from(bytes).expect("a span is inside a memory"));
        // SAFETY: The start of `wider` is inside the memory, by the caller.
        Self { start: unsafe { self.start.sub(before) }, len, exclusive: PhantomData }
    }

    /// Returns the same range, while `self` is not used.
    pub(crate) fn again(&self) -> LiveBytes<'_> {
        LiveBytes { start: self.start, len: self.len, exclusive: PhantomData }
    }

    /// Returns the range as a pointer.
    pub(crate) fn bytes(&self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.start, self.len)
    }

    /// Returns whether every byte is zero.
    pub(crate) fn is_zero(&mut self) -> bool {
        // The bytes of a chunk are combined without a branch, in vectors.
        self.as_mut_slice().chunks(64).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
    }

    /// All of `memory`.
    pub(crate) fn all(memory: &'a mut [u8]) -> Self {
        Self { len: memory.len(), start: NonNull::from(memory).cast(), exclusive: PhantomData }
    }

    /// Splits off the first `len` bytes, or all if there are fewer.
    #[allow(unsafe_code, reason = "the rest of a range starts at an offset into it")]
    pub(crate) fn split_at(self, len: u64) -> (Self, Self) {
        let len = usize::try_from(len).map_or(self.len, |len| len.min(self.len));
        // SAFETY: `len` is at most `self.len`, so the sum points into the range or to its end.
        let rest = unsafe { self.start.add(len) };
        (Self { len, ..self }, Self { start: rest, len: self.len - len, exclusive: PhantomData })
    }

    /// Writes zeros over the range.
    #[allow(unsafe_code, reason = "the range is a pointer and a length")]
    pub(crate) fn zero(self) {
        // SAFETY: 1. The bytes are valid, and for `'a` nothing else uses them: by the slice that
        //            [`all`](Self::all) took, or by the contracts of [`of_span`](Self::of_span) and
        //            [`widen`](Self::widen). The region that lends a part splits it off before.
        //         2. Every bit pattern, zero included, is a valid `u8`.
        unsafe { self.start.write_bytes(0, self.len) };
    }

    /// Copies `bytes` to `offset`. Returns whether they fit; if not, nothing is written.
    #[must_use]
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let all = self.as_mut_slice();
        let target =
            usize::try_from(offset).ok().and_then(|start| all.get_mut(start..)?.get_mut(..bytes.len()));
        target.map(|target| target.copy_from_slice(bytes)).is_some()
    }

    /// Returns the number of bytes.
    pub(crate) const fn len(&self) -> u64 {
        self.len as u64
    }

    /// Returns the pages of 4 KiB, the last of which may be shorter, in ascending order.
    pub(crate) fn pages(&mut self) -> impl Iterator<Item = &[u8]> {
        self.as_mut_slice().chunks(FRAME_LEN)
    }

    #[allow(unsafe_code, reason = "the range is a pointer and a length")]
    fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: As in [`zero`](Self::zero). The new slice borrows `self`, so a second one cannot
        //         exist at the same time.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}
