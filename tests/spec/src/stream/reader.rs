//! Reads streams, in place and from front to back.

use thiserror::Error;

use super::{Directive, File, MAGIC, Record};

/// Why reading a stream fails.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The bytes do not begin like a stream.
    #[error("the bytes are no command stream")]
    NotAStream,
    /// The bytes stop making sense, or stop.
    #[error("the command stream is damaged at byte {offset}: {cause}")]
    Damaged {
        /// Where the record begins that cannot be read.
        offset: usize,
        /// What is wrong with it.
        cause: postcard::Error,
    },
    /// The record belongs somewhere else.
    #[error("the command stream is out of order at byte {offset}")]
    OutOfOrder {
        /// Where the record ends.
        offset: usize,
    },
    /// There were more or fewer directives than the end states.
    #[error("the command stream announces {announced} directives and has {found}")]
    Miscounted {
        /// The number at the end.
        announced: u32,
        /// The number of directives.
        found: u32,
    },
}

/// A position in a stream.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    stream: &'a [u8],
    rest: &'a [u8],
    directives: u32,
}

impl<'a> Reader<'a> {
    /// The position in front of the first file.
    ///
    /// # Errors
    ///
    /// [`StreamError::NotAStream`] if the bytes do not begin with [`MAGIC`].
    pub fn new(stream: &'a [u8]) -> Result<Self, StreamError> {
        let rest = stream.strip_prefix(MAGIC).ok_or(StreamError::NotAStream)?;
        Ok(Self { stream, rest, directives: 0 })
    }

    /// The next file, or nothing at the end of a whole stream.
    ///
    /// # Errors
    ///
    /// Every [`StreamError`] but `NotAStream`; [`StreamError::OutOfOrder`] too if the directives of
    /// the file before have not all been read.
    pub fn next_file(&mut self) -> Result<Option<File<'a>>, StreamError> {
        match self.record()? {
            Record::FileStart(file) => Ok(Some(file)),
            Record::StreamEnd { directives } if directives == self.directives => Ok(None),
            Record::StreamEnd { directives } => {
                Err(StreamError::Miscounted { announced: directives, found: self.directives })
            }
            Record::Directive(_) | Record::FileEnd => Err(self.out_of_order()),
        }
    }

    /// The next directive of the file, or nothing at its end.
    ///
    /// # Errors
    ///
    /// [`StreamError::Damaged`], [`StreamError::OutOfOrder`].
    pub fn next_directive(&mut self) -> Result<Option<Directive<'a>>, StreamError> {
        match self.record()? {
            Record::Directive(directive) => {
                self.directives += 1;
                Ok(Some(directive))
            }
            Record::FileEnd => Ok(None),
            Record::FileStart(_) | Record::StreamEnd { .. } => Err(self.out_of_order()),
        }
    }

    fn record(&mut self) -> Result<Record<'a>, StreamError> {
        let damaged = |cause| StreamError::Damaged { offset: self.offset(), cause };
        let (record, rest) = postcard::take_from_bytes(self.rest).map_err(damaged)?;
        self.rest = rest;
        Ok(record)
    }

    fn out_of_order(&self) -> StreamError {
        StreamError::OutOfOrder { offset: self.offset() }
    }

    fn offset(&self) -> usize {
        self.stream.len() - self.rest.len()
    }
}
