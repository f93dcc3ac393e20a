//! Files in a scratch directory, and their blocks.

use crate::support::{ALL_RIGHTS, Guest, errno};
use crate::world::{ManualClock, Pool};
use palimpsest_wasi::{BLOCK_CHARGE_BYTES, FILE_CHARGE_BYTES, Wait, Wasi};

const FILE: u8 = wasip1::FILETYPE_REGULAR_FILE.raw();

/// The descriptor of the scratch directory.
const ROOT: u32 = 3;

fn guest(blocks: u64) -> (Guest, Pool) {
    let pool = Pool::of(blocks);
    (Guest::new(Wasi::builder().scratch("/tmp", pool.clone())), pool)
}

#[test]
fn written_bytes_are_read_back_and_use_blocks_until_removed() {
    let (mut guest, pool) = guest(10);
    let file = guest.create(ROOT, "f").unwrap();
    let bytes: Vec<u8> = (0..10_000_u32).map(|index| index.to_le_bytes()[0]).collect();
    assert_eq!((guest.write(file, &bytes), pool.left()), (Ok(10_000), 7));
    assert_eq!(guest.seek(file, 4000, wasip1::WHENCE_SET.raw()), Ok(4000));
    assert_eq!(guest.read(file, 5000).unwrap(), bytes[4000..9000]);
    guest.close(file).unwrap();
    assert_eq!((guest.stat(ROOT, "f"), pool.left()), (Ok((FILE, 10_000)), 7));
    guest.at_path("path_unlink_file", ROOT, "f").unwrap();
    assert_eq!((guest.stat(ROOT, "f"), pool.left()), (errno(wasip1::ERRNO_NOENT), 10));
}

#[test]
fn a_removed_file_stays_while_it_is_open() {
    let (mut guest, pool) = guest(10);
    let file = guest.create(ROOT, "f").unwrap();
    guest.write(file, b"kept").unwrap();
    let other = guest.open(ROOT, "f", 0).unwrap();
    guest.at_path("path_unlink_file", ROOT, "f").unwrap();
    guest.close(file).unwrap();
    assert_eq!((guest.read(other, 10), pool.left()), (Ok(b"kept".to_vec()), 9));
    guest.close(other).unwrap();
    assert_eq!(pool.left(), 10);
}

#[test]
fn blocks_are_released_when_the_program_is_dropped_or_a_file_is_replaced() {
    let (mut guest, pool) = guest(10);
    let (old, new) = (guest.create(ROOT, "old").unwrap(), guest.create(ROOT, "new").unwrap());
    guest.write(old, b"old").unwrap();
    guest.write(new, b"new").unwrap();
    guest.close(old).unwrap();
    guest.rename(ROOT, "new", ROOT, "old").unwrap();
    assert_eq!((guest.content(ROOT, "old"), pool.left()), (Ok(b"new".to_vec()), 9));
    // `fd_renumber` closes what it replaces.
    guest.at_path("path_unlink_file", ROOT, "old").unwrap();
    guest.call("fd_renumber", &[1, new.into()]).unwrap();
    assert_eq!(pool.left(), 10);
    let file = guest.create(ROOT, "last").unwrap();
    guest.write(file, b"x").unwrap();
    drop(guest);
    assert_eq!(pool.left(), 10);
}

#[test]
fn without_blocks_a_write_is_short_and_then_enospc() {
    let (mut guest, pool) = guest(2);
    let file = guest.create(ROOT, "f").unwrap();
    guest.seek(file, 4000, wasip1::WHENCE_SET.raw()).unwrap();
    assert_eq!((guest.write(file, &[7; 9000]), pool.left()), (Ok(2 * 4096 - 4000), 0));
    assert_eq!(guest.write(file, b"x"), errno(wasip1::ERRNO_NOSPC));
    assert_eq!(guest.stat(ROOT, "f"), Ok((FILE, 8192)));
    // A block that the file already has can still be written.
    guest.seek(file, 0, wasip1::WHENCE_SET.raw()).unwrap();
    assert_eq!(guest.write(file, b"x"), Ok(1));
}

/// Returns a guest with a quota for this many files and blocks, and many more blocks.
fn with_quota(files: u64, blocks: u64) -> (Guest, Pool) {
    let pool = Pool::of(1000);
    let quota = files * FILE_CHARGE_BYTES + blocks * BLOCK_CHARGE_BYTES;
    (Guest::new(Wasi::builder().scratch("/tmp", pool.clone()).scratch_bytes(quota)), pool)
}

