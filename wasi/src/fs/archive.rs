//! A tar archive as a read-only tree, whose files stay where they are in memory.
//!
//! The archive is the embedder's, but what is in it may be anybody's: every name stays below the root,
//! nothing is overwritten, and what cannot be represented is an error that names it. Directories need no
//! entries of their own. Hard links are files with the same bytes; symbolic links stay links.

use alloc::string::{String, ToString};
use tar_no_std::{CorruptDataError, PosixHeader, TarArchiveRef, TypeFlag};
use thiserror::Error;
use wasip1::Errno;

use super::{Content, Directory, Inode, Kind, Links, ROOT, Volume};

/// The bytes of a block of a tar archive.
const TAR_BLOCK_BYTES: usize = 512;

/// The most files and directories of an archive.
const NODES_MAX: usize = 1 << 16;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// Why an archive is not a directory tree.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The bytes are no tar archive, or one with extensions of GNU's own.
    #[error("not a tar archive that can be read: {0}; pack it with `--format=ustar`")]
    Corrupt(#[source] CorruptDataError),
    /// A POSIX extended header gives an entry another name, link target or size.
    #[error("the extended header at block {block} sets `{key}`; pack the archive with `--format=ustar`")]
    Extended {
        /// Which block of the archive, counted in 512 bytes.
        block: usize,
        /// What it sets.
        key: String,
    },
    /// A name is not UTF-8.
    #[error("the name or link target at block {block} is not UTF-8; rename the file")]
    NotUtf8 {
        /// Which block of the archive, counted in 512 bytes.
        block: usize,
    },
    /// A name leads out of the archive.
    #[error(
        "`{name}` is no path below the archive's root; pack paths that are relative to it and without `..`"
    )]
    Outside {
        /// The name.
        name: String,
    },
    /// Two entries have one name, and not both are directories.
    #[error("`{name}` is in the archive twice; pack it anew instead of appending to it")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A file or link has a name below that of another file or link.
    #[error("`{name}` lies below something that is no directory")]
    BelowFile {
        /// The name.
        name: String,
    },
    /// A device or a pipe.
    #[error("`{name}` is a {kind}, which a guest cannot use; leave it out")]
    Unsupported {
        /// The name.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// A hard link to something that is no file before it in the archive.
    #[error("`{name}` is a hard link to `{target}`, which is no file before it in the archive")]
    NoTarget {
        /// The name.
        name: String,
        /// What it links to.
        target: String,
    },
    /// The archive has more files and directories than a volume may hold.
    #[error("the archive has more than {limit} files and directories; split it")]
    TooMany {
        /// The most there may be.
        limit: usize,
    },
}

impl Volume {
    /// The tree that is in `tar`.
    ///
    /// # Errors
    ///
    /// See [`ArchiveError`].
    pub(crate) fn archive(tar: &'static [u8]) -> Result<Self, ArchiveError> {
        let archive = TarArchiveRef::new(tar).map_err(ArchiveError::Corrupt)?;
        let mut volume = Self { nodes_max: NODES_MAX, ..Self::empty() };
        for (block, header) in archive.headers() {
            volume.add_entry(tar, block, header)?;
        }
        Ok(volume)
    }

    fn add_entry(
        &mut self,
        tar: &'static [u8],
        block: usize,
        header: &'static PosixHeader,
    ) -> Result<(), ArchiveError> {
        let name = name_of(header).ok_or(ArchiveError::NotUtf8 { block })?;
        let flag = header.typeflag.try_to_type_flag().expect("the archive was checked as a whole");
        let kind = match flag {
            TypeFlag::XHDTYPE | TypeFlag::XGLTYPE => {
                return require_plain(payload(tar, block, header), block);
            }
            TypeFlag::DIRTYPE => return self.directories(&name, header).map(drop),
            TypeFlag::REGTYPE | TypeFlag::AREGTYPE if name.ends_with('/') => {
                return self.directories(&name, header).map(drop);
            }
            TypeFlag::REGTYPE | TypeFlag::AREGTYPE | TypeFlag::CONTTYPE => {
                Kind::File(Content::Archived(payload(tar, block, header)))
            }
            TypeFlag::SYMTYPE => {
                Kind::Link(header.linkname.as_str().map_err(|_| ArchiveError::NotUtf8 { block })?)
            }
            TypeFlag::LINK => {
                let target = header.linkname.as_str().map_err(|_| ArchiveError::NotUtf8 { block })?;
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

    /// The directory at `path`, made with all above it where they are missing.
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
        // The parent is a directory that is there, so the number of nodes is all that can be in the way.
        let too_many = |_: Errno| ArchiveError::TooMany { limit: NODES_MAX };
        self.add(parent, name, kind, modified_ns(header)).map_err(too_many)
    }

    /// The content of a file that is there already.
    fn archived(&self, path: &str) -> Option<Content> {
        let inode = self.walk(ROOT, path, Links::Stop).ok()?.inode?;
        match &self.node(inode).kind {
            Kind::File(Content::Archived(bytes)) => Some(Content::Archived(bytes)),
            Kind::File(Content::Scratch { .. }) | Kind::Directory(_) | Kind::Link(_) => None,
        }
    }
}

/// The whole name of an entry; the prefix is there in the POSIX form alone, whose version is `00`.
fn name_of(header: &PosixHeader) -> Option<String> {
    let name = header.name.as_str().ok()?;
    let is_posix = header.magic.as_str() == Ok("ustar") && header.version.as_str() == Ok("00");
    if is_posix && !header.prefix.is_empty() {
        return Some([header.prefix.as_str().ok()?, name].join("/"));
    }
    Some(name.to_string())
}

/// The bytes behind a header.
fn payload(tar: &'static [u8], block: usize, header: &PosixHeader) -> &'static [u8] {
    let size: usize = header.size.as_number().expect("the archive was checked as a whole");
    let start = (block + 1) * TAR_BLOCK_BYTES;
    &tar[start..start + size]
}

/// The time in a header; none, or one that is not a number, is the epoch. `tar-no-std` has the field as
/// decimal, but it is octal like all others (POSIX, pax, "ustar Interchange Format").
fn modified_ns(header: &PosixHeader) -> u64 {
    let digits = header.mtime.as_inner().as_str_until_first_space().unwrap_or_default();
    u64::from_str_radix(digits, 8).unwrap_or_default().saturating_mul(NS_PER_SECOND)
}

/// Makes sure that an extended header sets nothing but what can be left out: its records are
/// `length key=value\n` (POSIX, pax, "pax Extended Header").
fn require_plain(records: &[u8], block: usize) -> Result<(), ArchiveError> {
    for record in records.split(|byte| *byte == b'\n') {
        let key = record.split(|byte| *byte == b'=').next().unwrap_or_default();
        let key = key.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
        if matches!(key, b"path" | b"linkpath" | b"size") {
            let key = String::from_utf8_lossy(key).into_owned();
            return Err(ArchiveError::Extended { block, key });
        }
    }
    Ok(())
}
