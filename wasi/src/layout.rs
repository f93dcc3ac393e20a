//! Encodes and decodes the records of preview 1.
//!
//! Offsets are those of the `repr(C)` types of `wasip1` whose fields have a fixed size. Two records
//! contain a `size`, which has 32 bits in the guest but not in the host. Their offsets are defined
//! here.

use core::mem::offset_of;
use wasip1::{
    Dirent, ERRNO_INVAL, Errno, Event, EventFdReadwrite, Fdflags, Fdstat, Filestat, Filetype,
    PREOPENTYPE_DIR, Rights, Subscription, SubscriptionClock, SubscriptionFdReadwrite, SubscriptionU,
};

use crate::{
    fs::Times,
    memory::{u32_at, u64_at},
};

/// The size of a `dirent`, without the name that follows it.
pub(crate) const DIRENT_BYTES: usize = size_of::<Dirent>();
/// The size of an `event`.
pub(crate) const EVENT_BYTES: u32 = 32;
/// The size of an `fdstat`.
pub(crate) const FDSTAT_BYTES: u32 = 24;
/// The size of a `filestat`.
pub(crate) const FILESTAT_BYTES: u32 = 64;
/// The size of a `prestat`.
pub(crate) const PRESTAT_BYTES: u32 = 8;
/// The size of a `subscription`.
pub(crate) const SUBSCRIPTION_BYTES: u32 = 48;
/// The size of a `size`, and of a descriptor.
pub(crate) const SIZE_BYTES: u32 = 4;
/// The size of a `filesize`, a `filedelta` and a `timestamp`.
pub(crate) const FILESIZE_BYTES: u32 = 8;

const _: () = {
    assert!(size_of::<Event>() == EVENT_BYTES as usize);
    assert!(size_of::<Fdstat>() == FDSTAT_BYTES as usize);
    assert!(size_of::<Filestat>() == FILESTAT_BYTES as usize);
    assert!(size_of::<Subscription>() == SUBSCRIPTION_BYTES as usize);
};

/// The attributes of a file, a directory or a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) filetype: Filetype,
    pub(crate) links: u64,
    pub(crate) size: u64,
    pub(crate) times: Times,
}

impl Stat {
    /// Encodes a `filestat`.
    pub(crate) fn encode(&self) -> [u8; FILESTAT_BYTES as usize] {
        let mut record = [0; FILESTAT_BYTES as usize];
        set(&mut record, offset_of!(Filestat, dev), self.device.to_le_bytes());
        set(&mut record, offset_of!(Filestat, ino), self.inode.to_le_bytes());
        set(&mut record, offset_of!(Filestat, filetype), [self.filetype.raw()]);
        set(&mut record, offset_of!(Filestat, nlink), self.links.to_le_bytes());
        set(&mut record, offset_of!(Filestat, size), self.size.to_le_bytes());
        set(&mut record, offset_of!(Filestat, atim), self.times.accessed_ns.to_le_bytes());
        set(&mut record, offset_of!(Filestat, mtim), self.times.modified_ns.to_le_bytes());
        set(&mut record, offset_of!(Filestat, ctim), self.times.changed_ns.to_le_bytes());
        record
    }
}

/// Encodes an `fdstat`.
pub(crate) fn fdstat(
    filetype: Filetype,
    flags: Fdflags,
    base: Rights,
    inheriting: Rights,
) -> [u8; FDSTAT_BYTES as usize] {
    let mut record = [0; FDSTAT_BYTES as usize];
    set(&mut record, offset_of!(Fdstat, fs_filetype), [filetype.raw()]);
    set(&mut record, offset_of!(Fdstat, fs_flags), flags.to_le_bytes());
    set(&mut record, offset_of!(Fdstat, fs_rights_base), base.to_le_bytes());
    set(&mut record, offset_of!(Fdstat, fs_rights_inheriting), inheriting.to_le_bytes());
    record
}

