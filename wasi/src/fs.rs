//! Volumes: trees of files in memory, one for each preopened directory.
//!
//! A [`Volume`] owns its nodes in a table. Nodes refer to each other by number, so no walk needs
//! recursion or a lock. A scratch volume has a source of blocks. A volume without one is an
//! archive, and every change to it fails with `EROFS`. [`change`] contains the changes to the tree,
//! and [`path`] the resolution of paths.
//!
//! Snapshots and forks share the tree until one of them changes it, and then the files that it does
//! not change. The counts of descriptors are not a part of the tree, because opening a file does
//! not change it.
//!
//! A node exists while it has a name or a descriptor. A directory is referred to by its entries as
//! well, as their parent. That needs no count, because of two invariants:
//! 1. A directory with entries has a name, or is the root: only an empty directory loses its name.
//! 2. A directory without a name has no parent: it loses the parent with the name.
//!
//! So every number in the tree leads to a node. A number that did not would be `ESTALE` for the
//! guest, and never a panic.

mod archive;
mod bytes;
mod change;
mod content;
mod node;
mod path;
mod storage;
mod work;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};
use wasip1::{
    ERRNO_INVAL, ERRNO_ISDIR, ERRNO_NOENT, ERRNO_NOSPC, ERRNO_NOTDIR, ERRNO_ROFS, ERRNO_STALE, Errno,
    FILETYPE_UNKNOWN, Filetype,
};

pub use self::{
    archive::ArchiveError,
    storage::{BLOCK_CHARGE_BYTES, FILE_CHARGE_BYTES},
};
use self::{
    content::Content,
    node::{Directory, Kind, Node},
    storage::Storage,
};
pub(crate) use self::{
    node::{Inode, ROOT, Times},
    path::{Links, Resolved},
};
use crate::{layout::Stat, world::Blocks};

/// A tree of files, with the guest's name for it.
#[derive(Debug)]
pub(crate) struct Volume {
    guest_path: Arc<str>,
    tree: Arc<Tree>,
    /// The number of descriptors that refer to each node. Nodes without descriptors are missing.
    opens: BTreeMap<Inode, u32>,
    /// The limit of nodes.
    nodes_max: usize,
    storage: Storage,
}

/// The nodes of a volume.
#[derive(Clone, Debug)]
struct Tree {
    nodes: BTreeMap<Inode, Node>,
    /// The number of the next new node.
    next: Inode,
}

/// The recorded state of a volume, which it shares with its forks.
#[derive(Clone, Debug)]
pub(crate) struct VolumeState {
    guest_path: Arc<str>,
    /// None in an archive that was read from bytes.
    tree: Option<Arc<Tree>>,
    /// The number of the next new node.
    next: Inode,
    opens: BTreeMap<Inode, u32>,
    access: Access,
    /// The sum of the charges, in bytes.
    charged: u64,
}

/// Whether the files of a volume can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

impl Volume {
    /// Creates an empty tree of up to `nodes_max` files and directories, whose blocks `source`
    /// allocates. They take up to `bytes_max` bytes with everything that is charged.
    pub(crate) fn scratch(
        guest_path: Arc<str>,
        source: Box<dyn Blocks>,
        nodes_max: usize,
        bytes_max: u64,
    ) -> Self {
        Self { nodes_max, storage: Storage::new(source, bytes_max), ..Self::empty(guest_path) }
    }

    fn empty(guest_path: Arc<str>) -> Self {
        let root = Node { kind: Kind::Directory(Directory::new(ROOT)), times: Times::created(0), links: 1 };
        Self {
            guest_path,
            tree: Arc::new(Tree { nodes: BTreeMap::from([(ROOT, root)]), next: ROOT + 1 }),
            opens: BTreeMap::new(),
            nodes_max: usize::MAX,
            storage: Storage::none(),
        }
    }

    /// Returns the guest's name for the root.
    pub(crate) fn guest_path(&self) -> &Arc<str> {
        &self.guest_path
    }

    /// Returns the state that a fork starts with. Copies no file.
    pub(crate) fn save(&self) -> VolumeState {
        VolumeState {
            guest_path: Arc::clone(&self.guest_path),
            tree: Some(Arc::clone(&self.tree)),
            next: self.tree.next,
            opens: self.opens.clone(),
            access: self.access(),
            charged: self.storage.charged(),
        }
    }

    /// Returns whether `state` is that of a directory with this guest path and these rights.
    pub(crate) fn is_for(&self, state: &VolumeState) -> bool {
        self.guest_path == state.guest_path && self.access() == state.access
    }

    /// Returns whether the volume can have the files of `state`. It cannot if the state was read
    /// from bytes and is that of another archive than this one.
    pub(crate) fn can_restore(&self, state: &VolumeState) -> bool {
        state.tree.as_ref().unwrap_or(&self.tree).next == state.next
    }

