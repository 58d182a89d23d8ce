//! VMDK, VMware's disks: sparse, stream-optimised, flat, split, and disks that hold only changes.
//!
//! A **descriptor** of text lists extents: `RW 4192256 SPARSE "disk-s001.vmdk"`. It is a file of its own, or stands inside of the one sparse extent of a disk. A
//! **sparse extent** has grain tables: 32-bit sector numbers of grains (64 KiB as a rule), found through a grain directory, of which there are two. In a
//! stream-optimised extent each grain is a zlib stream behind a marker, and the header that counts is at the end.
//!
//! Source: *Virtual Disk Format 5.0* (VMware), and `block/vmdk.c` of QEMU for what programs write.

mod descriptor;
mod shared;
mod sparse;
mod tables;

use std::sync::Arc;

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::ReadAt;

use crate::ContainerLayer;
use crate::backing::{self, Backing, Made};
use crate::concat::{Concat, Piece};
use crate::layer::shown;
use crate::layout::{image, read_upto};
use crate::open::{Found, OpenError, Subject};
use descriptor::{Descriptor, Extent, Kind};
use sparse::Sparse;

pub(super) const FORMAT: &str = "VMDK";
pub(super) const SECTOR: u64 = 512;
const DESCRIPTOR_MAGIC: &[u8] = b"# Disk DescriptorFile";
const COWD_MAGIC: &[u8] = b"COWD";
/// The fact that changes with what a disk holds.
const CONTENT_ID: &str = "content id";
/// Longest descriptor that is read.
const DESCRIPTOR_BYTES_MAX: u64 = 1 << 20;

pub(crate) fn matches(head: &[u8]) -> bool {
    let is_descriptor = head
        .get(..DESCRIPTOR_MAGIC.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(DESCRIPTOR_MAGIC));
    is_descriptor || sparse::matches(head) || head.starts_with(COWD_MAGIC)
}

pub(crate) fn open(subject: &Subject<'_>) -> Result<Found, OpenError> {
    if subject.head.starts_with(COWD_MAGIC) {
        return Err(OpenError::unsupported(
            FORMAT,
            "an ESX copy-on-write extent (COWD) is not read",
        ));
    }
    if !sparse::matches(&subject.head) {
        let bytes = read_upto(subject.source, 0, DESCRIPTOR_BYTES_MAX)
            .map_err(|error| OpenError::unreadable(FORMAT, "the descriptor", &error))?;
        return Disk::new(subject, Descriptor::parse(&bytes)).open(None);
    }
    let mut findings = Vec::new();
    let sparse = Sparse::open(subject.source.clone(), 0, &mut findings)?;
    let embedded = sparse.descriptor();
    let mut disk = Disk::new(subject, Descriptor::parse(&embedded));
    disk.findings = findings;
    disk.open(Some(sparse))
}

/// A disk that is being put together.
struct Disk<'a> {
    subject: &'a Subject<'a>,
    descriptor: Descriptor,
    layer: ContainerLayer,
    findings: Vec<Finding>,
}

impl<'a> Disk<'a> {
    fn new(subject: &'a Subject<'a>, descriptor: Descriptor) -> Self {
        let kind = match descriptor.create_type.as_str() {
            "" => "sparse extent",
            other => other,
        };
        let mut layer = subject.layer(format!("VMDK {}", shown(kind.as_bytes())));
        layer.fact(CONTENT_ID, shown(descriptor.cid.as_bytes()));
        Self {
            subject,
            descriptor,
            layer,
            findings: Vec::new(),
        }
    }

    /// The disk of a descriptor, or of the one extent that `own` is.
    fn open(mut self, own: Option<Sparse>) -> Result<Found, OpenError> {
        let parent = match &own {
            Some(sparse) if sparse.may_name_a_parent() && self.descriptor.parent_cid.is_empty() => {
                self.unknown_parent()
            }
            _ => self.parent()?,
        };
        if let Some(mut sparse) = own {
            self.describe(&sparse);
            sparse.set_parent(Arc::new(parent));
            return Ok(Found::new(self.layer, self.findings, image(sparse)));
        }
        if self.descriptor.extents.is_empty() {
            return Err(OpenError::corrupt(FORMAT, "the descriptor lists no extents"));
        }
        let extents = std::mem::take(&mut self.descriptor.extents);
        let parent = Arc::new(parent);
        let mut concat = Concat::default();
        let mut start = 0_u64;
        for extent in &extents {
            let len = extent.sectors.saturating_mul(SECTOR);
            let piece = self.extent(extent, len, &parent, start)?;
            concat.push(piece);
            start = start.saturating_add(len);
        }
        Ok(Found::new(self.layer, self.findings, image(concat)))
    }

