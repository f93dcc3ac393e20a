//! The way from a directory along a path: step by step, without recursion, and never out of the directory.
//!
//! Paths are relative. `..` leads up to the directory where the path began and no further. Symbolic links,
//! which only archives have, are followed from the directory that they are in, under the same rule.

use alloc::vec::Vec;
use wasip1::{ERRNO_LOOP, ERRNO_NAMETOOLONG, ERRNO_NOENT, ERRNO_NOTCAPABLE, Errno};

use super::{Inode, Kind, Volume};

/// The most bytes of one component of a path, which is `NAME_MAX` of most systems.
pub(super) const NAME_MAX: usize = 255;

/// The most symbolic links on one way.
const LINKS_MAX: usize = 8;

/// What to do with a symbolic link at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// Go where it leads to.
    Follow,
    /// Stop at the link itself.
    Stop,
}

/// Where a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot<'a> {
    /// What is there, if anything is.
    pub(crate) inode: Option<Inode>,
    /// The directory and the name in it; nothing where the path ends in `.` or `..`.
    pub(crate) entry: Option<(Inode, &'a str)>,
    /// The path ends in a slash: only a directory is meant.
    pub(crate) directory_only: bool,
}

impl<'a> Spot<'a> {
    /// What is there.
    ///
    /// # Errors
    ///
    /// `ENOENT` if nothing is.
    pub(crate) fn existing(&self) -> Result<Inode, Errno> {
        self.inode.ok_or(ERRNO_NOENT)
    }
}

impl Volume {
    /// Goes from the directory `base` along `path`. The last component need not exist.
    ///
    /// # Errors
    ///
    /// `ENOENT` (also for an empty path), `ENOTDIR`, `ENAMETOOLONG`, `ELOOP`; `ENOTCAPABLE` for an absolute
    /// path and for one that leaves `base`.
    pub(crate) fn walk<'a>(&self, base: Inode, path: &'a str, links: Links) -> Result<Spot<'a>, Errno> {
        if path.is_empty() {
            return Err(ERRNO_NOENT);
        }
        let directory_only = path.ends_with('/');
        let mut rest = Rest::new(path)?;
        let (mut at, mut depth, mut entry) = (base, 0_u32, None);
        while let Some(component) = rest.next() {
            let directory = self.directory(at)?;
            entry = None;
            match component {
                "." => {}
                ".." => {
                    depth = depth.checked_sub(1).ok_or(ERRNO_NOTCAPABLE)?;
                    at = directory.parent;
                }
                name if name.len() > NAME_MAX => return Err(ERRNO_NAMETOOLONG),
                name => match directory.get(name) {
                    None if rest.is_over() => {
                        return Ok(Spot { inode: None, entry: Some((at, name)), directory_only });
                    }
                    None => return Err(ERRNO_NOENT),
                    Some(inode) => match &self.node(inode).kind {
                        Kind::Link(target) if !rest.is_over() || directory_only || links == Links::Follow => {
                            rest.push(target)?;
                        }
                        Kind::Link(_) | Kind::Directory(_) | Kind::File(_) => {
                            entry = Some((at, name));
                            at = inode;
                            depth += 1;
                        }
                    },
                },
            }
        }
        if directory_only {
            self.directory(at)?;
        }
        Ok(Spot { inode: Some(at), entry, directory_only })
    }

    /// Whether `inode` is `directory` or lies below it.
    pub(super) fn is_within(&self, inode: Inode, directory: Inode) -> Result<bool, Errno> {
        let mut at = inode;
        while at != directory {
            let parent = self.directory(at)?.parent;
            if parent == at {
                return Ok(false);
            }
            at = parent;
        }
        Ok(true)
    }
}

/// What is left of a path, and of those of the links on it.
struct Rest<'a> {
    paths: Vec<&'a str>,
    pushed: usize,
}

impl<'a> Rest<'a> {
    fn new(path: &'a str) -> Result<Self, Errno> {
        let mut rest = Self { paths: Vec::new(), pushed: 0 };
        rest.push(path)?;
        Ok(rest)
    }

    /// Puts a path in front of what is left.
    fn push(&mut self, path: &'a str) -> Result<(), Errno> {
        if path.starts_with('/') {
            return Err(ERRNO_NOTCAPABLE);
        }
        if self.pushed > LINKS_MAX {
            return Err(ERRNO_LOOP);
        }
        self.pushed += 1;
        self.paths.push(path);
        Ok(())
    }

    /// Takes the next component.
    fn next(&mut self) -> Option<&'a str> {
        loop {
            let path = self.paths.last_mut()?;
            let left = path.trim_start_matches('/');
            if left.is_empty() {
                self.paths.pop();
                continue;
            }
            let (component, behind) = left.split_at(left.find('/').unwrap_or(left.len()));
            *path = behind;
            return Some(component);
        }
    }

    /// Whether no component is left.
    fn is_over(&self) -> bool {
        self.paths.iter().all(|path| path.bytes().all(|byte| byte == b'/'))
    }
}
