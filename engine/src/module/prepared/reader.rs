//! Reads the numbers of a prepared module.

use alloc::vec::Vec;

use crate::module::PreparedError;

/// The numbers that were not read yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Reads the next number.
    ///
    /// # Errors
    ///
    /// [`PreparedError::Malformed`] if there is none.
    pub(super) fn number(&mut self) -> Result<u64, PreparedError> {
        let (number, rest) = self.rest.split_first_chunk().ok_or(PreparedError::Malformed)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*number))
    }

    /// Reads a number that is an index, or a number of things in memory.
    ///
    /// # Errors
    ///
    /// [`PreparedError::Malformed`] if there is none, or if it is too large for this machine.
    pub(super) fn index(&mut self) -> Result<usize, PreparedError> {
        usize::try_from(self.number()?).map_err(|_| PreparedError::Malformed)
    }

    /// Reads a list, which starts with its length.
    ///
    /// # Errors
    ///
    /// What `read` fails with.
    pub(super) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, PreparedError>,
    ) -> Result<Vec<T>, PreparedError> {
        (0..self.number()?).map(|_| read(self)).collect()
    }
}
