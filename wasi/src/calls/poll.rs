//! Waiting: for a time, for a descriptor, or for nothing but one's turn.
//!
//! Files and streams are always ready, so a poll that has one of them comes back at once. The events of a
//! poll that waits are written before it does, as they will be when the time has come: a guest that is paused
//! is not entered again in the middle of the call.

use alloc::vec::Vec;
use wasip1::{
    ERRNO_BADF, ERRNO_INVAL, ERRNO_SUCCESS, Errno, RIGHTS_FD_READ, RIGHTS_FD_WRITE, Rights,
    SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME,
};

use super::{Answer, Next, clock::ClockId};
use crate::{
    fd::Object,
    layout::{EVENT_BYTES, Happened, SIZE_BYTES, SUBSCRIPTION_BYTES, Subscribed, What},
    memory::{GuestMemory, Pointer},
    wasi::Wasi,
    world::Wait,
};

/// The most subscriptions of one call.
const SUBSCRIPTIONS_MAX: u32 = 1024;

/// Lets others have the CPU.
pub(crate) fn sched_yield(wasi: &mut Wasi, _memory: &mut GuestMemory<'_>) -> Answer {
    match wasi.clock()?.yield_now() {
        Wait::Done => Ok(Next::Return),
        Wait::Pause => Ok(Next::PauseNow),
    }
}

/// Subscriptions are all read before an event is written, so the two arrays may overlap.
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
    let (until_ns, happened) = first(wasi, &pending);
    let records: Vec<u8> = happened.iter().flat_map(Happened::encode).collect();
    memory.put(&events, &records);
    let happened = u32::try_from(happened.len()).expect("there are at most 1024");
    memory.put(&result, &happened.to_le_bytes());
    match until_ns {
        None => Ok(Next::Return),
        Some(until_ns) => match wasi.clock()?.wait_until(until_ns) {
            Wait::Done => Ok(Next::Return),
            Wait::Pause => Ok(Next::PauseUntil(until_ns)),
        },
    }
}

/// When a subscription has its event.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// At once, with so many bytes to read.
    Now(u64),
    /// When the monotonic clock shows this many nanoseconds.
    At(u64),
    /// At once, and the event is that it cannot be waited for.
    Never(Errno),
}

fn due(wasi: &mut Wasi, subscribed: Subscribed) -> Due {
    let due = match subscribed.what {
        What::Clock { id, timeout_ns, flags } => deadline_ns(wasi, id, timeout_ns, flags).map(Due::At),
        What::Read(fd) => ready(wasi, fd, RIGHTS_FD_READ),
        What::Write(fd) => ready(wasi, fd, RIGHTS_FD_WRITE),
    };
    due.unwrap_or_else(Due::Never)
}

/// When a time comes, on the monotonic clock.
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

/// Whether a descriptor could be read or written, now or with an error: that is what being ready means.
fn ready(wasi: &Wasi, fd: u32, rights: Rights) -> Result<Due, Errno> {
    let descriptor = wasi.descriptors.get(fd)?;
    descriptor.require(rights)?;
    match descriptor.object {
        Object::Stream(_) => Ok(Due::Now(1)),
        Object::File(place) => Ok(Due::Now(wasi.stat(place).size.saturating_sub(descriptor.position))),
        Object::Directory(_) => Err(ERRNO_BADF),
    }
}

/// The events that come first, and the time to wait for before they do.
fn first(wasi: &mut Wasi, pending: &[(Subscribed, Due)]) -> (Option<u64>, Vec<Happened>) {
    let now_ns = wasi.clock().map_or(0, |clock| clock.monotonic_ns());
    let times = pending.iter().map(|(_, due)| match due {
        Due::Now(_) | Due::Never(_) => now_ns,
        Due::At(at_ns) => *at_ns,
    });
    let first_ns = times.min().unwrap_or(now_ns).max(now_ns);
    let mut happened = Vec::new();
    for (Subscribed { userdata, tag, .. }, due) in pending {
        let (error, available) = match due {
            Due::At(at_ns) if *at_ns > first_ns => continue,
            Due::At(_) => (ERRNO_SUCCESS, 0),
            Due::Now(bytes) => (ERRNO_SUCCESS, *bytes),
            Due::Never(error) => (*error, 0),
        };
        happened.push(Happened { userdata: *userdata, error, tag: *tag, available });
    }
    ((first_ns > now_ns).then_some(first_ns), happened)
}
