//! Clocks: real time and monotonic time.
//!
//! The CPU time of a guest is not measured. Its two clocks return `EINVAL`, which is what preview 1
//! requires for a clock that is not supported.

use wasip1::{CLOCKID_MONOTONIC, CLOCKID_REALTIME, ERRNO_INVAL, Errno};

use super::{Answer, Next};
use crate::{
    layout::FILESIZE_BYTES,
    memory::{GuestMemory, Pointer},
    wasi::Wasi,
};

/// The supported clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClockId {
    Realtime,
    Monotonic,
}

impl ClockId {
    /// # Errors
    ///
    /// `EINVAL` if the clock is not supported.
    pub(super) fn new(id: u32) -> Result<Self, Errno> {
        match id {
            id if id == CLOCKID_REALTIME.raw() => Ok(Self::Realtime),
            id if id == CLOCKID_MONOTONIC.raw() => Ok(Self::Monotonic),
            _ => Err(ERRNO_INVAL),
        }
    }
}

pub(crate) fn clock_res_get(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    id: u32,
    result: Pointer,
) -> Answer {
    let clock = wasi.clock()?;
    ClockId::new(id)?;
    let result = memory.buffer(result, FILESIZE_BYTES)?;
    memory.put(&result, &clock.resolution_ns().to_le_bytes());
    Ok(Next::Return)
}

/// Ignores the requested precision: the result is as precise as the clock.
pub(crate) fn clock_time_get(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    id: u32,
    _precision_ns: u64,
    result: Pointer,
) -> Answer {
    let clock = wasi.clock()?;
    let id = ClockId::new(id)?;
    let result = memory.buffer(result, FILESIZE_BYTES)?;
    let time_ns = match id {
        ClockId::Realtime => clock.realtime_ns(),
        ClockId::Monotonic => clock.monotonic_ns(),
    };
    memory.put(&result, &time_ns.to_le_bytes());
    Ok(Next::Return)
}
