//! A tar archive as a read-only directory.

use crate::support::{ALL_RIGHTS, Guest, RESULT_AT, errno};
use crate::world::{Pool, tar_of};
use palimpsest_wasi::Wasi;

const DIR: u8 = wasip1::FILETYPE_DIRECTORY.raw();
const FILE: u8 = wasip1::FILETYPE_REGULAR_FILE.raw();
const LINK: u8 = wasip1::FILETYPE_SYMBOLIC_LINK.raw();

/// The descriptor of the archive.
const ROOT: u32 = 3;

fn guest() -> Guest {
    let tar = tar_of(&[
        ("hello.txt", b"Hello, file!"),
        ("empty/", b""),
        ("./a/b/deep.txt", b"deep"),
        ("a/top.txt", b"top"),
    ]);
    Guest::new(Wasi::builder().archive("/", tar).unwrap())
}

#[test]
fn a_file_is_read_in_parts_at_positions_and_to_its_end() {
    let mut guest = guest();
    let file = guest.open(ROOT, "hello.txt", 0).unwrap();
    assert_eq!(guest.read(file, 5), Ok(b"Hello".to_vec()));
    guest.call("fd_tell", &[file.into(), RESULT_AT.into()]).unwrap();
    assert_eq!(guest.u64_at(RESULT_AT), 5);
    assert_eq!(guest.seek(file, -5, wasip1::WHENCE_END.raw()), Ok(7));
    assert_eq!(guest.read(file, 100), Ok(b"file!".to_vec()));
    assert_eq!(guest.read(file, 100), Ok(Vec::new()));
    assert_eq!(guest.seek(file, 1000, wasip1::WHENCE_CUR.raw()), Ok(1012));
    assert_eq!(guest.read(file, 100), Ok(Vec::new()));
}

