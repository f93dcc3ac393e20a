//! Snapshots and forks: what they share, and what each has for itself.

use crate::support::{Guest, engine, errno};
use crate::world::{Pool, Written, tar_of};
use palimpsest_engine::{Config, Engine, Fuel, Limits, SnapshotData};
use palimpsest_wasi::{
    BLOCK_BYTES, BLOCK_CHARGE_BYTES, FILE_CHARGE_BYTES, RestoreError, Wasi, WasiBuilder, WasiState,
};

/// The descriptor of the scratch directory.
const TMP: u32 = 3;

const BLOCK: usize = BLOCK_BYTES;

/// Returns a guest in a fork of the world of `parent`.
fn fork(parent: &mut Guest, builder: WasiBuilder) -> Guest {
    let state = parent.store.data_mut().save().unwrap();
    restored(&engine(Config::default()), builder, &state)
}

/// Returns a guest in a world with the descriptors and files of `state`.
fn restored(engine: &Engine, builder: WasiBuilder, state: &WasiState) -> Guest {
    let mut wasi = builder.build();
    wasi.restore(state).unwrap();
    Guest::in_world(engine, wasi)
}

/// Returns why the world of `builder` cannot take `state`.
fn refused(builder: WasiBuilder, state: &WasiState) -> RestoreError {
    builder.build().restore(state).unwrap_err().downcast_ref::<RestoreError>().unwrap().clone()
}

fn tmp(pool: &Pool) -> WasiBuilder {
    Wasi::builder().scratch("/tmp", pool.clone())
}

/// Creates a file with `content`, and returns its descriptor, which is at the end.
fn file(guest: &mut Guest, name: &str, content: &[u8]) -> u32 {
    let fd = guest.create(TMP, name).unwrap();
    assert_eq!(guest.write(fd, content).unwrap() as usize, content.len());
    fd
}

#[test]
fn a_fork_continues_at_the_offsets_of_its_snapshot() {
    let pool = Pool::of(10);
    let mut parent = Guest::new(tmp(&pool));
    let fd = file(&mut parent, "log", b"start ");
    let state = parent.store.data_mut().save().unwrap();
    parent.write(fd, b"parent").unwrap();
    let mut forks = [(); 2].map(|()| restored(&engine(Config::default()), tmp(&pool), &state));
    for (fork, word) in forks.iter_mut().zip(["one", "second"]) {
        fork.write(fd, word.as_bytes()).unwrap();
        assert_eq!(fork.seek(fd, 0, wasip1::WHENCE_CUR.raw()), Ok(6 + word.len() as u64));
    }
    assert_eq!(parent.content(TMP, "log").unwrap(), b"start parent");
    assert_eq!(forks[0].content(TMP, "log").unwrap(), b"start one");
    assert_eq!(forks[1].content(TMP, "log").unwrap(), b"start second");
}

#[test]
fn a_fork_takes_no_block_until_it_writes_and_then_one_for_each_block_written() {
    let pool = Pool::of(100);
    let mut parent = Guest::new(tmp(&pool));
    file(&mut parent, "data", &[7; 4 * BLOCK]);
    assert_eq!(pool.left(), 96);
    let mut child = fork(&mut parent, tmp(&pool));
    assert_eq!(child.content(TMP, "data").unwrap(), [7; 10_000]);
    assert_eq!(pool.left(), 96);
    let fd = child.create(TMP, "data").unwrap();
    child.seek(fd, BLOCK as i64, 0).unwrap();
    child.write(fd, b"x").unwrap();
    assert_eq!(pool.left(), 95);
    child.write(fd, b"y").unwrap();
    assert_eq!(pool.left(), 95);
    assert_eq!(parent.content(TMP, "data").unwrap(), [7; 10_000]);
    assert_eq!(child.content(TMP, "data").unwrap()[BLOCK - 1..BLOCK + 3], [7, b'x', b'y', 7]);
}

#[test]
fn blocks_are_free_when_the_last_world_that_has_them_is_gone() {
    let pool = Pool::of(100);
    for parent_goes_first in [true, false] {
        let mut parent = Guest::new(tmp(&pool));
        file(&mut parent, "data", &[7; 4 * BLOCK]);
        let child = fork(&mut parent, tmp(&pool));
        let (first, second) = if parent_goes_first { (parent, child) } else { (child, parent) };
        drop(first);
        assert_eq!(pool.left(), 96);
        drop(second);
        assert_eq!(pool.left(), 100);
    }
}

