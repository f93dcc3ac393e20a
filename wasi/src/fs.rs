//! Volumes: trees of files in memory, one for each preopened directory.
//!
//! A [`Volume`] owns its nodes in a table. Nodes refer to each other by number, so no walk needs
//! recursion or a lock. A scratch volume has a source of blocks. A volume without one is an
//! archive, and every change to it fails with `EROFS`. A file that is removed while it is open
//! exists until its last descriptor is closed. [`change`] contains the changes to the tree, and
//! [`path`] the resolution of paths.

mod archive;
mod change;
mod content;
mod node;
mod path;

use alloc::{boxed::Box, collections::BTreeMap};
use core::fmt;
use wasip1::{ERRNO_INVAL, ERRNO_ISDIR, ERRNO_NOENT, ERRNO_NOSPC, ERRNO_NOTDIR, ERRNO_ROFS, Errno, Filetype};

pub use self::archive::ArchiveError;
use self::{
    content::Content,
    node::{Directory, Kind, Node},
};
pub(crate) use self::{
    node::{Inode, ROOT},
    path::{Links, Resolved},
};
use crate::{layout::Stat, world::Blocks};

/// The reason why a lookup by number succeeds.
const NODE_EXISTS: &str = "a node exists while it has a name or a descriptor";

/// A tree of files.
pub(crate) struct Volume {
    nodes: BTreeMap<Inode, Node>,
    /// The number of the next new node.
    next: Inode,
    /// The limit of nodes.
    nodes_max: usize,
    /// The source of blocks; None in an archive.
    source: Option<Box<dyn Blocks>>,
}

/// Whether the files of a volume can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

impl Volume {
    /// Creates an empty tree of up to `nodes_max` files and directories, whose blocks `source`
    /// allocates.
    pub(crate) fn scratch(source: Box<dyn Blocks>, nodes_max: usize) -> Self {
        Self { nodes_max, source: Some(source), ..Self::empty() }
    }

    fn empty() -> Self {
        let root = Node { kind: Kind::Directory(Directory::new(ROOT)), modified_ns: 0, links: 1, opens: 0 };
        Self { nodes: BTreeMap::from([(ROOT, root)]), next: ROOT + 1, nodes_max: usize::MAX, source: None }
    }

    /// Returns whether files can be written.
    pub(crate) fn access(&self) -> Access {
        if self.source.is_some() { Access::ReadWrite } else { Access::ReadOnly }
    }

    /// # Errors
    ///
    /// `EROFS` in an archive.
    pub(crate) fn require_writable(&self) -> Result<(), Errno> {
        match self.access() {
            Access::ReadOnly => Err(ERRNO_ROFS),
            Access::ReadWrite => Ok(()),
        }
    }

    /// Returns the type of a node.
    pub(crate) fn filetype(&self, inode: Inode) -> Filetype {
        self.node(inode).kind.filetype()
    }

    /// Returns the attributes of a node. `device` is the number of the volume.
    pub(crate) fn stat(&self, inode: Inode, device: u64) -> Stat {
        let Node { kind, modified_ns, links, .. } = self.node(inode);
        let (filetype, size) = (kind.filetype(), kind.size());
        Stat { device, inode, filetype, links: *links, size, modified_ns: *modified_ns }
    }

