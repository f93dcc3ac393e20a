//! What is done with a path, which is relative to an open directory.

use wasip1::{
    ERRNO_INVAL, ERRNO_XDEV, Errno, LOOKUPFLAGS_SYMLINK_FOLLOW, RIGHTS_PATH_CREATE_DIRECTORY,
    RIGHTS_PATH_FILESTAT_GET, RIGHTS_PATH_READLINK, RIGHTS_PATH_REMOVE_DIRECTORY, RIGHTS_PATH_RENAME_SOURCE,
    RIGHTS_PATH_RENAME_TARGET, RIGHTS_PATH_UNLINK_FILE,
};

use super::{Answer, Next};
use crate::{
    fd::Place,
    fs::{Links, Spot, Volume},
    layout::{FILESTAT_BYTES, SIZE_BYTES},
    memory::{GuestMemory, Pointer},
    wasi::Wasi,
};

pub(crate) fn path_filestat_get(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    lookup: u32,
    path: Pointer,
    path_len: u32,
    result: Pointer,
) -> Answer {
    let place = wasi.directory(fd, RIGHTS_PATH_FILESTAT_GET)?;
    let result = memory.buffer(result, FILESTAT_BYTES)?;
    let path = memory.path(path, path_len)?;
    let inode = wasi.volumes[place.volume].walk(place.inode, path, links(lookup)?)?.existing()?;
    let stat = wasi.stat(Place { inode, ..place });
    memory.put(&result, &stat.encode());
    Ok(Next::Return)
}

/// Links are those of the archive; a target that does not fit is cut off, as POSIX has it.
#[expect(clippy::too_many_arguments, reason = "preview 1 has as many")]
pub(crate) fn path_readlink(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    path: Pointer,
    path_len: u32,
    buffer: Pointer,
    len: u32,
    result: Pointer,
) -> Answer {
    let place = wasi.directory(fd, RIGHTS_PATH_READLINK)?;
    let buffer = memory.buffer(buffer, len)?;
    let result = memory.buffer(result, SIZE_BYTES)?;
    let path = memory.path(path, path_len)?;
    let volume = &wasi.volumes[place.volume];
    let target = volume.target(volume.walk(place.inode, path, Links::Stop)?.existing()?)?;
    memory.put(&buffer, target.as_bytes());
    let written = u32::try_from(target.len().min(buffer.len())).expect("it is at most `len`");
    memory.put(&result, &written.to_le_bytes());
    Ok(Next::Return)
}

pub(crate) fn path_create_directory(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    path: Pointer,
    path_len: u32,
) -> Answer {
    let place = wasi.directory(fd, RIGHTS_PATH_CREATE_DIRECTORY)?;
    let path = memory.path(path, path_len)?;
    change(wasi, place, path, Volume::create_directory)
}

pub(crate) fn path_unlink_file(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    path: Pointer,
    path_len: u32,
) -> Answer {
    let place = wasi.directory(fd, RIGHTS_PATH_UNLINK_FILE)?;
    let path = memory.path(path, path_len)?;
    change(wasi, place, path, Volume::remove_file)
}

pub(crate) fn path_remove_directory(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    path: Pointer,
    path_len: u32,
) -> Answer {
    let place = wasi.directory(fd, RIGHTS_PATH_REMOVE_DIRECTORY)?;
    let path = memory.path(path, path_len)?;
    change(wasi, place, path, Volume::remove_directory)
}

/// From one preopened directory to another it is `EXDEV`: each is a volume of its own.
#[expect(clippy::too_many_arguments, reason = "preview 1 has as many")]
pub(crate) fn path_rename(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    old_fd: u32,
    old_path: Pointer,
    old_path_len: u32,
    new_fd: u32,
    new_path: Pointer,
    new_path_len: u32,
) -> Answer {
    let old = wasi.directory(old_fd, RIGHTS_PATH_RENAME_SOURCE)?;
    let new = wasi.directory(new_fd, RIGHTS_PATH_RENAME_TARGET)?;
    let old_path = memory.path(old_path, old_path_len)?;
    let new_path = memory.path(new_path, new_path_len)?;
    if old.volume != new.volume {
        return Err(ERRNO_XDEV);
    }
    let now_ns = wasi.now_ns();
    let volume = &mut wasi.volumes[old.volume];
    let from = volume.walk(old.inode, old_path, Links::Stop)?;
    let to = volume.walk(new.inode, new_path, Links::Stop)?;
    volume.rename(from, to, now_ns)?;
    Ok(Next::Return)
}

/// # Errors
///
/// `EINVAL` for a flag that preview 1 does not have.
pub(super) fn links(lookup: u32) -> Result<Links, Errno> {
    match lookup {
        0 => Ok(Links::Stop),
        LOOKUPFLAGS_SYMLINK_FOLLOW => Ok(Links::Follow),
        _ => Err(ERRNO_INVAL),
    }
}

/// Changes what a path below the directory `place` names, itself and not what a link leads to.
fn change(
    wasi: &mut Wasi,
    place: Place,
    path: &str,
    change: impl FnOnce(&mut Volume, Spot<'_>, u64) -> Result<(), Errno>,
) -> Answer {
    let now_ns = wasi.now_ns();
    let volume = &mut wasi.volumes[place.volume];
    let spot = volume.walk(place.inode, path, Links::Stop)?;
    change(volume, spot, now_ns)?;
    Ok(Next::Return)
}
