//! Operations on a path relative to an open directory.

use wasip1::{
    ERRNO_INVAL, ERRNO_XDEV, Errno, LOOKUPFLAGS_SYMLINK_FOLLOW, RIGHTS_PATH_CREATE_DIRECTORY,
    RIGHTS_PATH_FILESTAT_GET, RIGHTS_PATH_READLINK, RIGHTS_PATH_REMOVE_DIRECTORY, RIGHTS_PATH_RENAME_SOURCE,
    RIGHTS_PATH_RENAME_TARGET, RIGHTS_PATH_UNLINK_FILE,
};

use super::{Answer, Next};
use crate::{
    fd::Place,
    fs::{Links, Resolved, Volume},
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
    let stat = wasi.stat(Place { inode, ..place })?;
    memory.put(&result, &stat.encode());
    Ok(Next::Return)
}

/// Writes the target of a symbolic link. Truncates it to the guest's buffer, as POSIX requires.
#[expect(clippy::too_many_arguments, reason = "these are the parameters of preview 1")]
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
    let written = u32::try_from(target.len().min(buffer.len())).expect("the buffer has at most `len` bytes");
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

/// Renames within one preopened directory. Between two of them it fails with `EXDEV`, because each
/// is a separate volume.
#[expect(clippy::too_many_arguments, reason = "these are the parameters of preview 1")]
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
/// `EINVAL` if `lookup` contains an unknown flag.
pub(super) fn links(lookup: u32) -> Result<Links, Errno> {
    match lookup {
        0 => Ok(Links::Stop),
        LOOKUPFLAGS_SYMLINK_FOLLOW => Ok(Links::Follow),
        _ => Err(ERRNO_INVAL),
    }
}

/// Applies `change` to what `path` names below `place`. A symbolic link at its end is not followed.
fn change(
    wasi: &mut Wasi,
    place: Place,
    path: &str,
    change: impl FnOnce(&mut Volume, Resolved<'_>, u64) -> Result<(), Errno>,
) -> Answer {
    let now_ns = wasi.now_ns();
    let volume = &mut wasi.volumes[place.volume];
    let resolved = volume.walk(place.inode, path, Links::Stop)?;
    change(volume, resolved, now_ns)?;
    Ok(Next::Return)
}
