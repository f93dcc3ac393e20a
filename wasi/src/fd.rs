//! Descriptors, and the rights of each.
//!
//! As preview 1 requires, 0, 1 and 2 are the standard streams, followed by the preopened
//! directories. A new descriptor gets the lowest free number. Rights are checked here.
//! [`Wasi`](crate::Wasi) keeps the volumes' counts of open nodes consistent with the descriptors.

use alloc::{sync::Arc, vec::Vec};
use palimpsest_engine::DataError;
use wasip1::{
    ERRNO_BADF, ERRNO_ISDIR, ERRNO_MFILE, ERRNO_NOTCAPABLE, ERRNO_NOTDIR, ERRNO_SPIPE, Errno, Fdflags, Rights,
};

use crate::{
    bytes::{Reader, StateError, Writer},
    fs::{Access, Inode},
};

/// The rights of a file.
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
    | wasip1::RIGHTS_FD_FILESTAT_SET_TIMES
    | wasip1::RIGHTS_POLL_FD_READWRITE;

/// The rights of a directory in an archive.
const ARCHIVE_RIGHTS: Rights = wasip1::RIGHTS_PATH_OPEN
    | wasip1::RIGHTS_PATH_READLINK
    | wasip1::RIGHTS_PATH_FILESTAT_GET
    | wasip1::RIGHTS_FD_READDIR
    | wasip1::RIGHTS_FD_FILESTAT_GET
    | wasip1::RIGHTS_FD_FDSTAT_SET_FLAGS
    | wasip1::RIGHTS_FD_SYNC;

/// The rights to change a directory.
pub(crate) const CHANGE_RIGHTS: Rights = wasip1::RIGHTS_PATH_CREATE_DIRECTORY
    | wasip1::RIGHTS_PATH_CREATE_FILE
    | wasip1::RIGHTS_PATH_FILESTAT_SET_SIZE
    | wasip1::RIGHTS_PATH_FILESTAT_SET_TIMES
    | wasip1::RIGHTS_FD_FILESTAT_SET_TIMES
    | wasip1::RIGHTS_PATH_RENAME_SOURCE
    | wasip1::RIGHTS_PATH_RENAME_TARGET
    | wasip1::RIGHTS_PATH_REMOVE_DIRECTORY
    | wasip1::RIGHTS_PATH_UNLINK_FILE;

/// The rights of a scratch directory.
const SCRATCH_RIGHTS: Rights = ARCHIVE_RIGHTS | CHANGE_RIGHTS;

/// The rights of a standard stream that is read.
const INPUT_RIGHTS: Rights = wasip1::RIGHTS_FD_READ | STREAM_RIGHTS;
/// The rights of a standard stream that is written.
const OUTPUT_RIGHTS: Rights = wasip1::RIGHTS_FD_WRITE | STREAM_RIGHTS;
/// `FD_SEEK` and `FD_TELL` are missing: from that, wasi-libc distinguishes a terminal from a file.
const STREAM_RIGHTS: Rights = wasip1::RIGHTS_FD_FDSTAT_SET_FLAGS
    | wasip1::RIGHTS_FD_FILESTAT_GET
    | wasip1::RIGHTS_FD_SYNC
    | wasip1::RIGHTS_POLL_FD_READWRITE;

/// The flags that a descriptor can have. Only `APPEND` has an effect, because no write is deferred.
pub(crate) const FDFLAGS: Fdflags = wasip1::FDFLAGS_APPEND
    | wasip1::FDFLAGS_DSYNC
    | wasip1::FDFLAGS_NONBLOCK
    | wasip1::FDFLAGS_RSYNC
    | wasip1::FDFLAGS_SYNC;

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Input,
    Output,
    Error,
}

/// A node of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The index of the volume. Volumes are not removed while the program runs.
    pub(crate) volume: usize,
    pub(crate) inode: Inode,
}

/// The object that a descriptor refers to.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    Stream(Stream),
    File(Place),
    Directory(Place),
}

impl Object {
    /// Returns the node, or None for a stream.
    pub(crate) fn place(&self) -> Option<Place> {
        match *self {
            Self::Stream(_) => None,
            Self::File(place) | Self::Directory(place) => Some(place),
        }
    }

