//! Opens what lies below an open directory, and nothing else.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// Longest path that the system takes at once, without its terminating zero (`PATH_MAX`).
const PIECE_BYTES_MAX: usize = 4095;

/// Opens `name` in a directory for reading, without changing its access time where that is allowed, and never through a link.
pub(super) fn open_in(parent: &OwnedFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
    quietly(flags, |flags| openat(parent, name, flags, Mode::empty()))
}

/// Opens what is at `path` below `root` for reading, with `flags` besides; no component may be a link.
pub(super) fn open_beneath(root: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let opened = if is_one_piece(path) {
        open_by_pieces(root, &[path], flags)
    } else {
        open_by_pieces(root, &pieces(path)?, flags)
    };
    match opened {
        // Before Linux 5.6, or in a container that does not know the call.
        Err(Errno::NOSYS) => open_by_components(root, path, flags),
        other => other,
    }
}

/// Refused with `EPERM` for files of other owners, `O_NOATIME` is then left out.
fn quietly(flags: OFlags, open: impl Fn(OFlags) -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    match open(flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open(flags),
        other => other,
    }
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

/// Whether the system takes the path at once and as it stands. Nearly all are so, and need not be copied to be opened.
fn is_one_piece(path: &[u8]) -> bool {
    path.len() <= PIECE_BYTES_MAX
        && path
            .split(|byte| *byte == b'/')
            .all(|name| !matches!(name, b"" | b"." | b".."))
}

/// The path in pieces that the system takes, each of whole components.
fn pieces(path: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    for name in components(path) {
        if matches!(name, b"." | b"..") {
            return Err(Errno::NOENT);
        }
        match pieces.last_mut() {
            Some(piece) if piece.len() + 1 + name.len() <= PIECE_BYTES_MAX => {
                piece.push(b'/');
                piece.extend_from_slice(name);
            }
            _ => pieces.push(name.to_vec()),
        }
    }
    Ok(pieces)
}

fn open_by_pieces(root: &OwnedFd, pieces: &[impl AsRef<[u8]>], flags: OFlags) -> Result<OwnedFd, Errno> {
    let (last, above) = pieces.split_last().ok_or(Errno::NOENT)?;
    let way = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let step = |at: &OwnedFd, piece: &[u8], flags| openat2(at, piece, flags, Mode::empty(), way);
    let mut reached: Option<OwnedFd> = None;
    for piece in above {
        let pass = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        reached = Some(step(reached.as_ref().unwrap_or(root), piece.as_ref(), pass)?);
    }
    let flags = flags | OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    quietly(flags, |flags| {
        step(reached.as_ref().unwrap_or(root), last.as_ref(), flags)
    })
}

fn open_by_components(root: &OwnedFd, path: &[u8], last: OFlags) -> Result<OwnedFd, Errno> {
    let mut names = components(path).peekable();
    let mut reached: Option<OwnedFd> = None;
    while let Some(name) = names.next() {
        let flags = match names.peek() {
            Some(_) => OFlags::DIRECTORY | OFlags::PATH,
            None => last,
        };
        reached = Some(open_in(reached.as_ref().unwrap_or(root), name, flags)?);
    }
    reached.ok_or(Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use rustix::fs::fstat;

    use super::*;

    #[test]
    fn both_ways_open_the_same_file_and_follow_no_link() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/file"), b"x").unwrap();
        symlink("a", folder.path().join("link")).unwrap();
        symlink("file", folder.path().join("a/b/end")).unwrap();
        let root = OwnedFd::from(File::open(folder.path()).unwrap());
        let inode = |opened: Result<OwnedFd, Errno>| opened.map(|opened| fstat(opened).unwrap().st_ino);
        for path in [
            &b"a/b/file"[..],
            b"/a//b/file",
            b"link/b/file",
            b"a/b/end",
            b"a/none",
            b"",
        ] {
            let both = (
                inode(open_beneath(&root, path, OFlags::NONBLOCK)),
                inode(open_by_components(&root, path, OFlags::NONBLOCK)),
            );
            assert_eq!(
                both.0.is_ok(),
                path.ends_with(b"b/file") && !path.starts_with(b"link"),
                "{both:?}"
            );
            assert_eq!(both.0.ok(), both.1.ok());
        }
        assert_eq!(
            open_beneath(&root, b"a/../a/b/file", OFlags::NONBLOCK).unwrap_err(),
            Errno::NOENT
        );
    }

    #[test]
    fn pieces_are_as_long_as_the_system_takes_and_lose_nothing() {
        let path = b"0123456789/".repeat(1000);
        let pieces = pieces(&path).unwrap();
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE_BYTES_MAX));
        assert_eq!(pieces.len(), 3);
        assert_eq!([pieces.join(&b'/'), b"/".to_vec()].concat(), path);
    }
}
