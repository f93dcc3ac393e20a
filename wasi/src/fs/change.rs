//! Changes to the tree: create, remove and rename.
//!
//! Every operation checks for all errors before it changes anything. In an archive, all fail with
//! `EROFS`. A directory that is removed while it is open is empty and has no parent: nothing
//! can be created in it or moved into it.

use wasip1::{
    ERRNO_BUSY, ERRNO_EXIST, ERRNO_INVAL, ERRNO_ISDIR, ERRNO_NOENT, ERRNO_NOTDIR, ERRNO_NOTEMPTY, Errno,
    FILETYPE_DIRECTORY,
};

use super::{Content, Directory, Inode, Kind, Resolved, Volume};

impl Volume {
    /// Creates an empty file.
    ///
    /// # Errors
    ///
    /// `EROFS`, `EEXIST`, `ENOSPC`; `ENOENT` in a directory that was removed; `EISDIR` if the path
    /// ends in a slash.
    pub(crate) fn create_file(&mut self, resolved: Resolved<'_>, now_ns: u64) -> Result<Inode, Errno> {
        self.require_writable()?;
        let (parent, name) = resolved.new_entry()?;
        if resolved.directory_only {
            return Err(ERRNO_ISDIR);
        }
        self.add(parent, name, Kind::File(Content::scratch()), now_ns)
    }

    /// Creates an empty directory.
    ///
    /// # Errors
    ///
    /// `EROFS`, `EEXIST`, `ENOSPC`; `ENOENT` in a directory that was removed; `ENAMETOOLONG` in the
    /// 1024th directory below the root.
    pub(crate) fn create_directory(&mut self, resolved: Resolved<'_>, now_ns: u64) -> Result<(), Errno> {
        self.require_writable()?;
        let (parent, name) = resolved.new_entry()?;
        self.require_depth(parent)?;
        self.add(parent, name, Kind::Directory(Directory::new(parent)), now_ns)?;
        Ok(())
    }

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// `EROFS`, `ENOENT`, `EISDIR`.
    pub(crate) fn remove_file(&mut self, resolved: Resolved<'_>, now_ns: u64) -> Result<(), Errno> {
        self.require_writable()?;
        let inode = resolved.existing()?;
        let entry = resolved.entry.ok_or(ERRNO_ISDIR)?;
        if self.filetype(inode)? == FILETYPE_DIRECTORY {
            return Err(ERRNO_ISDIR);
        }
        self.detach(entry, now_ns)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// `EROFS`, `ENOENT`, `ENOTDIR`, `ENOTEMPTY`; `EINVAL` if the path ends in `.` or `..`.
    pub(crate) fn remove_directory(&mut self, resolved: Resolved<'_>, now_ns: u64) -> Result<(), Errno> {
        self.require_writable()?;
        let directory = self.directory(resolved.existing()?)?;
        let entry = resolved.entry.ok_or(ERRNO_INVAL)?;
        if !directory.is_empty() {
            return Err(ERRNO_NOTEMPTY);
        }
        self.detach(entry, now_ns)
    }

    /// Renames `from` to `to`. Replaces what `to` was.
    ///
    /// # Errors
    ///
    /// `EROFS`, `ENOENT` (also in a directory that was removed); `EBUSY` if a path ends in `.` or
    /// `..`; `EINVAL` if a directory would be moved below itself; `ENAMETOOLONG` if it would be
    /// moved into the 1024th directory below the root; `ENOTDIR`, `EISDIR`, `ENOTEMPTY` if the one
    /// cannot replace the other.
    pub(crate) fn rename(&mut self, from: Resolved<'_>, to: Resolved<'_>, now_ns: u64) -> Result<(), Errno> {
        self.require_writable()?;
        let inode = from.existing()?;
        let (old_parent, old_name) = from.entry.ok_or(ERRNO_BUSY)?;
        let (parent, name) = to.entry.ok_or(ERRNO_BUSY)?;
        self.parent(parent)?;
        let is_directory = self.filetype(inode)? == FILETYPE_DIRECTORY;
        if is_directory && self.is_within(parent, inode)? {
            return Err(ERRNO_INVAL);
        }
        if to.directory_only && !is_directory {
            return Err(ERRNO_NOTDIR);
        }
        match to.inode {
            None => {}
            Some(other) if other == inode => return Ok(()),
            Some(other) => {
                self.require_replaceable(inode, other)?;
                self.detach((parent, name), now_ns)?;
            }
        }
        self.directory_mut(old_parent)?.remove(old_name);
        self.node_mut(old_parent)?.times.modify(now_ns);
        self.directory_mut(parent)?.insert(name, inode);
        self.node_mut(parent)?.times.modify(now_ns);
        if let Kind::Directory(directory) = &mut self.node_mut(inode)?.kind {
            directory.parent = Some(parent);
        }
        Ok(())
    }

    /// Checks that `new` may replace `old`. A directory may replace an empty directory. A file or
    /// link may replace a file or link.
    fn require_replaceable(&self, new: Inode, old: Inode) -> Result<(), Errno> {
        match (&self.node(new)?.kind, &self.node(old)?.kind) {
            (Kind::Directory(_), Kind::Directory(old)) if old.is_empty() => Ok(()),
            (Kind::Directory(_), Kind::Directory(_)) => Err(ERRNO_NOTEMPTY),
            (Kind::Directory(_), Kind::File(_) | Kind::Link(_)) => Err(ERRNO_NOTDIR),
            (Kind::File(_) | Kind::Link(_), Kind::Directory(_)) => Err(ERRNO_ISDIR),
            (Kind::File(_) | Kind::Link(_), Kind::File(_) | Kind::Link(_)) => Ok(()),
        }
    }

    /// Removes an entry, which must not be a directory with entries. Frees its node if no
    /// descriptor refers to it.
    fn detach(&mut self, (parent, name): (Inode, &str), now_ns: u64) -> Result<(), Errno> {
        let inode = self.directory_mut(parent)?.remove(name).ok_or(ERRNO_NOENT)?;
        self.node_mut(parent)?.times.modify(now_ns);
        let node = self.node_mut(inode)?;
        node.links = 0;
        if let Kind::Directory(directory) = &mut node.kind {
            directory.parent = None;
        }
        self.free_if_unused(inode);
        Ok(())
    }
}

impl<'a> Resolved<'a> {
    /// Returns the parent directory and the name for a new entry.
    fn new_entry(&self) -> Result<(Inode, &'a str), Errno> {
        match self.inode {
            Some(_) => Err(ERRNO_EXIST),
            None => self.entry.ok_or(ERRNO_EXIST),
        }
    }
}
