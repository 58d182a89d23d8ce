//! The header of a tree; without it, how long its nodes are.

use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::fork::ForkBytes;
use super::key::KeyFormat;
use super::node::{Descriptor, LeafState, NODE_BYTES, Offsets, kind};
use super::sweep::CHUNK_BYTES;
use super::tree::{Header, read_node};
use super::volume::Volume;
use crate::report::unreadable;

/// Node sizes that are tried without a header, the most likely first.
const GUESSES: [u32; 7] = [4096, 8192, 512, 1024, 2048, 16_384, 32_768];
/// Nodes looked at for a guess.
const GUESS_NODES: u64 = 256;

/// The header of a tree.
pub(crate) fn read_header(volume: &Volume<'_>, file: &ForkBytes, format: KeyFormat) -> Option<Header> {
    let mut head = [0; 512];
    file.read(volume, 0, &mut head).ok()?;
    let header = Header::parse(&head)?;
    (!format.is_classic() || header.node_bytes == 512).then_some(header)
}

/// The finding for a header that cannot be used: unread, or else what `detail` says.
pub(super) fn header_fault(
    volume: &Volume<'_>,
    file: &ForkBytes,
    format: KeyFormat,
    severity: Severity,
    detail: String,
) -> Finding {
    let at = volume.in_image(file.place(0).map_or(0, |run| run.offset));
    match file.read(volume, 0, &mut [0; 512]) {
        Ok(()) => Finding::new(severity, Layer::FileSystem, FindingCode::Corrupt, detail).at(at),
        Err(error) => {
            let what = format!("the header of the {}", format.tree_name());
            let unreadable = unreadable(&error, Layer::FileSystem, &what, at);
            Finding {
                severity,
                ..unreadable
            }
        }
    }
}

/// Whole leaves of a file by a node size, at `step` from each other; counts up to a few.
fn leaves_of(volume: &Volume<'_>, file: &ForkBytes, format: KeyFormat, node_bytes: u32, step: u64) -> u64 {
    let mut node = vec![0; usize::try_from(node_bytes).unwrap_or(0)];
    let mut offsets = Offsets::default();
    let mut found = 0_u64;
    for index in 0..GUESS_NODES {
        let start = index.saturating_mul(step);
        if start.saturating_add(u64::from(node_bytes)) > file.len {
            break;
        }
        let _hole = read_node(volume, file, start, &mut node);
        if offsets.find(&node, format, false) == LeafState::Whole {
            found = found.saturating_add(1);
        }
    }
    found
}

pub(super) fn guess_node_bytes(volume: &Volume<'_>, file: &ForkBytes, format: KeyFormat) -> Option<u32> {
    if format.is_classic() {
        return (file.len >= 512).then_some(512);
    }
    best_guess(|node_bytes| leaves_of(volume, file, format, node_bytes, u64::from(node_bytes)))
}

fn best_guess(mut leaves: impl FnMut(u32) -> u64) -> Option<u32> {
    let counted = GUESSES.map(|node_bytes| (leaves(node_bytes), node_bytes));
    let best = counted.iter().map(|(leaves, _)| *leaves).max()?;
    counted
        .iter()
        .find(|(leaves, _)| *leaves == best && best > 0)
        .map(|(_, node_bytes)| *node_bytes)
}

/// The node size of the first leaf in the volume.
pub(super) fn guess_in_volume(
    volume: &Volume<'_>,
    file: &ForkBytes,
    format: KeyFormat,
    unit: u64,
) -> Option<u32> {
    let mut chunk = Vec::new();
    let mut offsets = Offsets::default();
    let mut at = 0_u64;
    while at < file.len {
        // A node that starts in the chunk may end behind it.
        let len = CHUNK_BYTES
            .saturating_add(u64::from(*NODE_BYTES.end()))
            .min(file.len.saturating_sub(at));
        chunk.resize(usize::try_from(len).unwrap_or(0), 0);
        let _hole = read_node(volume, file, at, &mut chunk);
        let mut within = 0_u64;
        while within < CHUNK_BYTES.min(len) {
            let node = chunk
                .get(usize::try_from(within).unwrap_or(0)..)
                .unwrap_or_default();
            if let Some(size) = leaf_bytes(node, format, &mut offsets) {
                return Some(size);
            }
            within = within.saturating_add(unit.max(512));
        }
        at = at.saturating_add(CHUNK_BYTES);
    }
    None
}

/// The size of the leaf at the start of `bytes`, if there is one.
fn leaf_bytes(bytes: &[u8], format: KeyFormat, offsets: &mut Offsets) -> Option<u32> {
    Descriptor::parse(bytes).filter(|found| found.kind == kind::LEAF && found.height == 1)?;
    let is_whole = |size: &u32| {
        let node = usize::try_from(*size).ok().and_then(|size| bytes.get(..size));
        node.is_some_and(|node| offsets.find(node, format, false) == LeafState::Whole)
    };
    GUESSES.into_iter().find(is_whole)
}
