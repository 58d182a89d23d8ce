//! All attributes of a file, from its base record and the records that continue it.

use ntt_source::ReadAt;
use ntt_source::field::{le_u16, le_u32, le_u64};

use super::attribute::{Attribute, Attributes, Body, kind};
use super::boot::Geometry;
use super::mft::read_runs;
use super::record::{Fixups, Record, Reference};
use super::runs::decode;
use super::volume::Volume;

/// Longest attribute list that Windows writes.
const LIST_BYTES_MAX: u64 = 256 << 10;
/// Runs of a list in clusters.
const LIST_RUNS_MAX: u64 = 4096;
/// Shortest entry of a list.
const ENTRY_BYTES: usize = 0x1a;

/// An entry of an attribute list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ListEntry {
    pub(super) kind: u32,
    /// First cluster of the value that the attribute maps.
    pub(super) first: u64,
    /// The record that holds it.
    pub(super) record: Reference,
}

/// The value of an attribute list; `None` if it cannot be read or is too long.
pub(super) fn list_bytes(source: &dyn ReadAt, geometry: &Geometry, list: &Attribute<'_>) -> Option<Vec<u8>> {
    let mapping = match list.body {
        Body::Resident { value, .. } => return Some(value.to_vec()),
        Body::Mapped(mapping) => mapping,
    };
    (mapping.size <= LIST_BYTES_MAX).then_some(())?;
    let mut runs = Vec::new();
    decode(
        mapping.pairs,
        (mapping.first, mapping.end),
        geometry,
        LIST_RUNS_MAX,
        &mut runs,
    )
    .ok()?;
    let mut bytes = vec![0; usize::try_from(mapping.size).ok()?];
    read_runs(source, geometry, &runs, 0, &mut bytes).ok()?;
    Some(bytes)
}

/// The entries of an attribute list, up to the first that contradicts the format.
pub(super) fn list_entries(bytes: &[u8]) -> impl Iterator<Item = ListEntry> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let len = usize::from(le_u16(rest, 4)?);
        (len >= ENTRY_BYTES && len.is_multiple_of(8)).then_some(())?;
        let entry = ListEntry {
            kind: le_u32(rest, 0)?,
            first: le_u64(rest, 8)?,
            record: Reference::from_raw(le_u64(rest, 0x10)?),
        };
        rest = rest.get(len..)?;
        Some(entry)
    })
}

/// A record that continues another, with its own bytes.
pub(super) struct Extension {
    number: u32,
    bytes: Vec<u8>,
    fixups: Fixups,
}

impl Extension {
    fn record(&self) -> Record<'_> {
        Record {
            number: self.number,
            bytes: &self.bytes,
            fixups: self.fixups,
        }
    }
}

/// What a file consists of.
pub(super) struct Gathered<'b> {
    pub(super) base: Record<'b>,
    extensions: Vec<Extension>,
    /// What is missing or broken, in words; empty if nothing is.
    pub(super) faults: Vec<String>,
    /// Whether faults may be cured by records that are known to continue the base.
    pub(super) is_curable: bool,
}

/// An attribute and the record that holds it.
#[derive(Clone, Copy)]
pub(super) struct Held<'g> {
    pub(super) attribute: Attribute<'g>,
    pub(super) record: Record<'g>,
}

impl<'b> Gathered<'b> {
    /// Follows the attribute list of `base`. `known` are records that are known to continue it, whatever the list says.
    pub(super) fn of(volume: &Volume<'_>, base: Record<'b>, known: &[u32]) -> Self {
        let mut gathered = Self {
            base,
            extensions: Vec::new(),
            faults: Vec::new(),
            is_curable: false,
        };
        let list = Attributes::of(&base)
            .map_while(Result::ok)
            .find(|attribute| attribute.kind == kind::ATTRIBUTE_LIST);
        if let Some(list) = list {
            gathered.follow(volume, &list);
        }
        for number in known {
            if !gathered.has(*number) {
                let _ = gathered.load(volume, *number, None);
            }
        }
        gathered
    }

    fn follow(&mut self, volume: &Volume<'_>, list: &Attribute<'_>) {
        let Some(bytes) = list_bytes(&*volume.source, &volume.geometry, list) else {
            self.is_curable = true;
            return self.faults.push("its attribute list cannot be read".to_owned());
        };
        let mut refused = Vec::new();
        for entry in list_entries(&bytes) {
            if !volume.may_follow() {
                return self
                    .faults
                    .push("attribute lists of other files used up what may be followed".to_owned());
            }
            let Ok(number) = u32::try_from(entry.record.record) else {
                continue;
            };
            if number == self.base.number || self.has(number) || refused.contains(&number) {
                continue;
            }
            if let Err(fault) = self.load(volume, number, Some(entry.record)) {
                refused.push(number);
                self.is_curable = true;
                self.faults
                    .push(format!("record {number}, which should continue it, {fault}"));
            }
        }
    }

    fn has(&self, number: u32) -> bool {
        self.extensions.last().is_some_and(|last| last.number == number)
            || self.extensions.iter().any(|extension| extension.number == number)
    }

    fn load(&mut self, volume: &Volume<'_>, number: u32, reference: Option<Reference>) -> Result<(), String> {
        let mut bytes = Vec::new();
        let record = volume
            .read_record(number, &mut bytes)
            .map_err(|error| error.to_string())?;
        let is_ours = record.base().is_some_and(|base| {
            base.record == u64::from(self.base.number) && base.fits(self.base.sequence())
        });
        let fits = reference.is_none_or(|reference| reference.fits(record.sequence()));
        if !is_ours || !fits || !record.is_in_use() && self.base.is_in_use() {
            return Err("is another file's".to_owned());
        }
        let fixups = record.fixups;
        self.extensions.push(Extension {
            number,
            bytes,
            fixups,
        });
        Ok(())
    }

    /// The attributes of all records; what stands behind a broken one is lost and said.
    pub(super) fn attributes(&self) -> (Vec<Held<'_>>, Vec<String>) {
        let mut held = Vec::new();
        let mut faults = self.faults.clone();
        let records = std::iter::once(self.base).chain(self.extensions.iter().map(Extension::record));
        for record in records {
            for attribute in Attributes::of(&record) {
                match attribute {
                    Ok(attribute) => held.push(Held { attribute, record }),
                    Err(broken) => faults.push(format!(
                        "the attribute at byte {} of record {} is broken",
                        broken.0, record.number
                    )),
                }
            }
            if record.fixups.torn_sectors() > 0 {
                let sectors = record.fixups.torn_sectors();
                faults.push(format!(
                    "{sectors} sectors of record {} do not belong to the others (torn write)",
                    record.number
                ));
            }
        }
        (held, faults)
    }
}
