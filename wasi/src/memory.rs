//! The guest's memory as the calls see it: every pointer and length is checked here and nowhere else.
//!
//! Pointers need no alignment. A range that ends behind the memory is `EFAULT`; nothing is allocated in a
//! size that a guest chose. A call checks all its ranges and reads all that it is told through pointers
//! before it writes: buffers that overlap are filled in the order of their vector, and results are written
//! last. Owned by one call; counts the bytes that go through, which is what the call costs in fuel.

use alloc::vec::Vec;
use core::{cell::Cell, mem, ops::Range, str};
use wasip1::{ERRNO_FAULT, ERRNO_ILSEQ, ERRNO_INVAL, ERRNO_NAMETOOLONG, Errno};

/// A guest's pointer.
pub(crate) type Pointer = u32;

/// The most vectors in one call, which is `IOV_MAX` of most systems.
const VECTORS_MAX: u32 = 1024;

/// The bytes of an `iovec` or `ciovec` of a 32-bit guest: a pointer and a length.
const VECTOR_BYTES: u32 = 8;

/// The most bytes of a path, which is `PATH_MAX` of most systems.
const PATH_MAX: u32 = 4096;

/// Bytes that one unit of fuel pays for.
const BYTES_PER_UNIT: u64 = 64;

/// The memory that the calling guest exports.
#[derive(Debug)]
pub(crate) struct GuestMemory<'a> {
    bytes: &'a mut [u8],
    /// Bytes that were read or written.
    passed: Cell<u64>,
}

/// A checked range of a [`GuestMemory`].
#[derive(Debug)]
pub(crate) struct Buffer(Range<usize>);

impl Buffer {
    /// The number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes the first `len` bytes off, or all that there are.
    pub(crate) fn split_off_start(&mut self, len: usize) -> Self {
        let middle = self.0.end.min(self.0.start.saturating_add(len));
        let start = mem::replace(&mut self.0.start, middle);
        Self(start..middle)
    }

    /// Drops all but the first `len` bytes.
    fn truncate(&mut self, len: usize) {
        self.0.end = self.0.end.min(self.0.start.saturating_add(len));
    }
}

impl<'a> GuestMemory<'a> {
    pub(crate) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, passed: Cell::new(0) }
    }

    /// What the call costs so far, in units of fuel.
    pub(crate) fn units(&self) -> u64 {
        1 + self.passed.get() / BYTES_PER_UNIT
    }

    /// The range of `len` bytes at `start`. An empty one at the memory's end is inside.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it ends behind the memory.
    pub(crate) fn buffer(&self, start: Pointer, len: u32) -> Result<Buffer, Errno> {
        let range = usize::try_from(start).ok().zip(usize::try_from(len).ok());
        let (start, len) = range.ok_or(ERRNO_FAULT)?;
        let end = start.checked_add(len).filter(|&end| end <= self.bytes.len()).ok_or(ERRNO_FAULT)?;
        Ok(Buffer(start..end))
    }

    /// The bytes of a range.
    pub(crate) fn get(&self, buffer: &Buffer) -> &[u8] {
        self.passed.set(self.passed.get() + buffer.len() as u64);
        &self.bytes[buffer.0.clone()]
    }

    /// The bytes of a range, to be written.
    pub(crate) fn get_mut(&mut self, buffer: &Buffer) -> &mut [u8] {
        self.passed.set(self.passed.get() + buffer.len() as u64);
        &mut self.bytes[buffer.0.clone()]
    }

    /// Writes a result, as much of it as the range holds.
    pub(crate) fn put(&mut self, buffer: &Buffer, value: &[u8]) {
        for (to, from) in self.get_mut(buffer).iter_mut().zip(value) {
            *to = *from;
        }
    }

    /// A path.
    ///
    /// # Errors
    ///
    /// `EFAULT`; `ENAMETOOLONG` above 4096 bytes; `EILSEQ` if it is not UTF-8, `EINVAL` with a NUL in it.
    pub(crate) fn path(&self, start: Pointer, len: u32) -> Result<&str, Errno> {
        let buffer = self.buffer(start, len)?;
        if len > PATH_MAX {
            return Err(ERRNO_NAMETOOLONG);
        }
        let path = str::from_utf8(self.get(&buffer)).map_err(|_| ERRNO_ILSEQ)?;
        if path.contains('\0') { Err(ERRNO_INVAL) } else { Ok(path) }
    }

    /// The ranges that `count` vectors at `start` name, as many of them as fit into `limit` bytes: what is
    /// left out makes the transfer a short one.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the vectors or one of their ranges end behind the memory; `EINVAL` if there are more than
    /// 1024 or their lengths add up to more than a `size` holds.
    pub(crate) fn vectors(&self, start: Pointer, count: u32, limit: usize) -> Result<Vec<Buffer>, Errno> {
        if count > VECTORS_MAX {
            return Err(ERRNO_INVAL);
        }
        let array = self.buffer(start, count * VECTOR_BYTES)?;
        let mut buffers = Vec::new();
        let mut sum = 0_u32;
        let mut room = limit;
        for vector in self.get(&array).chunks_exact(VECTOR_BYTES as usize) {
            let (start, len) = (u32_at(vector, 0), u32_at(vector, 4));
            sum = sum.checked_add(len).ok_or(ERRNO_INVAL)?;
            let mut buffer = self.buffer(start, len)?;
            buffer.truncate(room);
            room -= buffer.len();
            if buffer.len() > 0 {
                buffers.push(buffer);
            }
        }
        Ok(buffers)
    }
}

