//! The catalogue of a volume, against what the head of the volume claims that it holds (R22).

use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::arrange::disagreement;
use super::catalog::Census;
use super::fork::{ForkBytes, ForkData};
use super::key::KeyFormat;
use super::sweep::{sweep, sweep_volume};
use super::tree::Tree;
use super::volume::Volume;
use crate::report::Report;

/// What the head of a volume claims to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Claims {
    pub(crate) files: u64,
    /// Without the root.
    pub(crate) folders: u64,
    /// What the head is called.
    pub(crate) head: &'static str,
    /// Where it lies in the image.
    pub(crate) image_offset: u64,
}

/// Sweeps the catalogue; the whole volume, if the catalogue holds far less than is claimed. What was found and what was claimed is said.
pub(crate) fn sweep_catalog(
    volume: &Volume<'_>,
    format: KeyFormat,
    fork: &ForkData,
    claims: &Claims,
    report: &mut Report,
) -> (Tree, Census) {
    let mut census = Census::default();
    let file = ForkBytes::new(volume, fork.size, &fork.runs);
    let mut tree = sweep(volume, format, file, report, &mut |record| {
        census.add(format, record);
    });
    if census.is_far_below(claims.files.saturating_add(claims.folders)) {
        let mut other = Census::default();
        let swept = sweep_volume(volume, format, report, &mut |record| {
            other.add(format, record);
        });
        if swept.tally.by_sweep > tree.tally.by_sweep {
            (tree, census) = (swept, other);
            let detail = "the catalogue cannot be found or is mostly lost; the whole volume was searched for its leaves, \
                          what was deleted or moved may be listed too";
            let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Corrupt, detail);
            report.push(finding.at(claims.image_offset));
        }
    }
    if let Some(finding) = disagreement(&tree, volume) {
        report.push(finding);
    }
    compare(claims, &census, report);
    (tree, census)
}

fn compare(claims: &Claims, census: &Census, report: &mut Report) {
    let (files, folders) = (census.file_records, census.folder_records.saturating_sub(1));
    if (files, folders) == (claims.files, claims.folders) {
        return;
    }
    let detail = format!(
        "{files} files and {folders} directories were found, the {} claims {} and {}",
        claims.head, claims.files, claims.folders
    );
    let is_loss = files < claims.files || folders < claims.folders;
    let severity = if is_loss {
        Severity::Loss
    } else {
        Severity::Warning
    };
    let finding = Finding::new(severity, Layer::FileSystem, FindingCode::Contradiction, detail);
    report.push(finding.at(claims.image_offset));
}
