//! From a directory entry to an inode.

use ntt_model::entry::{Encoding, Inode, Stream, StreamKind, Xattr};
use ntt_model::{Finding, FindingCode, Kind, Layer, Severity};

use super::date;
use super::directory::{Entry, total};
use super::disc::Disc;
use super::record::{FLAG_ASSOCIATED, Section};
use super::tree::Tree;

/// The inode of an entry that is no directory, and what is wrong with it.
pub(super) fn of_file(
    disc: &Disc<'_>,
    tree: &Tree,
    entry: &Entry,
    number: u64,
    max: u64,
) -> (Inode, Vec<Finding>) {
    let kind = match entry.rock_ridge.kind() {
        // A directory has the directory flag; one without is read as the file that its record describes.
        None | Some(Kind::Directory) => Kind::File,
        Some(kind) => kind,
    };
    let mut inode = bare(entry, number, kind);
    let mut findings = Vec::new();
    let mut note = |severity, code, detail: String| {
        findings.push(
            disc.finding((severity, Layer::Inode, code), entry.offset, detail)
                .on_inode(number),
        );
    };
    if kind == Kind::File {
        inode.streams = streams(disc, tree, entry, max, &mut note);
    }
    let end = disc.in_image(disc.len());
    let mut extents = inode.streams.iter().flat_map(|stream| &stream.extents);
    if extents.any(|extent| extent.image_offset.saturating_add(extent.len) > end) {
        note(
            Severity::Loss,
            FindingCode::BeyondEnd,
            format!("the content passes the end of the image at {end:#x}"),
        );
    }
    if kind == Kind::Symlink && inode.target.is_none() {
        note(
            Severity::Loss,
            FindingCode::Corrupt,
            "symbolic link without a target".to_owned(),
        );
    }
    (inode, findings)
}

/// The data of a file and, if it has one, its resource fork.
fn streams(
    disc: &Disc<'_>,
    tree: &Tree,
    entry: &Entry,
    max: u64,
    note: &mut dyn FnMut(Severity, FindingCode, String),
) -> Vec<Stream> {
    // A fork whose data has no record of its own.
    let alone = entry.flags & FLAG_ASSOCIATED != 0;
    let (sections, fork): (&[Section], _) = if alone {
        (&[], &entry.sections)
    } else {
        (&entry.sections, &entry.fork)
    };
    let mut data = stream(disc, tree, sections, StreamKind::Data, max);
    data.extents_incomplete |= entry.incomplete;
    if let Some(zisofs) = entry.rock_ridge.zisofs
        && let Some((severity, code, detail)) = zisofs.unpack(disc, &mut data, max)
    {
        note(severity, code, detail);
    }
    if entry.rock_ridge.sparse {
        data.encoding = Encoding::Unsupported;
        let detail = "sparse file: kept as stored".to_owned();
        note(Severity::Info, FindingCode::Unsupported, detail);
    }
    let mut streams = vec![data];
    if !fork.is_empty() {
        let kind = StreamKind::resource_fork();
        streams.push(stream(disc, tree, fork, kind, max));
    }
    streams
}

/// The inode of a directory; `entry` is the record that leads to it, or its own.
pub(super) fn of_directory(entry: Option<&Entry>, number: u64) -> Inode {
    match entry {
        Some(entry) => bare(entry, number, Kind::Directory),
        None => Inode::bare(number, Kind::Directory),
    }
}

fn bare(entry: &Entry, number: u64, kind: Kind) -> Inode {
    let rock_ridge = &entry.rock_ridge;
    let attributes = rock_ridge.attributes;
    let recorded = date::short(&entry.date);
    let mut times = rock_ridge.times.unwrap_or_default();
    times.modified = times.modified.or(recorded);
    let finder_info = entry.finder_info.map(|info| Xattr {
        name: b"com.apple.FinderInfo".to_vec(),
        value: info.to_vec(),
    });
    Inode {
        kind,
        mode: attributes.map(|px| px.mode & 0o7777),
        uid: attributes.map(|px| px.uid),
        gid: attributes.map(|px| px.gid),
        links: attributes.map_or(1, |px| px.links),
        times,
        target: rock_ridge.target.clone().filter(|_| kind == Kind::Symlink),
        device: rock_ridge
            .device
            .filter(|_| matches!(kind, Kind::BlockDevice | Kind::CharDevice)),
        flags: u64::from(entry.flags),
        xattrs: finder_info.into_iter().collect(),
        ..of_directory(None, number)
    }
}

fn stream(disc: &Disc<'_>, tree: &Tree, sections: &[Section], kind: StreamKind, max: u64) -> Stream {
    let mut stream = Stream {
        kind,
        size_bytes: total(sections),
        extents: Vec::new(),
        encoding: Encoding::Plain,
        extents_incomplete: false,
    };
    let mut logical = 0_u64;
    for section in sections {
        let whole = section.extents(tree.place(disc), logical, max, &mut stream.extents);
        stream.extents_incomplete |= !whole;
        logical = logical.saturating_add(u64::from(section.len));
    }
    stream
}
