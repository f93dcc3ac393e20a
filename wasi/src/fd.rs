//! Descriptors: what a guest's small numbers stand for, and what may be done with them.
//!
//! 0, 1 and 2 are the standard streams, 3 and on the preopened directories, as preview 1 has it. A new one
//! gets the lowest number that is free. Rights are checked here; what is open in a volume is counted by
//! [`Wasi`](crate::Wasi), which owns both.

use alloc::{boxed::Box, vec::Vec};
use wasip1::{
    ERRNO_BADF, ERRNO_ISDIR, ERRNO_MFILE, ERRNO_NOTCAPABLE, ERRNO_NOTDIR, ERRNO_SPIPE, Errno, Fdflags, Rights,
};

use crate::fs::{Access, Inode};

/// What may be done with a file.
const FILE_RIGHTS: Rights = wasip1::RIGHTS_FD_READ
    | wasip1::RIGHTS_FD_SEEK
    | wasip1::RIGHTS_FD_TELL
    | wasip1::RIGHTS_FD_WRITE
    | wasip1::RIGHTS_FD_ADVISE
    | wasip1::RIGHTS_FD_DATASYNC
    | wasip1::RIGHTS_FD_SYNC
    | wasip1::RIGHTS_FD_FDSTAT_SET_FLAGS
    | wasip1::RIGHTS_FD_FILESTAT_GET
    | wasip1::RIGHTS_FD_FILESTAT_SET_SIZE
    | wasip1::RIGHTS_POLL_FD_READWRITE;

/// What may be done with a directory of an archive.
const ARCHIVE_RIGHTS: Rights = wasip1::RIGHTS_PATH_OPEN
    | wasip1::RIGHTS_PATH_READLINK
    | wasip1::RIGHTS_PATH_FILESTAT_GET
    | wasip1::RIGHTS_FD_READDIR
    | wasip1::RIGHTS_FD_FILESTAT_GET
    | wasip1::RIGHTS_FD_FDSTAT_SET_FLAGS
    | wasip1::RIGHTS_FD_SYNC;

/// What changes a directory.
pub(crate) const CHANGE_RIGHTS: Rights = wasip1::RIGHTS_PATH_CREATE_DIRECTORY
    | wasip1::RIGHTS_PATH_CREATE_FILE
    | wasip1::RIGHTS_PATH_FILESTAT_SET_SIZE
    | wasip1::RIGHTS_PATH_RENAME_SOURCE
    | wasip1::RIGHTS_PATH_RENAME_TARGET
    | wasip1::RIGHTS_PATH_REMOVE_DIRECTORY
    | wasip1::RIGHTS_PATH_UNLINK_FILE;

/// What may be done with a scratch directory.
const SCRATCH_RIGHTS: Rights = ARCHIVE_RIGHTS | CHANGE_RIGHTS;

/// What may be done with a standard stream that is read.
const INPUT_RIGHTS: Rights = wasip1::RIGHTS_FD_READ | STREAM_RIGHTS;
/// What may be done with a standard stream that is written.
const OUTPUT_RIGHTS: Rights = wasip1::RIGHTS_FD_WRITE | STREAM_RIGHTS;
/// Without `FD_SEEK` and `FD_TELL`, by which wasi-libc tells a terminal from a file.
const STREAM_RIGHTS: Rights = wasip1::RIGHTS_FD_FDSTAT_SET_FLAGS
    | wasip1::RIGHTS_FD_FILESTAT_GET
    | wasip1::RIGHTS_FD_SYNC
    | wasip1::RIGHTS_POLL_FD_READWRITE;

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Input,
    Output,
    Error,
}

/// A node of one of the volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The volume's index.
    pub(crate) volume: usize,
    pub(crate) inode: Inode,
}

/// What a descriptor stands for.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    Stream(Stream),
    File(Place),
    Directory(Place),
}

impl Object {
    /// The node, unless it is a stream.
    pub(crate) fn place(&self) -> Option<Place> {
        match *self {
            Self::Stream(_) => None,
            Self::File(place) | Self::Directory(place) => Some(place),
        }
    }

    /// The rights that a descriptor of it can have at all.
    pub(crate) fn possible_rights(&self) -> Rights {
        match self {
            Self::Stream(_) => INPUT_RIGHTS | OUTPUT_RIGHTS,
            Self::File(_) => FILE_RIGHTS,
            Self::Directory(_) => SCRATCH_RIGHTS,
        }
    }
}

/// Something open.
#[derive(Debug)]
pub(crate) struct Descriptor {
    pub(crate) object: Object,
    pub(crate) base: Rights,
    pub(crate) inheriting: Rights,
    pub(crate) flags: Fdflags,
    /// Where a file is read and written next, in bytes.
    pub(crate) position: u64,
    /// The path that the guest knows a preopened directory by.
    pub(crate) preopened: Option<Box<str>>,
}

