//! Bridge discs: what the ISO 9660 trees of the same disc hold is compared with the UDF tree (R18).
//!
//! The same file has its first byte at the same place and the same length in both. The trees are listed each by its own reader; here only
//! differences are reported.

use std::collections::BTreeMap;

use ntt_model::entry::{Inode, Name};
use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use crate::disc::Disc;
use crate::{Family, ScanOptions, Stop, Visitor, iso9660};

/// Differences that are named one by one.
const DIFFERENCES_MAX: usize = 100;
/// Files that are compared; discs hold fewer.
const FILES_MAX: usize = 2_000_000;

/// First byte in the image, and length.
type Key = (u64, u64);

/// Gathers the files of the UDF tree while it is scanned, if there is another tree to compare with.
pub(super) struct Bridge<'d, 's> {
    disc: &'d Disc<'s>,
    files: Option<Files>,
}

/// Files with content, and one name of each.
#[derive(Default)]
struct Files {
    by_key: BTreeMap<Key, u64>,
    keys: BTreeMap<u64, Key>,
    names: BTreeMap<u64, Vec<u8>>,
}

impl Files {
    fn see(&mut self, event: &ScanEvent) {
        match event {
            ScanEvent::Inode(inode) if self.keys.len() < FILES_MAX => {
                if let Some(key) = key(inode) {
                    self.by_key.entry(key).or_insert(inode.number);
                    self.keys.insert(inode.number, key);
                }
            }
            ScanEvent::Name(name) => self.name(name),
            _ => {}
        }
    }

    /// The preferred name is wanted, for people; an alternate only as long as there is no other.
    fn name(&mut self, name: &Name) {
        if self.keys.contains_key(&name.inode) && (!name.alternate || !self.names.contains_key(&name.inode)) {
            self.names.insert(name.inode, name.name.clone());
        }
    }

    fn shown(&self, inode: u64) -> String {
        let name = self.names.get(&inode).map(Vec::as_slice).unwrap_or_default();
        ntt_model::name::escape(name).into_owned()
    }

    /// Files whose content the other tree does not have.
    fn not_in<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (&'a Key, &'a u64)> {
        self.by_key
            .iter()
            .filter(|(key, _)| !other.by_key.contains_key(key))
    }
}

fn key(inode: &Inode) -> Option<Key> {
    let data = inode
        .data()
        .filter(|data| inode.kind == Kind::File && data.size_bytes > 0)?;
    let first = data.extents.first()?;
    Some((first.image_offset, data.size_bytes))
}

impl<'d, 's> Bridge<'d, 's> {
    /// Looks whether the disc has ISO 9660 descriptors too.
    pub(super) fn new(disc: &'d Disc<'s>) -> Self {
        let is_bridge =
            iso9660::probe(disc.source()).is_some_and(|candidate| candidate.family == Family::Iso9660);
        Self {
            disc,
            files: is_bridge.then(Files::default),
        }
    }

    pub(super) fn see(&mut self, event: &ScanEvent) {
        if let Some(files) = &mut self.files {
            files.see(event);
        }
    }

    /// Reports what stands only in one of the trees.
    pub(super) fn report(self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Stop> {
        let Some(udf) = self.files else {
            return Ok(());
        };
        let Ok(volume) = iso9660::open(Box::new(self.disc.source()), self.disc.in_image(0)) else {
            return Ok(());
        };
        let mut iso = Files::default();
        let mut see = |event: ScanEvent| {
            iso.see(&event);
            Ok(())
        };
        if volume.scan(options, &mut see).is_err() {
            return Ok(());
        }
        tell(&iso, &udf, "ISO 9660 tree, not in the UDF", visitor)?;
        tell(&udf, &iso, "UDF tree, not in the ISO 9660", visitor)
    }
}

/// Names differences up to a bound, then counts them.
fn tell(here: &Files, there: &Files, only: &str, visitor: &mut dyn Visitor) -> Result<(), Stop> {
    let mut note = |detail: String, at: u64| {
        let (layer, code) = (Layer::FileSystem, FindingCode::Contradiction);
        let finding = Finding::new(Severity::Warning, layer, code, detail);
        visitor.visit(ScanEvent::Finding(finding.at(at)))
    };
    for ((at, size), inode) in here.not_in(there).take(DIFFERENCES_MAX) {
        let name = here.shown(*inode);
        note(
            format!("{name} ({size} bytes) stands only in the {only} tree"),
            *at,
        )?;
    }
    let count = here.not_in(there).count();
    if count > DIFFERENCES_MAX {
        note(format!("{count} files in all stand only in the {only} tree"), 0)?;
    }
    Ok(())
}
