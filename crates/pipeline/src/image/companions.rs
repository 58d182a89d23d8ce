//! The files beside an image that its containers ask for.
//!
//! Their names stand in hostile bytes. A file is opened only if it lies in the image's own directory, or below the directory that the user allowed, after
//! symbolic links are followed; and only if it is a regular file. A path from another machine is answered by the file of that name beside the image.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ntt_inspect::container::{FILES_MAX, ImageFiles, Want, series};
use rustix::fs::OFlags;

use crate::HostPath;

/// Files missing in a row after which a series counts as ended.
const GAP_MAX: usize = 16;

/// Where companions may lie, and which were opened.
pub(super) struct Companions {
    image: PathBuf,
    directory: PathBuf,
    allowed: Option<PathBuf>,
    opened: Vec<HostPath>,
}

impl Companions {
    /// Those of the image at `image`, which is absolute and without symbolic links.
    pub(super) fn beside(image: &Path, allowed: Option<&Path>) -> Self {
        Self {
            image: image.to_owned(),
            directory: image.parent().unwrap_or(Path::new("/")).to_owned(),
            allowed: allowed.and_then(|allowed| std::fs::canonicalize(allowed).ok()),
            opened: Vec::new(),
        }
    }

    pub(super) fn opened(self) -> Vec<HostPath> {
        self.opened
    }

    /// Opens what a child asked for and adds it to the files; what cannot be had is added as missing.
    pub(super) fn add(&mut self, want: &Want, files: &mut ImageFiles) {
        match want {
            Want::Named(name) => {
                let file = if files.companions.len() < FILES_MAX {
                    self.named(name)
                } else {
                    None
                };
                files.companions.push((name.clone(), file.map(Arc::new)));
            }
            Want::Following => self.following(files),
        }
    }

    fn following(&mut self, files: &mut ImageFiles) {
        let mut missing: Vec<Vec<u8>> = Vec::new();
        let room = FILES_MAX.saturating_sub(files.companions.len() + 1);
        for name in series::names(&files.name).take(room) {
            match self.named(&name) {
                Some(file) => {
                    files
                        .companions
                        .extend(missing.drain(..).map(|name| (name, None)));
                    files.companions.push((name, Some(Arc::new(file))));
                }
                None => missing.push(name),
            }
            if missing.len() >= GAP_MAX {
                break;
            }
        }
        files.series_given = true;
    }

    fn named(&mut self, name: &[u8]) -> Option<File> {
        let path = self
            .places(name)
            .into_iter()
            .find_map(|place| self.permitted(&place))?;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(&path)
            .ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        self.opened.push(HostPath::from(path.as_path()));
        Some(file)
    }

    /// Where the file may be: at its path, if the user allowed more than the image's directory, and beside the image under its last name.
    fn places(&self, name: &[u8]) -> Vec<PathBuf> {
        let mut places = Vec::new();
        if self.allowed.is_some() {
            places.push(self.directory.join(OsStr::from_bytes(name)));
        }
        let last = name
            .rsplit(|byte| matches!(byte, b'/' | b'\\'))
            .next()
            .unwrap_or_default();
        if !last.is_empty() && last != b"." && last != b".." {
            places.push(self.directory.join(OsStr::from_bytes(last)));
        }
        places
    }

    /// The path without symbolic links, if it may be opened.
    fn permitted(&self, place: &Path) -> Option<PathBuf> {
        let path = std::fs::canonicalize(place).ok()?;
        let is_beside = path.parent() == Some(&self.directory);
        let is_allowed = self
            .allowed
            .as_ref()
            .is_some_and(|allowed| path.starts_with(allowed));
        // An image that names itself goes round in circles.
        (path != self.image && (is_beside || is_allowed)).then_some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(companions: &mut Companions, name: &str) -> bool {
        companions.named(name.as_bytes()).is_some()
    }

    #[test]
    fn only_regular_files_beside_the_image_are_opened() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = std::fs::canonicalize(dir.path()).expect("a path");
        let (images, other) = (root.join("images"), root.join("other"));
        for directory in [&images, &other] {
            std::fs::create_dir(directory).expect("created");
        }
        for file in [images.join("a"), images.join("b"), other.join("secret")] {
            std::fs::write(file, "x").expect("written");
        }
        std::os::unix::fs::symlink(other.join("secret"), images.join("link")).expect("a link");
        std::os::unix::fs::symlink("/dev/zero", images.join("device")).expect("a link");
        std::fs::create_dir(images.join("folder")).expect("created");
        let mut companions = Companions::beside(&images.join("a"), None);
        assert!(has(&mut companions, "b"));
        assert!(has(&mut companions, "C:\\elsewhere\\b"));
        assert!(has(&mut companions, "/elsewhere/b"));
        for refused in [
            "a",
            "link",
            "device",
            "folder",
            "../other/secret",
            "..",
            "",
            "nothing",
            "/etc/passwd",
        ] {
            assert!(!has(&mut companions, refused), "{refused}");
        }
        let mut companions = Companions::beside(&images.join("a"), Some(&other));
        assert!(has(&mut companions, "../other/secret"));
        assert!(has(&mut companions, "link"));
        assert!(!has(&mut companions, "device"));
    }
}
