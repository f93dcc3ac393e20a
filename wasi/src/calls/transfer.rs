//! Reads and writes between a guest's buffers and a stream or a file.
//!
//! One call moves a bounded number of bytes, so that it cannot keep the host busy for long. A
//! larger request becomes a short read or write, which every program must expect. A call that has
//! moved some bytes succeeds even if an error stopped it; the next call returns the error.

use wasip1::{
    ERRNO_FBIG, ERRNO_INVAL, ERRNO_ISDIR, ERRNO_NOTCAPABLE, Errno, FDFLAGS_APPEND, RIGHTS_FD_READ,
    RIGHTS_FD_SEEK, RIGHTS_FD_WRITE, Rights,
};

use super::{Answer, Next};
use crate::{
    fd::{Object, Place, Stream},
    layout::SIZE_BYTES,
    memory::{Buffer, GuestMemory, Pointer},
    wasi::Wasi,
};

/// The limit of bytes that one call moves from or to a stream, which may be slow.
const STREAM_BYTES_MAX: usize = 64 << 10;

/// The limit of bytes that one call moves from or to a file.
const FILE_BYTES_MAX: usize = 1 << 20;

pub(crate) fn fd_read(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    vectors: Pointer,
    count: u32,
    result: Pointer,
) -> Answer {
    let object = object(wasi, fd, RIGHTS_FD_READ)?;
    let buffers = memory.vectors(vectors, count, limit(&object))?;
    let result = memory.buffer(result, SIZE_BYTES)?;
    let read = match object {
        Object::Stream(Stream::Input) => read_input(wasi, memory, &buffers),
        Object::Stream(Stream::Output | Stream::Error) => return Err(ERRNO_NOTCAPABLE),
        Object::Directory(_) => return Err(ERRNO_ISDIR),
        Object::File(place) => {
            let position = wasi.descriptors.get(fd)?.position;
            let read = read_file(wasi, memory, place, position, &buffers)?;
            wasi.descriptors.get_mut(fd)?.position = position + read as u64;
            read
        }
    };
    answer(memory, &result, read)
}

pub(crate) fn fd_pread(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    vectors: Pointer,
    count: u32,
    offset: u64,
    result: Pointer,
) -> Answer {
    let place = wasi.file(fd, RIGHTS_FD_READ | RIGHTS_FD_SEEK)?;
    require_offset(offset)?;
    let buffers = memory.vectors(vectors, count, FILE_BYTES_MAX)?;
    let result = memory.buffer(result, SIZE_BYTES)?;
    let read = read_file(wasi, memory, place, offset, &buffers)?;
    answer(memory, &result, read)
}

pub(crate) fn fd_write(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    vectors: Pointer,
    count: u32,
    result: Pointer,
) -> Answer {
    let object = object(wasi, fd, RIGHTS_FD_WRITE)?;
    let buffers = memory.vectors(vectors, count, limit(&object))?;
    let result = memory.buffer(result, SIZE_BYTES)?;
    let written = match object {
        Object::Stream(stream) => write_output(wasi, memory, stream, &buffers)?,
        Object::Directory(_) => return Err(ERRNO_ISDIR),
        Object::File(place) => {
            let descriptor = wasi.descriptors.get(fd)?;
            let is_appending = descriptor.flags & FDFLAGS_APPEND != 0;
            let end = wasi.stat(place)?.size;
            let position = if is_appending { end } else { descriptor.position };
            let written = write_file(wasi, memory, place, position, &buffers)?;
            wasi.descriptors.get_mut(fd)?.position = position + written as u64;
            written
        }
    };
    answer(memory, &result, written)
}

/// Writes at `offset`, even if the file is open for appending.
pub(crate) fn fd_pwrite(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    vectors: Pointer,
    count: u32,
    offset: u64,
    result: Pointer,
) -> Answer {
    let place = wasi.file(fd, RIGHTS_FD_WRITE | RIGHTS_FD_SEEK)?;
    require_offset(offset)?;
    let buffers = memory.vectors(vectors, count, FILE_BYTES_MAX)?;
    let result = memory.buffer(result, SIZE_BYTES)?;
    let written = write_file(wasi, memory, place, offset, &buffers)?;
    answer(memory, &result, written)
}

/// Returns the object of a descriptor that has `rights`. A directory can be neither read nor
/// written, which is `EISDIR` even if a right is missing.
fn object(wasi: &Wasi, fd: u32, rights: Rights) -> Result<Object, Errno> {
    let descriptor = wasi.descriptors.get(fd)?;
    match descriptor.object {
        Object::Directory(_) => Err(ERRNO_ISDIR),
        Object::Stream(_) | Object::File(_) => descriptor.require(rights).map(|()| descriptor.object.clone()),
    }
}

/// Checks the offset of `fd_pread` or `fd_pwrite`, which is a signed number in POSIX.
///
/// # Errors
///
/// `EINVAL` from 2^63.
fn require_offset(offset: u64) -> Result<(), Errno> {
    if i64::try_from(offset).is_ok() { Ok(()) } else { Err(ERRNO_INVAL) }
}

fn limit(object: &Object) -> usize {
    match object {
        Object::Stream(_) => STREAM_BYTES_MAX,
        Object::File(_) | Object::Directory(_) => FILE_BYTES_MAX,
    }
}

/// Reads into the first buffer only. A read into the second could block although bytes have
/// arrived.
fn read_input(wasi: &mut Wasi, memory: &mut GuestMemory<'_>, buffers: &[Buffer]) -> usize {
    buffers.first().map_or(0, |buffer| {
        let bytes = memory.get_mut(buffer);
        wasi.host.stdin.read(bytes).min(bytes.len())
    })
}

fn write_output(
    wasi: &mut Wasi,
    memory: &GuestMemory<'_>,
    stream: Stream,
    buffers: &[Buffer],
) -> Result<usize, Errno> {
    let output = wasi.output(stream).ok_or(ERRNO_NOTCAPABLE)?;
    let mut written = 0;
    for buffer in buffers {
        output.write(memory.get(buffer));
        written += buffer.len();
    }
    Ok(written)
}

fn read_file(
    wasi: &Wasi,
    memory: &mut GuestMemory<'_>,
    place: Place,
    offset: u64,
    buffers: &[Buffer],
) -> Result<usize, Errno> {
    let volume = &wasi.volumes[place.volume];
    let mut total = 0;
    for buffer in buffers {
        let Some(at) = offset.checked_add(total as u64) else { break };
        let read = volume.read(place.inode, at, memory.get_mut(buffer))?;
        total += read;
        if read < buffer.len() {
            break;
        }
    }
    Ok(total)
}

fn write_file(
    wasi: &mut Wasi,
    memory: &GuestMemory<'_>,
    place: Place,
    offset: u64,
    buffers: &[Buffer],
) -> Result<usize, Errno> {
    let now_ns = wasi.now_ns();
    let volume = &mut wasi.volumes[place.volume];
    let mut total = 0;
    for buffer in buffers {
        let at = offset.checked_add(total as u64).ok_or(ERRNO_FBIG);
        match at.and_then(|at| volume.write(place.inode, at, memory.get(buffer), now_ns)) {
            Ok(written) if written == buffer.len() => total += written,
            // There was no block for the rest of the buffer.
            Ok(written) => return Ok(total + written),
            Err(error) if total == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(total)
}

fn answer(memory: &mut GuestMemory<'_>, result: &Buffer, bytes: usize) -> Answer {
    let bytes = u32::try_from(bytes).expect("a transfer has at most 1 MiB");
    memory.put(result, &bytes.to_le_bytes());
    Ok(Next::Return)
}