    /// Returns the target of a symbolic link.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the node is not a link.
    pub(crate) fn target(&self, inode: Inode) -> Result<&'static str, Errno> {
        match &self.node(inode).kind {
            Kind::Link(target) => Ok(target),
            Kind::Directory(_) | Kind::File(_) => Err(ERRNO_INVAL),
        }
    }

    /// Returns the entries of a directory whose number is at least `first`.
    ///
    /// # Errors
    ///
    /// `ENOTDIR` if the node is not a directory.
    pub(crate) fn list_from(
        &self,
        inode: Inode,
        first: Inode,
    ) -> Result<impl Iterator<Item = (Inode, Filetype, &str)>, Errno> {
        let entries = self.directory(inode)?.list_from(first);
        Ok(entries.map(|(inode, name)| (inode, self.filetype(inode), name)))
    }

    /// Returns the parent of a directory. The root is its own parent.
    ///
    /// # Errors
    ///
    /// `ENOTDIR` if the node is not a directory.
    pub(crate) fn parent(&self, inode: Inode) -> Result<Inode, Errno> {
        self.directory(inode).map(|directory| directory.parent)
    }

    /// Reads from a file. Returns fewer bytes than `buffer` has only at the end of the file.
    ///
    /// # Errors
    ///
    /// `EISDIR`, and `EINVAL` for a link.
    pub(crate) fn read(&self, inode: Inode, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        match &self.node(inode).kind {
            Kind::File(content) => Ok(content.read(offset, buffer)),
            Kind::Directory(_) => Err(ERRNO_ISDIR),
            Kind::Link(_) => Err(ERRNO_INVAL),
        }
    }

    /// Writes to a file. Returns fewer bytes than were passed if no block is free for the rest.
    ///
    /// # Errors
    ///
    /// `EROFS`, `EISDIR`, `EFBIG`; `ENOSPC` if no block is free for the first byte.
    pub(crate) fn write(
        &mut self,
        inode: Inode,
        offset: u64,
        bytes: &[u8],
        now_ns: u64,
    ) -> Result<usize, Errno> {
        let source = self.source.as_deref_mut().ok_or(ERRNO_ROFS)?;
        let node = self.nodes.get_mut(&inode).expect(NODE_EXISTS);
        let written = node.content()?.write(source, offset, bytes)?;
        node.modified_ns = now_ns;
        Ok(written)
    }

    /// Sets the size of a file, in bytes.
    ///
    /// # Errors
    ///
    /// `EROFS`, `EISDIR`, `EFBIG`.
    pub(crate) fn resize(&mut self, inode: Inode, size: u64, now_ns: u64) -> Result<(), Errno> {
        self.require_writable()?;
        let node = self.node_mut(inode);
        node.content()?.resize(size)?;
        node.modified_ns = now_ns;
        Ok(())
    }

    /// Counts one more descriptor of a node.
    pub(crate) fn open(&mut self, inode: Inode) {
        self.node_mut(inode).opens += 1;
    }

    /// Counts one descriptor of a node less, and frees the node if it has neither names nor
    /// descriptors.
    pub(crate) fn close(&mut self, inode: Inode) {
        self.node_mut(inode).opens -= 1;
        self.free_if_unused(inode);
    }

    fn node(&self, inode: Inode) -> &Node {
        self.nodes.get(&inode).expect(NODE_EXISTS)
    }

    fn node_mut(&mut self, inode: Inode) -> &mut Node {
        self.nodes.get_mut(&inode).expect(NODE_EXISTS)
    }

    fn directory(&self, inode: Inode) -> Result<&Directory, Errno> {
        match &self.node(inode).kind {
            Kind::Directory(directory) => Ok(directory),
            Kind::File(_) | Kind::Link(_) => Err(ERRNO_NOTDIR),
        }
    }

    fn directory_mut(&mut self, inode: Inode) -> Result<&mut Directory, Errno> {
        match &mut self.node_mut(inode).kind {
            Kind::Directory(directory) => Ok(directory),
            Kind::File(_) | Kind::Link(_) => Err(ERRNO_NOTDIR),
        }
    }

    /// Adds a node under a free name.
    ///
    /// # Errors
    ///
    /// `ENOSPC` at the limit of nodes, `ENOENT` in a directory that was removed, `ENOTDIR`.
    fn add(&mut self, parent: Inode, name: &str, kind: Kind, now_ns: u64) -> Result<Inode, Errno> {
        if self.nodes.len() >= self.nodes_max {
            return Err(ERRNO_NOSPC);
        }
        if self.node(parent).links == 0 {
            return Err(ERRNO_NOENT);
        }
        let inode = self.next;
        self.directory_mut(parent)?.insert(name, inode);
        self.node_mut(parent).modified_ns = now_ns;
        self.nodes.insert(inode, Node { kind, modified_ns: now_ns, links: 1, opens: 0 });
        self.next += 1;
        Ok(inode)
    }

    fn free_if_unused(&mut self, inode: Inode) {
        let Node { links, opens, .. } = self.node(inode);
        if *links == 0 && *opens == 0 {
            self.nodes.remove(&inode);
        }
    }
}

impl Node {
    /// Returns the bytes of a file.
    ///
    /// # Errors
    ///
    /// `EISDIR`, and `EINVAL` for a link.
    fn content(&mut self) -> Result<&mut Content, Errno> {
        match &mut self.kind {
            Kind::File(content) => Ok(content),
            Kind::Directory(_) => Err(ERRNO_ISDIR),
            Kind::Link(_) => Err(ERRNO_INVAL),
        }
    }
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume").field("access", &self.access()).field("nodes", &self.nodes.len()).finish()
    }
}
