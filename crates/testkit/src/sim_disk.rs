//! A simulated disk that loses unsynced writes and renames.
//!
//! The fault model, harsher than any one file system:
//!
//! - Every change (create, write, cut, sync, rename, remove, change of mode) is a step. [`SimDisk::crash_after`] lets so many steps happen;
//!   the next one, and all reads after it, fail. [`SimDisk::reboot`] gives what survived.
//! - Written pages of 4 KiB that were not synced survive each on its own, or not; the length of the file is then the old one, the new one or
//!   anything between. What was never written reads as zeros.
//! - A name that was created, renamed or removed without a sync of its directory survives or not: either all such operations up to a random
//!   one (an ordered journal) or any subset of them. A rename is whole: the file never vanishes from both names.
//! - [`SimDisk::fail_at`] makes one step fail while the disk goes on. A write that fails has written half. A sync that fails has dropped what
//!   it should have written, and the next sync does not bring it back, although reads still show it until the cache is dropped (as on Linux).
//! - A directory that is made by [`Disk::create_dir`] is a name like others; without it, what lies in it is lost too.
//! - A barrier, if the disk was made [`SimDisk::with_barrier`], is one step that syncs all contents and all names; when it fails, all that was
//!   unsynced is lost as above.
//! - The mode is durable at once. Locks end with the file that took them, or with the power.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ntt_host::{Barrier, Disk, DiskEntry, DiskFile, OpenMode, Random};

const PAGE_BYTES: usize = 4096;

/// Pseudo-random bytes that are the same for the same seed.
#[derive(Debug)]
pub struct SeededRandom(AtomicU64);

impl SeededRandom {
    /// A generator.
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next number: SplitMix64 (Steele, Lea, Flood 2014).
    pub fn next(&self) -> u64 {
        let state = self
            .0
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
            .wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound as u64)).unwrap_or(0)
    }

    fn coin(&self) -> bool {
        self.next() & 1 == 1
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Pages written since the last sync.
    dirty: BTreeSet<usize>,
    read_only: bool,
    locked_by: Option<u64>,
}

impl Inode {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[offset..end].copy_from_slice(bytes);
        if !bytes.is_empty() {
            self.dirty.extend(offset / PAGE_BYTES..=(end - 1) / PAGE_BYTES);
        }
    }

    fn set_len(&mut self, len: usize) {
        let (short, long) = (self.live.len().min(len), self.live.len().max(len));
        self.dirty.extend(short / PAGE_BYTES..=long / PAGE_BYTES);
        self.live.resize(len, 0);
    }

    /// Copies a page to the durable side, as far as that is long.
    fn settle(&mut self, page: usize) {
        let start = (page * PAGE_BYTES).min(self.durable.len()).min(self.live.len());
        let end = (start + PAGE_BYTES).min(self.durable.len()).min(self.live.len());
        self.durable[start..end].copy_from_slice(&self.live[start..end]);
    }

    fn sync(&mut self) {
        self.durable.resize(self.live.len(), 0);
        for page in std::mem::take(&mut self.dirty) {
            self.settle(page);
        }
    }

    /// Pages that count as written are read from the disk again.
    fn drop_cache(&mut self) {
        for page in 0..self.live.len().div_ceil(PAGE_BYTES) {
            if self.dirty.contains(&page) {
                continue;
            }
            let start = page * PAGE_BYTES;
            let end = (start + PAGE_BYTES).min(self.live.len());
            let held = end.min(self.durable.len()).max(start);
            self.live[start..end].fill(0);
            if let Some(durable) = self.durable.get(start..held) {
                self.live[start..held].copy_from_slice(durable);
            }
        }
    }

    /// What a power cut leaves.
    fn survive(&self, random: &SeededRandom) -> Self {
        let mut after = self.clone();
        let (short, long) = (
            self.live.len().min(self.durable.len()),
            self.live.len().max(self.durable.len()),
        );
        let len = match random.below(3) {
            0 => self.durable.len(),
            1 => self.live.len(),
            _ => short + random.below(long - short + 1),
        };
        after.durable.resize(len, 0);
        for page in std::mem::take(&mut after.dirty) {
            if random.coin() {
                after.settle(page);
            }
        }
        after.live.clone_from(&after.durable);
        after.locked_by = None;
        after
    }
}

