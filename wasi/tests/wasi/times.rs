//! The times of files and directories.

use crate::support::{Guest, errno};
use crate::world::{ManualClock, Pool, tar_of};
use palimpsest_wasi::{Wait, Wasi};
use wasip1::{FSTFLAGS_ATIM, FSTFLAGS_ATIM_NOW, FSTFLAGS_MTIM, FSTFLAGS_MTIM_NOW, Fstflags};

/// The descriptor of the scratch directory.
const ROOT: u32 = 3;
const NOW_NS: u64 = ManualClock::EPOCH_NS + 500;

fn guest() -> Guest {
    let clock = ManualClock::new(500, Wait::Done);
    let wasi = Wasi::builder().scratch("/tmp", Pool::of(1)).clock(clock);
    Guest::new(wasi.archive("/", tar_of(&[("f", b"")])).unwrap())
}

/// Returns the times of access, modification and change.
fn times(guest: &mut Guest, fd: u32) -> [u64; 3] {
    guest.call("fd_filestat_get", &[fd.into(), 0]).unwrap();
    [40, 48, 56].map(|at| guest.u64_at(at))
}

fn set(guest: &mut Guest, fd: u32, [accessed, modified]: [u64; 2], flags: Fstflags) -> Result<(), u16> {
    guest.call("fd_filestat_set_times", &[fd.into(), accessed, modified, flags.into()])
}

fn set_at(guest: &mut Guest, fd: u32, path: &str, times: [u64; 2], flags: Fstflags) -> Result<(), u16> {
    guest.put(1000, path.as_bytes());
    let path = [fd.into(), 0, 1000, path.len() as u64];
    guest.call("path_filestat_set_times", &[&path, times.as_slice(), &[flags.into()]].concat())
}

#[test]
fn each_time_is_set_only_if_its_flag_is() {
    let mut guest = guest();
    guest.at_path("path_create_directory", ROOT, "d").unwrap();
    let file = guest.create(ROOT, "d/f").unwrap();
    let directory = guest.open(ROOT, "d", wasip1::OFLAGS_DIRECTORY).unwrap();
    for (fd, path) in [(file, "d/f"), (directory, "d")] {
        assert_eq!(times(&mut guest, fd), [NOW_NS; 3]);
        set(&mut guest, fd, [1, 2], 0).unwrap();
        assert_eq!(times(&mut guest, fd), [NOW_NS; 3]);
        set(&mut guest, fd, [1, 2], FSTFLAGS_MTIM).unwrap();
        assert_eq!(times(&mut guest, fd), [NOW_NS, 2, NOW_NS]);
        set_at(&mut guest, ROOT, path, [3, 4], FSTFLAGS_ATIM).unwrap();
        assert_eq!(times(&mut guest, fd), [3, 2, NOW_NS]);
        set_at(&mut guest, ROOT, path, [5, u64::MAX], FSTFLAGS_ATIM | FSTFLAGS_MTIM).unwrap();
        assert_eq!(times(&mut guest, fd), [5, u64::MAX, NOW_NS]);
        set(&mut guest, fd, [6, 7], FSTFLAGS_ATIM | FSTFLAGS_MTIM_NOW).unwrap();
        assert_eq!(times(&mut guest, fd), [6, NOW_NS, NOW_NS]);
        set(&mut guest, fd, [8, 9], FSTFLAGS_ATIM_NOW).unwrap();
        assert_eq!(times(&mut guest, fd), [NOW_NS; 3]);
    }
    // A write sets the time of modification again.
    set(&mut guest, file, [1, 2], FSTFLAGS_ATIM | FSTFLAGS_MTIM).unwrap();
    guest.write(file, b"x").unwrap();
    assert_eq!(times(&mut guest, file), [1, NOW_NS, NOW_NS]);
}

#[test]
fn a_time_cannot_be_both_given_and_now() {
    let mut guest = guest();
    let file = guest.create(ROOT, "f").unwrap();
    for flags in [FSTFLAGS_ATIM | FSTFLAGS_ATIM_NOW, FSTFLAGS_MTIM | FSTFLAGS_MTIM_NOW, 15, 16, u16::MAX] {
        assert_eq!(set(&mut guest, file, [1, 2], flags), errno(wasip1::ERRNO_INVAL), "{flags}");
        assert_eq!(set_at(&mut guest, ROOT, "f", [1, 2], flags), errno(wasip1::ERRNO_INVAL), "{flags}");
    }
    assert_eq!(times(&mut guest, file), [NOW_NS; 3]);
}

#[test]
fn times_are_set_where_files_can_be_written_and_with_the_right_to() {
    let mut guest = guest();
    let archive = ROOT + 1;
    let read_only = errno(wasip1::ERRNO_ROFS);
    let packed = guest.open(archive, "f", 0).unwrap();
    assert_eq!(set(&mut guest, packed, [1, 2], FSTFLAGS_MTIM), read_only);
    assert_eq!(set(&mut guest, archive, [1, 2], FSTFLAGS_MTIM), read_only);
    assert_eq!(set_at(&mut guest, archive, "f", [1, 2], FSTFLAGS_MTIM), read_only);
    assert_eq!(set(&mut guest, 1, [1, 2], FSTFLAGS_MTIM), errno(wasip1::ERRNO_BADF));
    assert_eq!(set_at(&mut guest, ROOT, "none", [1, 2], FSTFLAGS_MTIM), errno(wasip1::ERRNO_NOENT));
    let (flags, read) = (wasip1::OFLAGS_CREAT, wasip1::RIGHTS_FD_READ);
    let file = guest.open_with(ROOT, "f", flags, read, 0).unwrap();
    assert_eq!(set(&mut guest, file, [1, 2], FSTFLAGS_MTIM), errno(wasip1::ERRNO_NOTCAPABLE));
}

#[test]
fn without_a_clock_a_time_can_be_given_but_not_now() {
    let mut guest = Guest::new(Wasi::builder().scratch("/tmp", Pool::of(1)));
    let file = guest.create(ROOT, "f").unwrap();
    set(&mut guest, file, [1, 2], FSTFLAGS_ATIM | FSTFLAGS_MTIM).unwrap();
    assert_eq!(set(&mut guest, file, [3, 4], FSTFLAGS_MTIM_NOW), errno(wasip1::ERRNO_NOSYS));
    assert_eq!(times(&mut guest, file), [1, 2, 0]);
}
