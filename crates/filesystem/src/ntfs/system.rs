//! The file system's own files: what is read of them. They are not listed.

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::field::{array, le_u16, u8_at};

use super::attribute::kind;
use super::file_name::{moment, wtf8};
use super::gather::{Gathered, Held};
use super::mft::NoRecord;
use super::runs::Run;
use super::security::Owners;
use super::value::Value;
use super::volume::Volume;
use crate::report::Report;

/// Numbers of records.
const MFT: u32 = 0;
const LOG_FILE: u32 = 2;
const VOLUME: u32 = 3;
const BITMAP: u32 = 6;
const BAD_CLUSTERS: u32 = 8;
const SECURE: u32 = 9;
/// Runs of one of these files.
const RUNS_MAX: u64 = 1 << 20;
/// Longest label: 128 units.
const LABEL_BYTES_MAX: usize = 256;
/// Bytes of `$Secure:$SDS` that are read.
const DESCRIPTORS_MAX: u64 = 64 << 20;
/// `$SDS` in UTF-16LE.
const SDS: &[u8] = b"$\0S\0D\0S\0";
/// `$Bad` in UTF-16LE.
const BAD: &[u8] = b"$\0B\0a\0d\0";
/// Bit of the volume's flags: a check is due.
const DIRTY: u16 = 1;

/// What `$Volume` and the MFT's own record say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct VolumeInformation {
    pub(super) label: Vec<u8>,
    /// Major and minor version.
    pub(super) version: Option<(u8, u8)>,
    pub(super) is_dirty: Option<bool>,
    /// When the MFT was made.
    pub(super) created: Option<ntt_model::Timestamp>,
}

/// Calls `use_it` with the attributes of a record.
fn with_attributes<R>(
    volume: &Volume<'_>,
    number: u32,
    use_it: impl FnOnce(&[Held<'_>]) -> Option<R>,
) -> Result<Option<R>, NoRecord> {
    let mut buffer = Vec::new();
    let record = volume.read_record(number, &mut buffer)?;
    let gathered = Gathered::of(volume, record, &[]);
    let (held, _) = gathered.attributes();
    Ok(use_it(&held))
}

fn parts<'h, 'g>(held: &'h [Held<'g>], kind: u32, name: &'h [u8]) -> Vec<Held<'g>> {
    let own = held
        .iter()
        .filter(|held| held.attribute.kind == kind && held.attribute.name == name);
    own.copied().collect()
}

fn resident<'g>(held: &[Held<'g>], kind: u32) -> Option<&'g [u8]> {
    held.iter()
        .find(|held| held.attribute.kind == kind)?
        .attribute
        .resident()
}

/// Runs and length of a stream of a record; `None` if it has none in clusters.
fn mapped(volume: &Volume<'_>, number: u32, kind: u32, name: &[u8]) -> Option<(Vec<Run>, u64)> {
    let found = with_attributes(volume, number, |held| {
        let parts = parts(held, kind, name);
        (!parts.is_empty()).then_some(())?;
        let value = Value::of(volume, &parts, RUNS_MAX);
        (value.resident().is_none() && !value.is_incomplete()).then(|| (value.runs().to_vec(), value.size))
    });
    found.ok().flatten()
}

/// Reads `$Volume`.
pub(super) fn volume_information(volume: &Volume<'_>) -> VolumeInformation {
    let mut information = with_attributes(volume, VOLUME, |held| {
        let label = resident(held, kind::VOLUME_NAME).unwrap_or_default();
        let about = resident(held, kind::VOLUME_INFORMATION);
        Some(VolumeInformation {
            label: wtf8(label.get(..label.len().min(LABEL_BYTES_MAX)).unwrap_or_default()),
            version: about.and_then(|about| u8_at(about, 8).zip(u8_at(about, 9))),
            is_dirty: about
                .and_then(|about| le_u16(about, 10))
                .map(|flags| flags & DIRTY != 0),
            created: None,
        })
    })
    .ok()
    .flatten()
    .unwrap_or_default();
    let created = with_attributes(volume, MFT, |held| {
        let standard = resident(held, kind::STANDARD_INFORMATION)?;
        moment(u64::from_le_bytes(array(standard, 0)?))
    });
    information.created = created.ok().flatten();
    information
}

/// Which records of the MFT are in use: at most a bit a record.
pub(super) fn record_bitmap(volume: &Volume<'_>) -> Option<Vec<u8>> {
    let found = with_attributes(volume, MFT, |held| {
        let parts = parts(held, kind::BITMAP, b"");
        (!parts.is_empty()).then_some(())?;
        let value = Value::of(volume, &parts, RUNS_MAX);
        value.read(volume, volume.mft.records.div_ceil(8).saturating_add(1 << 16))
    });
    found.ok().flatten()
}

/// Runs and length of `$Bitmap`.
pub(super) fn cluster_bitmap(volume: &Volume<'_>) -> Option<(Vec<Run>, u64)> {
    mapped(volume, BITMAP, kind::DATA, b"")
}

/// Runs and length of `$LogFile`.
pub(super) fn log_file(volume: &Volume<'_>) -> Option<(Vec<Run>, u64)> {
    mapped(volume, LOG_FILE, kind::DATA, b"")
}

/// Owners by security id, from `$Secure:$SDS`.
pub(super) fn owners(volume: &Volume<'_>) -> Owners {
    let mut owners = Owners::default();
    let Some((runs, size)) = mapped(volume, SECURE, kind::DATA, SDS) else {
        return owners;
    };
    let block = u64::try_from(Owners::block_bytes()).unwrap_or(1);
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < size.min(DESCRIPTORS_MAX) {
        bytes.resize(
            usize::try_from(block.min(size.saturating_sub(at))).unwrap_or(0),
            0,
        );
        // A block that cannot be read has its copy behind it.
        if volume.read_runs(&runs, at, &mut bytes).is_ok() {
            owners.add_block(&bytes);
        }
        at = at.saturating_add(block);
    }
    owners
}

/// Says how much of the volume is marked as bad: broken sectors, or a place to hide something.
pub(super) fn bad_clusters(volume: &Volume<'_>, report: &mut Report) {
    let Some((runs, _)) = mapped(volume, BAD_CLUSTERS, kind::DATA, BAD) else {
        return;
    };
    let bad = runs.iter().filter(|run| run.cluster.is_some());
    let clusters = bad.fold(0_u64, |sum, run| sum.saturating_add(run.len));
    if clusters > 0 {
        let first = runs.iter().find_map(|run| run.cluster).unwrap_or(0);
        let detail = format!("{clusters} clusters are marked as bad, from cluster {first} on");
        let finding = Finding::new(
            Severity::Info,
            Layer::FileSystem,
            FindingCode::Contradiction,
            detail,
        );
        report.push(finding.at(volume.in_image(volume.geometry.offset_of(first))));
    }
}
