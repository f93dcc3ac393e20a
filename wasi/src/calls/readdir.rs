//! `fd_readdir`.
//!
//! A cookie is the position in the listing: 0 for `.`, 1 for `..`, and from 2 the number of the
//! entry, or of the next higher one. Numbers are not reused, so entries that are added or removed
//! between two calls do not move others.

use wasip1::{FILETYPE_DIRECTORY, Filetype, RIGHTS_FD_READDIR};

use super::{Answer, Next};
use crate::{
    fs::{Inode, ROOT},
    layout::{self, SIZE_BYTES},
    memory::{Buffer, GuestMemory, Pointer},
    wasi::Wasi,
};

/// The cookie of the first entry after `.` and `..`. The root is in no directory, so all entries
/// have higher numbers than it.
const FIRST_ENTRY: u64 = ROOT + 1;

/// Fills the buffer with entries. The last one may be truncated, which shows the guest that the
/// listing continues.
pub(crate) fn fd_readdir(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    buffer: Pointer,
    len: u32,
    cookie: u64,
    result: Pointer,
) -> Answer {
    let place = wasi.directory(fd, RIGHTS_FD_READDIR)?;
    let buffer = memory.buffer(buffer, len)?;
    let result = memory.buffer(result, SIZE_BYTES)?;
    let volume = &wasi.volumes[place.volume];
    let mut listing = Listing { memory, left: buffer };
    // A directory that was removed has no entries, not even these two (POSIX, `rmdir`).
    if let Ok(parent) = volume.parent(place.inode) {
        if cookie == 0 {
            listing.add(1, place.inode, FILETYPE_DIRECTORY, ".");
        }
        if cookie <= 1 {
            listing.add(FIRST_ENTRY, parent, FILETYPE_DIRECTORY, "..");
        }
    }
    for (inode, filetype, name) in volume.list_from(place.inode, cookie.max(FIRST_ENTRY))? {
        if listing.left.len() == 0 {
            break;
        }
        listing.add(inode + 1, inode, filetype, name);
    }
    let left = u32::try_from(listing.left.len()).expect("the rest of the buffer has at most `len` bytes");
    memory.put(&result, &(len - left).to_le_bytes());
    Ok(Next::Return)
}

/// Writes entries into the guest's buffer.
struct Listing<'a, 'b> {
    memory: &'a mut GuestMemory<'b>,
    /// The rest of the buffer.
    left: Buffer,
}

impl Listing<'_, '_> {
    /// Writes an entry, truncated to the rest of the buffer.
    fn add(&mut self, cookie: u64, inode: Inode, filetype: Filetype, name: &str) {
        let name_bytes = u32::try_from(name.len()).expect("a name has at most 255 bytes");
        let record = layout::dirent(cookie, inode, name_bytes, filetype);
        for part in [&record, name.as_bytes()] {
            let here = self.left.split_off_start(part.len());
            self.memory.put(&here, part);
        }
    }
}
