//! Writes streams.

use alloc::vec::Vec;
use core::mem;

use super::{Directive, File, MAGIC, Record};

/// A stream in the making.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    directives: u32,
}

impl Writer {
    /// A stream without files.
    #[must_use]
    pub fn new() -> Self {
        Self { bytes: MAGIC.to_vec(), directives: 0 }
    }

    /// Begins a file; its directives follow.
    pub fn start_file(&mut self, file: File<'_>) {
        self.record(&Record::FileStart(file));
    }

    /// Adds a directive to the file that was begun.
    pub fn directive(&mut self, directive: Directive<'_>) {
        self.record(&Record::Directive(directive));
        self.directives += 1;
    }

    /// Ends the file that was begun.
    pub fn end_file(&mut self) {
        self.record(&Record::FileEnd);
    }

    /// The number of directives so far.
    #[must_use]
    pub fn directives(&self) -> u32 {
        self.directives
    }

    /// The whole stream.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.record(&Record::StreamEnd { directives: self.directives });
        self.bytes
    }

    fn record(&mut self, record: &Record<'_>) {
        self.bytes = postcard::to_extend(record, mem::take(&mut self.bytes))
            .expect("every sequence has a known length, and a vector takes any number of bytes");
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}
