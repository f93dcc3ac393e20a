//! What a volume is made of: directories, files and links, each a node with a number.
//!
//! A directory finds its entries by name, and lists them by number: numbers only go up and are never given
//! again, so one can serve as the place to go on listing at while entries come and go. Nothing here checks
//! who may do what; [`Volume`](super::Volume) does.

use alloc::{collections::BTreeMap, sync::Arc};
use wasip1::{FILETYPE_DIRECTORY, FILETYPE_REGULAR_FILE, FILETYPE_SYMBOLIC_LINK, Filetype};

use super::content::Content;

/// The number of a node, unique in its volume for all time. The root has [`ROOT`].
pub(crate) type Inode = u64;

/// The number of a volume's root directory.
pub(crate) const ROOT: Inode = 1;

/// A file, directory or link.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) modified_ns: u64,
    /// Names that lead to it: one, or none once it is removed.
    pub(super) links: u64,
    /// Descriptors that it is open under.
    pub(super) opens: u32,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Kind {
    Directory(Directory),
    File(Content),
    /// A symbolic link, which only archives have, and the path that it stands for.
    Link(&'static str),
}

impl Kind {
    pub(super) fn filetype(&self) -> Filetype {
        match self {
            Self::Directory(_) => FILETYPE_DIRECTORY,
            Self::File(_) => FILETYPE_REGULAR_FILE,
            Self::Link(_) => FILETYPE_SYMBOLIC_LINK,
        }
    }

    /// The size that a guest is told, in bytes.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Directory(_) => 0,
            Self::File(content) => content.len(),
            Self::Link(target) => target.len() as u64,
        }
    }
}

/// The entries of a directory.
#[derive(Debug)]
pub(super) struct Directory {
    /// Where `..` leads to; the root is its own parent.
    pub(super) parent: Inode,
    by_name: BTreeMap<Arc<str>, Inode>,
    by_number: BTreeMap<Inode, Arc<str>>,
}

impl Directory {
    pub(super) fn new(parent: Inode) -> Self {
        Self { parent, by_name: BTreeMap::new(), by_number: BTreeMap::new() }
    }

    pub(super) fn get(&self, name: &str) -> Option<Inode> {
        self.by_name.get(name).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Adds an entry under a name that is free.
    pub(super) fn insert(&mut self, name: &str, inode: Inode) {
        let name = Arc::<str>::from(name);
        self.by_number.insert(inode, Arc::clone(&name));
        self.by_name.insert(name, inode);
    }

    /// Removes an entry, if there is one.
    pub(super) fn remove(&mut self, name: &str) -> Option<Inode> {
        let inode = self.by_name.remove(name)?;
        self.by_number.remove(&inode);
        Some(inode)
    }

    /// The entries with the number `first` or a higher one, in the order of their numbers.
    pub(super) fn list_from(&self, first: Inode) -> impl Iterator<Item = (Inode, &str)> {
        self.by_number.range(first..).map(|(inode, name)| (*inode, &**name))
    }
}
