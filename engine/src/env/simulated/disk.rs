//! The simulated disk: a tree of directories and files, with no idea of time, faults or counting.
//!
//! Paths are taken from the root, whether they begin with a slash or not. Errors are the ones Linux gives.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::content::{ChangeSequence, Content};
use super::directory::{Directory, Inode};
use super::image::{CrashPolicy, Dice};

const ROOT: Inode = Inode(0);

#[derive(Clone)]
pub(super) struct Disk {
    nodes: BTreeMap<Inode, Node>,
    inode_next: u64,
}

#[derive(Clone)]
enum Node {
    File(Content),
    Directory(Directory),
}

/// A name in a directory.
struct Place {
    directory: Inode,
    name: String,
}

impl Disk {
    /// An empty root directory.
    pub(super) fn new() -> Self {
        Self { nodes: BTreeMap::from([(ROOT, Node::Directory(Directory::default()))]), inode_next: 1 }
    }

    /// The file or directory of a path.
    pub(super) fn find(&self, path: &Path) -> io::Result<Inode> {
        let mut inode = ROOT;
        for name in names(path)? {
            inode = self.directory(inode)?.get(name).ok_or_else(|| error(libc::ENOENT))?;
        }
        Ok(inode)
    }

    /// The file of a path.
    pub(super) fn find_file(&self, path: &Path) -> io::Result<Inode> {
        let inode = self.find(path)?;
        match self.nodes[&inode] {
            Node::File(_) => Ok(inode),
            Node::Directory(_) => Err(error(libc::EISDIR)),
        }
    }

    fn place(&self, path: &Path) -> io::Result<Place> {
        let name = names(path)?.pop().ok_or_else(|| error(libc::EINVAL))?.to_string();
        let directory = self.find(path.parent().unwrap_or(Path::new("")))?;
        self.directory(directory)?;
        Ok(Place { directory, name })
    }

    fn directory(&self, inode: Inode) -> io::Result<&Directory> {
        match &self.nodes[&inode] {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => Err(error(libc::ENOTDIR)),
        }
    }

    fn directory_mut(&mut self, inode: Inode) -> &mut Directory {
        match self.nodes.get_mut(&inode) {
            Some(Node::Directory(directory)) => directory,
            _ => panic!("{inode:?} is no directory: it was looked up as one"),
        }
    }

    /// The bytes of a file that is open or was looked up.
    pub(super) fn content(&self, inode: Inode) -> &Content {
        match self.nodes.get(&inode) {
            Some(Node::File(content)) => content,
            _ => panic!("{inode:?} is no file: an open file outlives its names"),
        }
    }

    /// The bytes of a file, for changing.
    pub(super) fn content_mut(&mut self, inode: Inode) -> &mut Content {
        match self.nodes.get_mut(&inode) {
            Some(Node::File(content)) => content,
            _ => panic!("{inode:?} is no file: an open file outlives its names"),
        }
    }

    /// The length of all files together.
    pub(super) fn size_bytes(&self) -> u64 {
        let length = |node: &Node| if let Node::File(content) = node { content.length() } else { 0 };
        self.nodes.values().map(length).sum()
    }

    /// Makes an empty file.
    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<Inode> {
        self.create(path, Node::File(Content::default()))
    }

    /// Makes one directory; its parent must exist.
    pub(super) fn create_directory(&mut self, path: &Path) -> io::Result<Inode> {
        self.create(path, Node::Directory(Directory::default()))
    }

    fn create(&mut self, path: &Path, node: Node) -> io::Result<Inode> {
        let place = self.place(path)?;
        if self.directory(place.directory)?.get(&place.name).is_some() {
            return Err(error(libc::EEXIST));
        }
        let inode = Inode(self.inode_next);
        self.inode_next += 1;
        self.nodes.insert(inode, node);
        self.directory_mut(place.directory).change(vec![(place.name, Some(inode))]);
        Ok(inode)
    }