    /// Returns all rights that a descriptor of this object can have.
    pub(crate) fn possible_rights(&self) -> Rights {
        match self {
            Self::Stream(_) => INPUT_RIGHTS | OUTPUT_RIGHTS,
            Self::File(_) => FILE_RIGHTS,
            Self::Directory(_) => SCRATCH_RIGHTS,
        }
    }
}

/// An open object.
#[derive(Clone, Debug)]
pub(crate) struct Descriptor {
    pub(crate) object: Object,
    pub(crate) base: Rights,
    pub(crate) inheriting: Rights,
    pub(crate) flags: Fdflags,
    /// The offset of the next read or write of a file, in bytes.
    pub(crate) position: u64,
    /// The guest's name for a preopened directory.
    pub(crate) preopened: Option<Arc<str>>,
}

impl Descriptor {
    /// Creates the descriptor of a standard stream.
    pub(crate) fn stream(stream: Stream) -> Self {
        let base = match stream {
            Stream::Input => INPUT_RIGHTS,
            Stream::Output | Stream::Error => OUTPUT_RIGHTS,
        };
        Self::new(Object::Stream(stream), base, 0)
    }

    /// Creates the descriptor of a preopened directory.
    pub(crate) fn preopened(place: Place, access: Access, guest_path: Arc<str>) -> Self {
        let base = match access {
            Access::ReadOnly => ARCHIVE_RIGHTS,
            Access::ReadWrite => SCRATCH_RIGHTS,
        };
        // In an archive too, files inherit the right to write: opening one for writing must fail
        // with `EROFS`, not because of a missing right.
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

    /// Reduces the rights to `base` and `inheriting`.
    ///
    /// # Errors
    ///
    /// `ENOTCAPABLE` if that would add a right. The rights are then unchanged.
    pub(crate) fn reduce_rights(&mut self, base: Rights, inheriting: Rights) -> Result<(), Errno> {
        if base & !self.base != 0 || inheriting & !self.inheriting != 0 {
            return Err(ERRNO_NOTCAPABLE);
        }
        self.base = base;
        self.inheriting = inheriting;
        Ok(())
    }

    /// Returns the file that this descriptor refers to.
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

    /// Returns the directory that this descriptor refers to.
    ///
    /// # Errors
    ///
    /// `ENOTDIR` for a stream or a file.
    pub(crate) fn directory(&self) -> Result<Place, Errno> {
        match self.object {
            Object::Directory(place) => Ok(place),
            Object::Stream(_) | Object::File(_) => Err(ERRNO_NOTDIR),
        }
    }
}

/// A number without a descriptor, in a recorded state.
const CLOSED: u8 = 0;

/// The limit of numbers that are read from a recorded state. A free number takes one byte there.
const SLOTS_MAX: u64 = 1 << 16;

impl Descriptor {
    fn write(&self, writer: &mut Writer<'_>) -> Result<(), DataError> {
        let kind = match self.object {
            Object::Stream(Stream::Input) => 1,
            Object::Stream(Stream::Output) => 2,
            Object::Stream(Stream::Error) => 3,
            Object::File(_) => 4,
            Object::Directory(_) => 5,
        };
        writer.u8(kind)?;
        if let Some(Place { volume, inode }) = self.object.place() {
            writer.count(volume)?;
            writer.u64(inode)?;
        }
        let numbers = [self.base, self.inheriting, self.flags.into(), self.position];
        numbers.into_iter().try_for_each(|number| writer.u64(number))?;
        writer.u8(self.preopened.is_some().into())?;
        self.preopened.as_ref().map_or(Ok(()), |guest_path| writer.name(guest_path))
    }

