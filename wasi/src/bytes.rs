//! The form of a recorded state in bytes: numbers in little-endian order, and names with their
//! lengths.
//!
//! The reader trusts nothing. It allocates for what it has read, and never for a number in the
//! bytes.

use core::str;
use palimpsest_engine::DataError;
use thiserror::Error;

/// Why bytes are not the state of a [`Wasi`](crate::Wasi).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StateError {
    /// The bytes end inside the state.
    #[error("the recorded state of WASI ends too early; pass all bytes that were written")]
    Truncated,
    /// There are bytes after the state.
    #[error("the recorded state of WASI has {count} bytes after its end; pass only those that were written")]
    Trailing {
        /// The number of bytes.
        count: usize,
    },
    /// A number is not valid where it is.
    #[error("{number} is not a valid {what} in the recorded state of WASI; make the snapshot anew")]
    Number {
        /// The meaning of the number.
        what: &'static str,
        /// The number.
        number: u64,
    },
    /// A name is not UTF-8, or no file can have it.
    #[error("a name in the recorded state of WASI is not valid; make the snapshot anew")]
    Name,
}

/// Where a state is written to.
pub(crate) struct Writer<'a> {
    sink: &'a mut dyn FnMut(&[u8]) -> Result<(), DataError>,
}

/// What is left of the bytes of a state.
pub(crate) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Writer<'a> {
    pub(crate) fn new(sink: &'a mut dyn FnMut(&[u8]) -> Result<(), DataError>) -> Self {
        Self { sink }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        (self.sink)(bytes)
    }

    pub(crate) fn u8(&mut self, number: u8) -> Result<(), DataError> {
        self.bytes(&[number])
    }

    pub(crate) fn u64(&mut self, number: u64) -> Result<(), DataError> {
        self.bytes(&number.to_le_bytes())
    }

    pub(crate) fn count(&mut self, count: usize) -> Result<(), DataError> {
        self.u64(count as u64)
    }

    pub(crate) fn name(&mut self, name: &str) -> Result<(), DataError> {
        self.count(name.len())?;
        self.bytes(name.as_bytes())
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    /// # Errors
    ///
    /// [`StateError::Truncated`].
    pub(crate) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], StateError> {
        let (array, left) = self.left.split_first_chunk().ok_or(StateError::Truncated)?;
        self.left = left;
        Ok(array)
    }

    /// # Errors
    ///
    /// [`StateError::Truncated`].
    pub(crate) fn u64(&mut self) -> Result<u64, StateError> {
        self.array().copied().map(u64::from_le_bytes)
    }

    /// Reads a byte that `decode` accepts.
    ///
    /// # Errors
    ///
    /// [`StateError::Truncated`], or [`StateError::Number`] if `decode` returns None.
    pub(crate) fn tag<R>(
        &mut self,
        what: &'static str,
        decode: impl FnOnce(u8) -> Option<R>,
    ) -> Result<R, StateError> {
        let [byte] = *self.array()?;
        decode(byte).ok_or(StateError::Number { what, number: byte.into() })
    }

    /// # Errors
    ///
    /// [`StateError::Truncated`], or [`StateError::Name`] if it is not UTF-8.
    pub(crate) fn name(&mut self) -> Result<&'a str, StateError> {
        let len = self.u64()?;
        let split = usize::try_from(len).ok().and_then(|len| self.left.split_at_checked(len));
        let (name, left) = split.ok_or(StateError::Truncated)?;
        self.left = left;
        str::from_utf8(name).map_err(|_| StateError::Name)
    }

    /// # Errors
    ///
    /// [`StateError::Trailing`].
    pub(crate) fn end(self) -> Result<(), StateError> {
        match self.left.len() {
            0 => Ok(()),
            count => Err(StateError::Trailing { count }),
        }
    }
}
