//! What a Palimpsest kernel and the program that boots it say to each other.
//!
//! A boot carries one request and one answer. Both sides use the types of this crate, so a field or
//! a number is defined once.
//!
//! | from | through | what |
//! | --- | --- | --- |
//! | host | the PVH module, a tar archive | a [`Request`] in [`files::REQUEST`], and the files it needs |
//! | kernel | COM1 | text for people, with the lines of [`console`] in it |
//! | kernel | COM2 | one line of JSON: a [`Report`], a [`TestList`] or [`Measurements`] |
//! | kernel | COM3, COM4 | the bytes that a guest writes to standard output and standard error |
//! | kernel | the exit device | an [`ExitStatus`] |
//!
//! ```
//! use palimpsest_protocol::{Request, Task};
//!
//! let request = Request::new(Task::Test("page-zero".into()));
//! let json = serde_json::to_string(&request)?;
//! assert_eq!(json, r#"{"task":{"test":"page-zero"},"clock":"host"}"#);
//! assert_eq!(serde_json::from_str::<Request>(&json)?, request);
//! # Ok::<(), serde_json::Error>(())
//! ```

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod console;
mod exit;
pub mod files;
mod limit;
mod measurements;
mod report;
mod request;
mod test_list;
mod value;

pub use exit::{EXIT_PORT, ExitStatus};
pub use limit::{Limit, UnknownLimit};
pub use measurements::{Figure, Measurements, Sample, Unit};
pub use report::{ForksReport, MemoryReport, Outcome, Report, Series};
pub use request::{Clock, Driver, Entry, Instances, Job, Request, Run, SnapshotUse, Soak, Suite, Task};
pub use test_list::{Expected, Flaw, ListedTest, TestList};
pub use value::Value;
