//! Extended attributes of UFS2: a list in up to two blocks of their own (`sys/ufs/ufs/extattr.h` of FreeBSD).

use ntt_model::entry::Xattr;
use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::inode::RawInode;
use super::volume::Volume;
use crate::report::{Report, unreadable};

/// Length of the fixed part of an attribute.
const HEAD: usize = 7;

/// The attributes of an inode.
pub(super) fn read(volume: &Volume<'_>, inode: &RawInode<'_>, report: &mut Report) -> Vec<Xattr> {
    let (size, blocks) = inode.attributes();
    let block = volume.superblock.block_bytes;
    if size == 0 {
        return Vec::new();
    }
    let mut bytes = Vec::new();
    let mut left = size.min(block.saturating_mul(2));
    for pointer in blocks {
        let len = left.min(block);
        if len == 0 {
            break;
        }
        let mut part = vec![0; usize::try_from(len).unwrap_or(0)];
        let Some(offset) = volume.run(pointer, len.into()).filter(|_| pointer != 0) else {
            tell(volume, inode, report);
            return Vec::new();
        };
        if let Err(error) = volume.read(offset, &mut part) {
            let place = volume.in_image(offset);
            let finding = unreadable(&error, Layer::Inode, "a block of extended attributes", place);
            report.push(finding.on_inode(inode.number.into()));
            return Vec::new();
        }
        bytes.extend(part);
        left = left.saturating_sub(len);
    }
    let (found, is_whole) = list(volume, &bytes);
    if !is_whole {
        tell(volume, inode, report);
    }
    found
}

fn tell(volume: &Volume<'_>, inode: &RawInode<'_>, report: &mut Report) {
    let detail = "the list of extended attributes is damaged";
    let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Corrupt, detail);
    report.push(
        finding
            .at(volume.in_image(inode.offset))
            .on_inode(inode.number.into()),
    );
}

fn list(volume: &Volume<'_>, bytes: &[u8]) -> (Vec<Xattr>, bool) {
    let mut found = Vec::new();
    let mut rest = bytes;
    while rest.len() > HEAD {
        let order = volume.superblock.order;
        let Some(len) = order.word(rest, 0).and_then(|len| usize::try_from(len).ok()) else {
            break;
        };
        if len == 0 {
            return (found, true);
        }
        let (Some(xattr), Some(after)) = (rest.get(..len).and_then(attribute), rest.get(len..)) else {
            return (found, false);
        };
        found.push(xattr);
        rest = after;
    }
    (found, true)
}

fn attribute(bytes: &[u8]) -> Option<Xattr> {
    let [namespace, padding, name_len] = *bytes.get(4..HEAD)? else {
        return None;
    };
    let prefix = match namespace {
        1 => &b"user."[..],
        2 => b"system.",
        _ => b"",
    };
    let name_end = HEAD.checked_add(name_len.into())?;
    let start = name_end.checked_next_multiple_of(8)?;
    let end = bytes.len().checked_sub(padding.into())?;
    Some(Xattr {
        name: [prefix, bytes.get(HEAD..name_end)?].concat(),
        value: bytes.get(start..end)?.to_vec(),
    })
}
