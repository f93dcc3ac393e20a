//! The command stream: the directives of the tests, with every module assembled.
//!
//! A stream is [`MAGIC`], then for each file its name, its directives and an end mark, then an end
//! mark of the stream with the number of all directives. [`Writer`] writes it record by record,
//! [`Reader`] reads it in place: strings and modules borrow from the stream, so that a kernel can
//! run one that is larger than its heap. The bytes are postcard's; a stream is made and used by one
//! version of this crate and never kept.

mod command;
mod reader;
mod suite;
mod value;
mod writer;

use serde::{Deserialize, Serialize};

pub use command::{Action, Command, Directive, Expected, Invoke};
pub use reader::{Reader, StreamError};
pub use suite::Suite;
pub use value::{FloatPattern, Pattern, Value};
pub use writer::Writer;

/// The first bytes of a stream.
pub const MAGIC: &[u8] = b"palimpsest-spec\n";

/// The start of a test file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File<'a> {
    /// The folder that the file is in.
    pub suite: Suite,
    /// Its name there, such as `i32.wast`.
    pub name: &'a str,
}

impl core::fmt::Display for File<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}/{}", self.suite, self.name)
    }
}

/// What a stream consists of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Record<'a> {
    #[serde(borrow)]
    FileStart(File<'a>),
    #[serde(borrow)]
    Directive(Directive<'a>),
    FileEnd,
    StreamEnd {
        directives: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};

    const FILE: File<'_> = File { suite: Suite::V2, name: "a.wast" };

    fn directive(line: u32) -> Directive<'static> {
        let invoke =
            Invoke { instance: Some("$m"), func: "f", args: vec![Value::V128(7), Value::ExternRef(1)] };
        let results = vec![Pattern::F32x4([FloatPattern::CanonicalNan; 4])];
        let command = Command::AssertReturn { action: Action::Invoke(invoke), results };
        Directive { line, expected: Expected::Pass, command }
    }

    fn stream() -> Vec<u8> {
        let mut writer = Writer::new();
        writer.start_file(FILE);
        writer.directive(directive(1));
        writer.directive(directive(2));
        writer.end_file();
        writer.finish()
    }

    /// All directives, or what is wrong with the stream.
    fn read(stream: &[u8]) -> Result<Vec<Directive<'_>>, StreamError> {
        let mut reader = Reader::new(stream)?;
        let mut directives = Vec::new();
        while reader.next_file()?.is_some() {
            while let Some(directive) = reader.next_directive()? {
                directives.push(directive);
            }
        }
        Ok(directives)
    }

    #[test]
    fn what_is_written_is_read() -> Result<(), StreamError> {
        assert_eq!(read(&stream())?, [directive(1), directive(2)]);
        Ok(())
    }

    #[test]
    fn a_stream_that_breaks_off_anywhere_is_refused() {
        let stream = stream();
        for length in 0..stream.len() {
            assert!(read(&stream[..length]).is_err(), "the first {length} bytes");
        }
    }

    #[test]
    fn a_stream_that_lost_a_directive_is_refused() {
        let mut writer = Writer::new();
        writer.start_file(FILE);
        writer.directive(directive(1));
        writer.end_file();
        let whole = writer.finish();
        let mut writer = Writer::new();
        writer.start_file(FILE);
        writer.end_file();
        let empty = writer.finish();
        let end = whole.last().copied().expect("a stream is never empty");
        let forged = [&empty[..empty.len() - 1], &[end]].concat();
        assert_eq!(read(&forged), Err(StreamError::Miscounted { announced: 1, found: 0 }));
    }

    #[test]
    fn other_bytes_are_no_stream() {
        assert_eq!(read(b"\0asm"), Err(StreamError::NotAStream));
    }
}
