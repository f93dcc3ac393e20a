//! The nodes of a volume: directories, files and links.
//!
//! A directory looks up its entries by name, and lists them by number. Numbers increase and are not
//! reused, so a listing can continue at a number while entries are added and removed. The checks of
//! permissions are in [`Volume`](super::Volume).

use alloc::{collections::BTreeMap, sync::Arc};
use wasip1::{FILETYPE_DIRECTORY, FILETYPE_REGULAR_FILE, FILETYPE_SYMBOLIC_LINK, Filetype};

use super::content::Content;

/// The number of a node. It is unique in its volume and not reused. The root is [`ROOT`].
pub(crate) type Inode = u64;

/// The number of a volume's root directory.
pub(crate) const ROOT: Inode = 1;

/// A file, directory or symbolic link.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) times: Times,
    /// The number of names: 1, or 0 after the node was removed.
    pub(super) links: u64,
}

/// The times of a node, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// Set on creation and by the guest. Reading does not set it.
    pub(crate) accessed_ns: u64,
    /// Set by changes of the content, and by the guest.
    pub(crate) modified_ns: u64,
    /// Set by changes of the content or of the other two times.
    pub(crate) changed_ns: u64,
}

impl Times {
    /// Returns the times of a node that was created at `now_ns`.
    pub(crate) fn created(now_ns: u64) -> Self {
        Self { accessed_ns: now_ns, modified_ns: now_ns, changed_ns: now_ns }
    }

    /// Records that the content was changed.
    pub(super) fn modify(&mut self, now_ns: u64) {
        self.modified_ns = now_ns;
        self.changed_ns = now_ns;
    }
}

/// The type of a node, with its contents.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Directory(Directory),
    File(Content),
    /// The target of a symbolic link. Only archives contain links.
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

    /// Returns the size that the guest sees, in bytes.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Directory(_) => 0,
            Self::File(content) => content.len(),
            Self::Link(target) => target.len() as u64,
        }
    }

    /// Returns the number of blocks that the node owns.
    pub(super) fn blocks(&self) -> usize {
        match self {
            Self::Directory(_) | Self::Link(_) => 0,
            Self::File(content) => content.blocks(),
        }
    }
}

/// The entries of a directory.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    /// The target of `..`. The root is its own parent. None after the directory was removed.
    pub(super) parent: Option<Inode>,
    by_name: BTreeMap<Arc<str>, Inode>,
    by_number: BTreeMap<Inode, Arc<str>>,
}

impl Directory {
    pub(super) fn new(parent: Inode) -> Self {
        Self { parent: Some(parent), by_name: BTreeMap::new(), by_number: BTreeMap::new() }
    }

    pub(super) fn get(&self, name: &str) -> Option<Inode> {
        self.by_name.get(name).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Adds an entry. `name` must be free.
    pub(super) fn insert(&mut self, name: &str, inode: Inode) {
        let name = Arc::<str>::from(name);
        self.by_number.insert(inode, Arc::clone(&name));
        self.by_name.insert(name, inode);
    }

    /// Removes an entry and returns its node. Returns None if `name` is free.
    pub(super) fn remove(&mut self, name: &str) -> Option<Inode> {
        let inode = self.by_name.remove(name)?;
        self.by_number.remove(&inode);
        Some(inode)
    }

    /// Returns the entries whose number is at least `first`, sorted by number.
    pub(super) fn list_from(&self, first: Inode) -> impl Iterator<Item = (Inode, &str)> {
        self.by_number.range(first..).map(|(inode, name)| (*inode, &**name))
    }
}
