//! Volumes as bytes, for snapshots that leave the machine.
//!
//! Of an archive only its path and its number of nodes are written, because a reader has the
//! archive too. Files that were read have their blocks on the kernel's heap, until they are
//! written.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};
use palimpsest_engine::DataError;

use super::{
    Access, Content, Directory, Inode, Kind, Node, ROOT, Times, Tree, VolumeState, content::FILE_BYTES_MAX,
    path::NAME_MAX,
};
use crate::{
    bytes::{Reader, StateError, Writer},
    world::{BLOCK_BYTES, Block},
};

const READ_ONLY: u8 = 0;
const READ_WRITE: u8 = 1;

const DIRECTORY: u8 = 0;
const FILE: u8 = 1;

/// The limit of the next number of a node, so that new nodes have numbers too.
const NEXT_MAX: Inode = 1 << 62;

impl VolumeState {
    /// # Errors
    ///
    /// Those of the sink.
    pub(crate) fn write(&self, writer: &mut Writer<'_>) -> Result<(), DataError> {
        writer.name(&self.guest_path)?;
        writer.u64(self.next)?;
        match (&self.tree, self.access) {
            (Some(tree), Access::ReadWrite) => {
                writer.u8(READ_WRITE)?;
                tree.write(writer)
            }
            (_, Access::ReadOnly) | (None, Access::ReadWrite) => writer.u8(READ_ONLY),
        }
    }

    /// Reads a volume without descriptors.
    ///
    /// # Errors
    ///
    /// See [`StateError`].
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let guest_path = reader.name()?.into();
        let next = reader.u64()?;
        if !(ROOT + 1..NEXT_MAX).contains(&next) {
            return Err(StateError::Number { what: "number of the next file", number: next });
        }
        let access = reader.tag("kind of directory", |byte| match byte {
            READ_ONLY => Some(Access::ReadOnly),
            READ_WRITE => Some(Access::ReadWrite),
            _ => None,
        })?;
        let mut tree = None;
        let mut charged = 0;
        if access == Access::ReadWrite {
            let read = Tree::read(reader, next)?;
            charged = read.charge();
            tree = Some(Arc::new(read));
        }
        Ok(Self { guest_path, tree, next, opens: BTreeMap::new(), access, charged })
    }

    /// Counts a descriptor of a node.
    ///
    /// # Errors
    ///
    /// [`StateError::Number`] if the node does not exist.
    pub(crate) fn open(&mut self, inode: Inode) -> Result<(), StateError> {
        let exists = match &self.tree {
            Some(tree) => tree.nodes.contains_key(&inode),
            None => (ROOT..self.next).contains(&inode),
        };
        if !exists {
            return Err(StateError::Number { what: "file of a descriptor", number: inode });
        }
        *self.opens.entry(inode).or_insert(0) += 1;
        Ok(())
    }

    /// Checks that each node without a name has a descriptor.
    ///
    /// # Errors
    ///
    /// [`StateError::Number`].
    pub(crate) fn require_used(&self) -> Result<(), StateError> {
        let nodes = self.tree.iter().flat_map(|tree| &tree.nodes);
        let mut unused = nodes.filter(|(inode, node)| node.links == 0 && !self.opens.contains_key(inode));
        match unused.next() {
            Some((inode, _)) => Err(StateError::Number { what: "file without a name", number: *inode }),
            None => Ok(()),
        }
    }
}

impl Tree {
    fn write(&self, writer: &mut Writer<'_>) -> Result<(), DataError> {
        writer.count(self.nodes.len())?;
        for (inode, node) in &self.nodes {
            writer.u64(*inode)?;
            let Times { accessed_ns, modified_ns, changed_ns } = node.times;
            [accessed_ns, modified_ns, changed_ns].into_iter().try_for_each(|time| writer.u64(time))?;
            match &node.kind {
                Kind::Directory(directory) => {
                    writer.u8(DIRECTORY)?;
                    let entries: Vec<_> = directory.list_from(0).collect();
                    writer.count(entries.len())?;
                    for (inode, name) in entries {
                        writer.u64(inode)?;
                        writer.name(name)?;
                    }
                }
                Kind::File(content) => {
                    writer.u8(FILE)?;
                    content.write_state(writer)?;
                }
                Kind::Link(_) => return Err("a scratch directory cannot contain a link".into()),
            }
        }
        Ok(())
    }

