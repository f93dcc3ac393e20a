//! Random operations on a scratch directory, against a model that never frees a node.
//!
//! The operations are those that move, remove and keep open what others refer to. Each one must
//! succeed exactly where the model's does. At the end everything is closed and removed, and all
//! blocks and nodes are free again.

use crate::support::{ALL_RIGHTS, Guest, engine};
use crate::world::Pool;
use palimpsest_engine::{Config, SnapshotData, StateBytes};
use palimpsest_wasi::{Wasi, WasiBuilder, WasiState};
use std::collections::BTreeMap;

/// The descriptor of the scratch directory.
const ROOT: u32 = 3;
/// The limit of files and directories, including the root.
const NODES: usize = 48;
const BLOCKS: u64 = 64;
/// The limit of directories that the test keeps open.
const OPEN: usize = 6;
const OPERATIONS: usize = 4000;

/// A generator of pseudorandom numbers (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    fn path(&mut self) -> String {
        let components = ["a", "b", "c", "a", "b", "c", "..", "."];
        let count = 1 + self.below(4);
        let path: Vec<_> = (0..count).map(|_| components[self.below(components.len())]).collect();
        path.join("/")
    }
}

/// The index of a node.
type Id = usize;

#[derive(Clone)]
enum Node {
    File(Vec<u8>),
    Directory { parent: Option<Id>, entries: BTreeMap<String, Id> },
}

/// A tree in which nodes are only added.
#[derive(Clone)]
struct Model(Vec<Node>);

/// A path that was resolved: the node, and the entry that it is or would be.
type Found = (Option<Id>, Option<(Id, String)>);

impl Model {
    fn new() -> Self {
        Self(vec![Node::Directory { parent: Some(0), entries: BTreeMap::new() }])
    }

    fn entries(&self, id: Id) -> Option<&BTreeMap<String, Id>> {
        match &self.0[id] {
            Node::File(_) => None,
            Node::Directory { entries, .. } => Some(entries),
        }
    }

    fn entries_mut(&mut self, id: Id) -> &mut BTreeMap<String, Id> {
        match &mut self.0[id] {
            Node::File(_) => panic!("{id} is a file"),
            Node::Directory { entries, .. } => entries,
        }
    }

    fn parent(&self, id: Id) -> Option<Id> {
        match &self.0[id] {
            Node::File(_) => None,
            Node::Directory { parent, .. } => *parent,
        }
    }

    fn set_parent(&mut self, id: Id, new: Option<Id>) {
        if let Node::Directory { parent, .. } = &mut self.0[id] {
            *parent = new;
        }
    }

    fn resolve(&self, base: Id, path: &str) -> Option<Found> {
        let (mut at, mut depth, mut entry) = (base, 0, None);
        let mut components = path.split('/').peekable();
        while let Some(component) = components.next() {
            let entries = self.entries(at)?;
            entry = None;
            match component {
                "." => {}
                ".." => {
                    (at, depth) = (self.parent(at)?, depth - 1);
                    if depth < 0 {
                        return None;
                    }
                }
                name => {
                    entry = Some((at, name.to_string()));
                    match entries.get(name) {
                        Some(id) => (at, depth) = (*id, depth + 1),
                        None if components.peek().is_none() => return Some((None, entry)),
                        None => return None,
                    }
                }
            }
        }
        Some((Some(at), entry))
    }

    fn node(&self, base: Id, path: &str) -> Option<Id> {
        self.resolve(base, path)?.0
    }

    /// The number of nodes that are in the tree.
    fn reachable(&self, id: Id) -> usize {
        1 + self.entries(id).into_iter().flatten().map(|(_, id)| self.reachable(*id)).sum::<usize>()
    }

    fn is_within(&self, id: Id, directory: Id) -> bool {
        id == directory
            || (id != 0 && self.parent(id).is_some_and(|parent| self.is_within(parent, directory)))
    }

    fn add(&mut self, base: Id, path: &str, node: impl FnOnce(Id) -> Node) -> Option<Id> {
        let (None, Some((parent, name))) = self.resolve(base, path)? else { return None };
        self.parent(parent)?;
        let id = self.0.len();
        self.0.push(node(parent));
        self.entries_mut(parent).insert(name, id);
        Some(id)
    }

    fn remove(&mut self, base: Id, path: &str, directory: bool) -> Option<()> {
        let (Some(id), Some((parent, name))) = self.resolve(base, path)? else { return None };
        let fits = match self.entries(id) {
            Some(entries) => directory && entries.is_empty(),
            None => !directory,
        };
        if !fits {
            return None;
        }
        self.entries_mut(parent).remove(&name);
        self.set_parent(id, None);
        Some(())
    }