    /// Replaces all files by those of `state`, which are charged to this volume.
    pub(crate) fn restored(mut self, state: &VolumeState) -> Self {
        self.storage.restore(state.charged);
        let tree = Arc::clone(state.tree.as_ref().unwrap_or(&self.tree));
        Self { tree, opens: state.opens.clone(), ..self }
    }

    /// Returns whether files can be written.
    pub(crate) fn access(&self) -> Access {
        if self.storage.is_writable() { Access::ReadWrite } else { Access::ReadOnly }
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
    ///
    /// # Errors
    ///
    /// `ESTALE` if the node does not exist.
    pub(crate) fn filetype(&self, inode: Inode) -> Result<Filetype, Errno> {
        self.node(inode).map(|node| node.kind.filetype())
    }

    /// Returns the attributes of a node. `device` is the number of the volume.
    ///
    /// # Errors
    ///
    /// `ESTALE` if the node does not exist.
    pub(crate) fn stat(&self, inode: Inode, device: u64) -> Result<Stat, Errno> {
        let Node { kind, times, links, .. } = self.node(inode)?;
        let filetype = kind.filetype();
        let size = kind.size();
        Ok(Stat { device, inode, filetype, links: *links, size, times: *times })
    }

    /// Returns the target of a symbolic link.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the node is not a link.
    pub(crate) fn target(&self, inode: Inode) -> Result<&'static str, Errno> {
        match &self.node(inode)?.kind {
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
        Ok(entries.map(|(inode, name)| {
            let filetype = self.filetype(inode).unwrap_or(FILETYPE_UNKNOWN);
            (inode, filetype, name)
        }))
    }

    /// Returns the parent of a directory. The root is its own parent.
    ///
    /// # Errors
    ///
    /// `ENOTDIR` if the node is not a directory, `ENOENT` if it was removed.
    pub(crate) fn parent(&self, inode: Inode) -> Result<Inode, Errno> {
        self.directory(inode)?.parent.ok_or(ERRNO_NOENT)
    }

    /// Reads from a file. Returns fewer bytes than `buffer` has only at the end of the file.
    ///
    /// # Errors
    ///
    /// `EISDIR`, and `EINVAL` for a link.
    pub(crate) fn read(&self, inode: Inode, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        match &self.node(inode)?.kind {
            Kind::File(content) => Ok(content.read(offset, buffer)),
            Kind::Directory(_) => Err(ERRNO_ISDIR),
            Kind::Link(_) => Err(ERRNO_INVAL),
        }
    }

    /// Writes to a file. Returns fewer bytes than were passed if the quota or the blocks do not
    /// suffice for the rest.
    ///
    /// # Errors
    ///
    /// `EROFS`, `EISDIR`, `EFBIG`; `ENOSPC` if they do not suffice for the first byte.
    pub(crate) fn write(
        &mut self,
        inode: Inode,
        offset: u64,
        bytes: &[u8],
        now_ns: u64,
    ) -> Result<usize, Errno> {
        self.require_writable()?;
        let tree = self.storage.own(&mut self.tree, Tree::len);
        let node = tree.nodes.get_mut(&inode).ok_or(ERRNO_STALE)?;
        let content = node.content()?;
        let blocks = content.blocks();
        let written = content.write(&mut self.storage, offset, bytes);
        self.storage.work().resized(blocks, content.blocks());
        let written = written?;
        node.times.modify(now_ns);
        Ok(written)
    }

    /// Sets the size of a file, in bytes.
    ///
    /// # Errors
    ///
    /// `EROFS`, `EISDIR`, `EFBIG`; `ENOSPC` if the last block is shared and no block is free for a
    /// copy.
    pub(crate) fn resize(&mut self, inode: Inode, size: u64, now_ns: u64) -> Result<(), Errno> {
        self.require_writable()?;
        let tree = self.storage.own(&mut self.tree, Tree::len);
        let node = tree.nodes.get_mut(&inode).ok_or(ERRNO_STALE)?;
        let content = node.content()?;
        let blocks = content.blocks();
        content.resize(&mut self.storage, size)?;
        self.storage.work().resized(blocks, content.blocks());
        node.times.modify(now_ns);
        Ok(())
    }

    /// Sets the times of a node: those that are not None, and the time of the change.
    ///
    /// # Errors
    ///
    /// `EROFS`; `ESTALE` if the node does not exist.
    pub(crate) fn set_times(
        &mut self,
        inode: Inode,
        accessed_ns: Option<u64>,
        modified_ns: Option<u64>,
        now_ns: u64,
    ) -> Result<(), Errno> {
        self.require_writable()?;
        let times = &mut self.node_mut(inode)?.times;
        times.accessed_ns = accessed_ns.unwrap_or(times.accessed_ns);
        times.modified_ns = modified_ns.unwrap_or(times.modified_ns);
        times.changed_ns = now_ns;
        Ok(())
    }

    /// Returns the price of the work since the last call, in units of fuel.
    pub(crate) fn take_work(&self) -> u64 {
        self.storage.work().take()
    }

    /// Counts one more descriptor of a node.
    ///
    /// # Errors
    ///
    /// `ESTALE` if the node does not exist.
    pub(crate) fn open(&mut self, inode: Inode) -> Result<(), Errno> {
        self.node(inode)?;
        *self.opens.entry(inode).or_insert(0) += 1;
        Ok(())
    }

    /// Counts one descriptor of a node less, and frees the node if it has neither a name nor
    /// descriptors.
    pub(crate) fn close(&mut self, inode: Inode) {
        let Entry::Occupied(mut opens) = self.opens.entry(inode) else { return };
        *opens.get_mut() -= 1;
        if *opens.get() == 0 {
            opens.remove();
            self.free_if_unused(inode);
        }
    }

    fn node(&self, inode: Inode) -> Result<&Node, Errno> {
        self.tree.nodes.get(&inode).ok_or(ERRNO_STALE)
    }

    /// Returns a node for a change.
    fn node_mut(&mut self, inode: Inode) -> Result<&mut Node, Errno> {
        self.storage.own(&mut self.tree, Tree::len).nodes.get_mut(&inode).ok_or(ERRNO_STALE)
    }

    fn directory(&self, inode: Inode) -> Result<&Directory, Errno> {
        match &self.node(inode)?.kind {
            Kind::Directory(directory) => Ok(directory),
            Kind::File(_) | Kind::Link(_) => Err(ERRNO_NOTDIR),
        }
    }

    fn directory_mut(&mut self, inode: Inode) -> Result<&mut Directory, Errno> {
        match &mut self.node_mut(inode)?.kind {
            Kind::Directory(directory) => Ok(directory),
            Kind::File(_) | Kind::Link(_) => Err(ERRNO_NOTDIR),
        }
    }

    /// Adds a node under a free name.
    ///
    /// # Errors
    ///
    /// `ENOSPC` at the limit of nodes or of bytes, `ENOENT` in a directory that was removed,
    /// `ENOTDIR`.
    fn add(&mut self, parent: Inode, name: &str, kind: Kind, now_ns: u64) -> Result<Inode, Errno> {
        if self.tree.nodes.len() >= self.nodes_max {
            return Err(ERRNO_NOSPC);
        }
        self.parent(parent)?;
        self.storage.charge_node()?;
        let inode = self.tree.next;
        self.directory_mut(parent)?.insert(name, inode);
        self.node_mut(parent)?.times.modify(now_ns);
        let tree = self.storage.own(&mut self.tree, Tree::len);
        tree.nodes.insert(inode, Node { kind, times: Times::created(now_ns), links: 1 });
        tree.next += 1;
        Ok(inode)
    }

    /// Frees a node that has neither a name nor descriptors.
    fn free_if_unused(&mut self, inode: Inode) {
        let is_unnamed = self.node(inode).is_ok_and(|node| node.links == 0);
        if !is_unnamed || self.opens.contains_key(&inode) {
            return;
        }
        let tree = self.storage.own(&mut self.tree, Tree::len);
        let Some(node) = tree.nodes.remove(&inode) else { return };
        let blocks = node.kind.blocks();
        self.storage.work().resized(blocks, 0);
        self.storage.release_blocks(blocks);
        self.storage.release_node();
    }
}

impl Tree {
    /// Returns the number of nodes.
    fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the sum of the charges for all nodes.
    fn charge(&self) -> u64 {
        let blocks: usize = self.nodes.values().map(|node| node.kind.blocks()).sum();
        (self.nodes.len() as u64 - 1) * FILE_CHARGE_BYTES + blocks as u64 * BLOCK_CHARGE_BYTES
    }
}

impl VolumeState {
    /// Returns the guest's name for the root.
    pub(crate) fn guest_path(&self) -> &str {
        &self.guest_path
    }

    /// Returns whether files can be written.
    pub(crate) fn access(&self) -> Access {
        self.access
    }

    /// Returns whether the state has its files. That of an archive has none if it was read from
    /// bytes.
    pub(crate) fn has_files(&self) -> bool {
        self.tree.is_some()
    }

    /// Returns an archive with the same guest path and without files.
    pub(crate) fn empty_archive(&self) -> Volume {
        Volume::empty(Arc::clone(&self.guest_path))
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