    /// Reads the nodes, and checks that they are a tree.
    fn read(reader: &mut Reader<'_>, next: Inode) -> Result<Self, StateError> {
        let mut nodes = BTreeMap::new();
        for _ in 0..reader.u64()? {
            let inode = reader.u64()?;
            let times =
                Times { accessed_ns: reader.u64()?, modified_ns: reader.u64()?, changed_ns: reader.u64()? };
            let is_directory = reader.tag("kind of file", |byte| match byte {
                DIRECTORY => Some(true),
                FILE => Some(false),
                _ => None,
            })?;
            let kind = if is_directory {
                Kind::Directory(read_directory(reader)?)
            } else {
                Kind::File(Content::read_state(reader)?)
            };
            let is_new = nodes.insert(inode, Node { kind, times, links: 0 }).is_none();
            if !is_new || !(ROOT..next).contains(&inode) {
                return Err(StateError::Number { what: "number of a file", number: inode });
            }
        }
        let mut tree = Self { nodes, next };
        tree.link()?;
        Ok(tree)
    }

    /// Gives each node that is in a directory its name, and each such directory its parent. Checks
    /// that all directories with entries are below the root, and that no node has two names.
    fn link(&mut self) -> Result<(), StateError> {
        let wrong = |number| StateError::Number { what: "entry of a directory", number };
        let root = self.nodes.get_mut(&ROOT).ok_or(wrong(ROOT))?;
        let Kind::Directory(directory) = &mut root.kind else { return Err(wrong(ROOT)) };
        directory.parent = Some(ROOT);
        root.links = 1;
        let mut directories = alloc::vec![ROOT];
        while let Some(parent) = directories.pop() {
            let node = &self.nodes[&parent];
            let Kind::Directory(directory) = &node.kind else { continue };
            let entries: Vec<Inode> = directory.list_from(0).map(|(inode, _)| inode).collect();
            for inode in entries {
                let node = self.nodes.get_mut(&inode).filter(|node| node.links == 0).ok_or(wrong(inode))?;
                node.links = 1;
                if let Kind::Directory(directory) = &mut node.kind {
                    directory.parent = Some(parent);
                    directories.push(inode);
                }
            }
        }
        let is_detached = |node: &Node| {
            node.links == 0 && matches!(&node.kind, Kind::Directory(directory) if !directory.is_empty())
        };
        match self.nodes.iter().find(|(_, node)| is_detached(node)) {
            Some((inode, _)) => Err(wrong(*inode)),
            None => Ok(()),
        }
    }
}

/// Reads the entries of a directory. It has no parent until [`Tree::link`] gives it one.
fn read_directory(reader: &mut Reader<'_>) -> Result<Directory, StateError> {
    let mut directory = Directory::new(ROOT);
    directory.parent = None;
    for _ in 0..reader.u64()? {
        let inode = reader.u64()?;
        let name = reader.name()?;
        let is_reserved = matches!(name, "" | "." | "..") || name.contains('/');
        if is_reserved || name.len() > NAME_MAX || directory.get(name).is_some() {
            return Err(StateError::Name);
        }
        directory.insert(name, inode);
    }
    Ok(directory)
}

impl Content {
    fn write_state(&self, writer: &mut Writer<'_>) -> Result<(), DataError> {
        let Self::Scratch { len, blocks } = self else {
            return Err("a scratch directory cannot contain a file of an archive".into());
        };
        writer.u64(*len)?;
        writer.count(blocks.len())?;
        for (number, block) in &**blocks {
            writer.u64(*number)?;
            writer.bytes(block.bytes())?;
        }
        Ok(())
    }

    fn read_state(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let len = reader.u64()?;
        if len > FILE_BYTES_MAX {
            return Err(StateError::Number { what: "size of a file", number: len });
        }
        let mut blocks = BTreeMap::<u64, Arc<dyn Block>>::new();
        for _ in 0..reader.u64()? {
            let number = reader.u64()?;
            let mut bytes = Box::new(*reader.array::<BLOCK_BYTES>()?);
            let start = number.checked_mul(BLOCK_BYTES as u64).filter(|start| *start < len);
            let left = start.map(|start| usize::try_from(len - start).unwrap_or(BLOCK_BYTES));
            let left = left.ok_or(StateError::Number { what: "block of a file", number })?;
            // The bytes beyond the end of a file are zero.
            bytes[left.min(BLOCK_BYTES)..].fill(0);
            if blocks.insert(number, Arc::new(bytes)).is_some() {
                return Err(StateError::Number { what: "block of a file", number });
            }
        }
        Ok(Self::Scratch { len, blocks: Arc::new(blocks) })
    }
}