    /// The names in a directory, sorted.
    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        Ok(self.directory(self.find(path)?)?.names().map(|(name, _)| name.to_string()).collect())
    }

    /// The directory of a path, and what a sync of it that starts now will cover.
    pub(super) fn start_sync_directory(&self, path: &Path) -> io::Result<(Inode, ChangeSequence)> {
        let inode = self.find(path)?;
        Ok((inode, self.directory(inode)?.sequence()))
    }

    /// Makes the names of a directory durable.
    pub(super) fn end_sync_directory(&mut self, inode: Inode, covered: ChangeSequence) {
        // It may have been removed while it was synced.
        if let Some(Node::Directory(directory)) = self.nodes.get_mut(&inode) {
            directory.sync(covered);
        }
    }

    /// Moves a name over whatever file has the new one.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let into_itself = to != from && to.starts_with(from);
        let (from, to) = (self.place(from)?, self.place(to)?);
        let inode = self.directory(from.directory)?.get(&from.name).ok_or_else(|| error(libc::ENOENT))?;
        if into_itself {
            return Err(error(libc::EINVAL));
        }
        match self.directory(to.directory)?.get(&to.name) {
            Some(replaced) if replaced == inode => return Ok(()),
            Some(replaced) if matches!(self.nodes[&replaced], Node::Directory(_)) => return Err(error(libc::EISDIR)),
            Some(_) if matches!(self.nodes[&inode], Node::Directory(_)) => return Err(error(libc::ENOTDIR)),
            _ => {}
        }
        if from.directory == to.directory {
            self.directory_mut(from.directory).change(vec![(from.name, None), (to.name, Some(inode))]);
        } else {
            self.directory_mut(to.directory).change(vec![(to.name, Some(inode))]);
            self.directory_mut(from.directory).change(vec![(from.name, None)]);
        }
        Ok(())
    }

    /// Removes a file's name.
    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.find_file(path)?;
        let place = self.place(path)?;
        self.directory_mut(place.directory).change(vec![(place.name, None)]);
        Ok(())
    }

    /// Removes an empty directory's name.
    pub(super) fn remove_directory(&mut self, path: &Path) -> io::Result<()> {
        if !self.directory(self.find(path)?)?.is_empty() {
            return Err(error(libc::ENOTEMPTY));
        }
        let place = self.place(path)?;
        self.directory_mut(place.directory).change(vec![(place.name, None)]);
        Ok(())
    }

    /// Forgets what no name leads to, now or after a crash, and nobody has open.
    pub(super) fn collect_garbage(&mut self, is_open: impl Fn(Inode) -> bool) {
        let mut reachable = BTreeSet::from([ROOT]);
        let mut unvisited = vec![ROOT];
        while let Some(inode) = unvisited.pop() {
            if let Some(Node::Directory(directory)) = self.nodes.get(&inode) {
                unvisited.extend(directory.references().filter(|&inode| reachable.insert(inode)));
            }
        }
        self.nodes.retain(|&inode, _| reachable.contains(&inode) || is_open(inode));
    }

    /// The paths of all files, sorted.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut unvisited = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, inode)) = unvisited.pop() {
            match &self.nodes[&inode] {
                Node::File(_) => files.push(path),
                Node::Directory(directory) => {
                    unvisited.extend(directory.names().map(|(name, inode)| (path.join(name), inode)));
                }
            }
        }
        files.sort_unstable();
        files
    }

    /// The disk that a crash at this moment leaves; all of it is durable.
    pub(super) fn after_crash(&self, policy: CrashPolicy, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let after_crash = |node: &Node| match node {
            Node::File(content) => Node::File(content.after_crash(policy.bytes(), &mut dice)),
            Node::Directory(directory) => Node::Directory(directory.after_crash(policy.names(), &mut dice)),
        };
        let nodes = self.nodes.values().map(after_crash);
        let mut survivor = Self { nodes: self.nodes.keys().copied().zip(nodes).collect(), inode_next: self.inode_next };
        survivor.collect_garbage(|_| false);
        survivor
    }
}

impl Disk {
    /// The disk as the next process finds it when this one is killed: nothing is lost, and what was not durable is not yet.
    pub(super) fn after_kill(&self) -> Self {
        let after_kill = |node: &Node| match node {
            Node::File(content) => Node::File(content.after_kill()),
            Node::Directory(directory) => Node::Directory(directory.clone()),
        };
        let nodes = self.nodes.iter().map(|(&inode, node)| (inode, after_kill(node)));
        Self { nodes: nodes.collect(), inode_next: self.inode_next }
    }
}

/// The names that a path goes through.
fn names(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_str().ok_or_else(|| error(libc::EINVAL))?),
            // The engine never goes upwards.
            Component::ParentDir | Component::Prefix(_) => return Err(error(libc::EINVAL)),
        }
    }
    Ok(names)
}

/// An error as the operating system would give it.
pub(super) fn error(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}
