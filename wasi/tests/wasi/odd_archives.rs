//! Archives that are not directory trees, or that contain entries which a guest must not see.

use crate::world::tar_of;
use palimpsest_wasi::{ArchiveError, Wasi};
use tar::EntryType;

fn error(tar: &'static [u8]) -> ArchiveError {
    Wasi::builder().archive("/", tar).map(drop).unwrap_err()
}

/// The type, name, link target and content of an entry.
type Entry<'a> = (EntryType, &'a [u8], &'a [u8], &'a [u8]);

/// Returns an archive with one entry. The `tar` crate refuses to write some of these names.
fn entry(kind: EntryType, name: &[u8], target: &[u8], content: &[u8]) -> &'static [u8] {
    archive(&[(kind, name, target, content)])
}

fn archive(entries: &[Entry<'_>]) -> &'static [u8] {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, name, target, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(*kind);
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap().leak()
}

#[test]
fn bytes_that_are_not_an_archive_are_refused() {
    let whole = tar_of(&[("file", b"content")]);
    for end in [0, 1, 511, 512, 1024, whole.len() - 1] {
        assert!(matches!(error(&whole[..end]), ArchiveError::Corrupt(_)), "{end} bytes");
    }
    let mut broken = whole.to_vec();
    broken[0] ^= 1;
    assert_eq!(
        error(broken.leak()).to_string(),
        "not a readable tar archive: header at block 0 has an invalid checksum; pack it with \
         `--format=posix`"
    );
}

#[test]
fn the_size_of_an_entry_without_content_is_ignored() {
    for kind in [EntryType::Directory, EntryType::Symlink] {
        for size in [b"not a number", b"000077777777"] {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(kind);
            header.as_old_mut().name[..4].copy_from_slice(b"name");
            header.as_old_mut().linkname[..4].copy_from_slice(b"away");
            header.as_old_mut().size.copy_from_slice(size);
            header.set_cksum();
            let mut archive = header.as_bytes().to_vec();
            archive.resize(3 * 512, 0);
            assert!(Wasi::builder().archive("/", archive.leak()).is_ok(), "{kind:?}");
        }
    }
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in ["../up", "a/../../up", "a/..", "/etc/passwd", "/", ".."] {
        for kind in [EntryType::Regular, EntryType::Directory] {
            let error = error(entry(kind, name.as_bytes(), b"", b""));
            assert!(matches!(error, ArchiveError::Outside { .. }), "{name}: {error}");
        }
    }
}

#[test]
fn names_without_a_name_are_the_root_or_refused() {
    assert!(Wasi::builder().archive("/", entry(EntryType::Directory, b"./", b"", b"")).is_ok());
    for name in ["", "."] {
        let error = error(entry(EntryType::Regular, name.as_bytes(), b"", b""));
        assert!(matches!(error, ArchiveError::Outside { .. }), "`{name}`: {error}");
    }
}

#[test]
fn two_entries_cannot_have_the_same_name() {
    let (file, dir) = (EntryType::Regular, EntryType::Directory);
    let of = |first: (EntryType, &str), second: (EntryType, &str)| {
        archive(&[(first.0, first.1.as_bytes(), b"", b""), (second.0, second.1.as_bytes(), b"", b"")])
    };
    assert_eq!(error(of((file, "a"), (file, "./a"))), ArchiveError::Duplicate { name: "./a".into() });
    assert_eq!(error(of((dir, "a/"), (file, "a"))), ArchiveError::Duplicate { name: "a".into() });
    assert_eq!(error(of((file, "a"), (dir, "a/"))), ArchiveError::BelowFile { name: "a/".into() });
    assert_eq!(error(of((file, "a"), (file, "a/b"))), ArchiveError::BelowFile { name: "a".into() });
    assert!(Wasi::builder().archive("/", of((dir, "a/"), (dir, "a/"))).is_ok());
}

#[test]
fn an_unsupported_entry_is_named() {
    for (kind, expected) in [
        (EntryType::Char, "character device"),
        (EntryType::Block, "block device"),
        (EntryType::Fifo, "named pipe"),
    ] {
        let error = error(entry(kind, b"dev/x", b"", b""));
        assert_eq!(error, ArchiveError::Unsupported { name: "dev/x".into(), kind: expected });
    }
    let error = error(entry(EntryType::Link, b"a", b"later", b""));
    assert_eq!(error, ArchiveError::NoTarget { name: "a".into(), target: "later".into() });
}

#[test]
fn names_that_are_not_utf_8_are_refused() {
    assert_eq!(error(entry(EntryType::Regular, b"\xFF", b"", b"")), ArchiveError::NotUtf8 { block: 0 });
    assert_eq!(error(entry(EntryType::Symlink, b"a", b"\xFF", b"")), ArchiveError::NotUtf8 { block: 0 });
}

/// An archive with an extended header and a file.
fn extended(kind: EntryType, records: &[u8]) -> &'static [u8] {
    archive(&[(kind, b"PaxHeaders/a", b"", records), (EntryType::Regular, b"a", b"", b"content")])
}

#[test]
fn an_extended_header_may_give_times_and_names_but_no_size() {
    for records in [b"30 mtime=1700000000.123456789\n".as_slice(), b"16 path=b/c/d/e\n"] {
        assert!(Wasi::builder().archive("/", extended(EntryType::XHeader, records)).is_ok());
    }
    let refused = error(extended(EntryType::XHeader, b"20 mtime=1700000000\n8 size=7\n"));
    assert_eq!(refused, ArchiveError::Record { block: 0 });
    let refused = error(extended(EntryType::XHeader, b"20 mtime=1700000000\n9 size=7\n"));
    assert_eq!(refused, ArchiveError::Extended { block: 0, key: "size".into() });
    let refused = error(extended(EntryType::XGlobalHeader, b"10 path=b\n"));
    assert_eq!(refused, ArchiveError::Extended { block: 0, key: "path".into() });
}

#[test]
fn a_name_in_an_extended_header_is_checked_like_any_other() {
    let refused = error(extended(EntryType::XHeader, b"13 path=../up\n"));
    assert_eq!(refused, ArchiveError::Record { block: 0 });
    let refused = error(extended(EntryType::XHeader, b"14 path=../up\n"));
    assert_eq!(refused, ArchiveError::Outside { name: "..".into() });
    let refused = error(extended(EntryType::XHeader, b"10 path=\xFF\n"));
    assert_eq!(refused, ArchiveError::NotUtf8 { block: 0 });
}

#[test]
fn malformed_records_are_refused() {
    for records in [
        b"path=b\n".as_slice(),
        b"0 path=b\n",
        b"1 path=b\n",
        b"8 path=b\n",
        b"99 path=b\n",
        b"-10 path=b\n",
        b"10 path+b\n",
        b"18446744073709551616 path=b\n",
        b" ",
    ] {
        let refused = error(extended(EntryType::XHeader, records));
        assert_eq!(refused, ArchiveError::Record { block: 0 }, "{}", String::from_utf8_lossy(records));
    }
}

#[test]
fn an_archive_has_at_most_65536_files_and_directories() {
    // Each name makes 48 directories.
    let names: Vec<String> = (0..1400).map(|index| format!("{index}/{}", "d/".repeat(47))).collect();
    let entries: Vec<_> = names.iter().map(|name| (name.as_str(), b"".as_slice())).collect();
    assert!(Wasi::builder().archive("/", tar_of(&entries[..1300])).is_ok());
    assert_eq!(error(tar_of(&entries)), ArchiveError::TooMany { limit: 65_536 });
}
