//! Writes a snapshot as bytes.
//!
//! Numbers are little-endian and have 64 bits, where nothing else is stated. In this order:
//!
//! - `\0pls`, and the version of the format in 32 bits;
//! - the hash of the guest's module, and a hash of the base;
//! - the number of memories, and for each its size in bytes and its pages. A page is its offset and
//!   the number of its pieces, each of which is its place in the page and its length, in 16 bits
//!   each, and its bytes. The rest of the page is zero. [`END`] ends the pages;
//! - the number of globals, and for each the number of its type and two halves of its value;
//! - the number of tables, and for each the number of elements and the elements, in 32 bits each;
//! - the length of the state of the embedder's data, and its bytes;
//! - the [checksum](Checksum) of everything before.
//!
//! The *base* is what the pages are the difference to: the images of the module, or those of
//! another snapshot. A reader must have the same base.

use alloc::sync::Arc;
use core::ops::ControlFlow;

use super::{Recording, Reference, Snapshot, Value};
use crate::{
    backing::{DataImage, PageBytes},
    module::{Module, hash},
    store::{DataError, StateBytes},
};

/// What a snapshot starts with.
pub(super) const MAGIC: [u8; 4] = *b"\0pls";
/// The version of the format.
pub(super) const VERSION: u32 = 1;
/// Ends the pages of a memory. No page has this offset.
pub(super) const END: u64 = u64::MAX;
/// Zeros that are left out where they are at least as many. A piece has 4 bytes besides its own.
const GAP_BYTES: usize = 16;

/// The numbers for the types of globals.
pub(super) const I32: u64 = 0;
pub(super) const I64: u64 = 1;
pub(super) const F32: u64 = 2;
pub(super) const F64: u64 = 3;
pub(super) const V128: u64 = 4;
pub(super) const FUNC: u64 = 5;
pub(super) const EXTERN: u64 = 6;

impl<S: StateBytes> Snapshot<S> {
    /// Passes the snapshot to `sink` as bytes, in pieces of up to 4 KiB.
    ///
    /// They have the pages that differ from the images of the module, without long runs of zeros.
    /// [`read_from`](Self::read_from) makes the same snapshot of them, in another kernel as well.
    ///
    /// # Errors
    ///
    /// Fails if `sink` does, or if the state of the embedder's data cannot be written.
    pub fn write_to(&self, mut sink: impl FnMut(&[u8]) -> Result<(), DataError>) -> Result<(), DataError> {
        self.write(&Base::Module(&self.recording().module), &mut sink)
    }

    /// As [`write_to`](Self::write_to), with the pages that differ from those of `base`, an earlier
    /// snapshot of the same module. [`read_since`](Self::read_since) needs the same one.
    ///
    /// # Errors
    ///
    /// As for [`write_to`](Self::write_to), and if `base` is a snapshot of another module or has a
    /// larger memory.
    pub fn write_since<B>(
        &self,
        base: &Snapshot<B>,
        mut sink: impl FnMut(&[u8]) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        if !base.module().same(self.module()) {
            return Err("the base is a snapshot of another module".into());
        }
        let mut pairs = self.recording().memories.iter().zip(&base.recording().memories);
        if pairs.any(|(own, base)| own.bytes < base.bytes) {
            return Err("a memory of the base is larger; pass an earlier snapshot".into());
        }
        self.write(&Base::Snapshot(base.recording()), &mut sink)
    }

    fn write(
        &self,
        base: &Base<'_>,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let recording = self.recording();
        let recorded = recording.module.recorded().ok_or("the module of a snapshot is recorded")?;
        let mut out = Output::new(sink);
        out.bytes(&MAGIC)?;
        out.bytes(&VERSION.to_le_bytes())?;
        out.number(recorded.hash)?;
        out.number(base.hash())?;
        out.number(recording.memories.len() as u64)?;
        for (position, memory) in recording.memories.iter().enumerate() {
            out.number(memory.bytes)?;
            if let Some(image) = memory.image.as_deref() {
                out.pages(image, base.image(position).map(|base| &**base))?;
            }
            out.number(END)?;
        }
        out.globals(&recording.globals)?;
        out.tables(recording)?;
        out.state(self.data())?;
        out.finish()
    }
}

/// What the pages of a snapshot are the difference to.
pub(super) enum Base<'a> {
    /// The images of the module.
    Module(&'a Module),
    /// Those of another snapshot.
    Snapshot(&'a Recording),
}

impl<'a> Base<'a> {
    /// Returns the image of the memory at `position` among those that the module defines.
    pub(super) fn image(&self, position: usize) -> Option<&'a Arc<dyn DataImage>> {
        match *self {
            Self::Module(module) => module.defined_image(position),
            Self::Snapshot(recording) => recording.memories.get(position)?.image.as_ref(),
        }
    }

    /// Returns the size of the memory at `position`. A smaller one has no room for the image.
    pub(super) fn bytes(&self, position: usize) -> Option<u64> {
        match *self {
            Self::Module(module) => module.defined_memories().nth(position).map(|(_, ty)| ty.initial_bytes()),
            Self::Snapshot(recording) => recording.memories.get(position).map(|memory| memory.bytes),
        }
    }

    /// Returns a hash of the bytes of all images.
    pub(super) fn hash(&self) -> u64 {
        let count = match self {
            Self::Module(module) => module.defined_memories().len(),
            Self::Snapshot(recording) => recording.memories.len(),
        };
        let mut sum = hash::START;
        for position in 0..count {
            sum = hash::hashed(sum, &(position as u64).to_le_bytes());
            let Some(image) = self.image(position) else { continue };
            // The visit does not break.
            let _ = image.each_change(None, &mut |offset, page| {
                sum = hash::hashed(hash::hashed(sum, &offset.to_le_bytes()), page);
                ControlFlow::Continue(())
            });
        }
        sum
    }
}

