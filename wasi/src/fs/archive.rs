//! Reads a tar archive as a tree. The bytes of its files are not copied.
//!
//! The contents of an archive are not trusted. Every name stays below the root, no entry replaces
//! another, and an entry that cannot be represented is an error that names it. A directory needs no
//! entry. A hard link becomes a file with the same bytes, a symbolic link remains one. Names that
//! are too long for a header may be in an extended header of POSIX (pax) before it.

use alloc::{
    string::{String, ToString},
    sync::Arc,
};
use core::str;
use tar_no_std::{CorruptDataError, PosixHeader, TarArchiveRef, TypeFlag};
use thiserror::Error;
use wasip1::Errno;

use super::{Content, Directory, Inode, Kind, Links, ROOT, Volume};

/// The size of a block of a tar archive.
const TAR_BLOCK_BYTES: usize = 512;

/// The limit of files and directories in an archive.
const NODES_MAX: usize = 1 << 16;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// Why an archive cannot be used as a directory.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The bytes are not a tar archive, or use extensions of GNU tar.
    #[error("not a readable tar archive: {0}; pack it with `--format=posix`")]
    Corrupt(#[source] CorruptDataError),
    /// A POSIX extended header gives an entry another size, or all entries a name.
    #[error("the extended header at block {block} sets `{key}`; pack the archive with `--format=ustar`")]
    Extended {
        /// The number of the 512-byte block of the header.
        block: usize,
        /// The field that the header sets: `size`, or `path` or `linkpath` for all entries.
        key: String,
    },
    /// A record of a POSIX extended header does not have the form `length key=value`.
    #[error("a record of the extended header at block {block} is malformed; create the archive anew")]
    Record {
        /// The number of the 512-byte block of the header.
        block: usize,
    },
    /// A name is not UTF-8.
    #[error("the name or link target at block {block} is not UTF-8; rename the file")]
    NotUtf8 {
        /// The number of the 512-byte block of the header.
        block: usize,
    },
    /// A name leads out of the archive.
    #[error("`{name}` is not below the archive's root; pack relative paths without `..`")]
    Outside {
        /// The name.
        name: String,
    },
    /// Two entries have the same name, and at least one is not a directory.
    #[error("`{name}` is in the archive twice; create the archive anew instead of appending to it")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// The path of an entry continues after the name of a file or link.
    #[error("`{name}` is below an entry that is not a directory; rename one of them")]
    BelowFile {
        /// The name.
        name: String,
    },
    /// An entry is a device or a pipe.
    #[error("`{name}` is a {kind}, which a guest cannot use; leave it out of the archive")]
    Unsupported {
        /// The name.
        name: String,
        /// The type of the entry.
        kind: &'static str,
    },
    /// A hard link has no earlier file as its target.
    #[error("`{name}` is a hard link to `{target}`, which is not an earlier file; pack that file first")]
    NoTarget {
        /// The name.
        name: String,
        /// The target of the link.
        target: String,
    },
    /// The archive has more files and directories than a volume can contain.
    #[error("the archive has more than {limit} files and directories; split it")]
    TooMany {
        /// The limit.
        limit: usize,
    },
}

impl Volume {
    /// Reads the tree in `tar`.
    ///
    /// # Errors
    ///
    /// See [`ArchiveError`].
    pub(crate) fn archive(guest_path: Arc<str>, tar: &'static [u8]) -> Result<Self, ArchiveError> {
        let archive = TarArchiveRef::new(tar).map_err(ArchiveError::Corrupt)?;
        let mut volume = Self { nodes_max: NODES_MAX, ..Self::empty(guest_path) };
        let mut extended = Extended::default();
        for (block, header) in archive.headers() {
            let kind = type_of(header);
            if kind == TypeFlag::XHDTYPE {
                extended = Extended::of_one(payload(tar, block, header), block)?;
            } else if kind == TypeFlag::XGLTYPE {
                Extended::check_global(payload(tar, block, header), block)?;
            } else {
                volume.add_entry(tar, block, header, core::mem::take(&mut extended))?;
            }
        }
        Ok(volume)
    }

