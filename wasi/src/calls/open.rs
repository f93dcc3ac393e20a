//! `path_open`.

use wasip1::{
    ERRNO_EXIST, ERRNO_INVAL, ERRNO_ISDIR, ERRNO_LOOP, ERRNO_NOENT, ERRNO_NOTDIR, Errno, FILETYPE_DIRECTORY,
    FILETYPE_REGULAR_FILE, OFLAGS_CREAT, OFLAGS_DIRECTORY, OFLAGS_EXCL, OFLAGS_TRUNC, Oflags,
    RIGHTS_FD_WRITE, RIGHTS_PATH_CREATE_FILE, RIGHTS_PATH_FILESTAT_SET_SIZE, RIGHTS_PATH_OPEN, Rights,
};

use super::{Answer, Next, fd::known_flags, path::links};
use crate::{
    fd::{Descriptor, Object, Place},
    fs::Resolved,
    layout::SIZE_BYTES,
    memory::{GuestMemory, Pointer},
    wasi::Wasi,
};

/// The flags and rights that a path is opened with.
#[derive(Clone, Copy, Debug)]
struct OpenMode {
    flags: Oflags,
    base: Rights,
    inheriting: Rights,
}

impl OpenMode {
    fn has(self, flag: Oflags) -> bool {
        self.flags & flag != 0
    }

    /// Returns whether opening a file with these flags and rights can change it.
    fn writes(self) -> bool {
        self.base & RIGHTS_FD_WRITE != 0 || self.has(OFLAGS_TRUNC)
    }
}

/// Opens or creates a file, or opens a directory.
///
/// The new descriptor has those of the requested rights that the directory passes on. wasi-libc and
/// Rust request more than they need. Opening a file of an archive for writing fails with `EROFS`.
#[expect(clippy::too_many_arguments, reason = "these are the parameters of preview 1")]
pub(crate) fn path_open(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    lookup: u32,
    path: Pointer,
    path_len: u32,
    flags: u32,
    base: Rights,
    inheriting: Rights,
    fd_flags: u32,
    result: Pointer,
) -> Answer {
    let place = wasi.directory(fd, RIGHTS_PATH_OPEN)?;
    let result = memory.buffer(result, SIZE_BYTES)?;
    let path = memory.path(path, path_len)?;
    let links = links(lookup)?;
    let fd_flags = known_flags(fd_flags)?;
    let passed_on = wasi.descriptors.get(fd)?.inheriting;
    let mode =
        OpenMode { flags: known_oflags(flags)?, base: base & passed_on, inheriting: inheriting & passed_on };
    let new_fd = wasi.descriptors.lowest_free()?;
    let resolved = wasi.volumes[place.volume].walk(place.inode, path, links)?;
    let object = match resolved.inode {
        Some(inode) => open_existing(wasi, fd, Place { inode, ..place }, mode)?,
        None => create(wasi, fd, place, resolved, mode)?,
    };
    let base = mode.base & object.possible_rights();
    let mut descriptor = Descriptor::new(object, base, mode.inheriting);
    descriptor.flags = fd_flags;
    wasi.install(new_fd, descriptor)?;
    memory.put(&result, &new_fd.to_le_bytes());
    Ok(Next::Return)
}

fn known_oflags(flags: u32) -> Result<Oflags, Errno> {
    const KNOWN: Oflags = OFLAGS_CREAT | OFLAGS_DIRECTORY | OFLAGS_EXCL | OFLAGS_TRUNC;
    let flags = u16::try_from(flags).ok().filter(|flags| flags & !KNOWN == 0).ok_or(ERRNO_INVAL)?;
    let makes_directory = flags & OFLAGS_CREAT != 0 && flags & OFLAGS_DIRECTORY != 0;
    if makes_directory { Err(ERRNO_INVAL) } else { Ok(flags) }
}

fn open_existing(wasi: &mut Wasi, fd: u32, place: Place, mode: OpenMode) -> Result<Object, Errno> {
    let volume = &wasi.volumes[place.volume];
    if mode.has(OFLAGS_CREAT) && mode.has(OFLAGS_EXCL) {
        return Err(ERRNO_EXIST);
    }
    let filetype = volume.filetype(place.inode)?;
    if filetype == FILETYPE_DIRECTORY {
        let is_meant = mode.has(OFLAGS_DIRECTORY) || !mode.writes();
        return if is_meant { Ok(Object::Directory(place)) } else { Err(ERRNO_ISDIR) };
    }
    if mode.has(OFLAGS_DIRECTORY) {
        return Err(ERRNO_NOTDIR);
    }
    if filetype != FILETYPE_REGULAR_FILE {
        return Err(ERRNO_LOOP);
    }
    if mode.writes() {
        volume.require_writable()?;
    }
    if mode.has(OFLAGS_TRUNC) {
        wasi.directory(fd, RIGHTS_PATH_FILESTAT_SET_SIZE)?;
        let now_ns = wasi.now_ns();
        wasi.volumes[place.volume].resize(place.inode, 0, now_ns)?;
    }
    Ok(Object::File(place))
}

fn create(
    wasi: &mut Wasi,
    fd: u32,
    place: Place,
    resolved: Resolved<'_>,
    mode: OpenMode,
) -> Result<Object, Errno> {
    if !mode.has(OFLAGS_CREAT) {
        return Err(ERRNO_NOENT);
    }
    wasi.directory(fd, RIGHTS_PATH_CREATE_FILE)?;
    let now_ns = wasi.now_ns();
    let inode = wasi.volumes[place.volume].create_file(resolved, now_ns)?;
    Ok(Object::File(Place { inode, ..place }))
}