#[test]
fn a_name_of_any_length_in_an_extended_header_is_found() {
    let long = ["d".repeat(120), "e".repeat(200), "f".repeat(200), "\u{1f980}".repeat(50)].join("/");
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in [(long.as_str(), b"long".as_slice()), ("short", b"short")] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        if header.set_path(name).is_err() {
            builder.append_pax_extensions([("path", name.as_bytes())]).unwrap();
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    let tar = builder.into_inner().unwrap().leak();
    let mut guest = Guest::new(Wasi::builder().archive("/", tar).unwrap());
    for (name, content) in [(long.as_str(), b"long".as_slice()), ("short", b"short")] {
        let file = guest.open(ROOT, name, 0).unwrap();
        assert_eq!(guest.read(file, 10), Ok(content.to_vec()));
    }
}

#[test]
fn reading_at_an_offset_leaves_the_position() {
    let mut guest = guest();
    let file = guest.open(ROOT, "hello.txt", 0).unwrap();
    guest.put(0, &[100, 0, 0, 0, 4, 0, 0, 0]);
    guest.call("fd_pread", &[file.into(), 0, 1, 7, 40]).unwrap();
    assert_eq!((guest.u32_at(40), guest.get(100, 4)), (4, b"file".as_slice()));
    guest.call("fd_pread", &[file.into(), 0, 1, i64::MAX as u64, 40]).unwrap();
    assert_eq!(guest.u32_at(40), 0);
    assert_eq!(guest.read(file, 5), Ok(b"Hello".to_vec()));
}

#[test]
fn positions_before_the_start_or_beyond_any_file_are_refused() {
    let mut guest = guest();
    let file = guest.open(ROOT, "hello.txt", 0).unwrap();
    assert_eq!(guest.seek(file, -1, wasip1::WHENCE_SET.raw()), errno(wasip1::ERRNO_INVAL));
    assert_eq!(guest.seek(file, i64::MAX, wasip1::WHENCE_END.raw()), errno(wasip1::ERRNO_OVERFLOW));
    assert_eq!(guest.seek(file, 0, 3), errno(wasip1::ERRNO_INVAL));
    assert_eq!(guest.seek(file, 0, wasip1::WHENCE_CUR.raw()), Ok(0));
}

#[test]
fn directories_without_an_entry_are_there_and_are_listed() {
    let mut guest = guest();
    let names =
        |entries: &[(&str, u8)]| entries.iter().map(|(name, kind)| (name.to_string(), *kind)).collect();
    let root = [(".", DIR), ("..", DIR), ("hello.txt", FILE), ("empty", DIR), ("a", DIR)];
    let expected: Vec<_> = names(&root);
    for room in [33, 64, 4096] {
        assert_eq!(guest.list(ROOT, room), Ok(expected.clone()), "through {room} bytes");
    }
    let a = guest.open(ROOT, "a", wasip1::OFLAGS_DIRECTORY).unwrap();
    let expected: Vec<_> = names(&[(".", DIR), ("..", DIR), ("b", DIR), ("top.txt", FILE)]);
    assert_eq!(guest.list(a, 4096), Ok(expected));
    assert_eq!(guest.content(a, "b/deep.txt"), Ok(b"deep".to_vec()));
}

#[test]
fn kind_size_and_time_are_those_of_the_archive() {
    let mut guest = guest();
    assert_eq!(guest.stat(ROOT, "a/top.txt"), Ok((FILE, 3)));
    assert_eq!(guest.stat(ROOT, "a/b"), Ok((DIR, 0)));
    assert_eq!(guest.stat(ROOT, "a/b/"), Ok((DIR, 0)));
    let file = guest.open(ROOT, "hello.txt", 0).unwrap();
    guest.call("fd_filestat_get", &[file.into(), 0]).unwrap();
    // Device, links, size, and the modification time in nanoseconds: 8 seconds.
    let found = [0, 24, 32, 48].map(|at| guest.u64_at(at));
    assert_eq!(found, [1, 1, 12, 8_000_000_000]);
}

#[test]
fn paths_do_not_leave_their_directory() {
    let mut guest = guest();
    let a = guest.open(ROOT, "a", 0).unwrap();
    for path in ["..", "../hello.txt", "b/../../hello.txt", "./b/.././../a/top.txt", "/hello.txt", "/"] {
        assert_eq!(guest.open(a, path, 0), errno(wasip1::ERRNO_NOTCAPABLE), "{path}");
    }
    assert_eq!(guest.content(a, "b/../b/./../top.txt"), Ok(b"top".to_vec()));
    assert_eq!(guest.content(ROOT, "a/../hello.txt"), Ok(b"Hello, file!".to_vec()));
}

#[test]
fn each_kind_of_invalid_path_has_its_error() {
    let mut guest = guest();
    let long = "n".repeat(256);
    let longest = "x/".repeat(2048) + "x";
    for (path, expected) in [
        ("", wasip1::ERRNO_NOENT),
        ("nothing", wasip1::ERRNO_NOENT),
        ("nothing/hello.txt", wasip1::ERRNO_NOENT),
        ("hello.txt/more", wasip1::ERRNO_NOTDIR),
        ("hello.txt/", wasip1::ERRNO_NOTDIR),
        ("hello.txt/.", wasip1::ERRNO_NOTDIR),
        ("hello.txt\0", wasip1::ERRNO_INVAL),
        (&long, wasip1::ERRNO_NAMETOOLONG),
        (&longest, wasip1::ERRNO_NAMETOOLONG),
    ] {
        assert_eq!(guest.open(ROOT, path, 0), errno(expected), "{path}");
    }
    guest.put(0, &[b'a', 0xFF]);
    assert_eq!(guest.call("path_filestat_get", &[3, 0, 0, 2, 100]), errno(wasip1::ERRNO_ILSEQ));
}

#[test]
fn nothing_in_an_archive_can_be_changed() {
    let mut guest = guest();
    let read_only = errno::<()>(wasip1::ERRNO_ROFS);
    assert_eq!(guest.at_path("path_create_directory", ROOT, "new"), read_only);
    assert_eq!(guest.at_path("path_unlink_file", ROOT, "hello.txt"), read_only);
    assert_eq!(guest.at_path("path_remove_directory", ROOT, "empty"), read_only);
    assert_eq!(guest.rename(ROOT, "hello.txt", ROOT, "bye.txt"), read_only);
    assert_eq!(guest.create(ROOT, "new").map(drop), read_only);
    assert_eq!(guest.open(ROOT, "hello.txt", wasip1::OFLAGS_TRUNC).map(drop), read_only);
    assert_eq!(guest.open_with(ROOT, "hello.txt", 0, ALL_RIGHTS, 0).map(drop), read_only);
    let file = guest.open(ROOT, "hello.txt", 0).unwrap();
    assert_eq!(guest.write(file, b"x"), errno(wasip1::ERRNO_NOTCAPABLE));
    assert_eq!(guest.call("fd_filestat_set_size", &[file.into(), 0]), read_only);
    assert_eq!(guest.content(ROOT, "hello.txt"), Ok(b"Hello, file!".to_vec()));
}

#[test]
fn a_right_to_read_that_is_missing_is_not_taken_for_a_read_only_directory() {
    let mut guest = guest();
    let rights = wasip1::RIGHTS_PATH_OPEN;
    let a = guest.open_with(ROOT, "a", wasip1::OFLAGS_DIRECTORY, rights, 0).unwrap();
    assert_eq!(guest.list(a, 100), errno(wasip1::ERRNO_NOTCAPABLE));
    assert_eq!(guest.stat(a, "top.txt"), errno(wasip1::ERRNO_NOTCAPABLE));
    assert!(guest.open(a, "top.txt", 0).is_ok());
}

#[test]
fn a_directory_is_neither_read_nor_written_nor_moved_in() {
    let mut guest = guest();
    assert_eq!(guest.read(ROOT, 1), errno(wasip1::ERRNO_ISDIR));
    assert_eq!(guest.write(ROOT, b"x"), errno(wasip1::ERRNO_ISDIR));
    assert_eq!(guest.seek(ROOT, 0, 1), errno(wasip1::ERRNO_ISDIR));
    let file = guest.open(ROOT, "hello.txt", 0).unwrap();
    assert_eq!(guest.open(file, "x", 0), errno(wasip1::ERRNO_NOTDIR));
    assert_eq!(guest.list(file, 100), errno(wasip1::ERRNO_NOTDIR));
    assert_eq!(guest.open(ROOT, "hello.txt", wasip1::OFLAGS_DIRECTORY), errno(wasip1::ERRNO_NOTDIR));
}

#[test]
fn preopened_directories_are_found_by_number() {
    let tar = tar_of(&[("tmp/archived", b"")]);
    let wasi = Wasi::builder().archive("/", tar).unwrap().scratch("/tmp", Pool::of(0));
    let mut guest = Guest::new(wasi);
    for (fd, path) in [(3, "/"), (4, "/tmp")] {
        guest.call("fd_prestat_get", &[fd, 0]).unwrap();
        assert_eq!((guest.u32_at(0), guest.u32_at(4) as usize), (0, path.len()));
        guest.call("fd_prestat_dir_name", &[fd, 8, path.len() as u64]).unwrap();
        assert_eq!(guest.get(8, path.len()), path.as_bytes());
        let short = guest.call("fd_prestat_dir_name", &[fd, 8, path.len() as u64 - 1]);
        assert_eq!(short, errno(wasip1::ERRNO_NAMETOOLONG));
    }
    for fd in [0, 1, 2, 5, u64::from(u32::MAX)] {
        assert_eq!(guest.call("fd_prestat_get", &[fd, 0]), errno(wasip1::ERRNO_BADF), "{fd}");
    }
    // Relative to the archive's descriptor, the name is resolved in the archive.
    let entries = [3, 4].map(|fd| guest.stat(fd, if fd == 3 { "tmp/archived" } else { "archived" }));
    assert_eq!(entries, [Ok((FILE, 0)), errno(wasip1::ERRNO_NOENT)]);
}

/// An archive with links: hard, symbolic, in a cycle, and out of the archive.
fn linked() -> Guest {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |kind, name: &str, target: &str, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_path(name).unwrap();
        if !target.is_empty() {
            header.set_link_name_literal(target).unwrap();
        }
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    };
    add(tar::EntryType::Regular, "d/file", "", b"linked");
    add(tar::EntryType::Link, "hard", "d/file", b"");
    for (name, target) in [
        ("soft", "d/file"),
        ("d/up", "../soft"),
        ("dir", "d/"),
        ("circle", "circle"),
        ("out", "../etc"),
        ("absolute", "/d/file"),
        ("dangling", "none"),
    ] {
        add(tar::EntryType::Symlink, name, target, b"");
    }
    Guest::new(Wasi::builder().archive("/", builder.into_inner().unwrap().leak()).unwrap())
}

