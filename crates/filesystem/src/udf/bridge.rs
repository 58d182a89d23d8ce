//! Bridge discs: what the ISO 9660 trees of the same disc hold is compared with the UDF tree (R18).
//!
//! The same file has its first byte at the same place and the same length in both. The trees are listed each by its own reader; here only
//! differences are reported.

use ntt_model::entry::{Inode, Name};
use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use crate::disc::Disc;
use crate::{Family, ScanOptions, Stop, Visitor, iso9660};

/// Differences that are named one by one.
const DIFFERENCES_MAX: usize = 100;
/// Files of a tree that are compared; discs hold fewer.
const FILES_MAX: usize = 1_000_000;
/// Bytes of names that are kept; a file whose name is not is shown without.
const NAME_BYTES_MAX: usize = 32 << 20;

/// First byte in the image, and length.
type Key = (u64, u64);

/// Gathers the files of the UDF tree while it is scanned, if there is another tree to compare with.
pub(super) struct Bridge<'d, 's> {
    disc: &'d Disc<'s>,
    files: Option<Files>,
}

/// Files with content, and their names: lists, since nothing is looked up before all is there, and a disc without differences asks for no name.
#[derive(Default)]
struct Files {
    by_key: Vec<(Key, u64)>,
    names: Vec<NameOf>,
    bytes: Vec<u8>,
}

/// A name of a file.
struct NameOf {
    inode: u64,
    is_alternate: bool,
    /// Where it ends in [`Files::bytes`]; it begins where the one before ends.
    end: usize,
}

impl Files {
    fn see(&mut self, event: &ScanEvent) {
        match event {
            ScanEvent::Inode(inode) if !self.is_full() => {
                self.by_key.extend(key(inode).map(|key| (key, inode.number)));
            }
            ScanEvent::Name(name) => self.name(name),
            _ => {}
        }
    }

    fn name(&mut self, name: &Name) {
        let end = self.bytes.len().saturating_add(name.name.len());
        if self.names.len() < FILES_MAX && end <= NAME_BYTES_MAX {
            self.bytes.extend_from_slice(&name.name);
            self.names.push(NameOf {
                inode: name.inode,
                is_alternate: name.alternate,
                end,
            });
        }
    }

    /// Whether there may be files that were not gathered.
    fn is_full(&self) -> bool {
        self.by_key.len() >= FILES_MAX
    }

    /// Puts the files in the order of their keys, one of each; to be called once all were seen.
    fn sort(&mut self) {
        self.by_key.sort_unstable();
        self.by_key.dedup_by_key(|(key, _)| *key);
    }

    /// The name for people: an alternate only if there is no other.
    fn shown(&self, inode: u64) -> String {
        let mut start = 0;
        let mut found: Option<(bool, &[u8])> = None;
        for name in &self.names {
            let bytes = self.bytes.get(start..name.end).unwrap_or_default();
            start = name.end;
            if name.inode == inode && found.is_none_or(|(is_alternate, _)| is_alternate && !name.is_alternate)
            {
                found = Some((name.is_alternate, bytes));
            }
        }
        ntt_model::name::escape(found.map(|(_, bytes)| bytes).unwrap_or_default()).into_owned()
    }

    /// Files whose content the other tree does not have. Both are sorted.
    fn not_in<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a (Key, u64)> {
        let mut theirs = other.by_key.iter().peekable();
        self.by_key.iter().filter(move |(key, _)| {
            while theirs.next_if(|(their, _)| their < key).is_some() {}
            theirs.peek().is_none_or(|(their, _)| their != key)
        })
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
        let Some(mut udf) = self.files else {
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
        if iso.is_full() || udf.is_full() {
            let detail =
                format!("more than {FILES_MAX} files: the ISO 9660 and the UDF tree were not compared");
            let (layer, code) = (Layer::FileSystem, FindingCode::Limit);
            return visitor.visit(ScanEvent::Finding(Finding::new(
                Severity::Info,
                layer,
                code,
                detail,
            )));
        }
        iso.sort();
        udf.sort();
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
