//! Listing a directory.
//!
//! A cookie says where to go on: 0 at `.`, 1 at `..`, and from 2 on at the entry with that number or the next
//! higher one. Numbers stay, so entries that come and go between two calls move no others.

use wasip1::{FILETYPE_DIRECTORY, Filetype, RIGHTS_FD_READDIR};

use super::{Answer, Next};
use crate::{
    fs::{Inode, ROOT},
    layout::{self, SIZE_BYTES},
    memory::{Buffer, GuestMemory, Pointer},
    wasi::Wasi,
};

/// The cookie of the first entry that is neither `.` nor `..`: the root is nobody's entry.
const FIRST_ENTRY: u64 = ROOT + 1;

/// Fills the buffer with entries; the last one may be cut off in the middle, which tells the guest that there
/// is more.
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
    if cookie == 0 {
        listing.add(1, place.inode, FILETYPE_DIRECTORY, ".");
    }
    if cookie <= 1 {
        listing.add(FIRST_ENTRY, volume.parent(place.inode)?, FILETYPE_DIRECTORY, "..");
    }
    for (inode, filetype, name) in volume.list_from(place.inode, cookie.max(FIRST_ENTRY))? {
        if listing.left.len() == 0 {
            break;
        }
        listing.add(inode + 1, inode, filetype, name);
    }
    let left = u32::try_from(listing.left.len()).expect("it is a part of `len` bytes");
    memory.put(&result, &(len - left).to_le_bytes());
    Ok(Next::Return)
}

/// The entries written so far.
struct Listing<'a, 'b> {
    memory: &'a mut GuestMemory<'b>,
    /// What is left of the guest's buffer.
    left: Buffer,
}

impl Listing<'_, '_> {
    /// Adds as much of an entry as there is room for.
    fn add(&mut self, cookie: u64, inode: Inode, filetype: Filetype, name: &str) {
        let name_bytes = u32::try_from(name.len()).expect("a name has at most 255 bytes");
        let record = layout::dirent(cookie, inode, name_bytes, filetype);
        for part in [&record, name.as_bytes()] {
            let here = self.left.split_off_start(part.len());
            self.memory.put(&here, part);
        }
    }
}