#[test]
fn names_and_sizes_are_changed_in_one_world_only() {
    let pool = Pool::of(100);
    let mut parent = Guest::new(tmp(&pool));
    let fd = file(&mut parent, "a", &[1; BLOCK + 10]);
    parent.at_path("path_create_directory", TMP, "d").unwrap();
    let mut child = fork(&mut parent, tmp(&pool));
    child.rename(TMP, "a", TMP, "d/b").unwrap();
    child.call("fd_filestat_set_size", &[fd.into(), 5]).unwrap();
    parent.at_path("path_remove_directory", TMP, "d").unwrap();
    assert_eq!(parent.stat(TMP, "a").unwrap().1, BLOCK as u64 + 10);
    assert_eq!(child.stat(TMP, "a"), errno(wasip1::ERRNO_NOENT));
    assert_eq!(child.content(TMP, "d/b").unwrap(), [1; 5]);
    child.call("fd_filestat_set_size", &[fd.into(), 10]).unwrap();
    assert_eq!(child.content(TMP, "d/b").unwrap(), [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]);
    assert_eq!(parent.content(TMP, "a").unwrap(), [1; BLOCK + 10]);
}

#[test]
fn a_removed_file_stays_open_in_the_fork() {
    let pool = Pool::of(100);
    let mut parent = Guest::new(tmp(&pool));
    let fd = file(&mut parent, "a", b"text");
    parent.at_path("path_unlink_file", TMP, "a").unwrap();
    let mut child = fork(&mut parent, tmp(&pool));
    parent.close(fd).unwrap();
    child.seek(fd, 0, 0).unwrap();
    assert_eq!(child.read(fd, 10).unwrap(), b"text");
    drop(parent);
    assert_eq!(pool.left(), 99);
    child.close(fd).unwrap();
    assert_eq!(pool.left(), 100);
}

#[test]
fn a_write_to_a_shared_block_fails_if_no_block_is_free_for_the_copy() {
    let pool = Pool::of(1);
    let mut parent = Guest::new(tmp(&pool));
    let fd = file(&mut parent, "a", b"text");
    let mut child = fork(&mut parent, tmp(&pool));
    assert_eq!(child.write(fd, b"more"), errno(wasip1::ERRNO_NOSPC));
    assert_eq!(child.call("fd_filestat_set_size", &[fd.into(), 2]), errno(wasip1::ERRNO_NOSPC));
    assert_eq!(child.content(TMP, "a").unwrap(), b"text");
    // Nothing is copied for a file that loses all of its blocks.
    child.call("fd_filestat_set_size", &[fd.into(), 0]).unwrap();
    assert_eq!(parent.content(TMP, "a").unwrap(), b"text");
}

#[test]
fn a_fork_is_charged_for_what_it_shares() {
    let pool = Pool::of(100);
    let quota = FILE_CHARGE_BYTES + 2 * BLOCK_CHARGE_BYTES;
    let mut parent = Guest::new(tmp(&pool).scratch_bytes(quota));
    let fd = file(&mut parent, "a", &[1; 2 * BLOCK]);
    let mut child = fork(&mut parent, tmp(&pool).scratch_bytes(quota));
    assert_eq!(child.write(fd, b"x"), errno(wasip1::ERRNO_NOSPC));
    child.seek(fd, 0, 0).unwrap();
    assert_eq!(child.write(fd, &[2; 2 * BLOCK]), Ok(8192), "the copies were charged before");
    let mut small = fork(&mut parent, tmp(&pool).scratch_bytes(0));
    assert_eq!(small.write(fd, b"x"), errno(wasip1::ERRNO_NOSPC));
    small.at_path("path_unlink_file", TMP, "a").unwrap();
    small.close(fd).unwrap();
    assert_eq!(small.create(TMP, "b"), errno(wasip1::ERRNO_NOSPC));
}