impl Descriptor {
    /// A standard stream.
    pub(crate) fn stream(stream: Stream) -> Self {
        let base = match stream {
            Stream::Input => INPUT_RIGHTS,
            Stream::Output | Stream::Error => OUTPUT_RIGHTS,
        };
        Self::new(Object::Stream(stream), base, 0)
    }

    /// A preopened directory.
    pub(crate) fn preopened(place: Place, access: Access, guest_path: Box<str>) -> Self {
        let base = match access {
            Access::ReadOnly => ARCHIVE_RIGHTS,
            Access::ReadWrite => SCRATCH_RIGHTS,
        };
        // Writing is passed on in an archive too, so that opening a file for it says `EROFS`.
        let preopened = Self::new(Object::Directory(place), base, base | FILE_RIGHTS);
        Self { preopened: Some(guest_path), ..preopened }
    }

    pub(crate) fn new(object: Object, base: Rights, inheriting: Rights) -> Self {
        Self { object, base, inheriting, flags: 0, position: 0, preopened: None }
    }

    /// # Errors
    ///
    /// `ENOTCAPABLE` if one of `rights` is missing.
    pub(crate) fn require(&self, rights: Rights) -> Result<(), Errno> {
        if self.base & rights == rights { Ok(()) } else { Err(ERRNO_NOTCAPABLE) }
    }

    /// The file that this is.
    ///
    /// # Errors
    ///
    /// `ESPIPE` for a stream, `EISDIR` for a directory.
    pub(crate) fn file(&self) -> Result<Place, Errno> {
        match self.object {
            Object::File(place) => Ok(place),
            Object::Stream(_) => Err(ERRNO_SPIPE),
            Object::Directory(_) => Err(ERRNO_ISDIR),
        }
    }

    /// The directory that this is.
    ///
    /// # Errors
    ///
    /// `ENOTDIR` for anything else.
    pub(crate) fn directory(&self) -> Result<Place, Errno> {
        match self.object {
            Object::Directory(place) => Ok(place),
            Object::Stream(_) | Object::File(_) => Err(ERRNO_NOTDIR),
        }
    }
}

/// All descriptors of a guest, by number.
#[derive(Debug)]
pub(crate) struct Descriptors {
    slots: Vec<Option<Descriptor>>,
    /// The most that may be open.
    limit: usize,
}

impl Descriptors {
    /// A table that starts with `initial`, and is full when `limit` are open.
    pub(crate) fn new(initial: Vec<Descriptor>, limit: usize) -> Self {
        Self { slots: initial.into_iter().map(Some).collect(), limit }
    }

    /// # Errors
    ///
    /// `EBADF` if it is not open.
    pub(crate) fn get(&self, fd: u32) -> Result<&Descriptor, Errno> {
        self.slots.get(index(fd)?).and_then(Option::as_ref).ok_or(ERRNO_BADF)
    }

    /// # Errors
    ///
    /// `EBADF` if it is not open.
    pub(crate) fn get_mut(&mut self, fd: u32) -> Result<&mut Descriptor, Errno> {
        self.slots.get_mut(index(fd)?).and_then(Option::as_mut).ok_or(ERRNO_BADF)
    }

    /// # Errors
    ///
    /// `EBADF` if it is not open.
    pub(crate) fn take(&mut self, fd: u32) -> Result<Descriptor, Errno> {
        self.slots.get_mut(index(fd)?).and_then(Option::take).ok_or(ERRNO_BADF)
    }

    /// The lowest number that is free.
    ///
    /// # Errors
    ///
    /// `EMFILE` if as many are open as may be.
    pub(crate) fn free(&self) -> Result<u32, Errno> {
        if self.slots.iter().flatten().count() >= self.limit {
            return Err(ERRNO_MFILE);
        }
        let free = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        u32::try_from(free).map_err(|_| ERRNO_MFILE)
    }

    /// Opens `descriptor` under `fd`, which is open or what [`free`](Self::free) has said, and returns what
    /// was open under it.
    ///
    /// # Errors
    ///
    /// `EBADF` for another number.
    pub(crate) fn put(&mut self, fd: u32, descriptor: Descriptor) -> Result<Option<Descriptor>, Errno> {
        let index = index(fd)?;
        if index == self.slots.len() {
            self.slots.push(None);
        }
        self.slots.get_mut(index).ok_or(ERRNO_BADF).map(|slot| slot.replace(descriptor))
    }
}

fn index(fd: u32) -> Result<usize, Errno> {
    usize::try_from(fd).map_err(|_| ERRNO_BADF)
}