/// A change of names that is not durable yet.
#[derive(Debug, Clone)]
enum NameChange {
    Create(PathBuf, u64),
    CreateDir(PathBuf),
    Rename(PathBuf, PathBuf, u64),
    Remove(PathBuf),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Option<u64>>) {
        match self {
            Self::Create(path, inode) => {
                names.insert(path.clone(), Some(*inode));
            }
            Self::CreateDir(path) => {
                names.insert(path.clone(), None);
            }
            Self::Rename(from, to, inode) => {
                if names.get(from) == Some(&Some(*inode)) {
                    names.remove(from);
                }
                names.insert(to.clone(), Some(*inode));
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Self::Create(path, _) | Self::CreateDir(path) | Self::Remove(path) => path.parent() == Some(dir),
            Self::Rename(from, to, _) => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    /// Directories have no inode.
    names: BTreeMap<PathBuf, Option<u64>>,
    durable_names: BTreeMap<PathBuf, Option<u64>>,
    changes: Vec<NameChange>,
    next_id: u64,
    steps: u64,
    opened: u64,
    crash_after: Option<u64>,
    failure: Option<(u64, i32)>,
    free_bytes: Option<u64>,
    crashed: bool,
    has_barrier: bool,
}

/// What a step must do.
#[derive(PartialEq, Eq)]
enum Verdict {
    Go,
    Fail(i32),
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

impl State {
    fn alive(&self) -> io::Result<()> {
        if self.crashed { Err(power_is_off()) } else { Ok(()) }
    }

    fn step(&mut self) -> io::Result<Verdict> {
        self.alive()?;
        if self.crash_after == Some(self.steps) {
            self.crashed = true;
            return Err(power_is_off());
        }
        let failure = self.failure.filter(|(at, _)| *at == self.steps);
        self.steps += 1;
        Ok(failure.map_or(Verdict::Go, |(_, errno)| Verdict::Fail(errno)))
    }

    /// A step that fails without effect when it must fail.
    fn plain_step(&mut self) -> io::Result<()> {
        match self.step()? {
            Verdict::Go => Ok(()),
            Verdict::Fail(errno) => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    fn inode_at(&self, path: &Path) -> io::Result<u64> {
        match self.names.get(path) {
            Some(Some(inode)) => Ok(*inode),
            Some(None) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn inode(&mut self, id: u64) -> io::Result<&mut Inode> {
        self.inodes
            .get_mut(&id)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn has_dir(&self, path: &Path) -> bool {
        path.parent()
            .is_none_or(|parent| parent.as_os_str().is_empty() || self.names.get(parent) == Some(&None))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.plain_step()?;
        let inode = self.inode_at(from)?;
        if !self.has_dir(to) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    /// The names that a power cut leaves.
    fn surviving_names(&self, random: &SeededRandom) -> BTreeMap<PathBuf, Option<u64>> {
        let mut names = self.durable_names.clone();
        let ordered = random.coin();
        let kept = random.below(self.changes.len() + 1);
        for (at, change) in self.changes.iter().enumerate() {
            if if ordered { at < kept } else { random.coin() } {
                change.apply(&mut names);
            }
        }
        without_orphans(&names)
    }

    fn sync_everything(&mut self) {
        self.inodes.values_mut().for_each(Inode::sync);
        for change in std::mem::take(&mut self.changes) {
            change.apply(&mut self.durable_names);
        }
    }
}

/// Leaves out what lies in directories that are not there.
fn without_orphans(names: &BTreeMap<PathBuf, Option<u64>>) -> BTreeMap<PathBuf, Option<u64>> {
    let has_dirs = |path: &Path| {
        let mut above = path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty());
        above.all(|dir| dir == Path::new("/") || names.get(dir) == Some(&None))
    };
    let kept = names.iter().filter(|(path, _)| has_dirs(path));
    kept.map(|(path, inode)| (path.clone(), *inode)).collect()
}

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty disk that offers a barrier.
    pub fn with_barrier() -> Self {
        let disk = Self::default();
        disk.state().has_barrier = true;
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// How often files were opened so far.
    pub fn opened(&self) -> u64 {
        self.state().opened
    }

    /// Cuts the power when `steps` steps have happened, counted from the disk's beginning.
    pub fn crash_after(&self, steps: u64) {
        self.state().crash_after = Some(steps);
    }

    /// Makes step number `step` (from 0) fail with an error of the system, once.
    pub fn fail_at(&self, step: u64, errno: i32) {
        self.state().failure = Some((step, errno));
    }

    /// What the disk says of its free space; it never runs out by itself.
    pub fn set_free_bytes(&self, free_bytes: u64) {
        self.state().free_bytes = Some(free_bytes);
    }

    /// What is on the disk after the power is cut now (or was cut before); `seed` decides what of the unsynced survives.
    #[must_use]
    pub fn reboot(&self, seed: u64) -> Self {
        let state = self.state();
        let random = SeededRandom::new(seed);
        let names = state.surviving_names(&random);
        let inodes = state
            .inodes
            .iter()
            .map(|(id, inode)| (*id, inode.survive(&random)))
            .collect();
        let (durable_names, next_id) = (names.clone(), state.next_id);
        let state = State {
            inodes,
            names,
            durable_names,
            next_id,
            has_barrier: state.has_barrier,
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// All files and their contents.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        let content = |inode: &u64| {
            state
                .inodes
                .get(inode)
                .map(|inode| inode.live.clone())
                .unwrap_or_default()
        };
        state
            .names
            .iter()
            .filter_map(|(path, inode)| Some((path.clone(), content(inode.as_ref()?))))
            .collect()
    }

    /// Flips bits of one byte behind the back of whoever uses the disk.
    ///
    /// # Errors
    ///
    /// `NotFound`, `UnexpectedEof`.
    pub fn flip(&self, path: &Path, offset: usize) -> io::Result<()> {
        let mut state = self.state();
        let id = state.inode_at(path)?;
        let inode = state.inode(id)?;
        *inode.live.get_mut(offset).ok_or(io::ErrorKind::UnexpectedEof)? ^= 0x55;
        if let Some(byte) = inode.durable.get_mut(offset) {
            *byte ^= 0x55;
        }
        Ok(())
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.alive()?;
        state.opened += 1;
        let inode = if mode == OpenMode::CreateNew {
            if state.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.plain_step()?;
            if !state.has_dir(path) {
                return Err(io::ErrorKind::NotFound.into());
            }
            state.next_id += 1;
            let id = state.next_id;
            state.inodes.insert(id, Inode::default());
            state.change(NameChange::Create(path.to_owned(), id));
            id
        } else {
            state.inode_at(path)?
        };
        if mode == OpenMode::Write && state.inode(inode)?.read_only {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        state.next_id += 1;
        let (handle, writable) = (state.next_id, mode != OpenMode::Read);
        Ok(Box::new(SimFile {
            disk: self.clone(),
            inode,
            handle,
            writable,
        }))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        if state.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.rename(from, to)
    }

    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state().rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.plain_step()?;
        let (settled, open): (Vec<_>, Vec<_>) =
            state.changes.drain(..).partition(|change| change.is_in(path));
        state.changes = open;
        settled
            .iter()
            .for_each(|change| change.apply(&mut state.durable_names));
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        if state.names.get(path) == Some(&None) {
            return Ok(());
        }
        state.plain_step()?;
        for dir in path.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
            state.names.insert(dir.to_owned(), None);
            state.durable_names.insert(dir.to_owned(), None);
        }
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.plain_step()?;
        if !state.has_dir(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(NameChange::CreateDir(path.to_owned()));
        Ok(())
    }

    fn barrier(&self, _: &Path) -> io::Result<Option<Box<dyn Barrier>>> {
        let state = self.state();
        state.alive()?;
        Ok(state
            .has_barrier
            .then(|| Box::new(SimBarrier(self.clone())) as Box<dyn Barrier>))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        state.inode_at(path)?;
        state.plain_step()?;
        state.change(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn set_read_only(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.plain_step()?;
        let id = state.inode_at(path)?;
        state.inode(id)?.read_only = true;
        Ok(())
    }

    fn entry(&self, path: &Path) -> io::Result<Option<DiskEntry>> {
        let state = self.state();
        state.alive()?;
        let inode_len = |id: &u64| state.inodes.get(id).map_or(0, |inode| inode.live.len() as u64);
        Ok(state.names.get(path).map(|inode| DiskEntry {
            is_dir: inode.is_none(),
            len: inode.as_ref().map_or(0, inode_len),
        }))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let state = self.state();
        state.alive()?;
        Ok(state.free_bytes.unwrap_or(u64::MAX))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.state();
        state.alive()?;
        if state.names.get(path) != Some(&None) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let below = state.names.keys().filter(|name| name.parent() == Some(path));
        Ok(below
            .filter_map(|name| Some(PathBuf::from(name.file_name()?)))
            .collect())
    }
}

#[derive(Debug)]
struct SimBarrier(SimDisk);

impl Barrier for SimBarrier {
    fn sync_all(&mut self) -> io::Result<()> {
        let mut state = self.0.state();
        match state.step()? {
            Verdict::Go => {
                state.sync_everything();
                Ok(())
            }
            Verdict::Fail(errno) => {
                state.inodes.values_mut().for_each(|inode| inode.dirty.clear());
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: u64,
    handle: u64,
    writable: bool,
}

impl SimFile {
    /// Runs `act` on the inode as one step; `fail` is what a failing step does to it all the same.
    fn change(&self, act: impl FnOnce(&mut Inode), fail: impl FnOnce(&mut Inode)) -> io::Result<()> {
        let mut state = self.disk.state();
        let verdict = state.step()?;
        let inode = state.inode(self.inode)?;
        match verdict {
            Verdict::Go => {
                act(inode);
                Ok(())
            }
            Verdict::Fail(errno) => {
                fail(inode);
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }

    fn refuse_read_only(&self) -> io::Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
}

fn index(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

impl DiskFile for SimFile {
    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.refuse_read_only()?;
        let offset = index(offset)?;
        self.change(
            |inode| inode.write(offset, bytes),
            |inode| inode.write(offset, &bytes[..bytes.len() / 2]),
        )
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.alive()?;
        let offset = index(offset)?;
        let bytes = state
            .inode(self.inode)?
            .live
            .get(offset..)
            .and_then(|bytes| bytes.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.alive()?;
        Ok(state.inode(self.inode)?.live.len() as u64)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.refuse_read_only()?;
        let len = index(len)?;
        self.change(|inode| inode.set_len(len), |_| ())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.change(Inode::sync, |inode| inode.dirty.clear())
    }

    fn drop_cache(&self) {
        let mut state = self.disk.state();
        if let Ok(inode) = state.inode(self.inode) {
            inode.drop_cache();
        }
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.disk.state();
        state.alive()?;
        let holder = state.inode(self.inode)?.locked_by.get_or_insert(self.handle);
        Ok(*holder == self.handle)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        let len = self.len()?;
        Ok((offset < len).then(|| (offset, len - offset)))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if let Some(inode) = state.inodes.get_mut(&self.inode)
            && inode.locked_by == Some(self.handle)
        {
            inode.locked_by = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(disk: &SimDisk, path: &str, content: &[u8], sync: bool) -> io::Result<()> {
        let mut file = disk.open(Path::new(path), OpenMode::CreateNew)?;
        file.write_all_at(0, content)?;
        if sync { file.sync_data() } else { Ok(()) }
    }

    /// Which contents of `/d/name` survive, over many seeds, when a file is published with or without its syncs.
    fn outcomes(sync_data: bool, sync_dir: bool) -> io::Result<BTreeSet<Option<Vec<u8>>>> {
        let mut outcomes = BTreeSet::new();
        for seed in 0..100 {
            let disk = SimDisk::new();
            disk.create_dir_all(Path::new("/d"))?;
            write(&disk, "/d/tmp", &[7; 5000], sync_data)?;
            disk.rename_new(Path::new("/d/tmp"), Path::new("/d/name"))?;
            if sync_dir {
                disk.sync_dir(Path::new("/d"))?;
            }
            outcomes.insert(disk.reboot(seed).files().remove(Path::new("/d/name")));
        }
        Ok(outcomes)
    }

    /// The canary: a protocol that forgets a sync is caught.
    #[test]
    fn a_forgotten_sync_shows() -> io::Result<()> {
        let whole = Some(vec![7; 5000]);
        assert_eq!(outcomes(true, true)?, BTreeSet::from([whole.clone()]));
        assert_eq!(outcomes(true, false)?, BTreeSet::from([None, whole.clone()]));
        let torn = outcomes(false, true)?;
        assert!(torn.contains(&Some(Vec::new())), "an empty file under the name");
        assert!(
            torn.iter()
                .flatten()
                .any(|content| content.len() == 5000 && Some(content) != whole.as_ref()),
            "a torn one"
        );
        Ok(())
    }

    #[test]
    fn a_failed_sync_is_not_made_good_by_the_next() -> io::Result<()> {
        let disk = SimDisk::new();
        disk.create_dir_all(Path::new("/d"))?;
        let mut file = disk.open(Path::new("/d/file"), OpenMode::CreateNew)?;
        disk.sync_dir(Path::new("/d"))?;
        file.write_all_at(0, b"lost")?;
        disk.fail_at(disk.steps(), 5);
        assert_eq!(file.sync_data().expect_err("injected").raw_os_error(), Some(5));
        file.sync_data()?;
        for seed in 0..10 {
            assert_ne!(disk.reboot(seed).files()[Path::new("/d/file")], b"lost");
        }
        assert_eq!(disk.files()[Path::new("/d/file")], b"lost");
        Ok(())
    }

    #[test]
    fn after_the_cut_nothing_works_and_locks_are_free() -> io::Result<()> {
        let disk = SimDisk::new();
        disk.create_dir_all(Path::new("/d"))?;
        write(&disk, "/d/file", b"x", true)?;
        disk.sync_dir(Path::new("/d"))?;
        let file = disk.open(Path::new("/d/file"), OpenMode::Read)?;
        assert!(file.try_lock()? && !disk.open(Path::new("/d/file"), OpenMode::Read)?.try_lock()?);
        disk.crash_after(disk.steps());
        assert!(disk.sync_dir(Path::new("/d")).is_err());
        assert!(disk.list(Path::new("/d")).is_err());
        assert!(
            disk.reboot(1)
                .open(Path::new("/d/file"), OpenMode::Read)?
                .try_lock()?
        );
        Ok(())
    }
}
