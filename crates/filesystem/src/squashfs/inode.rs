//! Inodes of versions 2 to 4, brought into one form.
//!
//! Source: `squashfs_fs.h`, `squashfs_compat.h` of squashfs-tools. Versions 2 and 3 use bit fields, which count from the lowest bit.

use ntt_model::Kind;
use ntt_source::field::{le_u16, le_u32, le_u64, u8_at};

use super::superblock::Version;
use super::volume::{Fault, Metadata, Place, Volume};

/// No fragment, no extended attributes.
const NONE: u32 = u32::MAX;
/// A group of versions 2 and 3 that is the same as the user.
const GROUP_IS_USER: u8 = 255;

/// What only some kinds have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Body {
    /// Where the listing begins, and its length.
    Directory {
        place: Place,
        len: u32,
    },
    /// First block and fragment; the lengths of the blocks follow in the metadata.
    File {
        start: u64,
        size: u64,
        fragment: Option<(u32, u32)>,
    },
    Symlink(Vec<u8>),
    Device(u32),
    Other,
}

/// An inode as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RawInode {
    pub(super) kind: Kind,
    pub(super) mode: u16,
    /// Index into the table of users (of both in version 4).
    pub(super) user: u16,
    /// Index into the table of groups; `None` if it is that of the user.
    pub(super) group: Option<u16>,
    /// `None` in version 2 where the kind has none.
    pub(super) modified: Option<u32>,
    /// 0 in version 2.
    pub(super) number: u32,
    pub(super) links: u32,
    pub(super) xattrs: Option<u32>,
    pub(super) body: Body,
}

fn kind(code: u16) -> Option<Kind> {
    Some(match code {
        1 | 8 => Kind::Directory,
        2 | 9 => Kind::File,
        3 | 10 => Kind::Symlink,
        4 | 11 => Kind::BlockDevice,
        5 | 12 => Kind::CharDevice,
        6 | 13 => Kind::Fifo,
        7 | 14 => Kind::Socket,
        _ => return None,
    })
}

/// Reads the inode at `place`; the metadata then stands at the lengths of a file's blocks.
pub(super) fn read<'v, 'a>(
    volume: &'v Volume<'a>,
    place: Place,
) -> Result<(RawInode, Metadata<'v, 'a>), Fault> {
    let mut metadata = volume.metadata(volume.superblock.inode_table, place);
    let at = metadata.position();
    let inode = match volume.superblock.version {
        Version::V4 => version_4(&mut metadata),
        version => version_2_or_3(&mut metadata, version == Version::V3),
    };
    match inode? {
        Some(inode) => Ok((inode, metadata)),
        None => Err(Fault::Corrupt("an inode is of no known kind".to_owned(), at)),
    }
}

/// Bits of a field, counted from the lowest.
fn bits(value: u64, from: u32, count: u32) -> u64 {
    let mask = 1_u64.checked_shl(count).unwrap_or(0).saturating_sub(1);
    value.checked_shr(from).unwrap_or(0) & mask
}

fn low_u16(value: u64) -> u16 {
    u16::try_from(value & 0xffff).unwrap_or(0)
}

fn low_u32(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or(0)
}

fn version_4(metadata: &mut Metadata<'_, '_>) -> Result<Option<RawInode>, Fault> {
    let head: [u8; 16] = metadata.array()?;
    let code = le_u16(&head, 0).unwrap_or(0);
    let Some(kind) = kind(code) else {
        return Ok(None);
    };
    let Some((links, xattrs, body)) = body_of_version_4(metadata, code)? else {
        return Ok(None);
    };
    Ok(Some(RawInode {
        kind,
        mode: le_u16(&head, 2).unwrap_or(0),
        user: le_u16(&head, 4).unwrap_or(0),
        group: le_u16(&head, 6),
        modified: le_u32(&head, 8),
        number: le_u32(&head, 12).unwrap_or(0),
        links,
        xattrs: Some(xattrs).filter(|xattrs| *xattrs != NONE),
        body,
    }))
}

/// What stands behind the head of an inode of this type: number of names, index of attributes, and the rest.
fn body_of_version_4(metadata: &mut Metadata<'_, '_>, code: u16) -> Result<Option<(u32, u32, Body)>, Fault> {
    let (mut links, mut xattrs) = (1, NONE);
    let body = match code {
        1 => {
            let body: [u8; 16] = metadata.array()?;
            links = le_u32(&body, 4).unwrap_or(1);
            directory(
                le_u32(&body, 0),
                le_u16(&body, 10),
                le_u16(&body, 8).map(u32::from),
            )
        }
        8 => {
            let body: [u8; 24] = metadata.array()?;
            links = le_u32(&body, 0).unwrap_or(1);
            xattrs = le_u32(&body, 20).unwrap_or(NONE);
            directory(le_u32(&body, 8), le_u16(&body, 18), le_u32(&body, 4))
        }
        2 => {
            let body: [u8; 16] = metadata.array()?;
            file(
                le_u32(&body, 0).map(u64::from),
                le_u32(&body, 12).map(u64::from),
                le_u32(&body, 4).zip(le_u32(&body, 8)),
            )
        }
        9 => {
            let body: [u8; 40] = metadata.array()?;
            links = le_u32(&body, 24).unwrap_or(1);
            xattrs = le_u32(&body, 36).unwrap_or(NONE);
            let fragment = le_u32(&body, 28).zip(le_u32(&body, 32));
            file(le_u64(&body, 0), le_u64(&body, 8), fragment)
        }
        3 | 10 => {
            links = metadata.u32()?;
            let len = metadata.u32()?;
            let Ok(len) = u16::try_from(len) else {
                return Ok(None);
            };
            let target = metadata.bytes(len)?;
            if code == 10 {
                xattrs = metadata.u32()?;
            }
            Some(Body::Symlink(target))
        }
        4 | 5 | 11 | 12 => {
            links = metadata.u32()?;
            let device = metadata.u32()?;
            if code > 10 {
                xattrs = metadata.u32()?;
            }
            Some(Body::Device(device))
        }
        _ => {
            links = metadata.u32()?;
            if code > 10 {
                xattrs = metadata.u32()?;
            }
            Some(Body::Other)
        }
    };
    Ok(body.map(|body| (links, xattrs, body)))
}

