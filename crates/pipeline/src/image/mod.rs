//! Opens what an image is kept in: finds its containers, the files that they consist of, and unpacks what is compressed as a whole.
//!
//! What a container says is parsed in the child; here only files are opened that a child asked for, and only beside the image or where the user
//! allowed it (`allow_backing`). What was opened is kept as long as some [`Source`](crate::identify::Source) holds it, so that the stages of one run open and unpack once.

mod companions;
mod kept;
mod unpacked;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ntt_inspect::container::{Answer, ContainerLayer, ImageFiles, Packaging};
use ntt_inspect::supervisor::{ChildImage, Supervisor};
use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::{FileSource, ReadAt};
use serde::{Deserialize, Serialize};

use crate::inspect::{scan_error, supervisor};
use crate::{Config, Error, HostPath, Interrupt};
use companions::Companions;
pub(crate) use kept::Kept;

/// Rounds of looking and opening: each adds a file that a container names, or a series of files, or unpacks something.
const ROUNDS_MAX: usize = 4096;
/// How often something inside of something compressed may be compressed again.
const UNPACKED_MAX: usize = 3;

/// What it takes to open an image.
#[derive(Clone, Debug)]
pub struct Opener<'a> {
    /// The settings in force.
    pub config: &'a Config,
    /// The program that is started as scan child.
    pub scan_program: &'a Path,
    /// Raised when the user wants to stop.
    pub interrupt: &'a Interrupt,
    /// Where compressed images are unpacked; the system's directory for temporary files if `None`.
    pub scratch: Option<PathBuf>,
}

/// The containers of an image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Contained {
    /// The containers, the outermost first.
    pub layers: Vec<ContainerLayer>,
    /// What is wrong or remarkable with them.
    pub findings: Vec<Finding>,
    /// Whether there is an image to be read in them.
    pub is_readable: bool,
    /// The files beside the image's own.
    pub companions: Vec<HostPath>,
    /// The open files.
    #[serde(skip)]
    pub(crate) kept: Kept,
}

/// An image that was opened: what there is to know of its containers, and how to read it.
#[derive(Debug)]
pub(crate) struct OpenImage {
    layers: Vec<ContainerLayer>,
    findings: Vec<Finding>,
    companions: Vec<HostPath>,
    is_readable: bool,
    files: ImageFiles,
    image_bytes: u64,
    supervisor: Supervisor,
}

impl OpenImage {
    /// The files, as children are given them.
    pub(crate) fn files(&self) -> &ImageFiles {
        &self.files
    }

    /// The bytes of the image, read in a child.
    pub(crate) fn bytes(&self) -> ChildImage {
        ChildImage::new(self.supervisor.clone(), self.files.clone(), self.image_bytes)
    }

    pub(crate) fn len(&self) -> u64 {
        self.image_bytes
    }
}

/// The containers of the image in `path`, which is absolute and without symbolic links; `None` for a raw one.
///
/// # Errors
///
/// [`Error::Source`] if a file cannot be opened or what is compressed cannot be unpacked, [`Error::Scan`] if no child could look.
pub(crate) fn open(
    opener: &Opener<'_>,
    path: &Path,
    unread: &[ByteRange],
) -> Result<Option<Contained>, Error> {
    let file = FileSource::open(path).map_err(Error::io("opening the image", path))?;
    let name = path.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
    if !may_be_contained(&file, &name) {
        return Ok(None);
    }
    let key = kept::Key::of(path, file.as_file(), unread).map_err(Error::io("opening the image", path))?;
    let image = match kept::find(&key) {
        Some(image) => image,
        None => {
            let files = ImageFiles::contained(Arc::new(reopened(&file, path)?), name, unread.to_vec());
            let Some(image) = Search::new(opener, path, files).finish()? else {
                return Ok(None);
            };
            kept::keep(key, image)
        }
    };
    Ok(Some(Contained {
        layers: image.layers.clone(),
        findings: image.findings.clone(),
        is_readable: image.is_readable,
        companions: image.companions.clone(),
        kept: Kept(Some(image)),
    }))
}

fn reopened(file: &FileSource, path: &Path) -> Result<File, Error> {
    file.as_file()
        .try_clone()
        .map_err(Error::io("opening the image", path))
}

/// Whether the file is worth a child's look; compares fixed bytes, parses nothing.
fn may_be_contained(file: &FileSource, name: &[u8]) -> bool {
    use ntt_inspect::container::{HEAD_BYTES, TAIL_BYTES, looks_like_container};
    let edge = |offset: u64, len: u64| {
        let mut bytes = vec![0; usize::try_from(len.min(file.len())).unwrap_or(0)];
        // An edge that cannot be read tells nothing.
        file.read_exact_at(offset, &mut bytes)
            .map(|()| bytes)
            .unwrap_or_default()
    };
    let head = edge(0, HEAD_BYTES);
    let tail = edge(file.len().saturating_sub(TAIL_BYTES), TAIL_BYTES);
    looks_like_container(name, &head, &tail, file.len())
}

