//! Create, remove and rename in a scratch directory.

use crate::support::{Guest, errno};
use crate::world::{Pool, tar_of};
use palimpsest_wasi::Wasi;

const DIR: u8 = wasip1::FILETYPE_DIRECTORY.raw();
const FILE: u8 = wasip1::FILETYPE_REGULAR_FILE.raw();

/// The descriptor of the scratch directory.
const ROOT: u32 = 3;

fn guest() -> Guest {
    Guest::new(Wasi::builder().scratch("/tmp", Pool::of(10)))
}

#[test]
fn creation_checks_existing_entries() {
    let mut guest = guest();
    let (creat, excl) = (wasip1::OFLAGS_CREAT, wasip1::OFLAGS_EXCL);
    guest.open(ROOT, "f", creat | excl).unwrap();
    assert_eq!(guest.open(ROOT, "f", creat | excl), errno(wasip1::ERRNO_EXIST));
    assert_eq!(guest.open(ROOT, "none", 0), errno(wasip1::ERRNO_NOENT));
    assert_eq!(guest.open(ROOT, "new/", creat), errno(wasip1::ERRNO_ISDIR));
    assert_eq!(guest.open(ROOT, "no/dir", creat), errno(wasip1::ERRNO_NOENT));
    assert_eq!(guest.open(ROOT, "d", creat | wasip1::OFLAGS_DIRECTORY), errno(wasip1::ERRNO_INVAL));
    assert_eq!(guest.open(ROOT, "f", 1 << 4), errno(wasip1::ERRNO_INVAL));
    guest.at_path("path_create_directory", ROOT, "d").unwrap();
    assert_eq!(guest.at_path("path_create_directory", ROOT, "d"), errno(wasip1::ERRNO_EXIST));
    assert_eq!(guest.at_path("path_create_directory", ROOT, "."), errno(wasip1::ERRNO_EXIST));
    assert_eq!(guest.create(ROOT, "d"), errno(wasip1::ERRNO_ISDIR));
    assert_eq!(guest.open(ROOT, "d", wasip1::OFLAGS_TRUNC), errno(wasip1::ERRNO_ISDIR));
}

#[test]
fn removal_checks_the_type() {
    let mut guest = guest();
    guest.at_path("path_create_directory", ROOT, "d/").unwrap();
    guest.create(ROOT, "d/f").unwrap();
    for (name, path, expected) in [
        ("path_unlink_file", "d", wasip1::ERRNO_ISDIR),
        ("path_unlink_file", "d/.", wasip1::ERRNO_ISDIR),
        ("path_unlink_file", "none", wasip1::ERRNO_NOENT),
        ("path_remove_directory", "d/f", wasip1::ERRNO_NOTDIR),
        ("path_remove_directory", "d", wasip1::ERRNO_NOTEMPTY),
        ("path_remove_directory", ".", wasip1::ERRNO_INVAL),
    ] {
        assert_eq!(guest.at_path(name, ROOT, path), errno(expected), "{name} {path}");
    }
    guest.at_path("path_unlink_file", ROOT, "d/f").unwrap();
    guest.at_path("path_remove_directory", ROOT, "d").unwrap();
    assert_eq!(guest.stat(ROOT, "d"), errno(wasip1::ERRNO_NOENT));
}

#[test]
fn nothing_is_made_in_a_directory_that_was_removed() {
    let mut guest = guest();
    guest.at_path("path_create_directory", ROOT, "d").unwrap();
    guest.create(ROOT, "f").unwrap();
    let d = guest.open(ROOT, "d", wasip1::OFLAGS_DIRECTORY).unwrap();
    guest.at_path("path_remove_directory", ROOT, "d").unwrap();
    assert_eq!(guest.create(d, "f"), errno(wasip1::ERRNO_NOENT));
    assert_eq!(guest.rename(ROOT, "f", d, "f"), errno(wasip1::ERRNO_NOENT));
    assert_eq!(guest.stat(d, "."), Ok((DIR, 0)));
    assert_eq!(guest.stat(ROOT, "f"), Ok((FILE, 0)));
    guest.close(d).unwrap();
}

#[test]
fn a_removed_directory_has_no_parent_that_a_rename_could_look_for() {
    // The depth of the removed directory, and whether its parents are open when they are removed.
    for (depth, keep_open) in [(1, false), (2, false), (2, true), (5, false), (5, true)] {
        let mut guest = guest();
        let paths: Vec<_> = (1..=depth).map(|depth| vec!["d"; depth].join("/")).collect();
        for path in &paths {
            guest.at_path("path_create_directory", ROOT, path).unwrap();
        }
        guest.at_path("path_create_directory", ROOT, "x").unwrap();
        guest.create(ROOT, "f").unwrap();
        let last = guest.open(ROOT, &paths[depth - 1], wasip1::OFLAGS_DIRECTORY).unwrap();
        for path in paths.iter().rev() {
            if keep_open {
                guest.open(ROOT, path, wasip1::OFLAGS_DIRECTORY).unwrap();
            }
            guest.at_path("path_remove_directory", ROOT, path).unwrap();
        }
        for from in ["x", "f"] {
            assert_eq!(guest.rename(ROOT, from, last, "new"), errno(wasip1::ERRNO_NOENT), "{depth} {from}");
        }
        assert_eq!(guest.at_path("path_create_directory", last, "new"), errno(wasip1::ERRNO_NOENT));
        assert_eq!(guest.stat(last, "../d"), errno(wasip1::ERRNO_NOTCAPABLE));
        assert_eq!(guest.list(last, 4096), Ok(Vec::new()));
        guest.close(last).unwrap();
        assert_eq!(guest.stat(ROOT, "x"), Ok((DIR, 0)));
    }
}

