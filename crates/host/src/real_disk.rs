use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, RenameFlags, SeekFrom};

use crate::direct::Direct;
use crate::{Barrier, Disk, DiskEntry, DiskFile, OpenMode, barrier};

/// The machine's file systems.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile {
    file: File,
    direct: Direct,
}

impl DiskFile for RealFile {
    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.direct.write_all_at(&self.file, offset, bytes)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn drop_cache(&self) {
        // A hint: a file system that refuses it costs speed of nothing but this hint.
        let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed);
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(std::fs::TryLockError::WouldBlock) => Ok(false),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let end = rustix::fs::seek(&self.file, SeekFrom::Hole(start))?;
        Ok(Some((start, end.saturating_sub(start))))
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        Ok(Box::new(RealFile {
            file: options.open(path)?,
            direct: Direct::Unknown,
        }))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let cwd = rustix::fs::CWD;
        match rustix::fs::renameat_with(cwd, from, cwd, to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            // Some network and FUSE file systems do not know the flag; a hard link never replaces either.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                std::fs::hard_link(from, to)?;
                std::fs::remove_file(from)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            self.create_dir_all(parent)?;
        }
        match std::fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync_dir(parent.unwrap_or(Path::new(".")))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)
    }

    fn barrier(&self, directory: &Path) -> io::Result<Option<Box<dyn Barrier>>> {
        barrier::open(directory)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn set_read_only(&self, path: &Path) -> io::Result<()> {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o444))
    }

    fn entry(&self, path: &Path) -> io::Result<Option<DiskEntry>> {
        match std::fs::symlink_metadata(path) {
            Ok(metadata) => Ok(Some(DiskEntry {
                is_dir: metadata.is_dir(),
                len: metadata.len(),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let file_system = rustix::fs::statvfs(path)?;
        Ok(file_system.f_bavail.saturating_mul(file_system.f_frsize))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            names.push(PathBuf::from(entry?.file_name()));
        }
        names.sort_unstable();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R36: a rename never replaces, and a blob is read-only whatever the umask.
    #[test]
    fn r36_rename_new_refuses_to_replace() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let disk = RealDisk;
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        for (path, content) in [(&one, b"1"), (&two, b"2")] {
            disk.open(path, OpenMode::CreateNew)?.write_all_at(0, content)?;
        }
        let error = disk.rename_new(&one, &two).expect_err("the name is taken");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&two)?, b"2");
        assert_eq!(std::fs::read(&one)?, b"1");
        disk.set_read_only(&two)?;
        assert_eq!(std::fs::metadata(&two)?.permissions().mode() & 0o777, 0o444);
        Ok(())
    }

    #[test]
    fn a_lock_excludes_other_opens_until_it_is_dropped() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("lock");
        let first = RealDisk.open(&path, OpenMode::CreateNew)?;
        assert!(first.try_lock()?);
        assert!(!RealDisk.open(&path, OpenMode::Read)?.try_lock()?);
        drop(first);
        assert!(RealDisk.open(&path, OpenMode::Read)?.try_lock()?);
        Ok(())
    }

    #[test]
    fn data_is_found_behind_a_hole() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let mut file = RealDisk.open(&dir.path().join("sparse"), OpenMode::CreateNew)?;
        file.write_all_at(1 << 20, b"x")?;
        file.set_len(1 << 21)?;
        let (start, len) = file.next_data(0)?.expect("there is data");
        assert!(start <= 1 << 20 && start + len > 1 << 20);
        assert_eq!(file.next_data(1 << 21)?, None);
        Ok(())
    }

    #[test]
    fn directories_are_made_with_their_parents_and_again() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let deep = dir.path().join("a/b/c");
        RealDisk.create_dir_all(&deep)?;
        RealDisk.create_dir_all(&deep)?;
        assert_eq!(RealDisk.entry(&deep)?.map(|entry| entry.is_dir), Some(true));
        assert_eq!(RealDisk.entry(&deep.join("none"))?, None);
        assert_eq!(RealDisk.list(&dir.path().join("a"))?, [PathBuf::from("b")]);
        Ok(())
    }
}
