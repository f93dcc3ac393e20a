//! Recorded states as bytes: what is read is what was written, and damaged bytes are refused.

use crate::support::{Guest, engine, errno, module};
use crate::world::{Pool, tar_of};
use palimpsest_engine::{Config, SnapshotData, StateBytes};
use palimpsest_wasi::{
    BLOCK_CHARGE_BYTES, FILE_CHARGE_BYTES, RestoreError, StateError, Wasi, WasiBuilder, WasiState,
};

/// The descriptor of the scratch directory, which follows that of the archive.
const TMP: u32 = 4;

fn archive() -> &'static [u8] {
    tar_of(&[("d/", b""), ("d/hello", b"hello, world")])
}

fn world(pool: &Pool) -> WasiBuilder {
    Wasi::builder().archive("/", archive()).unwrap().scratch("/tmp", pool.clone())
}

fn bytes_of(state: &WasiState) -> Vec<u8> {
    let mut bytes = Vec::new();
    state
        .write_to(&mut |part| {
            bytes.extend(part);
            Ok(())
        })
        .unwrap();
    bytes
}

fn read(bytes: &[u8]) -> Result<WasiState, StateError> {
    WasiState::read_from(bytes).map_err(|error| error.downcast_ref::<StateError>().unwrap().clone())
}

/// Returns a guest that has used everything that a state can contain.
fn used(pool: &Pool) -> Guest {
    let mut guest = Guest::new(world(pool));
    guest.at_path("path_create_directory", TMP, "d").unwrap();
    guest.at_path("path_create_directory", TMP, "d/e").unwrap();
    let file = guest.create(TMP, "d/e/long").unwrap();
    guest.write(file, &[5; 5000]).unwrap();
    guest.seek(file, 100_000, 0).unwrap();
    guest.write(file, b"after a hole").unwrap();
    let removed = guest.create(TMP, "removed").unwrap();
    guest.write(removed, b"still open").unwrap();
    guest.at_path("path_unlink_file", TMP, "removed").unwrap();
    let hello = guest.open(3, "d/hello", 0).unwrap();
    guest.seek(hello, 7, 0).unwrap();
    guest.close(2).unwrap();
    guest
}

#[test]
fn a_state_that_was_read_is_the_one_that_was_written() {
    let pool = Pool::of(100);
    let bytes = bytes_of(&used(&pool).store.data_mut().save().unwrap());
    let state = read(&bytes).unwrap();
    assert_eq!(bytes_of(&state), bytes);
    let mut wasi = world(&pool).build();
    wasi.restore(&state).unwrap();
    assert_eq!(pool.left(), 100, "the blocks that were read are on the heap");
    let mut guest = Guest::in_world(&engine(Config::default()), wasi);
    let [file, removed, hello] = [5, 6, 7];
    assert_eq!(guest.read(hello, 9).unwrap(), b"world");
    guest.seek(removed, 0, 0).unwrap();
    assert_eq!(guest.read(removed, 100).unwrap(), b"still open");
    assert_eq!(guest.seek(file, 0, wasip1::WHENCE_CUR.raw()), Ok(100_012));
    guest.write(file, b"!").unwrap();
    assert_eq!(pool.left(), 99, "a block is copied");
    let mut long = [0; 10_000];
    long[..5000].fill(5);
    assert_eq!(guest.content(TMP, "d/e/long").unwrap(), long);
    assert_eq!(guest.stat(TMP, "removed"), errno(wasip1::ERRNO_NOENT));
    assert_eq!(guest.write(2, b"x"), errno(wasip1::ERRNO_BADF));
}

#[test]
fn what_was_read_is_charged() {
    let pool = Pool::of(100);
    let mut parent = Guest::new(world(&pool));
    let file = parent.create(TMP, "a").unwrap();
    parent.write(file, b"x").unwrap();
    let state = read(&bytes_of(&parent.store.data_mut().save().unwrap())).unwrap();
    for (room, expected) in [(1, Ok(1)), (0, errno(wasip1::ERRNO_NOSPC))] {
        let quota = FILE_CHARGE_BYTES + (1 + room) * BLOCK_CHARGE_BYTES;
        let mut wasi = world(&pool).scratch_bytes(quota).build();
        wasi.restore(&state).unwrap();
        let mut guest = Guest::in_world(&engine(Config::default()), wasi);
        guest.seek(file, 8192, 0).unwrap();
        assert_eq!(guest.write(file, b"x"), expected);
    }
}

