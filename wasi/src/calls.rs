//! The functions of preview 1, under the names and with the parameters that they have there.
//!
//! Each function gets the program's [`Wasi`](crate::Wasi) and the calling guest's memory. It checks
//! all arguments before it changes anything, and returns an error code or how the guest continues.

pub(crate) mod args;
pub(crate) mod clock;
pub(crate) mod fd;
pub(crate) mod open;
pub(crate) mod path;
pub(crate) mod poll;
pub(crate) mod random;
pub(crate) mod readdir;
pub(crate) mod times;
pub(crate) mod transfer;

use wasip1::Errno;

/// How a guest continues after a call that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The call returns at once.
    Return,
    /// The call returns when the monotonic clock reaches this many nanoseconds.
    PauseUntil(u64),
    /// The call returns when the guest is scheduled again.
    PauseNow,
    /// The call is made again with these two arguments, because it has done only a part.
    Again([u32; 2]),
    /// The guest cannot pay for the call, which has done nothing. The guest ends.
    OutOfFuel,
}

/// The result of a call.
pub(crate) type Answer = Result<Next, Errno>;
