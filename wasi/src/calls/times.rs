//! `fd_filestat_set_times` and `path_filestat_set_times`.

use wasip1::{
    ERRNO_BADF, ERRNO_INVAL, Errno, FSTFLAGS_ATIM, FSTFLAGS_ATIM_NOW, FSTFLAGS_MTIM, FSTFLAGS_MTIM_NOW,
    Fstflags, RIGHTS_FD_FILESTAT_SET_TIMES, RIGHTS_PATH_FILESTAT_SET_TIMES,
};

use super::{Answer, Next, path::links};
use crate::{
    fd::Place,
    memory::{GuestMemory, Pointer},
    wasi::Wasi,
};

/// The times that a guest sets, in nanoseconds. None is unchanged.
#[derive(Clone, Copy, Debug)]
struct NewTimes {
    accessed_ns: Option<u64>,
    modified_ns: Option<u64>,
    now_ns: u64,
}

impl NewTimes {
    /// # Errors
    ///
    /// `EINVAL` if `flags` contains an unknown flag, or both flags of one time; `ENOSYS` if a time
    /// is set to now and the world has no clock.
    fn new(wasi: &mut Wasi, accessed_ns: u64, modified_ns: u64, flags: u32) -> Result<Self, Errno> {
        const KNOWN: Fstflags = FSTFLAGS_ATIM | FSTFLAGS_ATIM_NOW | FSTFLAGS_MTIM | FSTFLAGS_MTIM_NOW;
        let flags = u16::try_from(flags).ok().filter(|flags| flags & !KNOWN == 0).ok_or(ERRNO_INVAL)?;
        let mut new = |time_ns, given, now| match (flags & given != 0, flags & now != 0) {
            (false, false) => Ok(None),
            (true, false) => Ok(Some(time_ns)),
            (false, true) => wasi.clock().map(|clock| Some(clock.realtime_ns())),
            (true, true) => Err(ERRNO_INVAL),
        };
        Ok(Self {
            accessed_ns: new(accessed_ns, FSTFLAGS_ATIM, FSTFLAGS_ATIM_NOW)?,
            modified_ns: new(modified_ns, FSTFLAGS_MTIM, FSTFLAGS_MTIM_NOW)?,
            now_ns: wasi.now_ns(),
        })
    }

    fn set(self, wasi: &mut Wasi, place: Place) -> Answer {
        let volume = &mut wasi.volumes[place.volume];
        volume.set_times(place.inode, self.accessed_ns, self.modified_ns, self.now_ns)?;
        Ok(Next::Return)
    }
}

/// Returns `EBADF` for a stream, which has no times.
pub(crate) fn fd_filestat_set_times(
    wasi: &mut Wasi,
    _memory: &mut GuestMemory<'_>,
    fd: u32,
    accessed_ns: u64,
    modified_ns: u64,
    flags: u32,
) -> Answer {
    let descriptor = wasi.descriptors.get(fd)?;
    let place = descriptor.object.place().ok_or(ERRNO_BADF)?;
    // `EROFS` is more precise than a missing right, which all directories of an archive have.
    wasi.volumes[place.volume].require_writable()?;
    descriptor.require(RIGHTS_FD_FILESTAT_SET_TIMES)?;
    NewTimes::new(wasi, accessed_ns, modified_ns, flags)?.set(wasi, place)
}

#[expect(clippy::too_many_arguments, reason = "these are the parameters of preview 1")]
pub(crate) fn path_filestat_set_times(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    lookup: u32,
    path: Pointer,
    path_len: u32,
    accessed_ns: u64,
    modified_ns: u64,
    flags: u32,
) -> Answer {
    let place = wasi.directory(fd, RIGHTS_PATH_FILESTAT_SET_TIMES)?;
    let path = memory.path(path, path_len)?;
    let times = NewTimes::new(wasi, accessed_ns, modified_ns, flags)?;
    let inode = wasi.volumes[place.volume].walk(place.inode, path, links(lookup)?)?.existing()?;
    times.set(wasi, Place { inode, ..place })
}