#[test]
fn the_archive_must_be_there_and_the_same() {
    let pool = Pool::of(100);
    let state = read(&bytes_of(&world(&pool).build().save().unwrap())).unwrap();
    let refused = |builder: WasiBuilder| {
        let error = builder.scratch("/tmp", pool.clone()).build().restore(&state).unwrap_err();
        error.downcast_ref::<RestoreError>().unwrap().clone()
    };
    let guest_path = || "/".to_owned();
    assert_eq!(refused(Wasi::builder()), RestoreError::NoArchive { guest_path: guest_path() });
    let other = Wasi::builder().archive("/", tar_of(&[("other", b"")])).unwrap();
    assert_eq!(refused(other), RestoreError::OtherArchive { guest_path: guest_path() });
}

#[test]
fn every_shorter_and_every_longer_text_is_refused() {
    let bytes = bytes_of(&used(&Pool::of(100)).store.data_mut().save().unwrap());
    for len in (0..bytes.len()).filter(|len| *len < 400 || bytes.len() - len < 100 || len % 97 == 0) {
        assert_eq!(read(&bytes[..len]).unwrap_err(), StateError::Truncated, "{len} of {}", bytes.len());
    }
    assert_eq!(read(&[bytes.as_slice(), b"x"].concat()).unwrap_err(), StateError::Trailing { count: 1 });
}

#[test]
fn no_changed_byte_leads_to_a_panic() {
    let pool = Pool::of(100);
    let bytes = bytes_of(&used(&pool).store.data_mut().save().unwrap());
    let module = module(&engine(Config::default()));
    let contents = |at: usize| bytes[at] == 5 && bytes[at - 1] == 5;
    let mut accepted = 0;
    for at in (0..bytes.len()).filter(|at| *at < 2 || !contents(*at)) {
        for change in [1, 0x80, 0xFF] {
            let mut damaged = bytes.clone();
            damaged[at] ^= change;
            let Ok(state) = read(&damaged) else { continue };
            let mut wasi = world(&pool).build();
            if wasi.restore(&state).is_err() {
                continue;
            }
            accepted += 1;
            // A store for each takes long.
            if accepted % 10 != 0 {
                continue;
            }
            let mut guest = Guest::of(&module, wasi);
            for fd in 0..10 {
                let _ = guest.seek(fd, -1, wasip1::WHENCE_END.raw());
                let _ = guest.write(fd, b"x");
                let _ = guest.read(fd, 10);
                let _ = guest.list(fd, 1000);
                let _ = guest.stat(fd, "d/e/long");
                let _ = guest.at_path("path_create_directory", fd, "d/e/f");
                let _ = guest.rename(fd, "d", fd, "d/e/g");
                let _ = guest.at_path("path_unlink_file", fd, "d/e/long");
                let _ = guest.close(fd);
            }
        }
    }
    assert!(accepted > 100, "{accepted}");
}

#[test]
fn nodes_that_are_no_tree_are_refused() {
    let mut guest = Guest::new(Wasi::builder().scratch("/tmp", Pool::of(1)));
    guest.at_path("path_create_directory", 3, "a").unwrap();
    guest.at_path("path_create_directory", 3, "a/b").unwrap();
    let bytes = bytes_of(&guest.store.data_mut().save().unwrap());
    // The entries: the number of the node, the length of the name, and the name.
    let entry = |inode: u64, name: &str| {
        [&inode.to_le_bytes(), &(name.len() as u64).to_le_bytes(), name.as_bytes()].concat()
    };
    let with = |from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|part| part == from).unwrap();
        [&bytes[..at], to, &bytes[at + from.len()..]].concat()
    };
    let wrong = |number| StateError::Number { what: "entry of a directory", number };
    let refused = |from: &[u8], to: &[u8]| read(&with(from, to)).unwrap_err();
    // The root in itself, a directory in itself, a node that does not exist, and one that is lost.
    assert_eq!(refused(&entry(2, "a"), &entry(1, "a")), wrong(1));
    assert_eq!(refused(&entry(3, "b"), &entry(2, "b")), wrong(2));
    assert_eq!(refused(&entry(3, "b"), &entry(9, "b")), wrong(9));
    assert_eq!(refused(&entry(2, "a"), &entry(3, "a")), wrong(2));
    let [longest, too_long] = [255, 256].map(|len| "n".repeat(len));
    for (name, is_valid) in
        [(".", false), ("/", false), ("\u{0}", true), (&longest, true), (&too_long, false)]
    {
        let damaged = read(&with(&entry(3, "b"), &entry(3, name)));
        assert_eq!(damaged.err(), (!is_valid).then_some(StateError::Name), "{name:?}");
    }
}
