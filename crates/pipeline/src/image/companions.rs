//! The files beside an image that its containers ask for.
//!
//! Their names stand in hostile bytes. A file is opened only if it lies in the image's own directory, or below the directory that the user allowed, after
//! symbolic links are followed; and only if it is a regular file. A path from another machine is answered by the file of that name beside the image.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ntt_inspect::container::{FILES_MAX, ImageFiles, Want, series};
use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_report::units;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::{Error, HostPath};

/// So many files may always be missing in a row, and as many as were found before: what has a later number may be something else.
const GAP_MAX: usize = 16;
/// Names of a directory that are looked at.
const NAMES_MAX: usize = 1 << 20;

/// Where companions may lie, and which were opened.
pub(super) struct Companions {
    image: PathBuf,
    directory: PathBuf,
    allowed: Option<PathBuf>,
    opened: Vec<HostPath>,
    /// Names that were not found and may be those of files in other directories.
    elsewhere: Vec<Vec<u8>>,
    /// The file of the series that stands behind a gap too long, and how many are missing before it.
    behind_gap: Option<(Vec<u8>, usize)>,
    /// What there is beside the image, by names in small letters, once it was needed: several spellings of one name are none.
    beside: Option<HashMap<Vec<u8>, Option<OsString>>>,
}

impl Companions {
    /// Those of the image at `image`, which is absolute and without symbolic links.
    pub(super) fn beside(image: &Path, allowed: Option<&Path>) -> Self {
        Self {
            image: image.to_owned(),
            directory: image.parent().unwrap_or(Path::new("/")).to_owned(),
            allowed: allowed.and_then(|allowed| std::fs::canonicalize(allowed).ok()),
            opened: Vec::new(),
            elsewhere: Vec::new(),
            behind_gap: None,
            beside: None,
        }
    }

    /// The files that were opened, and what is to be told of those that were not.
    pub(super) fn end(self) -> (Vec<HostPath>, Vec<Finding>) {
        let shown = |name: &[u8]| HostPath::from(Path::new(OsStr::from_bytes(name)));
        let elsewhere = self.elsewhere.first().map(|first| {
            let count = u64::try_from(self.elsewhere.len()).unwrap_or(u64::MAX);
            let detail = format!(
                "{} that the image names may lie elsewhere ({}): what is not beside the image is opened only below the directory that --allow-backing names",
                units::counted(count, "file", "files"),
                shown(first),
            );
            Finding::new(Severity::Warning, Layer::Image, FindingCode::Denied, detail)
        });
        let behind = self.behind_gap.as_ref().map(|(name, missing)| {
            let detail = format!(
                "{} was not taken for a part of the image, because {missing} before it are missing: what follows them is not read",
                shown(name)
            );
            Finding::new(Severity::Loss, Layer::Image, FindingCode::BeyondEnd, detail)
        });
        (self.opened, elsewhere.into_iter().chain(behind).collect())
    }

    /// Opens what a child asked for and adds it to the files; what cannot be had is added as missing.
    ///
    /// # Errors
    ///
    /// If a file of the series is there and cannot be opened, or if no more files can be open. Without it, what is not missing would be called so.
    pub(super) fn add(&mut self, want: &Want, files: &mut ImageFiles) -> Result<(), Error> {
        match want {
            Want::Named(name) => {
                let file = match self.named(name) {
                    Err(Error::Io { source, .. }) if !is_exhausted(&source) => None,
                    file => file?,
                };
                files.companions.push((name.clone(), file.map(Arc::new)));
            }
            Want::Following => self.following(files)?,
        }
        Ok(())
    }

    fn following(&mut self, files: &mut ImageFiles) -> Result<(), Error> {
        let mut missing: Vec<Vec<u8>> = Vec::new();
        let mut found = 1;
        for name in series::names(&files.name).take(FILES_MAX) {
            let is_far = missing.len() >= GAP_MAX;
            if !self.is_there(&name, is_far) {
                missing.push(name);
                continue;
            }
            if is_far && missing.len() > found {
                // Segments of EWF say themselves which is the last, and `x.img` is no `x.IMG`.
                let is_raw = series::starts_raw(&files.name);
                self.behind_gap = is_raw.then_some((name, missing.len()));
                break;
            }
            let Some(file) = self.named(&name)? else {
                missing.push(name);
                continue;
            };
            let before = missing.drain(..).map(|name| (name, None));
            files.companions.extend(before);
            files.companions.push((name, Some(Arc::new(file))));
            found += 1;
            if files.companions.len() >= FILES_MAX {
                return Err(Error::Source {
                    path: self.image.clone(),
                    reason: format!("it consists of more than {FILES_MAX} files"),
                });
            }
        }
        files.series_given = true;
        Ok(())
    }