/// Looking and opening in turns, until the image can be read.
struct Search<'a> {
    opener: &'a Opener<'a>,
    path: &'a Path,
    supervisor: Supervisor,
    companions: Companions,
    files: ImageFiles,
    /// Layers that were unpacked, the outermost first, and what was found with them.
    unpacked: Vec<ContainerLayer>,
    findings: Vec<Finding>,
    unpackings: usize,
}

impl<'a> Search<'a> {
    fn new(opener: &'a Opener<'a>, path: &'a Path, files: ImageFiles) -> Self {
        let unread: u64 = files
            .unread
            .iter()
            .map(|range| range.len)
            .fold(0, u64::saturating_add);
        let lost = (unread > 0).then(|| {
            let detail = format!("{unread} bytes of the file that holds the image were never rescued");
            Finding::new(Severity::Loss, Layer::Image, FindingCode::Unread, detail)
        });
        Self {
            opener,
            path,
            supervisor: supervisor(opener.config, opener.scan_program, opener.interrupt),
            companions: Companions::beside(path, opener.config.allow_backing.value.as_deref()),
            files,
            unpacked: Vec::new(),
            findings: lost.into_iter().collect(),
            unpackings: 0,
        }
    }

    fn finish(mut self) -> Result<Option<OpenImage>, Error> {
        for _ in 0..ROUNDS_MAX {
            let packaging = self.look()?;
            match packaging.answer {
                Answer::Plain if self.unpacked.is_empty() => return Ok(None),
                Answer::Plain => {
                    let len = FileSource::from_file(self.file()?)
                        .map_err(Error::io("reading the image", self.path))?;
                    let files = ImageFiles::raw(self.files.file.clone(), Vec::new());
                    return Ok(Some(self.opened(packaging, files, len.len(), true)));
                }
                Answer::Open => {
                    let (files, len) = (self.files.clone(), packaging.image_bytes);
                    return Ok(Some(self.opened(packaging, files, len, true)));
                }
                Answer::Refused => {
                    let len = FileSource::from_file(self.file()?)
                        .map_err(Error::io("reading the image", self.path))?;
                    let files = ImageFiles::raw(self.files.file.clone(), Vec::new());
                    return Ok(Some(self.opened(packaging, files, len.len(), false)));
                }
                Answer::NotFirst(reason) => return Err(self.refusal(&reason)),
                Answer::Wants(want) => self.companions.add(&want, &mut self.files)?,
                Answer::Packed(_) => self.unpack(packaging)?,
            }
        }
        Err(self.refusal(&format!("it names more than {ROUNDS_MAX} files")))
    }

    fn look(&self) -> Result<Packaging, Error> {
        self.supervisor
            .look(&self.files)
            .map_err(|error| match scan_error(&error) {
                Error::Interrupted => Error::Interrupted,
                other => self.refusal(&format!("its container cannot be looked into: {other}")),
            })
    }

    fn file(&self) -> Result<File, Error> {
        let file = self.files.file.try_clone();
        file.map_err(Error::io("reading the image", self.path))
    }

    fn refusal(&self, reason: &str) -> Error {
        Error::Source {
            path: self.path.to_owned(),
            reason: reason.to_owned(),
        }
    }

    /// Puts what is unpacked in the place of the file.
    fn unpack(&mut self, packaging: Packaging) -> Result<(), Error> {
        self.unpackings += 1;
        if self.unpackings > UNPACKED_MAX {
            return Err(self.refusal("it is compressed again and again"));
        }
        let result = unpacked::unpack(&self.supervisor, &self.files, self.opener)?;
        self.unpacked.extend(packaging.layers);
        self.findings.extend(packaging.findings);
        if let Some(layer) = self.unpacked.last_mut() {
            layer.image_bytes = result.len;
        }
        if let Some(ended) = result.ended {
            let detail = format!(
                "what is compressed cannot be unpacked behind byte {} of the image: {ended}; what came before is not confirmed either, back to the last checksum that fits",
                result.len
            );
            self.findings.push(
                Finding::new(Severity::Loss, Layer::Image, FindingCode::Corrupt, detail).at(result.len),
            );
        }
        if result.len == 0 {
            return Err(self.refusal("nothing of it can be unpacked"));
        }
        self.files = ImageFiles::contained(Arc::new(result.file), inner_name(&self.files.name), Vec::new());
        Ok(())
    }

    fn opened(
        self,
        packaging: Packaging,
        files: ImageFiles,
        image_bytes: u64,
        is_readable: bool,
    ) -> OpenImage {
        let mut layers = self.unpacked;
        layers.extend(packaging.layers);
        let mut findings = self.findings;
        findings.extend(packaging.findings);
        let (companions, told) = self.companions.end();
        findings.extend(told);
        OpenImage {
            layers,
            findings,
            companions,
            is_readable,
            files,
            image_bytes,
            supervisor: self.supervisor,
        }
    }
}

/// `disk.img` for `disk.img.gz`.
fn inner_name(name: &[u8]) -> Vec<u8> {
    let stem = Path::new(std::ffi::OsStr::new("")).join(
        <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name),
    );
    stem.file_stem().unwrap_or_default().as_encoded_bytes().to_vec()
}
