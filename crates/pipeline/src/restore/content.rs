//! Files: their contents, and what belongs to a file besides.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use ntt_catalogue::rows::{State, StreamState};
use ntt_model::entry::{Inode, StreamKind};
use ntt_model::name::escape;
use ntt_model::{BlobHash, Kind};
use ntt_report::occurrences::stream_name;
use ntt_source::extents::Piece;
use rustix::io::Errno;

use super::draft::Draft;
use super::sidecar::{Sidecar, sidecars};
use super::{Restorer, attributes, existing};
use crate::{Error, Interrupt, tree};

/// A file, its streams, and the digest of its data.
type Content<'a> = (&'a Inode, &'a [StreamState], &'a BlobHash);

/// What is said of a content that the store does not have right any more.
pub(super) const DAMAGED: &str = "damaged in the store: its bytes are not those that were put in; `ntt verify` puts it on record and tells what else is damaged";

/// Why content was not written.
enum Stop {
    Interrupted,
    /// The store does not give the content.
    Store(ntt_store::Error),
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Restorer<'_> {
    /// Restores a file; answers whether it stands there now.
    pub(super) fn file(
        &mut self,
        directory: &OwnedFd,
        name: &OsStr,
        path: &[u8],
        inode: &Inode,
    ) -> Result<bool, Error> {
        let states = self
            .context
            .archive
            .catalogue()
            .stream_states(self.tree.scan, inode.number)?;
        let blob = match content(&states) {
            Ok(blob) => blob,
            Err(problem) => {
                self.problem(path, problem);
                return Ok(false);
            }
        };
        let looked = existing::look(directory, name);
        match looked {
            Ok(None) => self.write_file(directory, name, path, (inode, &states, &blob)),
            Ok(Some(_)) => self.keep_file(directory, name, path, (inode, &states, &blob)),
            Err(errno) => self.unwritten(path, errno.into()),
        }
    }

    fn write_file(
        &mut self,
        directory: &OwnedFd,
        name: &OsStr,
        path: &[u8],
        content: Content<'_>,
    ) -> Result<bool, Error> {
        let finish = |restorer: &mut Self, file: &File| restorer.finish_file(file, path, content);
        self.write_new(directory, (name, path), (b"", content.2), finish)
    }