#[test]
fn links_are_followed_inside_the_archive() {
    let mut guest = linked();
    for path in ["hard", "soft", "d/up", "dir/file", "dir/up"] {
        assert_eq!(guest.content(ROOT, path), Ok(b"linked".to_vec()), "{path}");
    }
    for (path, expected) in [
        ("circle", wasip1::ERRNO_LOOP),
        ("out", wasip1::ERRNO_NOTCAPABLE),
        ("absolute", wasip1::ERRNO_NOTCAPABLE),
        ("dangling", wasip1::ERRNO_NOENT),
        ("circle/x", wasip1::ERRNO_LOOP),
    ] {
        assert_eq!(guest.open(ROOT, path, 0), errno(expected), "{path}");
    }
}

#[test]
fn a_link_itself_has_a_type_and_a_target() {
    let mut guest = linked();
    assert_eq!(guest.stat(ROOT, "soft"), Ok((LINK, 6)));
    assert_eq!(guest.stat(ROOT, "hard"), Ok((FILE, 6)));
    guest.put(0, b"soft");
    guest.call("path_readlink", &[ROOT.into(), 0, 4, 100, 50, 40]).unwrap();
    assert_eq!((guest.u32_at(40), guest.get(100, 7)), (6, b"d/file\0".as_slice()));
    guest.call("path_readlink", &[ROOT.into(), 0, 4, 200, 3, 40]).unwrap();
    assert_eq!((guest.u32_at(40), guest.get(200, 4)), (3, b"d/f\0".as_slice()));
    guest.put(0, b"hard");
    let no_link = guest.call("path_readlink", &[ROOT.into(), 0, 4, 100, 50, 40]);
    assert_eq!(no_link, errno(wasip1::ERRNO_INVAL));
}