    fn add_entry(
        &mut self,
        tar: &'static [u8],
        block: usize,
        header: &'static PosixHeader,
        extended: Extended,
    ) -> Result<(), ArchiveError> {
        let not_utf8 = ArchiveError::NotUtf8 { block };
        let name = match extended.name {
            Some(name) => name.to_string(),
            None => name_of(header).ok_or(not_utf8.clone())?,
        };
        let target = || match extended.target {
            Some(target) => Ok(target),
            None => header.linkname.as_str().map_err(|_| not_utf8.clone()),
        };
        let kind = match type_of(header) {
            TypeFlag::XHDTYPE | TypeFlag::XGLTYPE => return Ok(()),
            TypeFlag::DIRTYPE => return self.directories(&name, header).map(drop),
            TypeFlag::REGTYPE | TypeFlag::AREGTYPE if name.ends_with('/') => {
                return self.directories(&name, header).map(drop);
            }
            TypeFlag::REGTYPE | TypeFlag::AREGTYPE | TypeFlag::CONTTYPE => {
                Kind::File(Content::Archived(payload(tar, block, header)))
            }
            TypeFlag::SYMTYPE => Kind::Link(target()?),
            TypeFlag::LINK => {
                let target = target()?;
                let no_target = || ArchiveError::NoTarget { name: name.clone(), target: target.to_string() };
                Kind::File(self.archived(target).ok_or_else(no_target)?)
            }
            TypeFlag::CHRTYPE => return Err(ArchiveError::Unsupported { name, kind: "character device" }),
            TypeFlag::BLKTYPE => return Err(ArchiveError::Unsupported { name, kind: "block device" }),
            TypeFlag::FIFOTYPE => return Err(ArchiveError::Unsupported { name, kind: "named pipe" }),
        };
        let (above, last) = name.rsplit_once('/').unwrap_or(("", &name));
        let parent = self.directories(above, header)?;
        let is_taken = self.directory(parent).is_ok_and(|directory| directory.get(last).is_some());
        match last {
            "" | "." | ".." => Err(ArchiveError::Outside { name }),
            _ if is_taken => Err(ArchiveError::Duplicate { name }),
            _ => self.add_archived(parent, last, kind, header).map(drop),
        }
    }

    /// Returns the directory at `path`. Creates it and its parents where they are missing.
    fn directories(&mut self, path: &str, header: &PosixHeader) -> Result<Inode, ArchiveError> {
        if path.starts_with('/') {
            return Err(ArchiveError::Outside { name: path.to_string() });
        }
        let mut at = ROOT;
        for component in path.split('/').filter(|component| !matches!(*component, "" | ".")) {
            if component == ".." {
                return Err(ArchiveError::Outside { name: path.to_string() });
            }
            let below_file = |_| ArchiveError::BelowFile { name: path.to_string() };
            let existing = self.directory(at).map_err(below_file)?.get(component);
            at = match existing {
                Some(inode) => inode,
                None => self.add_archived(at, component, Kind::Directory(Directory::new(at)), header)?,
            };
        }
        self.directory(at).map_err(|_| ArchiveError::BelowFile { name: path.to_string() })?;
        Ok(at)
    }

    fn add_archived(
        &mut self,
        parent: Inode,
        name: &str,
        kind: Kind,
        header: &PosixHeader,
    ) -> Result<Inode, ArchiveError> {
        // `parent` is an existing directory, so `add` fails only at the limit of nodes.
        let too_many = |_: Errno| ArchiveError::TooMany { limit: NODES_MAX };
        self.add(parent, name, kind, modified_ns(header)).map_err(too_many)
    }

    /// Returns the content of a file that was added before.
    fn archived(&self, path: &str) -> Option<Content> {
        let inode = self.walk(ROOT, path, Links::Stop).ok()?.inode?;
        match &self.node(inode).ok()?.kind {
            Kind::File(Content::Archived(bytes)) => Some(Content::Archived(bytes)),
            Kind::File(Content::Scratch { .. }) | Kind::Directory(_) | Kind::Link(_) => None,
        }
    }
}