/// Encodes the `prestat` of a directory whose name has `name_bytes` bytes.
pub(crate) fn prestat(name_bytes: u32) -> [u8; PRESTAT_BYTES as usize] {
    let mut record = [0; PRESTAT_BYTES as usize];
    set(&mut record, 0, [PREOPENTYPE_DIR.raw()]);
    set(&mut record, 4, name_bytes.to_le_bytes());
    record
}

/// Encodes a `dirent`. `cookie` is the position of the next entry.
pub(crate) fn dirent(cookie: u64, inode: u64, name_bytes: u32, filetype: Filetype) -> [u8; DIRENT_BYTES] {
    let mut record = [0; DIRENT_BYTES];
    set(&mut record, offset_of!(Dirent, d_next), cookie.to_le_bytes());
    set(&mut record, offset_of!(Dirent, d_ino), inode.to_le_bytes());
    set(&mut record, offset_of!(Dirent, d_namlen), name_bytes.to_le_bytes());
    set(&mut record, offset_of!(Dirent, d_type), [filetype.raw()]);
    record
}

/// The event of a subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occurred {
    pub(crate) userdata: u64,
    pub(crate) error: Errno,
    /// The tag of the subscription.
    pub(crate) tag: u8,
    /// The bytes that can be read, for a subscription to a readable descriptor.
    pub(crate) available: u64,
}

impl Occurred {
    /// Encodes an `event`.
    pub(crate) fn encode(&self) -> [u8; EVENT_BYTES as usize] {
        let mut record = [0; EVENT_BYTES as usize];
        set(&mut record, offset_of!(Event, userdata), self.userdata.to_le_bytes());
        set(&mut record, offset_of!(Event, error), self.error.raw().to_le_bytes());
        set(&mut record, offset_of!(Event, type_), [self.tag]);
        let bytes = offset_of!(Event, fd_readwrite) + offset_of!(EventFdReadwrite, nbytes);
        set(&mut record, bytes, self.available.to_le_bytes());
        record
    }
}

/// A subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscribed {
    pub(crate) userdata: u64,
    pub(crate) tag: u8,
    pub(crate) what: Awaited,
}

/// The event that a subscription waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Awaited {
    /// A time of a clock: absolute, or relative to now.
    Clock { id: u32, timeout_ns: u64, flags: u16 },
    /// This descriptor is readable.
    Read(u32),
    /// This descriptor is writable.
    Write(u32),
}

impl Subscribed {
    /// Decodes a `subscription`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the tag is unknown.
    pub(crate) fn decode(record: &[u8]) -> Result<Self, Errno> {
        const UNION: usize = offset_of!(Subscription, u) + offset_of!(SubscriptionU, u);
        let tag = record[offset_of!(Subscription, u) + offset_of!(SubscriptionU, tag)];
        let descriptor = u32_at(record, UNION + offset_of!(SubscriptionFdReadwrite, file_descriptor));
        let flags = UNION + offset_of!(SubscriptionClock, flags);
        let what = match tag {
            tag if tag == wasip1::EVENTTYPE_CLOCK.raw() => Awaited::Clock {
                id: u32_at(record, UNION + offset_of!(SubscriptionClock, id)),
                timeout_ns: u64_at(record, UNION + offset_of!(SubscriptionClock, timeout)),
                flags: u16::from_le_bytes([record[flags], record[flags + 1]]),
            },
            tag if tag == wasip1::EVENTTYPE_FD_READ.raw() => Awaited::Read(descriptor),
            tag if tag == wasip1::EVENTTYPE_FD_WRITE.raw() => Awaited::Write(descriptor),
            _ => return Err(ERRNO_INVAL),
        };
        Ok(Self { userdata: u64_at(record, offset_of!(Subscription, userdata)), tag, what })
    }
}

/// Writes a field at `offset`.
fn set<const N: usize>(record: &mut [u8], offset: usize, field: [u8; N]) {
    record[offset..offset + N].copy_from_slice(&field);
}
