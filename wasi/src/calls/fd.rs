//! Operations on a descriptor other than reading and writing.

use wasip1::{
    ERRNO_BADF, ERRNO_INVAL, ERRNO_NAMETOOLONG, ERRNO_NOTSUP, ERRNO_OVERFLOW, Errno,
    FILETYPE_CHARACTER_DEVICE, FILETYPE_DIRECTORY, FILETYPE_REGULAR_FILE, FILETYPE_UNKNOWN, Fdflags,
    Filetype, RIGHTS_FD_ADVISE, RIGHTS_FD_DATASYNC, RIGHTS_FD_FDSTAT_SET_FLAGS, RIGHTS_FD_FILESTAT_GET,
    RIGHTS_FD_FILESTAT_SET_SIZE, RIGHTS_FD_SEEK, RIGHTS_FD_SYNC, RIGHTS_FD_TELL, Rights, WHENCE_CUR,
    WHENCE_END, WHENCE_SET,
};

use super::{Answer, Next};
use crate::{
    fd::{FDFLAGS, Object, Stream},
    fs::Times,
    layout::{self, FDSTAT_BYTES, FILESIZE_BYTES, FILESTAT_BYTES, PRESTAT_BYTES, Stat},
    memory::{GuestMemory, Pointer},
    wasi::Wasi,
};

/// The largest valid advice. All from 0 to 5 are valid.
const ADVICE_MAX: u32 = wasip1::ADVICE_NOREUSE.raw() as u32;

/// The device number of the standard streams. Volumes have the numbers from 1.
const STREAM_DEVICE: u64 = 0;

pub(crate) fn fd_close(wasi: &mut Wasi, _memory: &mut GuestMemory<'_>, fd: u32) -> Answer {
    let descriptor = wasi.descriptors.take(fd)?;
    wasi.discard(&descriptor);
    Ok(Next::Return)
}

/// Moves `from` to `to` and closes what was open as `to`. Both must be open.
pub(crate) fn fd_renumber(wasi: &mut Wasi, _memory: &mut GuestMemory<'_>, from: u32, to: u32) -> Answer {
    wasi.descriptors.get(to)?;
    let descriptor = wasi.descriptors.take(from)?;
    if let Some(replaced) = wasi.descriptors.put(to, descriptor)? {
        wasi.discard(&replaced);
    }
    Ok(Next::Return)
}

pub(crate) fn fd_seek(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    delta: i64,
    whence: u32,
    result: Pointer,
) -> Answer {
    let place = wasi.file(fd, RIGHTS_FD_SEEK)?;
    let result = memory.buffer(result, FILESIZE_BYTES)?;
    let size = wasi.stat(place)?.size;
    let descriptor = wasi.descriptors.get_mut(fd)?;
    let from = match whence {
        whence if whence == u32::from(WHENCE_SET.raw()) => 0,
        whence if whence == u32::from(WHENCE_CUR.raw()) => descriptor.position,
        whence if whence == u32::from(WHENCE_END.raw()) => size,
        _ => return Err(ERRNO_INVAL),
    };
    let position = i64::try_from(from).ok().and_then(|from| from.checked_add(delta)).ok_or(ERRNO_OVERFLOW)?;
    descriptor.position = u64::try_from(position).map_err(|_| ERRNO_INVAL)?;
    memory.put(&result, &position.to_le_bytes());
    Ok(Next::Return)
}

pub(crate) fn fd_tell(wasi: &mut Wasi, memory: &mut GuestMemory<'_>, fd: u32, result: Pointer) -> Answer {
    wasi.file(fd, RIGHTS_FD_TELL)?;
    let result = memory.buffer(result, FILESIZE_BYTES)?;
    memory.put(&result, &wasi.descriptors.get(fd)?.position.to_le_bytes());
    Ok(Next::Return)
}

/// Does nothing, because no write is deferred.
pub(crate) fn fd_sync(wasi: &mut Wasi, _memory: &mut GuestMemory<'_>, fd: u32) -> Answer {
    wasi.descriptors.get(fd)?.require(RIGHTS_FD_SYNC)?;
    Ok(Next::Return)
}

/// Does nothing, because no write is deferred.
pub(crate) fn fd_datasync(wasi: &mut Wasi, _memory: &mut GuestMemory<'_>, fd: u32) -> Answer {
    wasi.descriptors.get(fd)?.require(RIGHTS_FD_DATASYNC)?;
    Ok(Next::Return)
}

/// Checks the arguments and ignores the advice, because all files are in memory.
pub(crate) fn fd_advise(
    wasi: &mut Wasi,
    _memory: &mut GuestMemory<'_>,
    fd: u32,
    _offset: u64,
    _len: u64,
    advice: u32,
) -> Answer {
    wasi.file(fd, RIGHTS_FD_ADVISE)?;
    if advice > ADVICE_MAX { Err(ERRNO_INVAL) } else { Ok(Next::Return) }
}