#[test]
fn archives_are_shared_and_descriptors_keep_their_rights() {
    let root = tar_of(&[("d/", b""), ("d/hello", b"hello, world")]);
    let mut parent = Guest::new(Wasi::builder().archive("/", root).unwrap());
    let fd = parent.open(3, "d/hello", 0).unwrap();
    parent.seek(fd, 7, 0).unwrap();
    parent.call("fd_fdstat_set_rights", &[fd.into(), wasip1::RIGHTS_FD_READ, 0]).unwrap();
    let mut child = fork(&mut parent, Wasi::builder());
    let mut other = fork(&mut parent, Wasi::builder().archive("/", root).unwrap());
    assert_eq!(other.read(fd, 5).unwrap(), b"world");
    assert_eq!(child.read(fd, 5).unwrap(), b"world");
    assert_eq!(child.seek(fd, 0, 0), errno(wasip1::ERRNO_NOTCAPABLE));
    assert_eq!(child.content(3, "d/hello").unwrap(), b"hello, world");
    assert_eq!(child.create(3, "new"), errno(wasip1::ERRNO_ROFS));
}

#[test]
fn arguments_and_streams_are_the_forks_own() {
    let (first, second) = (Written::default(), Written::default());
    let mut parent = Guest::new(Wasi::builder().arg("parent").stdout(first.clone()));
    let mut child = fork(&mut parent, Wasi::builder().arg("fork").arg("2").stdout(second.clone()));
    parent.write(1, b"parent").unwrap();
    child.write(1, b"child").unwrap();
    assert_eq!((first.text().as_str(), second.text().as_str()), ("parent", "child"));
    child.call("args_sizes_get", &[1000, 1004]).unwrap();
    assert_eq!((child.u32_at(1000), child.u32_at(1004)), (2, 7));
}

#[test]
fn a_builder_that_does_not_fit_the_snapshot_is_refused() {
    let pool = Pool::of(1);
    let state = tmp(&pool).archive("/", tar_of(&[("a", b"")])).unwrap().build().save().unwrap();
    let no_scratch = RestoreError::NoScratch { guest_path: "/tmp".into() };
    assert_eq!(refused(Wasi::builder(), &state), no_scratch);
    assert_eq!(refused(Wasi::builder().archive("/tmp", tar_of(&[("a", b"")])).unwrap(), &state), no_scratch);
    let new = |guest_path: &str| RestoreError::NewDirectory { guest_path: guest_path.into() };
    assert_eq!(refused(tmp(&pool).scratch("/var", pool.clone()), &state), new("/var"));
    assert_eq!(refused(tmp(&pool).scratch("/", pool.clone()), &state), new("/"));
}

#[test]
fn a_fork_has_its_own_limit_of_descriptors() {
    let pool = Pool::of(1);
    let mut parent = Guest::new(tmp(&pool));
    let mut child = fork(&mut parent, tmp(&pool).open_files(4));
    assert_eq!(child.create(TMP, "a"), errno(wasip1::ERRNO_MFILE));
}

#[test]
fn a_fork_pays_for_the_copy_of_what_it_shares() {
    let mut limits = Limits::default();
    limits.fuel = Some(1 << 40);
    let engine = engine(Config::default().fuel(Fuel::Metered).limits(limits));
    let pool = Pool::of(100);
    let mut parent = Guest::with_engine(&engine, tmp(&pool));
    for number in 0..50 {
        let fd = file(&mut parent, &format!("{number}"), b"x");
        parent.close(fd).unwrap();
    }
    let fd = parent.create(TMP, "0").unwrap();
    let state = parent.store.data_mut().save().unwrap();
    let mut child = restored(&engine, tmp(&pool), &state);
    drop(state);
    let price = |guest: &mut Guest| {
        let before = guest.store.get_fuel().unwrap();
        guest.write(fd, b"y").unwrap();
        before - guest.store.get_fuel().unwrap()
    };
    // The first calls translate functions, which costs nothing.
    let (copied, owned) = (price(&mut child), price(&mut child));
    // 51 nodes, a map of one block, and the block.
    assert_eq!(copied - owned, (51 + 1) * 8 + 64);
}

#[test]
fn a_world_that_refuses_a_snapshot_is_as_before() {
    let pool = Pool::of(10);
    let saved = |builder: WasiBuilder| builder.build().save().unwrap();
    let archive = tar_of(&[("a", b"b")]);
    for state in [
        saved(tmp(&pool).scratch("/var", pool.clone())),
        saved(Wasi::builder().scratch("/var", pool.clone())),
        saved(Wasi::builder().archive("/", archive).unwrap()),
    ] {
        let mut guest = Guest::new(tmp(&pool));
        file(&mut guest, "log", b"content");
        guest.store.data_mut().restore(&state).unwrap_err();
        assert_eq!(guest.content(TMP, "log").unwrap(), b"content");
        file(&mut guest, "new", b"more");
    }
}
