//! `poll_oneoff` and `sched_yield`: waiting for a time or a descriptor.
//!
//! Files and streams are always ready, so a poll that contains one returns at once. A poll that
//! waits writes its events before it waits. The guest cannot observe this, because it is paused
//! until the time has come.

use alloc::vec::Vec;
use wasip1::{
    ERRNO_BADF, ERRNO_INVAL, ERRNO_SUCCESS, Errno, RIGHTS_FD_READ, RIGHTS_FD_WRITE, Rights,
    SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME,
};

use super::{Answer, Next, clock::ClockId};
use crate::{
    fd::Object,
    layout::{Awaited, EVENT_BYTES, Occurred, SIZE_BYTES, SUBSCRIPTION_BYTES, Subscribed},
    memory::{GuestMemory, Pointer},
    wasi::Wasi,
    world::Wait,
};

/// The limit of subscriptions in one call.
const SUBSCRIPTIONS_MAX: u32 = 1024;

/// Yields the CPU.
pub(crate) fn sched_yield(wasi: &mut Wasi, _memory: &mut GuestMemory<'_>) -> Answer {
    match wasi.clock()?.yield_now() {
        Wait::Done => Ok(Next::Return),
        Wait::Pause => Ok(Next::PauseNow),
    }
}

/// Reads all subscriptions before it writes an event, so the two arrays may overlap.
pub(crate) fn poll_oneoff(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    subscriptions: Pointer,
    events: Pointer,
    count: u32,
    result: Pointer,
) -> Answer {
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return Err(ERRNO_INVAL);
    }
    let subscriptions = memory.buffer(subscriptions, count * SUBSCRIPTION_BYTES)?;
    let events = memory.buffer(events, count * EVENT_BYTES)?;
    let result = memory.buffer(result, SIZE_BYTES)?;
    let mut pending = Vec::new();
    for record in memory.get(&subscriptions).chunks_exact(SUBSCRIPTION_BYTES as usize) {
        let subscribed = Subscribed::decode(record)?;
        pending.push((subscribed, due(wasi, subscribed)));
    }
    let (until_ns, occurred) = first(wasi, &pending);
    let records: Vec<u8> = occurred.iter().flat_map(Occurred::encode).collect();
    memory.put(&events, &records);
    let occurred = u32::try_from(occurred.len()).expect("there are at most 1024 subscriptions");
    memory.put(&result, &occurred.to_le_bytes());
    match until_ns {
        None => Ok(Next::Return),
        Some(until_ns) => match wasi.clock()?.wait_until(until_ns) {
            Wait::Done => Ok(Next::Return),
            Wait::Pause => Ok(Next::PauseUntil(until_ns)),
        },
    }
}

/// When the event of a subscription occurs.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// Immediately, with this many bytes to read.
    Now(u64),
    /// When the monotonic clock reaches this many nanoseconds.
    At(u64),
    /// Immediately, with an error, because the subscription is not valid.
    Never(Errno),
}

fn due(wasi: &mut Wasi, subscribed: Subscribed) -> Due {
    let due = match subscribed.what {
        Awaited::Clock { id, timeout_ns, flags } => deadline_ns(wasi, id, timeout_ns, flags).map(Due::At),
        Awaited::Read(fd) => ready(wasi, fd, RIGHTS_FD_READ),
        Awaited::Write(fd) => ready(wasi, fd, RIGHTS_FD_WRITE),
    };
    due.unwrap_or_else(Due::Never)
}

/// Returns the time of a clock subscription on the monotonic clock.
fn deadline_ns(wasi: &mut Wasi, id: u32, timeout_ns: u64, flags: u16) -> Result<u64, Errno> {
    let clock = wasi.clock()?;
    let id = ClockId::new(id)?;
    match (flags, id) {
        (0, ClockId::Monotonic | ClockId::Realtime) => Ok(clock.monotonic_ns().saturating_add(timeout_ns)),
        (SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME, ClockId::Monotonic) => Ok(timeout_ns),
        (SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME, ClockId::Realtime) => {
            let left_ns = timeout_ns.saturating_sub(clock.realtime_ns());
            Ok(clock.monotonic_ns().saturating_add(left_ns))
        }
        _ => Err(ERRNO_INVAL),
    }
}

/// Returns the bytes that can be read from a descriptor. Every descriptor is ready, because no read
/// or write on it blocks.
fn ready(wasi: &Wasi, fd: u32, rights: Rights) -> Result<Due, Errno> {
    let descriptor = wasi.descriptors.get(fd)?;
    descriptor.require(rights)?;
    match descriptor.object {
        Object::Stream(_) => Ok(Due::Now(1)),
        Object::File(place) => Ok(Due::Now(wasi.stat(place)?.size.saturating_sub(descriptor.position))),
        Object::Directory(_) => Err(ERRNO_BADF),
    }
}

/// Returns the earliest events and, if they are in the future, the time to wait for.
fn first(wasi: &mut Wasi, pending: &[(Subscribed, Due)]) -> (Option<u64>, Vec<Occurred>) {
    let now_ns = wasi.clock().map_or(0, |clock| clock.monotonic_ns());
    let times = pending.iter().map(|(_, due)| match due {
        Due::Now(_) | Due::Never(_) => now_ns,
        Due::At(at_ns) => *at_ns,
    });
    let first_ns = times.min().unwrap_or(now_ns).max(now_ns);
    let mut occurred = Vec::new();
    for (Subscribed { userdata, tag, .. }, due) in pending {
        let (error, available) = match due {
            Due::At(at_ns) if *at_ns > first_ns => continue,
            Due::At(_) => (ERRNO_SUCCESS, 0),
            Due::Now(bytes) => (ERRNO_SUCCESS, *bytes),
            Due::Never(error) => (*error, 0),
        };
        occurred.push(Occurred { userdata: *userdata, error, tag: *tag, available });
    }
    ((first_ns > now_ns).then_some(first_ns), occurred)
}
