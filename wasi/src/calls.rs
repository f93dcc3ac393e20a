//! The functions of preview 1, one Rust function each, by the names and parameters that they have there.
//!
//! Each gets the world and the calling guest's memory, checks everything before it changes anything, and
//! answers with an error code or with how the guest goes on. The linker is their only caller.

pub(crate) mod args;
pub(crate) mod clock;
pub(crate) mod fd;
pub(crate) mod open;
pub(crate) mod path;
pub(crate) mod poll;
pub(crate) mod random;
pub(crate) mod readdir;
pub(crate) mod transfer;

use wasip1::Errno;

/// How a guest goes on after a call that did what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// At once.
    Return,
    /// When the monotonic clock shows this many nanoseconds.
    PauseUntil(u64),
    /// When it is its turn again.
    PauseNow,
}

/// What a call answers.
pub(crate) type Answer = Result<Next, Errno>;