    /// Writes a file that is not there: a head, and a content. It has its final name only when it is whole and `finish` has done the rest.
    fn write_new(
        &mut self,
        directory: &OwnedFd,
        (name, path): (&OsStr, &[u8]),
        (head, blob): (&[u8], &BlobHash),
        finish: impl FnOnce(&mut Self, &File) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let draft = match Draft::create(directory) {
            Ok(draft) => draft,
            Err(errno) => return self.unwritten(path, errno.into()),
        };
        match self.fill(draft.file(), head, blob) {
            Ok(true) => {}
            // Most of it may be right, and nothing better may be left: it is kept, and said.
            Ok(false) => self.damage(path, DAMAGED),
            Err(Stop::Interrupted) => return Err(Error::Interrupted),
            Err(Stop::Store(error)) => return self.not_given(path, error),
            Err(Stop::Io(error)) => return self.unwritten(path, error),
        }
        finish(self, draft.file())?;
        match draft.publish(name) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => {
                self.in_the_way(path);
                Ok(false)
            }
            Err(errno) => self.unwritten(path, errno.into()),
        }
    }

    /// Writes what a name has beside its data as files of their own, unless an entry stands under such a name.
    pub(super) fn write_sidecars(
        &mut self,
        directory: &OwnedFd,
        (path, name): (&[u8], &[u8]),
        inode: &Inode,
    ) -> Result<(), Error> {
        let catalogue = self.context.archive.catalogue();
        for sidecar in sidecars(catalogue, self.tree.scan, name, inode)? {
            self.context.interrupt.check()?;
            match sidecar {
                Ok(sidecar) => self.write_sidecar(directory, path, &sidecar, inode)?,
                Err(unplaced) => {
                    let stream = escape(&unplaced.stream);
                    let problem = format!("its stream `{stream}`: {}", unplaced.problem);
                    self.problem(&tree::join(path, name), problem);
                }
            }
        }
        Ok(())
    }

    fn write_sidecar(
        &mut self,
        directory: &OwnedFd,
        path: &[u8],
        sidecar: &Sidecar,
        inode: &Inode,
    ) -> Result<(), Error> {
        let path = tree::join(path, &sidecar.name);
        let name = OsStr::from_bytes(&sidecar.name);
        let is_there = match existing::look(directory, name) {
            Ok(found) => found.is_some(),
            Err(errno) => return self.unwritten(&path, errno.into()).map(drop),
        };
        if is_there {
            let equal = match self.into_existing && !self.made.contains(&sidecar.name) {
                true => existing::equal_sidecar(directory, name, sidecar, self.context.interrupt)?,
                false => false,
            };
            if !equal {
                self.in_the_way(&path);
            }
            return Ok(());
        }
        let finish = |restorer: &mut Self, file: &File| {
            if let Some(damage) = &sidecar.damage {
                restorer.problem(&path, damage.clone());
            }
            restorer.refused(&path, &attributes::apply(file, &attributes_beside(inode), &[]));
            Ok(())
        };
        let content = (&sidecar.head[..], &sidecar.blob);
        self.write_new(directory, (name, &path), content, finish)
            .map(drop)
    }

    /// Takes what stands there for restored if that was asked for and it is equal: so an interrupted restore goes on.
    fn keep_file(
        &mut self,
        directory: &OwnedFd,
        name: &OsStr,
        path: &[u8],
        (inode, states, blob): Content<'_>,
    ) -> Result<bool, Error> {
        if !self.into_existing {
            self.in_the_way(path);
            return Ok(false);
        }
        let size_bytes = match self.context.archive.store().reader(blob) {
            Ok(reader) => reader.len(),
            Err(error) => return self.not_given(path, error),
        };
        let content = (blob, size_bytes);
        let Some(file) = existing::equal_file(directory, name, content, self.context.interrupt)? else {
            self.in_the_way(path);
            return Ok(false);
        };
        self.stage.add(0, size_bytes);
        self.finish_file(&file, path, (inode, states, blob))?;
        Ok(true)
    }

    /// Tells what is missing of a file and gives it its attributes.
    fn finish_file(
        &mut self,
        file: &File,
        path: &[u8],
        (inode, states, _): Content<'_>,
    ) -> Result<(), Error> {
        self.tell_damage(path, states);
        self.tell_streams(path, inode);
        let xattrs = self.xattrs(path, inode)?;
        self.refused(path, &attributes::apply(file, inode, &xattrs));
        Ok(())
    }

    /// A damaged index ends the restore, since it is no fault of one file.
    fn not_given(&mut self, path: &[u8], error: ntt_store::Error) -> Result<bool, Error> {
        if matches!(error, ntt_store::Error::DamagedIndex(_)) {
            return Err(error.into());
        }
        self.damage(path, format!("the store does not give its content: {error}"));
        Ok(false)
    }

    /// A full disk ends the restore; anything else costs one file.
    fn unwritten(&mut self, path: &[u8], error: io::Error) -> Result<bool, Error> {
        if matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            let path = crate::HostPath::from_bytes(path);
            return Err(Error::io("restoring", path.as_path())(error));
        }
        self.problem(path, format!("its content could not be written: {error}"));
        Ok(false)
    }

    /// Writes a file's head, which is mostly empty, and a content behind it; zeros of sparse contents become holes. Answers whether the content is what was
    /// put into the store (R42).
    fn fill(&self, file: &File, head: &[u8], blob: &BlobHash) -> Result<bool, Stop> {
        let reader = self.context.archive.store().reader(blob).map_err(Stop::Store)?;
        let start = u64::try_from(head.len()).map_err(io::Error::other)?;
        file.set_len(start.saturating_add(reader.len()))?;
        file.write_all_at(head, 0)?;
        let mut offset = start;
        let digest = reader.hashed_pieces::<Stop>(&mut |piece| {
            check(self.context.interrupt)?;
            offset += match piece {
                Piece::Zeros(len) => len,
                Piece::Bytes(bytes) => {
                    file.write_all_at(bytes, offset)?;
                    u64::try_from(bytes.len()).map_err(io::Error::other)?
                }
            };
            Ok(())
        })?;
        self.stage.add(0, offset - start);
        Ok(digest == *blob)
    }

    /// Streams that become files of their own are told of there.
    fn tell_damage(&mut self, path: &[u8], states: &[StreamState]) {
        for state in states {
            let which = match &state.kind {
                StreamKind::Data => String::new(),
                StreamKind::Named(_) if self.streams => continue,
                kind => format!("its stream `{}` is ", escape(&stream_name(kind))),
            };
            if let Some(damage) = damage_of(state) {
                self.problem(path, format!("{which}{damage}"));
            }
        }
    }

    /// Forks and alternate streams have no place in a directory of the host.
    pub(super) fn tell_streams(&mut self, path: &[u8], inode: &Inode) {
        // Those of the directory that all is written into have no place in any other.
        if self.streams && !path.is_empty() {
            return;
        }
        for name in inode.named_streams() {
            let name = escape(name);
            let problem = format!(
                "its stream `{name}` has no place in a directory; --streams makes a file of it, `ntt cat` shows it"
            );
            self.problem(path, problem);
        }
    }
}

/// Owner and times of a sidecar are those of what it belongs to, and nobody needs to run it.
fn attributes_beside(inode: &Inode) -> Inode {
    let mut beside = Inode::bare(inode.number, Kind::File);
    (beside.uid, beside.gid, beside.times) = (inode.uid, inode.gid, inode.times);
    beside.mode = inode.mode.map(|mode| mode & 0o666);
    beside
}

fn check(interrupt: &Interrupt) -> Result<(), Stop> {
    interrupt.check().map_err(|_| Stop::Interrupted)
}

/// What is missing of a stream, in words; `None` if nothing is.
pub(super) fn damage_of(state: &StreamState) -> Option<String> {
    let State::Damaged { missing, failure, .. } = &state.state else {
        return None;
    };
    let ranges: Vec<String> = missing.iter().map(ToString::to_string).collect();
    let ranges = ranges.join(", ");
    Some(format!("damaged, zeros stand at {ranges}: {}", failure.detail))
}

/// The content of a file: the blob of its data stream, or why there is none.
fn content(states: &[StreamState]) -> Result<BlobHash, String> {
    match states.iter().find(|state| state.kind == StreamKind::Data) {
        Some(state) => content_of(state),
        None => Err("not restored: nothing is recorded of its content".to_owned()),
    }
}

pub(super) fn content_of(state: &StreamState) -> Result<BlobHash, String> {
    match &state.state {
        State::Stored { blob } | State::Damaged { blob, .. } | State::Corrupt { blob } => Ok(*blob),
        State::Pending => Err("not restored: not copied yet".to_owned()),
        State::Excluded { rule } => Err(format!("not restored: excluded by rule {rule}")),
        State::Retryable { failure, .. } | State::Failed { failure, .. } => Err(format!(
            "not restored: {} failure: {}",
            failure.class, failure.detail
        )),
    }
}