#[test]
fn a_directory_that_a_rename_replaces_has_no_parent_either() {
    let mut guest = guest();
    for path in ["a", "a/b", "x", "y"] {
        guest.at_path("path_create_directory", ROOT, path).unwrap();
    }
    let replaced = guest.open(ROOT, "a/b", wasip1::OFLAGS_DIRECTORY).unwrap();
    guest.rename(ROOT, "x", ROOT, "a/b").unwrap();
    guest.at_path("path_remove_directory", ROOT, "a/b").unwrap();
    guest.at_path("path_remove_directory", ROOT, "a").unwrap();
    assert_eq!(guest.rename(ROOT, "y", replaced, "y"), errno(wasip1::ERRNO_NOENT));
    assert_eq!(guest.list(replaced, 4096), Ok(Vec::new()));
    assert_eq!(guest.stat(ROOT, "y"), Ok((DIR, 0)));
}

#[test]
fn directories_move_with_what_is_in_them() {
    let mut guest = guest();
    for path in ["a", "a/b", "c"] {
        guest.at_path("path_create_directory", ROOT, path).unwrap();
    }
    let file = guest.create(ROOT, "a/b/f").unwrap();
    guest.write(file, b"moved").unwrap();
    let b = guest.open(ROOT, "a/b", wasip1::OFLAGS_DIRECTORY).unwrap();
    guest.rename(ROOT, "a/b", ROOT, "c/b2").unwrap();
    assert_eq!(guest.content(ROOT, "c/b2/f"), Ok(b"moved".to_vec()));
    assert_eq!(guest.content(b, "f"), Ok(b"moved".to_vec()));
    // `..` is the new parent.
    assert_eq!(guest.stat(ROOT, "c/b2/../b2/f"), Ok((FILE, 5)));
    assert_eq!(guest.stat(ROOT, "a/b"), errno(wasip1::ERRNO_NOENT));
}

#[test]
fn renames_that_do_not_fit_change_nothing() {
    let mut guest = guest();
    for path in ["d", "d/in", "e"] {
        guest.at_path("path_create_directory", ROOT, path).unwrap();
    }
    guest.create(ROOT, "f").unwrap();
    for (from, to, expected) in [
        ("d", "d/in/d", wasip1::ERRNO_INVAL),
        ("d", "d/in", wasip1::ERRNO_INVAL),
        ("d", "f", wasip1::ERRNO_NOTDIR),
        ("f", "d", wasip1::ERRNO_ISDIR),
        ("e", "d", wasip1::ERRNO_NOTEMPTY),
        ("f", "g/", wasip1::ERRNO_NOTDIR),
        ("none", "g", wasip1::ERRNO_NOENT),
        ("f", "none/g", wasip1::ERRNO_NOENT),
        (".", "g", wasip1::ERRNO_BUSY),
        ("f", ".", wasip1::ERRNO_BUSY),
    ] {
        assert_eq!(guest.rename(ROOT, from, ROOT, to), errno(expected), "{from} {to}");
    }
    guest.rename(ROOT, "f", ROOT, "./f").unwrap();
    guest.rename(ROOT, "d", ROOT, "e").unwrap();
    let names: Vec<_> = guest.list(ROOT, 4096).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [".", "..", "e", "f"]);
    assert_eq!(guest.stat(ROOT, "e/in"), Ok((DIR, 0)));
}

#[test]
fn two_preopened_directories_are_two_volumes() {
    let wasi = Wasi::builder().scratch("/a", Pool::of(1)).scratch("/b", Pool::of(1));
    let mut guest = Guest::new(wasi.archive("/", tar_of(&[("f", b"")])).unwrap());
    guest.create(3, "f").unwrap();
    assert_eq!(guest.rename(3, "f", 4, "f"), errno(wasip1::ERRNO_XDEV));
    assert_eq!(guest.rename(3, "f", 5, "f"), errno(wasip1::ERRNO_ROFS));
}

#[test]
fn a_listing_goes_on_while_its_entries_are_removed() {
    let mut guest = guest();
    for index in 0..20 {
        let file = guest.create(ROOT, &format!("file-{index}")).unwrap();
        guest.close(file).unwrap();
    }
    let (mut cookie, mut removed) = (2, 0);
    loop {
        // The buffer has room for three entries of 24 bytes and a name. They are removed before the
        // next call.
        guest.call("fd_readdir", &[ROOT.into(), 0, 100, cookie, 200]).unwrap();
        if guest.u32_at(200) == 0 {
            break;
        }
        cookie = guest.u64_at(0);
        let name = String::from_utf8(guest.get(24, guest.u32_at(16) as usize).to_vec()).unwrap();
        guest.at_path("path_unlink_file", ROOT, &name).unwrap();
        removed += 1;
    }
    assert_eq!((removed, guest.list(ROOT, 4096).unwrap().len()), (20, 2));
}

#[test]
fn a_directory_passes_on_only_its_inheriting_rights() {
    let mut guest = guest();
    guest.at_path("path_create_directory", ROOT, "d").unwrap();
    guest.create(ROOT, "d/f").unwrap();
    guest.put(0, b"d");
    let (flags, inheriting) = (u64::from(wasip1::OFLAGS_DIRECTORY), wasip1::RIGHTS_FD_SEEK);
    guest.call("path_open", &[ROOT.into(), 0, 0, 1, flags, u64::MAX, inheriting, 0, 100]).unwrap();
    let d = guest.u32_at(100);
    let file = guest.open(d, "f", 0).unwrap();
    assert_eq!(guest.seek(file, 0, 0), Ok(0));
    assert_eq!(guest.read(file, 1), errno(wasip1::ERRNO_NOTCAPABLE));
}
