//! What a walk says about damage, and the structures of the volume itself.

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};

use super::scan::Scan;
use super::set::{Allocation, ENTRY_LENGTH, Flaw, Set};
use crate::Stop;
use crate::fat::chain::Map;
use crate::fat::{damage, table};
use crate::report::doubtful;

/// Bytes of a bitmap or upcase table that are read at once.
const PIECE_BYTES: u64 = 64 * 1024;

impl Scan<'_> {
    /// Table, bitmaps and upcase table: what cannot be read of them is said, their clusters are taken, and the last one's checksum is compared.
    pub(super) fn system(&mut self) -> Result<(), Stop> {
        let volume = self.volume;
        let (_, gaps) = table::compare(&*volume.source, &volume.geometry);
        for gap in gaps {
            let detail = format!(
                "{} bytes of the allocation table {}",
                gap.bytes,
                damage::reason(gap.first.code)
            );
            let what = (Severity::Warning, Layer::FileSystem, gap.first.code);
            self.find(what, gap.first.range.offset, None, detail)?;
        }
        for place in volume.system.bitmaps.into_iter().flatten() {
            self.system_content(place, "an allocation bitmap")?;
        }
        let Some(upcase) = volume.system.upcase else {
            return Ok(());
        };
        let sum = self.system_content(upcase.place, "the upcase table")?;
        match sum.filter(|sum| *sum != upcase.checksum) {
            Some(sum) => {
                let stored = upcase.checksum;
                let detail = format!("checksum of the upcase table is {stored:#010x}, computed {sum:#010x}");
                let what = (Severity::Warning, Layer::FileSystem, FindingCode::Corrupt);
                self.find(what, upcase.entry_offset, None, detail)
            }
            None => Ok(()),
        }
    }

    /// Takes the clusters of a bitmap or upcase table and reads them; the checksum of section 7.2.2 if nothing is missing.
    fn system_content(&mut self, place: Allocation, what: &str) -> Result<Option<u32>, Stop> {
        let map = super::system_map(&mut self.walker, &self.volume.geometry, place);
        let mut sum: u32 = 0;
        let mut is_whole = !map.incomplete;
        let runs = map.extents.iter().flat_map(|extent| {
            let start = extent.image_offset.saturating_sub(self.volume.image_offset);
            pieces(ByteRange::new(start, extent.len))
        });
        for run in runs.collect::<Vec<_>>() {
            let mut bytes = vec![0; usize::try_from(run.len).unwrap_or(0)];
            for lost in damage::read(&*self.volume.source, run.offset, &mut bytes) {
                is_whole = false;
                let detail = format!("{} bytes of {what} {}", lost.range.len, damage::reason(lost.code));
                let what = (Severity::Warning, Layer::FileSystem, lost.code);
                self.find(what, lost.range.offset, None, detail)?;
            }
            sum = bytes
                .iter()
                .fold(sum, |sum, byte| sum.rotate_right(1).wrapping_add((*byte).into()));
        }
        Ok(is_whole.then_some(sum))
    }

    pub(super) fn flaws(&mut self, set: &Set, number: u64) -> Result<(), Stop> {
        for flaw in &set.flaws {
            let detail = match flaw {
                Flaw::Checksum { stored, computed } => {
                    format!("checksum of the entry set is {stored:#06x}, computed {computed:#06x}")
                }
                Flaw::NoPrimary => {
                    "the first entry of the set is gone: attributes and times are not known".to_owned()
                }
                Flaw::NameCut => "part of the name is gone".to_owned(),
                Flaw::NoStream => {
                    "the stream entry of the set is gone: where the content lies is not known".to_owned()
                }
            };
            let at = self.volume.in_image(set.offset);
            self.out
                .finding(doubtful(Layer::Directory, detail, at).on_inode(number))?;
        }
        if !set.bad_times.is_empty() && !set.is_deleted {
            let detail = format!("no such date: {}", set.bad_times.join(", "));
            let what = (Severity::Info, Layer::Inode, FindingCode::OutOfRange);
            self.find(what, set.offset, Some(number), detail)?;
        }
        Ok(())
    }

    /// Says what is wrong with a chain; deleted ones are guesses anyway.
    pub(super) fn faults(
        &mut self,
        map: &Map,
        number: u64,
        is_deleted: bool,
        layer: Layer,
    ) -> Result<(), Stop> {
        if is_deleted {
            return Ok(());
        }
        for fault in &map.faults {
            let offset = match fault.cluster() {
                Some(cluster) => self.volume.geometry.table_entry_offset(cluster),
                None => number.saturating_mul(ENTRY_LENGTH),
            };
            self.find(
                (Severity::Loss, layer, fault.code()),
                offset,
                Some(number),
                fault.describe(),
            )?;
        }
        Ok(())
    }

    /// Tells how many clusters belong to something but are free in the bitmap.
    pub(super) fn marked_free(&mut self) -> Result<(), Stop> {
        let Some(bitmap) = &self.bitmap else {
            return Ok(());
        };
        let mut first = None;
        let mut count: u64 = 0;
        for cluster in self.walker.claimed() {
            let Ok(cluster) = u32::try_from(cluster) else {
                continue;
            };
            if bitmap.is_set(cluster) == Some(false) {
                first.get_or_insert(cluster);
                count = count.saturating_add(1);
            }
        }
        let Some(first) = first else {
            return Ok(());
        };
        let detail = format!("{count} clusters of files are free in the bitmap, the first is {first}");
        let offset = self.volume.geometry.cluster_offset(first).unwrap_or(0);
        self.find(
            (Severity::Warning, Layer::FileSystem, FindingCode::Contradiction),
            offset,
            None,
            detail,
        )
    }

    pub(super) fn find(
        &mut self,
        (severity, layer, code): (Severity, Layer, FindingCode),
        offset: u64,
        inode: Option<u64>,
        detail: String,
    ) -> Result<(), Stop> {
        let finding = Finding::new(severity, layer, code, detail).at(self.volume.in_image(offset));
        self.out.finding(match inode {
            Some(inode) => finding.on_inode(inode),
            None => finding,
        })
    }
}

/// A run in pieces that can be read at once.
fn pieces(run: ByteRange) -> impl Iterator<Item = ByteRange> {
    let step = move |piece: &ByteRange| {
        let next = ByteRange::new(
            piece.end(),
            run.end().saturating_sub(piece.end()).min(PIECE_BYTES),
        );
        (!next.is_empty()).then_some(next)
    };
    let first = ByteRange::new(run.offset, run.len.min(PIECE_BYTES));
    std::iter::successors(Some(first).filter(|first| !first.is_empty()), step)
}