/// Not supported: blocks are allocated when they are written, and cannot be reserved before.
pub(crate) fn fd_allocate(
    wasi: &mut Wasi,
    _memory: &mut GuestMemory<'_>,
    fd: u32,
    _offset: u64,
    _len: u64,
) -> Answer {
    wasi.descriptors.get(fd)?.file()?;
    Err(ERRNO_NOTSUP)
}

pub(crate) fn fd_fdstat_get(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    result: Pointer,
) -> Answer {
    let descriptor = wasi.descriptors.get(fd)?;
    let result = memory.buffer(result, FDSTAT_BYTES)?;
    let filetype = filetype(&descriptor.object);
    memory.put(&result, &layout::fdstat(filetype, descriptor.flags, descriptor.base, descriptor.inheriting));
    Ok(Next::Return)
}

pub(crate) fn fd_fdstat_set_flags(
    wasi: &mut Wasi,
    _memory: &mut GuestMemory<'_>,
    fd: u32,
    flags: u32,
) -> Answer {
    let descriptor = wasi.descriptors.get_mut(fd)?;
    descriptor.require(RIGHTS_FD_FDSTAT_SET_FLAGS)?;
    descriptor.flags = known_flags(flags)?;
    Ok(Next::Return)
}

/// Reduces the rights of a descriptor, also of a preopened one.
pub(crate) fn fd_fdstat_set_rights(
    wasi: &mut Wasi,
    _memory: &mut GuestMemory<'_>,
    fd: u32,
    base: Rights,
    inheriting: Rights,
) -> Answer {
    wasi.descriptors.get_mut(fd)?.reduce_rights(base, inheriting)?;
    Ok(Next::Return)
}

/// # Errors
///
/// `EINVAL` if `flags` contains an unknown flag.
pub(super) fn known_flags(flags: u32) -> Result<Fdflags, Errno> {
    u16::try_from(flags).ok().filter(|flags| flags & !FDFLAGS == 0).ok_or(ERRNO_INVAL)
}

pub(crate) fn fd_filestat_get(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    result: Pointer,
) -> Answer {
    let descriptor = wasi.descriptors.get(fd)?;
    descriptor.require(RIGHTS_FD_FILESTAT_GET)?;
    let result = memory.buffer(result, FILESTAT_BYTES)?;
    let stat = match descriptor.object {
        Object::File(place) | Object::Directory(place) => wasi.stat(place)?,
        Object::Stream(_) => Stat {
            device: STREAM_DEVICE,
            inode: fd.into(),
            filetype: filetype(&descriptor.object),
            links: 1,
            size: 0,
            times: Times::created(0),
        },
    };
    memory.put(&result, &stat.encode());
    Ok(Next::Return)
}

pub(crate) fn fd_filestat_set_size(
    wasi: &mut Wasi,
    _memory: &mut GuestMemory<'_>,
    fd: u32,
    size: u64,
) -> Answer {
    let place = wasi.file(fd, RIGHTS_FD_FILESTAT_SET_SIZE)?;
    let now_ns = wasi.now_ns();
    wasi.volumes[place.volume].resize(place.inode, size, now_ns)?;
    Ok(Next::Return)
}

pub(crate) fn fd_prestat_get(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    result: Pointer,
) -> Answer {
    let path = wasi.descriptors.get(fd)?.preopened.as_ref().ok_or(ERRNO_BADF)?;
    let len = u32::try_from(path.len()).map_err(|_| ERRNO_OVERFLOW)?;
    let result = memory.buffer(result, PRESTAT_BYTES)?;
    memory.put(&result, &layout::prestat(len));
    Ok(Next::Return)
}

pub(crate) fn fd_prestat_dir_name(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    buffer: Pointer,
    len: u32,
) -> Answer {
    let path = wasi.descriptors.get(fd)?.preopened.as_ref().ok_or(ERRNO_BADF)?;
    let buffer = memory.buffer(buffer, len)?;
    if buffer.len() < path.len() {
        return Err(ERRNO_NAMETOOLONG);
    }
    memory.put(&buffer, path.as_bytes());
    Ok(Next::Return)
}

/// Returns the type that the guest sees. Preview 1 has no type for a pipe.
fn filetype(object: &Object) -> Filetype {
    match object {
        Object::Stream(Stream::Input) => FILETYPE_UNKNOWN,
        Object::Stream(Stream::Output | Stream::Error) => FILETYPE_CHARACTER_DEVICE,
        Object::File(_) => FILETYPE_REGULAR_FILE,
        Object::Directory(_) => FILETYPE_DIRECTORY,
    }
}