    /// Whether a file of this name is beside the image, spelled like that if it must be `exact`.
    fn is_there(&mut self, name: &[u8], exact: bool) -> bool {
        let spelled = self.listed().get(&name.to_ascii_lowercase());
        match spelled {
            Some(Some(spelled)) if exact => spelled.as_bytes() == name,
            Some(_) => true,
            // A directory that lets nobody list it lets files be opened.
            None => self.listed().is_empty() && self.directory.join(OsStr::from_bytes(name)).exists(),
        }
    }

    /// What is beside the image. What cannot be listed is opened by its exact name or not at all.
    fn listed(&mut self) -> &HashMap<Vec<u8>, Option<OsString>> {
        let directory = &self.directory;
        self.beside.get_or_insert_with(|| {
            let mut names: HashMap<Vec<u8>, Option<OsString>> = HashMap::new();
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            for name in entries.take(NAMES_MAX).map(|entry| entry.file_name()) {
                let small = name.as_bytes().to_ascii_lowercase();
                names
                    .entry(small)
                    .and_modify(|spelled| *spelled = None)
                    .or_insert(Some(name));
            }
            names
        })
    }

    /// The file beside the image whose name is spelled in other letters: systems that do not tell them apart wrote many of the names.
    fn spelled_otherwise(&mut self, name: &[u8]) -> Option<PathBuf> {
        let last = last_part(name).to_ascii_lowercase();
        let spelled = self.listed().get(&last)?.clone()?;
        Some(self.directory.join(spelled))
    }

    fn named(&mut self, name: &[u8]) -> Result<Option<File>, Error> {
        let mut places = self.places(name);
        if !places.iter().any(|place| place.symlink_metadata().is_ok()) {
            places.extend(self.spelled_otherwise(name));
        }
        let Some(path) = places.iter().find_map(|place| self.permitted(place)) else {
            let is_link = places.iter().any(|place| place.is_symlink());
            if is_link || name.contains(&b'/') || name.contains(&b'\\') {
                self.elsewhere.push(name.to_vec());
            }
            return Ok(None);
        };
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(&path)
            .map_err(Error::io("opening a file of the image", &path))?;
        let status = file
            .metadata()
            .map_err(Error::io("opening a file of the image", &path))?;
        if !status.is_file() {
            return Ok(None);
        }
        self.opened.push(HostPath::from(path.as_path()));
        Ok(Some(file))
    }

    /// Where the file may be: at its path, if the user allowed more than the image's directory, and beside the image under its last name.
    fn places(&self, name: &[u8]) -> Vec<PathBuf> {
        let mut places = Vec::new();
        if self.allowed.is_some() {
            places.push(self.directory.join(OsStr::from_bytes(name)));
        }
        let last = last_part(name);
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

/// The last name of a path of any system.
fn last_part(path: &[u8]) -> &[u8] {
    let mut parts = path.rsplit(|byte| matches!(byte, b'/' | b'\\'));
    parts.next().unwrap_or_default()
}

/// Whether an error says that nothing more can be opened.
fn is_exhausted(error: &io::Error) -> bool {
    let kinds = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    kinds
        .iter()
        .any(|kind| error.raw_os_error() == Some(kind.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(companions: &mut Companions, name: &str) -> bool {
        matches!(companions.named(name.as_bytes()), Ok(Some(_)))
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
        let (_, told) = companions.end();
        let told = &told.first().expect("what may lie elsewhere is told").detail;
        assert!(
            told.starts_with("4 files") && told.contains("--allow-backing"),
            "{told}"
        );
        let mut companions = Companions::beside(&images.join("a"), Some(&other));
        assert!(has(&mut companions, "../other/secret"));
        assert!(has(&mut companions, "link"));
        assert!(!has(&mut companions, "device"));
    }
}