    fn rename(&mut self, (base, from): (Id, &str), (new_base, to): (Id, &str)) -> Option<()> {
        let (Some(id), Some((old_parent, old_name))) = self.resolve(base, from)? else { return None };
        let (replaced, Some((parent, name))) = self.resolve(new_base, to)? else { return None };
        self.parent(parent)?;
        if self.is_within(parent, id) {
            return None;
        }
        if replaced == Some(id) {
            return Some(());
        }
        if let Some(replaced) = replaced {
            match (self.entries(id), self.entries(replaced)) {
                (Some(_), Some(entries)) if entries.is_empty() => {}
                (None, None) => {}
                _ => return None,
            }
            self.set_parent(replaced, None);
        }
        self.entries_mut(old_parent).remove(&old_name);
        self.entries_mut(parent).insert(name, id);
        self.set_parent(id, Some(parent));
        Some(())
    }
}

/// A guest, its model, and the directories that it has open.
struct Pair {
    guest: Guest,
    model: Model,
    open: Vec<(u32, Id)>,
}

impl Pair {
    /// Does one random operation in both, and returns a description of it.
    fn step(&mut self, random: &mut Random) -> String {
        let (fd, base) = self.open[random.below(self.open.len())];
        let path = random.path();
        let (kind, guest, model) = match random.below(9) {
            // At the limit of nodes only the guest would fail. A directory that was removed while
            // it is open counts too.
            0 | 1 if self.model.reachable(0) + OPEN < NODES => {
                let directory = |parent| Node::Directory { parent: Some(parent), entries: BTreeMap::new() };
                let made = self.model.add(base, &path, directory).is_some();
                ("mkdir", self.guest.at_path("path_create_directory", fd, &path).is_ok(), made)
            }
            2 if self.model.reachable(0) + OPEN < NODES => {
                let bytes: Vec<u8> = (0..1 + random.below(9000)).map(|_| 7).collect();
                let file = self.guest.open_with(
                    fd,
                    &path,
                    wasip1::OFLAGS_CREAT | wasip1::OFLAGS_EXCL,
                    ALL_RIGHTS,
                    0,
                );
                let made = self.model.add(base, &path, |_| Node::File(Vec::new()));
                if let (Ok(file), Some(id)) = (file, made) {
                    let written = self.guest.write(file, &bytes).unwrap_or(0) as usize;
                    self.model.0[id] = Node::File(bytes[..written].to_vec());
                    self.guest.close(file).unwrap();
                }
                ("create", file.is_ok(), made.is_some())
            }
            3 => {
                let removed = self.guest.at_path("path_remove_directory", fd, &path);
                ("rmdir", removed.is_ok(), self.model.remove(base, &path, true).is_some())
            }
            4 => {
                let removed = self.guest.at_path("path_unlink_file", fd, &path);
                ("unlink", removed.is_ok(), self.model.remove(base, &path, false).is_some())
            }
            5 => {
                let (new_fd, new_base) = self.open[random.below(self.open.len())];
                let to = random.path();
                let renamed = self.guest.rename(fd, &path, new_fd, &to).is_ok();
                ("rename", renamed, self.model.rename((base, &path), (new_base, &to)).is_some())
            }
            6 if self.open.len() < OPEN => {
                let opened = self.guest.open(fd, &path, wasip1::OFLAGS_DIRECTORY);
                let id = self.model.node(base, &path).filter(|id| self.model.entries(*id).is_some());
                if let (Ok(opened), Some(id)) = (opened, id) {
                    self.open.push((opened, id));
                }
                ("open", opened.is_ok(), id.is_some())
            }
            8 => {
                let id = self.model.node(base, &path);
                if id.is_some_and(|id| self.model.entries(id).is_some()) {
                    return String::new();
                }
                let file = self.guest.open_with(fd, &path, 0, ALL_RIGHTS, 0).ok();
                if let (Some(Node::File(bytes)), Some(file)) = (id.map(|id| &mut self.model.0[id]), file) {
                    let (at, new) =
                        (random.below(bytes.len().min(5000) + 1), vec![9; 1 + random.below(5000)]);
                    self.guest.seek(file, i64::try_from(at).unwrap(), 0).unwrap();
                    let written = self.guest.write(file, &new).unwrap_or(0) as usize;
                    bytes.resize(bytes.len().max(at + written), 0);
                    bytes[at..at + written].copy_from_slice(&new[..written]);
                }
                if let Some(file) = file {
                    self.guest.close(file).unwrap();
                }
                ("write", file.is_some(), id.is_some())
            }
            _ if self.open.len() > 1 => {
                let (closed, _) = self.open.remove(1 + random.below(self.open.len() - 1));
                ("close", self.guest.close(closed).is_ok(), true)
            }
            _ => return String::new(),
        };
        let step = format!("{kind} {path} in {fd}");
        assert_eq!(guest, model, "{step}");
        step
    }

