//! The records of preview 1 as bytes: what goes through a guest's memory.
//!
//! Offsets are those of `wasip1`'s `repr(C)` types, which hold numbers of fixed size alone; the two records
//! with a `size` in them, which is the guest's 32 bits and not ours, are laid out here. The calls are the
//! only users.

use core::mem::offset_of;
use wasip1::{
    Dirent, ERRNO_INVAL, Errno, Event, EventFdReadwrite, Fdflags, Fdstat, Filestat, Filetype,
    PREOPENTYPE_DIR, Rights, Subscription, SubscriptionClock, SubscriptionFdReadwrite, SubscriptionU,
};

use crate::memory::{u32_at, u64_at};

/// The bytes of a `dirent`, without the name that follows it.
pub(crate) const DIRENT_BYTES: usize = size_of::<Dirent>();
/// The bytes of an `event`.
pub(crate) const EVENT_BYTES: u32 = 32;
/// The bytes of an `fdstat`.
pub(crate) const FDSTAT_BYTES: u32 = 24;
/// The bytes of a `filestat`.
pub(crate) const FILESTAT_BYTES: u32 = 64;
/// The bytes of a `prestat`.
pub(crate) const PRESTAT_BYTES: u32 = 8;
/// The bytes of a `subscription`.
pub(crate) const SUBSCRIPTION_BYTES: u32 = 48;
/// The bytes of a `size`, which is also what a descriptor has.
pub(crate) const SIZE_BYTES: u32 = 4;
/// The bytes of a `filesize`, a `filedelta` and a `timestamp`.
pub(crate) const FILESIZE_BYTES: u32 = 8;

const _: () = {
    assert!(size_of::<Event>() == EVENT_BYTES as usize);
    assert!(size_of::<Fdstat>() == FDSTAT_BYTES as usize);
    assert!(size_of::<Filestat>() == FILESTAT_BYTES as usize);
    assert!(size_of::<Subscription>() == SUBSCRIPTION_BYTES as usize);
};

/// What is known about a file, a directory or a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) filetype: Filetype,
    pub(crate) links: u64,
    pub(crate) size: u64,
    /// The one time that is kept; it stands for all three.
    pub(crate) modified_ns: u64,
}

impl Stat {
    /// As a `filestat`.
    pub(crate) fn encode(&self) -> [u8; FILESTAT_BYTES as usize] {
        let mut record = [0; FILESTAT_BYTES as usize];
        set(&mut record, offset_of!(Filestat, dev), self.device.to_le_bytes());
        set(&mut record, offset_of!(Filestat, ino), self.inode.to_le_bytes());
        set(&mut record, offset_of!(Filestat, filetype), [self.filetype.raw()]);
        set(&mut record, offset_of!(Filestat, nlink), self.links.to_le_bytes());
        set(&mut record, offset_of!(Filestat, size), self.size.to_le_bytes());
        for time in [offset_of!(Filestat, atim), offset_of!(Filestat, mtim), offset_of!(Filestat, ctim)] {
            set(&mut record, time, self.modified_ns.to_le_bytes());
        }
        record
    }
}

/// An `fdstat`.
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

/// The `prestat` of a directory whose name has `name_bytes` bytes.
pub(crate) fn prestat(name_bytes: u32) -> [u8; PRESTAT_BYTES as usize] {
    let mut record = [0; PRESTAT_BYTES as usize];
    set(&mut record, 0, [PREOPENTYPE_DIR.raw()]);
    set(&mut record, 4, name_bytes.to_le_bytes());
    record
}

/// A `dirent`: `cookie` is where the entry behind this one is found.
pub(crate) fn dirent(cookie: u64, inode: u64, name_bytes: u32, filetype: Filetype) -> [u8; DIRENT_BYTES] {
    let mut record = [0; DIRENT_BYTES];
    set(&mut record, offset_of!(Dirent, d_next), cookie.to_le_bytes());
    set(&mut record, offset_of!(Dirent, d_ino), inode.to_le_bytes());
    set(&mut record, offset_of!(Dirent, d_namlen), name_bytes.to_le_bytes());
    set(&mut record, offset_of!(Dirent, d_type), [filetype.raw()]);
    record
}

/// Something that happened to a subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Happened {
    pub(crate) userdata: u64,
    pub(crate) error: Errno,
    /// The subscription's own tag.
    pub(crate) tag: u8,
    /// Bytes that can be read, for one that asks for that.
    pub(crate) available: u64,
}

impl Happened {
    /// As an `event`.
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

/// What a guest waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscribed {
    pub(crate) userdata: u64,
    pub(crate) tag: u8,
    pub(crate) what: What,
}

/// The kinds of subscriptions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// A clock's time: absolute, or from now on.
    Clock { id: u32, timeout_ns: u64, flags: u16 },
    /// A descriptor that can be read.
    Read(u32),
    /// A descriptor that can be written.
    Write(u32),
}

impl Subscribed {
    /// Out of a `subscription`.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a tag that preview 1 does not have.
    pub(crate) fn decode(record: &[u8]) -> Result<Self, Errno> {
        const UNION: usize = offset_of!(Subscription, u) + offset_of!(SubscriptionU, u);
        let tag = record[offset_of!(Subscription, u) + offset_of!(SubscriptionU, tag)];
        let descriptor = u32_at(record, UNION + offset_of!(SubscriptionFdReadwrite, file_descriptor));
        let flags = UNION + offset_of!(SubscriptionClock, flags);
        let what = match tag {
            tag if tag == wasip1::EVENTTYPE_CLOCK.raw() => What::Clock {
                id: u32_at(record, UNION + offset_of!(SubscriptionClock, id)),
                timeout_ns: u64_at(record, UNION + offset_of!(SubscriptionClock, timeout)),
                flags: u16::from_le_bytes([record[flags], record[flags + 1]]),
            },
            tag if tag == wasip1::EVENTTYPE_FD_READ.raw() => What::Read(descriptor),
            tag if tag == wasip1::EVENTTYPE_FD_WRITE.raw() => What::Write(descriptor),
            _ => return Err(ERRNO_INVAL),
        };
        Ok(Self { userdata: u64_at(record, offset_of!(Subscription, userdata)), tag, what })
    }
}

/// Writes one field.
fn set<const N: usize>(record: &mut [u8], offset: usize, field: [u8; N]) {
    record[offset..offset + N].copy_from_slice(&field);
}