    fn describe(&mut self, sparse: &Sparse) {
        self.layer.block_bytes = sparse.grain_bytes();
        if sparse.is_compressed() {
            self.layer.compression = "deflate".to_owned();
        }
    }

    /// What lies below an extent whose descriptor does not say whether anything does: every whole one has a line about it.
    fn unknown_parent(&mut self) -> Backing {
        let detail = format!(
            "{FORMAT}: the descriptor in the extent is missing or damaged, and may have named an image below: what is not stored here is lost"
        );
        self.say(FindingCode::Corrupt, detail);
        Backing::Missing("an image that the damaged descriptor may have named".to_owned())
    }

    fn parent(&mut self) -> Result<Backing, OpenError> {
        let has_parent = !matches!(self.descriptor.parent_cid.as_str(), "" | "ffffffff");
        match &self.descriptor.parent_name {
            Some(name) if has_parent => {
                let name = name.clone();
                self.layer.fact("parent", shown(&name));
                let made = Made {
                    fact: CONTENT_ID,
                    over: vec![shown(self.descriptor.parent_cid.as_bytes())],
                };
                backing::open_known(self.subject, &name, &made, &mut self.layer, &mut self.findings)
            }
            None if has_parent => Ok(Backing::Missing("a parent without a name".to_owned())),
            _ => Ok(Backing::None),
        }
    }

    /// One extent; a file that there is not costs its own bytes.
    fn extent(
        &mut self,
        extent: &Extent,
        len: u64,
        parent: &Arc<Backing>,
        start: u64,
    ) -> Result<Piece, OpenError> {
        if extent.kind == Kind::Zero {
            return Ok(lost(String::new(), len));
        }
        let Some(file) = backing::plain_file(self.subject, &extent.file)? else {
            let name = shown(&extent.file);
            let detail = format!("{FORMAT}: the extent {name} is missing");
            self.say(FindingCode::BeyondEnd, detail.clone());
            self.layer.missing.push(name);
            return Ok(lost(detail, len));
        };
        if !self.layer.files.contains(&shown(&extent.file)) {
            self.layer.files.push(shown(&extent.file));
            self.layer.stored_bytes = self.layer.stored_bytes.saturating_add(file.len());
        }
        let (code, reason) = match extent.kind {
            Kind::Sparse => match Sparse::open(file, start, &mut self.findings) {
                Ok(mut sparse) => {
                    self.describe(&sparse);
                    sparse.set_parent(parent.clone());
                    return Ok(whole(image(sparse), 0, len));
                }
                Err(OpenError::Refused { reason, code, .. }) => (code, format!("cannot be read: {reason}")),
                Err(wants) => return Err(wants),
            },
            Kind::Flat => return Ok(whole(file, extent.offset.saturating_mul(SECTOR), len)),
            Kind::Zero => return Ok(lost(String::new(), len)),
            Kind::Other => (
                FindingCode::Unsupported,
                "is of a kind that is not read".to_owned(),
            ),
        };
        let detail = format!("{FORMAT}: the extent {} {reason}", shown(&extent.file));
        self.say(code, detail.clone());
        Ok(lost(detail, len))
    }

    fn say(&mut self, code: FindingCode, detail: String) {
        self.findings
            .push(Finding::new(Severity::Loss, Layer::Image, code, detail));
    }
}

/// An extent that lies in a file from a byte on.
fn whole(source: Arc<dyn ReadAt>, offset: u64, len: u64) -> Piece {
    Piece {
        source: Some(source),
        offset,
        len,
        missing: String::new(),
    }
}

/// An extent that lies nowhere, and why; zeros, if there is no reason.
fn lost(missing: String, len: u64) -> Piece {
    Piece {
        source: None,
        offset: 0,
        len,
        missing,
    }
}