/// The little-endian number at `offset` of a record.
///
/// # Panics
///
/// If it ends behind the record, whose length is a constant of the caller.
pub(crate) fn u32_at(record: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(array_at(record, offset))
}

/// Like [`u32_at`].
///
/// # Panics
///
/// Likewise.
pub(crate) fn u64_at(record: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(array_at(record, offset))
}

fn array_at<const N: usize>(record: &[u8], offset: usize) -> [u8; N] {
    let field = record.get(offset..).and_then(|rest| rest.first_chunk());
    *field.expect("a field is inside of its record")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_inside_up_to_the_last_byte() {
        let mut bytes = [0; 100];
        let memory = GuestMemory::new(&mut bytes);
        assert_eq!(memory.buffer(0, 100).map(|buffer| buffer.len()), Ok(100));
        assert_eq!(memory.buffer(100, 0).map(|buffer| buffer.len()), Ok(0));
        for (start, len) in [(101, 0), (100, 1), (0, 101), (u32::MAX, 1), (1, u32::MAX), (u32::MAX, u32::MAX)]
        {
            assert_eq!(memory.buffer(start, len).err(), Some(ERRNO_FAULT), "{start} {len}");
        }
    }

    #[test]
    fn vectors_are_cut_at_the_limit() {
        let mut bytes = [0; 100];
        for (at, value) in [(0, 40), (4, 10), (8, 50), (12, 0), (16, 50), (20, 10), (24, 60), (28, 10)] {
            bytes[at] = value;
        }
        let memory = GuestMemory::new(&mut bytes);
        let lens = |limit| memory.vectors(0, 4, limit).unwrap_or_default().iter().map(Buffer::len).collect();
        assert_eq!(
            (lens(100), lens(15), lens(10)),
            (Vec::from([10, 10, 10]), Vec::from([10, 5]), Vec::from([10]))
        );
    }

    #[test]
    fn vectors_that_no_call_can_mean_are_refused() {
        let mut bytes = [0xFF; 64];
        bytes[..12].copy_from_slice(&[20, 0, 0, 0, 4, 0, 0, 0, 20, 0, 0, 0]);
        let memory = GuestMemory::new(&mut bytes);
        let error = |start, count| memory.vectors(start, count, usize::MAX).err();
        // The second length is 2^32 - 1: by itself it is out of bounds, after the first it overflows.
        assert_eq!((error(8, 1), error(0, 2)), (Some(ERRNO_FAULT), Some(ERRNO_INVAL)));
        assert_eq!((error(0, 1025), error(0, 1024)), (Some(ERRNO_INVAL), Some(ERRNO_FAULT)));
    }
}