    /// Returns a fork, through bytes if `moves`.
    fn fork(&mut self, world: WasiBuilder, moves: bool) -> Self {
        let mut state = self.guest.store.data_mut().save().unwrap();
        if moves {
            let mut bytes = Vec::new();
            let mut sink = |part: &[u8]| {
                bytes.extend(part);
                Ok(())
            };
            state.write_to(&mut sink).unwrap();
            state = WasiState::read_from(&bytes).unwrap();
        }
        let mut wasi = world.build();
        wasi.restore(&state).unwrap();
        let guest = Guest::in_world(&engine(Config::default()), wasi);
        Self { guest, model: self.model.clone(), open: self.open.clone() }
    }

    /// Compares every open directory, and every file in one.
    fn compare(&mut self, after: &str) {
        for index in 0..self.open.len() {
            let (fd, id) = self.open[index];
            let listed: Vec<_> = self.guest.list(fd, 4096).unwrap();
            let names =
                listed.iter().map(|(name, _)| name.as_str()).filter(|name| !matches!(*name, "." | ".."));
            let mut names: Vec<_> = names.collect();
            names.sort_unstable();
            let expected = self.model.entries(id).unwrap();
            assert!(names.iter().eq(expected.keys()), "{after}: {names:?}, {:?}", expected.keys());
            assert_eq!(listed.len() - names.len(), if self.model.parent(id).is_some() { 2 } else { 0 });
            for (name, id) in expected {
                if let Node::File(bytes) = &self.model.0[*id] {
                    assert_eq!(self.guest.content(fd, name).as_ref(), Ok(bytes), "{after}: {name}");
                }
            }
        }
    }

    /// Removes what is in the directory `path`.
    fn empty(&mut self, path: &str, id: Id) {
        let entries: Vec<_> = self.model.entries(id).unwrap().clone().into_iter().collect();
        for (name, id) in entries {
            let path = format!("{path}/{name}");
            let is_directory = self.model.entries(id).is_some();
            if is_directory {
                self.empty(&path, id);
            }
            let function = if is_directory { "path_remove_directory" } else { "path_unlink_file" };
            self.guest.at_path(function, ROOT, &path).unwrap();
        }
    }
}

#[test]
fn random_changes_of_the_tree_agree_with_a_model_and_free_all_that_they_used() {
    for seed in 1..=8 {
        let mut random = Random(seed);
        let pool = Pool::of(BLOCKS);
        let wasi = Wasi::builder().scratch("/tmp", pool.clone()).scratch_files(NODES);
        let mut pair = Pair { guest: Guest::new(wasi), model: Model::new(), open: vec![(ROOT, 0)] };
        for number in 0..OPERATIONS {
            let step = pair.step(&mut random);
            if number % 16 == 0 {
                pair.compare(&format!("seed {seed}, operation {number}: {step}"));
            }
        }
        for (fd, _) in pair.open.split_off(1) {
            pair.guest.close(fd).unwrap();
        }
        pair.empty(".", 0);
        assert_eq!(pool.left(), BLOCKS, "seed {seed}");
        // All nodes but the root are free.
        for index in 1..NODES {
            pair.guest.at_path("path_create_directory", ROOT, &format!("{index}")).unwrap();
        }
        let full = pair.guest.at_path("path_create_directory", ROOT, "last");
        assert_eq!(full, Err(wasip1::ERRNO_NOSPC.raw()));
    }
}

#[test]
fn forks_of_forks_agree_with_copies_of_the_model_and_free_all_that_they_used() {
    const FORKS: usize = 5;
    for seed in 1..=4 {
        let mut random = Random(seed);
        let pool = Pool::of(FORKS as u64 * BLOCKS);
        let world = || Wasi::builder().scratch("/tmp", pool.clone()).scratch_files(NODES);
        let mut pairs = vec![Pair { guest: Guest::new(world()), model: Model::new(), open: vec![(ROOT, 0)] }];
        for number in 0..1500 {
            let at = random.below(pairs.len());
            let step = pairs[at].step(&mut random);
            if number % 40 == 0 {
                if pairs.len() == FORKS {
                    pairs.swap_remove(random.below(FORKS));
                }
                let from = random.below(pairs.len());
                let fork = pairs[from].fork(world(), random.below(3) == 0);
                pairs.push(fork);
            }
            if number % 16 == 0 {
                let what = |at| format!("seed {seed}, operation {number}: {step} of {at}");
                pairs.iter_mut().enumerate().for_each(|(at, pair)| pair.compare(&what(at)));
            }
        }
        drop(pairs);
        assert_eq!(pool.left(), FORKS as u64 * BLOCKS, "seed {seed}");
    }
}