/// The hash of all bytes, in blocks of [`Self::BLOCK_BYTES`]. It finds accidents, and nothing that
/// was done on purpose.
pub(super) enum Checksum {}

impl Checksum {
    pub(super) const BLOCK_BYTES: usize = 4096;

    /// Returns the checksum of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> u64 {
        bytes.chunks(Self::BLOCK_BYTES).fold(hash::START, hash::hashed)
    }
}

/// Collects blocks, and passes them on.
struct Output<'a> {
    sink: &'a mut dyn FnMut(&[u8]) -> Result<(), DataError>,
    block: [u8; Checksum::BLOCK_BYTES],
    len: usize,
    checksum: u64,
}

impl<'a> Output<'a> {
    fn new(sink: &'a mut dyn FnMut(&[u8]) -> Result<(), DataError>) -> Self {
        Self { sink, block: [0; Checksum::BLOCK_BYTES], len: 0, checksum: hash::START }
    }

    fn bytes(&mut self, mut bytes: &[u8]) -> Result<(), DataError> {
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(bytes.len().min(self.block.len() - self.len));
            self.block[self.len..self.len + part.len()].copy_from_slice(part);
            self.len += part.len();
            bytes = rest;
            if self.len == self.block.len() {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DataError> {
        let block = &self.block[..core::mem::take(&mut self.len)];
        self.checksum = hash::hashed(self.checksum, block);
        (self.sink)(block)
    }

    fn number(&mut self, number: u64) -> Result<(), DataError> {
        self.bytes(&number.to_le_bytes())
    }

    /// Writes the pages of `image` that differ from those of `base`.
    fn pages(&mut self, image: &dyn DataImage, base: Option<&dyn DataImage>) -> Result<(), DataError> {
        let mut written = Ok(());
        let _ = image.each_change(base, &mut |offset, page| {
            written = self.page(offset, page);
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        written
    }

    fn page(&mut self, offset: u64, page: &PageBytes) -> Result<(), DataError> {
        self.number(offset)?;
        self.number(Pieces::of(page).count() as u64)?;
        for (start, bytes) in Pieces::of(page) {
            for number in [start, bytes.len()] {
                let number = u16::try_from(number).map_err(|_| "a page has 4,096 bytes")?;
                self.bytes(&number.to_le_bytes())?;
            }
            self.bytes(bytes)?;
        }
        Ok(())
    }

    fn globals(&mut self, globals: &[Value]) -> Result<(), DataError> {
        self.number(globals.len() as u64)?;
        for global in globals {
            let (ty, value) = match *global {
                Value::I32(value) => (I32, value.cast_unsigned().into()),
                Value::I64(value) => (I64, value.cast_unsigned().into()),
                Value::F32(bits) => (F32, bits.into()),
                Value::F64(bits) => (F64, bits.into()),
                Value::V128(bits) => (V128, bits),
                Value::Func(reference) => (FUNC, reference.to_bits().into()),
                Value::NullExtern => (EXTERN, 0),
            };
            self.number(ty)?;
            self.bytes(&value.to_le_bytes())?;
        }
        Ok(())
    }

    fn tables(&mut self, recording: &Recording) -> Result<(), DataError> {
        self.number(recording.tables.len() as u64)?;
        for table in &recording.tables {
            self.number(table.len() as u64)?;
            table.iter().try_for_each(|element: &Reference| self.bytes(&element.to_bits().to_le_bytes()))?;
        }
        Ok(())
    }

    /// Writes the state of the embedder's data, whose length is counted first.
    fn state(&mut self, state: &impl StateBytes) -> Result<(), DataError> {
        let mut counted = 0;
        let mut written = 0;
        state.write_to(&mut |bytes| {
            counted += bytes.len();
            Ok(())
        })?;
        self.number(counted as u64)?;
        state.write_to(&mut |bytes| {
            written += bytes.len();
            self.bytes(bytes)
        })?;
        if written == counted { Ok(()) } else { Err("the state has changed while it was written".into()) }
    }

    /// Writes the checksum, which is not part of a block.
    fn finish(mut self) -> Result<(), DataError> {
        if self.len > 0 {
            self.flush()?;
        }
        (self.sink)(&self.checksum.to_le_bytes())
    }
}

/// The pieces of a page between long runs of zeros, with their places.
struct Pieces<'a> {
    page: &'a PageBytes,
    next: usize,
}

impl<'a> Pieces<'a> {
    fn of(page: &'a PageBytes) -> Self {
        Self { page, next: 0 }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let is_written = |byte: &u8| *byte != 0;
        let start = self.next + self.page[self.next..].iter().position(is_written)?;
        let mut end = start + 1;
        while let Some(gap) = self.page[end..].iter().position(is_written)
            && gap < GAP_BYTES
        {
            end += gap + 1;
        }
        self.next = end;
        Some((start, &self.page[start..end]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn pieces_have_all_bytes_and_no_long_run_of_zeros() {
        let mut page = [0; 4096];
        assert_eq!(Pieces::of(&page).count(), 0);
        for at in [0, 15, 32, 33, 50, 4095] {
            page[at] = 1;
        }
        let pieces: Vec<_> = Pieces::of(&page).map(|(start, bytes)| (start, bytes.len())).collect();
        assert_eq!(pieces, [(0, 16), (32, 2), (50, 1), (4095, 1)]);
        let whole = [7; 4096];
        assert_eq!(Pieces::of(&whole).collect::<Vec<_>>(), [(0, &whole[..])]);
    }
}