/// Returns the full name of an entry. Only the POSIX format, whose version is `00`, has a prefix.
fn name_of(header: &PosixHeader) -> Option<String> {
    let name = header.name.as_str().ok()?;
    let is_posix = header.magic.as_str() == Ok("ustar") && header.version.as_str() == Ok("00");
    if is_posix && !header.prefix.is_empty() {
        return Some([header.prefix.as_str().ok()?, name].join("/"));
    }
    Some(name.to_string())
}

/// Returns the bytes that follow the header of a file or of an extended header.
///
/// The size in other headers has another meaning, and `TarArchiveRef::new` does not check it.
///
/// # Panics
///
/// Panics if the type of the header has no payload and the size is not a number.
fn payload(tar: &'static [u8], block: usize, header: &PosixHeader) -> &'static [u8] {
    let size: usize = header.size.as_number().expect("`TarArchiveRef::new` checked the size of a payload");
    let start = (block + 1) * TAR_BLOCK_BYTES;
    &tar[start..start + size]
}

/// Returns the time in a header, or 0 if it is missing or not a number.
///
/// `tar-no-std` declares the field as decimal. It is octal like all others (POSIX, pax, "ustar
/// Interchange Format").
fn modified_ns(header: &PosixHeader) -> u64 {
    let digits = header.mtime.as_inner().as_str_until_first_space().unwrap_or_default();
    u64::from_str_radix(digits, 8).unwrap_or_default().saturating_mul(NS_PER_SECOND)
}

fn type_of(header: &PosixHeader) -> TypeFlag {
    header.typeflag.try_to_type_flag().expect("`TarArchiveRef::new` checked all headers")
}

/// The fields that an extended header sets for the entry after it.
#[derive(Clone, Copy, Default)]
struct Extended {
    name: Option<&'static str>,
    target: Option<&'static str>,
}

impl Extended {
    /// Reads the header of one entry.
    fn of_one(records: &'static [u8], block: usize) -> Result<Self, ArchiveError> {
        let mut extended = Self::default();
        for_each_record(records, block, |key, value| {
            let value = || str::from_utf8(value).map(Some).map_err(|_| ArchiveError::NotUtf8 { block });
            match key {
                b"path" => extended.name = value()?,
                b"linkpath" => extended.target = value()?,
                b"size" => return Err(ArchiveError::Extended { block, key: "size".to_string() }),
                _ => {}
            }
            Ok(())
        })?;
        Ok(extended)
    }

    /// Checks that a header of all entries sets only fields that may be ignored.
    fn check_global(records: &'static [u8], block: usize) -> Result<(), ArchiveError> {
        for_each_record(records, block, |key, _| match key {
            b"path" | b"linkpath" | b"size" => {
                Err(ArchiveError::Extended { block, key: String::from_utf8_lossy(key).into_owned() })
            }
            _ => Ok(()),
        })
    }
}

/// Passes the key and the value of each record to `each`. A record has the form
/// `length key=value\n`, where the length is that of the whole record (POSIX, pax, "pax Extended
/// Header").
fn for_each_record(
    mut records: &'static [u8],
    block: usize,
    mut each: impl FnMut(&'static [u8], &'static [u8]) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    while !records.is_empty() {
        let (key, value, rest) = first_record(records).ok_or(ArchiveError::Record { block })?;
        each(key, value)?;
        records = rest;
    }
    Ok(())
}

/// Splits off the key and the value of the first record. Returns None if it is malformed.
fn first_record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let digits = records.iter().position(|byte| *byte == b' ')?;
    let length: usize = str::from_utf8(&records[..digits]).ok()?.parse().ok()?;
    let record = records.get(digits + 1..length)?.strip_suffix(b"\n")?;
    let end_of_key = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..end_of_key], &record[end_of_key + 1..], &records[length..]))
}