    /// Reads a descriptor, or None if the number is free.
    fn read(reader: &mut Reader<'_>) -> Result<Option<Self>, StateError> {
        let kind = reader.tag("kind of descriptor", |byte| (byte <= 5).then_some(byte))?;
        let mut place = || -> Result<Place, StateError> {
            let volume = reader.u64()?;
            let wrong = |_| StateError::Number { what: "directory of a descriptor", number: volume };
            Ok(Place { volume: usize::try_from(volume).map_err(wrong)?, inode: reader.u64()? })
        };
        let object = match kind {
            CLOSED => return Ok(None),
            1 => Object::Stream(Stream::Input),
            2 => Object::Stream(Stream::Output),
            3 => Object::Stream(Stream::Error),
            4 => Object::File(place()?),
            _ => Object::Directory(place()?),
        };
        let base = reader.u64()?;
        let inheriting = reader.u64()?;
        let inheritable = FILE_RIGHTS | SCRATCH_RIGHTS | INPUT_RIGHTS | OUTPUT_RIGHTS;
        if base & !object.possible_rights() != 0 || inheriting & !inheritable != 0 {
            return Err(StateError::Number { what: "set of rights", number: base | inheriting });
        }
        let flags = reader.u64()?;
        let known = u16::try_from(flags).ok().filter(|flags| flags & !FDFLAGS == 0);
        let flags = known.ok_or(StateError::Number { what: "set of flags", number: flags })?;
        let position = reader.u64()?;
        let is_preopened = reader.tag("mark of a preopened directory", |byte| match byte {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        })?;
        let preopened = if is_preopened { Some(reader.name()?.into()) } else { None };
        Ok(Some(Self { object, base, inheriting, flags, position, preopened }))
    }
}

/// The descriptors of a guest, indexed by number.
#[derive(Clone, Debug)]
pub(crate) struct Descriptors {
    slots: Vec<Option<Descriptor>>,
    /// The limit of open descriptors.
    limit: usize,
}

impl Descriptors {
    /// Creates a table that contains `initial` and is full when `limit` descriptors are open.
    pub(crate) fn new(initial: Vec<Descriptor>, limit: usize) -> Self {
        Self { slots: initial.into_iter().map(Some).collect(), limit }
    }

    /// Returns the nodes of all descriptors.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        self.slots.iter().flatten().filter_map(|descriptor| descriptor.object.place())
    }

    /// # Errors
    ///
    /// Those of the sink.
    pub(crate) fn write(&self, writer: &mut Writer<'_>) -> Result<(), DataError> {
        writer.count(self.slots.len())?;
        self.slots.iter().try_for_each(|slot| match slot {
            None => writer.u8(CLOSED),
            Some(descriptor) => descriptor.write(writer),
        })
    }

    /// Reads descriptors. Their places are not checked, and the limit is to be set.
    ///
    /// # Errors
    ///
    /// See [`StateError`].
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let count = reader.u64()?;
        let mut slots = Vec::new();
        if count > SLOTS_MAX {
            return Err(StateError::Number { what: "number of descriptors", number: count });
        }
        for _ in 0..count {
            slots.push(Descriptor::read(reader)?);
        }
        Ok(Self { slots, limit: 0 })
    }

    /// Replaces all descriptors by those of a snapshot, but not the limit. If more are open, the
    /// table is full.
    pub(crate) fn restore(&mut self, saved: &Self) {
        self.slots.clone_from(&saved.slots);
    }

    /// # Errors
    ///
    /// `EBADF` if `fd` is not open.
    pub(crate) fn get(&self, fd: u32) -> Result<&Descriptor, Errno> {
        self.slots.get(index(fd)?).and_then(Option::as_ref).ok_or(ERRNO_BADF)
    }

    /// # Errors
    ///
    /// `EBADF` if `fd` is not open.
    pub(crate) fn get_mut(&mut self, fd: u32) -> Result<&mut Descriptor, Errno> {
        self.slots.get_mut(index(fd)?).and_then(Option::as_mut).ok_or(ERRNO_BADF)
    }

    /// # Errors
    ///
    /// `EBADF` if `fd` is not open.
    pub(crate) fn take(&mut self, fd: u32) -> Result<Descriptor, Errno> {
        self.slots.get_mut(index(fd)?).and_then(Option::take).ok_or(ERRNO_BADF)
    }

    /// Returns the lowest free number.
    ///
    /// # Errors
    ///
    /// `EMFILE` if the limit is reached.
    pub(crate) fn lowest_free(&self) -> Result<u32, Errno> {
        if self.slots.iter().flatten().count() >= self.limit {
            return Err(ERRNO_MFILE);
        }
        let free = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        u32::try_from(free).map_err(|_| ERRNO_MFILE)
    }

    /// Opens `descriptor` as `fd` and returns the descriptor that it replaces. `fd` must be open,
    /// or be the result of [`lowest_free`](Self::lowest_free).
    ///
    /// # Errors
    ///
    /// `EBADF` for any other number.
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