fn directory(block: Option<u32>, offset: Option<u16>, len: Option<u32>) -> Option<Body> {
    Some(Body::Directory {
        place: Place {
            block: block?.into(),
            offset: usize::from(offset?),
        },
        len: len?,
    })
}

fn file(start: Option<u64>, size: Option<u64>, fragment: Option<(u32, u32)>) -> Option<Body> {
    Some(Body::File {
        start: start?,
        size: size?,
        fragment: fragment.filter(|(fragment, _)| *fragment != NONE),
    })
}

fn version_2_or_3(metadata: &mut Metadata<'_, '_>, is_3: bool) -> Result<Option<RawInode>, Fault> {
    let head: [u8; 4] = metadata.array()?;
    let first = le_u16(&head, 0).unwrap_or(0);
    let code = first & 0xf;
    let Some(kind) = kind(code).filter(|_| code < 10) else {
        return Ok(None);
    };
    let (mut modified, mut number, mut links) = (None, 0, 1);
    if is_3 {
        modified = Some(metadata.u32()?);
        number = metadata.u32()?;
    }
    // Version 2 counts no links, and keeps times of directories and files only.
    let has_links = is_3 && code != 2;
    if has_links {
        links = metadata.u32()?;
    }
    let body = match code {
        1 | 8 => {
            let (directory, time) = old_directory(metadata, is_3, code == 8)?;
            modified = modified.or(time);
            Some(directory)
        }
        2 | 9 => {
            if !is_3 {
                modified = Some(metadata.u32()?);
            }
            old_file(metadata, is_3, code == 9)?
        }
        3 => {
            let len = u16::from_le_bytes(metadata.array()?);
            Some(Body::Symlink(metadata.bytes(len)?))
        }
        4 | 5 => Some(Body::Device(u16::from_le_bytes(metadata.array()?).into())),
        _ => Some(Body::Other),
    };
    let group = u8_at(&head, 3).filter(|group| *group != GROUP_IS_USER);
    Ok(body.map(|body| RawInode {
        kind,
        mode: first >> 4,
        user: u8_at(&head, 2).unwrap_or(0).into(),
        group: group.map(u16::from),
        modified,
        number,
        links,
        xattrs: None,
        body,
    }))
}

/// A directory, and in version 2 its time.
fn old_directory(
    metadata: &mut Metadata<'_, '_>,
    is_3: bool,
    is_long: bool,
) -> Result<(Body, Option<u32>), Fault> {
    let size_bits = if is_long { 27 } else { 19 };
    // 19 and 13 bits fill four bytes, 27 and 13 five.
    let field = if is_long {
        let [b0, b1, b2, b3, b4] = metadata.array()?;
        u64::from_le_bytes([b0, b1, b2, b3, b4, 0, 0, 0])
    } else {
        u64::from(metadata.u32()?)
    };
    let offset = usize::from(low_u16(bits(field, size_bits, 13)));
    let len = low_u32(bits(field, 0, size_bits));
    let (block, time) = if is_3 {
        (metadata.u32()?, None)
    } else {
        let time = metadata.u32()?;
        let [b0, b1, b2] = metadata.array()?;
        (u32::from_le_bytes([b0, b1, b2, 0]), Some(time))
    };
    let place = Place {
        block: block.into(),
        offset,
    };
    Ok((Body::Directory { place, len }, time))
}

fn old_file(metadata: &mut Metadata<'_, '_>, is_3: bool, is_long: bool) -> Result<Option<Body>, Fault> {
    let start = if is_3 {
        u64::from_le_bytes(metadata.array()?)
    } else {
        metadata.u32()?.into()
    };
    let fragment = (metadata.u32()?, metadata.u32()?);
    let size = if is_long && is_3 {
        u64::from_le_bytes(metadata.array()?)
    } else {
        metadata.u32()?.into()
    };
    Ok(file(Some(start), Some(size), Some(fragment)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bit_fields_count_from_the_lowest() {
        assert_eq!(bits(0b1101_0110, 1, 4), 0b1011);
        assert_eq!(bits(u64::MAX, 60, 13), 0xf);
    }

    #[test]
    fn kinds_of_both_sizes() {
        assert_eq!(
            (kind(1), kind(8), kind(14)),
            (Some(Kind::Directory), Some(Kind::Directory), Some(Kind::Socket))
        );
        assert_eq!((kind(0), kind(15)), (None, None));
    }
}