#[test]
fn a_sparse_file_takes_no_more_than_the_quota() {
    let (mut guest, pool) = with_quota(1, 7);
    let file = guest.create(ROOT, "f").unwrap();
    for block in 0..100 {
        guest.seek(file, block << 30, wasip1::WHENCE_SET.raw()).unwrap();
        let expected = if block < 7 { Ok(1) } else { errno(wasip1::ERRNO_NOSPC) };
        assert_eq!(guest.write(file, b"x"), expected, "block {block}");
    }
    assert_eq!(pool.left(), 1000 - 7);
    // What is truncated can be used again.
    guest.call("fd_filestat_set_size", &[file.into(), 3 << 30]).unwrap();
    assert_eq!(pool.left(), 1000 - 3);
    guest.seek(file, 0, wasip1::WHENCE_SET.raw()).unwrap();
    assert_eq!((guest.write(file, &[7; 30_000]), pool.left()), (Ok(5 * 4096), 1000 - 7));
}

#[test]
fn empty_files_and_directories_use_the_quota() {
    let (mut guest, pool) = with_quota(3, 0);
    let a = guest.create(ROOT, "a").unwrap();
    guest.at_path("path_create_directory", ROOT, "b").unwrap();
    guest.create(ROOT, "b/c").unwrap();
    let full = errno(wasip1::ERRNO_NOSPC);
    assert_eq!(guest.create(ROOT, "b/d"), full);
    assert_eq!(guest.at_path("path_create_directory", ROOT, "d"), errno(wasip1::ERRNO_NOSPC));
    assert_eq!(guest.write(a, b"x"), full);
    // A file that was removed is charged until it is closed.
    guest.at_path("path_unlink_file", ROOT, "a").unwrap();
    assert_eq!(guest.create(ROOT, "d"), full);
    guest.close(a).unwrap();
    guest.create(ROOT, "d").unwrap();
    assert_eq!(pool.left(), 1000);
}

#[test]
fn what_a_removed_or_replaced_file_took_of_the_quota_is_free_again() {
    let (mut guest, pool) = with_quota(2, 3);
    for _ in 0..10 {
        let old = guest.create(ROOT, "old").unwrap();
        assert_eq!(guest.write(old, &[7; 20_000]), Ok(3 * 4096));
        guest.close(old).unwrap();
        let new = guest.create(ROOT, "new").unwrap();
        guest.close(new).unwrap();
        guest.rename(ROOT, "new", ROOT, "old").unwrap();
        guest.at_path("path_unlink_file", ROOT, "old").unwrap();
        assert_eq!(pool.left(), 1000);
    }
}

#[test]
fn the_default_quota_is_16_mib() {
    let pool = Pool::of(10_000);
    let mut guest = Guest::new(Wasi::builder().scratch("/tmp", pool.clone()));
    let file = guest.create(ROOT, "f").unwrap();
    while guest.write(file, &[7; 30_000]).is_ok() {}
    let blocks = ((16 << 20) - FILE_CHARGE_BYTES) / BLOCK_CHARGE_BYTES;
    assert_eq!(pool.left(), 10_000 - blocks);
}

#[test]
fn holes_read_zero_and_take_no_block() {
    let (mut guest, pool) = guest(10);
    let file = guest.create(ROOT, "f").unwrap();
    guest.seek(file, 1 << 40, wasip1::WHENCE_SET.raw()).unwrap();
    guest.write(file, b"end").unwrap();
    assert_eq!((guest.stat(ROOT, "f"), pool.left()), (Ok((FILE, (1 << 40) + 3)), 9));
    guest.seek(file, (1 << 40) - 5, wasip1::WHENCE_SET.raw()).unwrap();
    assert_eq!(guest.read(file, 100), Ok(b"\0\0\0\0\0end".to_vec()));
}

#[test]
fn a_file_that_shrinks_and_grows_shows_none_of_its_previous_bytes() {
    let (mut guest, pool) = guest(10);
    let file = guest.create(ROOT, "f").unwrap();
    guest.write(file, &[7; 9000]).unwrap();
    let set_size = |guest: &mut Guest, size| guest.call("fd_filestat_set_size", &[file.into(), size]);
    set_size(&mut guest, 5000).unwrap();
    assert_eq!(pool.left(), 8);
    set_size(&mut guest, 9000).unwrap();
    let content = guest.content(ROOT, "f").unwrap();
    assert!(content[..5000].iter().all(|byte| *byte == 7));
    assert!(content[5000..].iter().all(|byte| *byte == 0));
    assert_eq!(content.len(), 9000);
    assert_eq!(set_size(&mut guest, 1 << 63), errno(wasip1::ERRNO_FBIG));
    guest.open_with(ROOT, "f", wasip1::OFLAGS_TRUNC, ALL_RIGHTS, 0).unwrap();
    assert_eq!((guest.stat(ROOT, "f"), pool.left()), (Ok((FILE, 0)), 10));
}

