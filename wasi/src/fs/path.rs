//! Resolves a path relative to a directory, without recursion and never to a node outside it.
//!
//! `..` leads up to the directory at which the path began and no further. Symbolic links, which
//! only archives contain, are resolved from the directory that contains them, under the same rule.

use alloc::vec::Vec;
use wasip1::{ERRNO_LOOP, ERRNO_NAMETOOLONG, ERRNO_NOENT, ERRNO_NOTCAPABLE, Errno};

use super::{Inode, Kind, Volume};

/// The limit of bytes in one component of a path: `NAME_MAX` on most systems.
pub(super) const NAME_MAX: usize = 255;

/// The limit of symbolic links in the resolution of one path.
const LINKS_MAX: usize = 8;

/// The limit of directories between the root and a new directory, including the new one.
const DEPTH_MAX: usize = 1024;

/// Whether a symbolic link at the end of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// Resolve to the target of the link.
    Follow,
    /// Resolve to the link itself.
    Stop,
}

/// The result of resolving a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resolved<'a> {
    /// The node, or None if the last component does not exist.
    pub(crate) inode: Option<Inode>,
    /// The parent directory and the name in it. None if the path ends in `.` or `..`.
    pub(crate) entry: Option<(Inode, &'a str)>,
    /// The path ends in a slash, so it must be a directory.
    pub(crate) directory_only: bool,
}

impl<'a> Resolved<'a> {
    /// Returns the node.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it does not exist.
    pub(crate) fn existing(&self) -> Result<Inode, Errno> {
        self.inode.ok_or(ERRNO_NOENT)
    }
}

impl Volume {
    /// Resolves `path` from the directory `base`. The last component need not exist.
    ///
    /// # Errors
    ///
    /// `ENOENT` (also for an empty path), `ENOTDIR`, `ENAMETOOLONG`, `ELOOP`; `ENOTCAPABLE` if the
    /// path is absolute or leads out of `base`.
    pub(crate) fn walk<'a>(&self, base: Inode, path: &'a str, links: Links) -> Result<Resolved<'a>, Errno> {
        if path.is_empty() {
            return Err(ERRNO_NOENT);
        }
        let directory_only = path.ends_with('/');
        let mut rest = Rest::new(path)?;
        let mut at = base;
        let mut depth = 0_u32;
        let mut entry = None;
        while let Some(component) = rest.next() {
            self.storage.work().step();
            let directory = self.directory(at)?;
            entry = None;
            match component {
                "." => {}
                ".." => {
                    depth = depth.checked_sub(1).ok_or(ERRNO_NOTCAPABLE)?;
                    at = directory.parent.ok_or(ERRNO_NOENT)?;
                }
                name if name.len() > NAME_MAX => return Err(ERRNO_NAMETOOLONG),
                name => match directory.get(name) {
                    None if rest.is_over() => {
                        return Ok(Resolved { inode: None, entry: Some((at, name)), directory_only });
                    }
                    None => return Err(ERRNO_NOENT),
                    Some(inode) => match &self.node(inode)?.kind {
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
        Ok(Resolved { inode: Some(at), entry, directory_only })
    }

    /// Returns whether `inode` is `directory` or below it.
    ///
    /// # Errors
    ///
    /// `ENOTDIR` if `inode` is not a directory, `ENOENT` if it was removed, `ENAMETOOLONG` if it is
    /// too deep in the tree for a directory to be put into it.
    pub(super) fn is_within(&self, inode: Inode, directory: Inode) -> Result<bool, Errno> {
        let mut at = inode;
        for _ in 0..DEPTH_MAX {
            if at == directory {
                return Ok(true);
            }
            self.storage.work().step();
            let parent = self.parent(at)?;
            if parent == at {
                return Ok(false);
            }
            at = parent;
        }
        Err(ERRNO_NAMETOOLONG)
    }

    /// Checks that a new directory may be put into `parent`.
    ///
    /// # Errors
    ///
    /// As [`is_within`](Self::is_within).
    pub(super) fn require_depth(&self, parent: Inode) -> Result<(), Errno> {
        // No directory has the next number yet, so this climbs to the root.
        self.is_within(parent, self.tree.next).map(drop)
    }
}

/// The components that are still to be resolved, including those of the links on the way.
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

    /// Inserts the path of a link before the rest.
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

    /// Removes and returns the next component.
    fn next(&mut self) -> Option<&'a str> {
        loop {
            let path = self.paths.last_mut()?;
            let left = path.trim_start_matches('/');
            if left.is_empty() {
                self.paths.pop();
                continue;
            }
            let (component, after) = left.split_at(left.find('/').unwrap_or(left.len()));
            *path = after;
            return Some(component);
        }
    }

    /// Returns whether no component is left.
    fn is_over(&self) -> bool {
        self.paths.iter().all(|path| path.bytes().all(|byte| byte == b'/'))
    }
}