#[test]
fn writes_beyond_the_largest_file_are_efbig() {
    let (mut guest, pool) = guest(10);
    let file = guest.create(ROOT, "f").unwrap();
    guest.seek(file, i64::MAX, wasip1::WHENCE_SET.raw()).unwrap();
    assert_eq!(guest.write(file, b"x"), errno(wasip1::ERRNO_FBIG));
    guest.seek(file, -1, wasip1::WHENCE_CUR.raw()).unwrap();
    assert_eq!((guest.write(file, b"x"), pool.left()), (Ok(1), 9));
}

#[test]
fn appending_writes_at_the_end_wherever_the_position_is() {
    let (mut guest, _) = guest(10);
    let file = guest.create(ROOT, "f").unwrap();
    let log = guest.open_with(ROOT, "f", 0, ALL_RIGHTS, wasip1::FDFLAGS_APPEND).unwrap();
    guest.write(file, b"one,").unwrap();
    guest.write(log, b"two,").unwrap();
    guest.seek(log, 0, wasip1::WHENCE_SET.raw()).unwrap();
    guest.write(log, b"three").unwrap();
    assert_eq!(guest.content(ROOT, "f"), Ok(b"one,two,three".to_vec()));
    guest.call("fd_fdstat_set_flags", &[log.into(), 0]).unwrap();
    guest.seek(log, 0, wasip1::WHENCE_SET.raw()).unwrap();
    guest.write(log, b"ONE").unwrap();
    assert_eq!(guest.content(ROOT, "f"), Ok(b"ONE,two,three".to_vec()));
}

#[test]
fn writing_at_an_offset_leaves_the_position() {
    let (mut guest, _) = guest(10);
    let file = guest.create(ROOT, "f").unwrap();
    guest.put(0, &[100, 0, 0, 0, 2, 0, 0, 0]);
    guest.put(100, b"yz");
    guest.call("fd_pwrite", &[file.into(), 0, 1, 1, 40]).unwrap();
    guest.write(file, b"x").unwrap();
    assert_eq!(guest.content(ROOT, "f"), Ok(b"xyz".to_vec()));
}

#[test]
fn files_and_descriptors_are_limited() {
    let wasi = Wasi::builder().scratch("/tmp", Pool::of(1)).scratch_files(4).open_files(6);
    let mut guest = Guest::new(wasi);
    // 0 to 3 are open, so two are left; the root is one of the four files.
    guest.create(ROOT, "a").unwrap();
    let file = guest.create(ROOT, "b").unwrap();
    assert_eq!(guest.create(ROOT, "c"), errno(wasip1::ERRNO_MFILE));
    assert_eq!(guest.stat(ROOT, "c"), errno(wasip1::ERRNO_NOENT));
    guest.close(file).unwrap();
    assert_eq!(guest.create(ROOT, "c"), Ok(file));
    guest.close(file).unwrap();
    assert_eq!(guest.create(ROOT, "d"), errno(wasip1::ERRNO_NOSPC));
    assert_eq!(guest.at_path("path_create_directory", ROOT, "d"), errno(wasip1::ERRNO_NOSPC));
    guest.at_path("path_unlink_file", ROOT, "c").unwrap();
    assert_eq!(guest.create(ROOT, "d"), Ok(file));
}

#[test]
fn a_descriptor_has_only_the_requested_rights() {
    let (mut guest, _) = guest(10);
    let written = guest.open_with(ROOT, "f", wasip1::OFLAGS_CREAT, wasip1::RIGHTS_FD_WRITE, 0).unwrap();
    guest.write(written, b"x").unwrap();
    assert_eq!(guest.read(written, 1), errno(wasip1::ERRNO_NOTCAPABLE));
    assert_eq!(guest.seek(written, 0, 0), errno(wasip1::ERRNO_NOTCAPABLE));
    let read = guest.open_with(ROOT, "f", 0, wasip1::RIGHTS_FD_READ, 0).unwrap();
    assert_eq!(guest.write(read, b"x"), errno(wasip1::ERRNO_NOTCAPABLE));
    assert_eq!(guest.call("fd_sync", &[read.into()]), errno(wasip1::ERRNO_NOTCAPABLE));
    assert_eq!(guest.call("fd_filestat_set_size", &[read.into(), 0]), errno(wasip1::ERRNO_NOTCAPABLE));
    assert_eq!(guest.read(read, 10), Ok(b"x".to_vec()));
}

#[test]
fn rights_can_be_reduced_but_not_extended() {
    let (mut guest, _) = guest(10);
    let all = wasip1::RIGHTS_FD_READ | wasip1::RIGHTS_FD_WRITE | wasip1::RIGHTS_FD_SEEK;
    let file = guest.open_with(ROOT, "f", wasip1::OFLAGS_CREAT, all, 0).unwrap();
    let set = |guest: &mut Guest, fd: u32, base, inheriting| {
        guest.call("fd_fdstat_set_rights", &[fd.into(), base, inheriting])
    };
    guest.write(file, b"x").unwrap();
    set(&mut guest, file, wasip1::RIGHTS_FD_READ | wasip1::RIGHTS_FD_SEEK, 0).unwrap();
    assert_eq!(guest.write(file, b"y"), errno(wasip1::ERRNO_NOTCAPABLE));
    for (base, inheriting) in
        [(all, 0), (wasip1::RIGHTS_FD_READ | wasip1::RIGHTS_FD_TELL, 0), (0, 1), (1 << 63, 0)]
    {
        assert_eq!(set(&mut guest, file, base, inheriting), errno(wasip1::ERRNO_NOTCAPABLE));
    }
    // A refused change takes no right away.
    guest.seek(file, 0, wasip1::WHENCE_SET.raw()).unwrap();
    assert_eq!(guest.read(file, 10), Ok(b"x".to_vec()));
    // What a directory no longer passes on, files that are opened in it do not get.
    let open = wasip1::RIGHTS_PATH_OPEN;
    set(&mut guest, ROOT, open, wasip1::RIGHTS_FD_READ).unwrap();
    let other = guest.open_with(ROOT, "f", 0, ALL_RIGHTS, 0).unwrap();
    assert_eq!(guest.write(other, b"y"), errno(wasip1::ERRNO_NOTCAPABLE));
    assert_eq!(guest.read(other, 10), Ok(b"x".to_vec()));
    assert_eq!(guest.create(ROOT, "new"), errno(wasip1::ERRNO_NOTCAPABLE));
    assert_eq!(set(&mut guest, 60, 0, 0), errno(wasip1::ERRNO_BADF));
}

#[test]
fn offsets_from_2_to_the_63_are_invalid() {
    let (mut guest, pool) = guest(10);
    let file = guest.create(ROOT, "f").unwrap();
    guest.write(file, b"x").unwrap();
    guest.put(0, &[100, 0, 0, 0, 1, 0, 0, 0]);
    for (offset, read, written) in [
        (i64::MAX as u64 - 1, Ok(()), Ok(())),
        (i64::MAX as u64, Ok(()), errno(wasip1::ERRNO_FBIG)),
        (1 << 63, errno(wasip1::ERRNO_INVAL), errno(wasip1::ERRNO_INVAL)),
        (u64::MAX, errno(wasip1::ERRNO_INVAL), errno(wasip1::ERRNO_INVAL)),
    ] {
        assert_eq!(guest.call("fd_pread", &[file.into(), 0, 1, offset, 40]), read, "{offset:#x}");
        assert_eq!(guest.call("fd_pwrite", &[file.into(), 0, 1, offset, 40]), written, "{offset:#x}");
    }
    assert_eq!(pool.left(), 8);
}

#[test]
fn the_time_of_a_change_is_the_clocks() {
    let clock = ManualClock::new(500, Wait::Done);
    let mut guest = Guest::new(Wasi::builder().scratch("/tmp", Pool::of(1)).clock(clock));
    let file = guest.create(ROOT, "f").unwrap();
    for fd in [file, ROOT] {
        guest.call("fd_filestat_get", &[fd.into(), 0]).unwrap();
        assert_eq!(guest.u64_at(48), ManualClock::EPOCH_NS + 500);
    }
}

#[test]
fn sync_and_advice_succeed_and_allocation_is_not_supported() {
    let (mut guest, _) = guest(10);
    let file = u64::from(guest.create(ROOT, "f").unwrap());
    guest.call("fd_sync", &[file]).unwrap();
    guest.call("fd_datasync", &[file]).unwrap();
    guest.call("fd_advise", &[file, 0, 100, 5]).unwrap();
    assert_eq!(guest.call("fd_advise", &[file, 0, 100, 6]), errno(wasip1::ERRNO_INVAL));
    assert_eq!(guest.call("fd_allocate", &[file, 0, 100]), errno(wasip1::ERRNO_NOTSUP));
    assert_eq!(guest.call("fd_fdstat_set_flags", &[file, 1 << 5]), errno(wasip1::ERRNO_INVAL));
}
