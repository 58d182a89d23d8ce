//! Tables: users and groups, fragments, extended attributes, inodes by number. All but those of users in old versions lie in metadata, and an index of
//! the blocks' addresses tells where.

use ntt_model::entry::Xattr;
use ntt_source::field::{array, le_u32, le_u64};

use super::superblock::Version;
use super::volume::{Fault, METADATA_BYTES, Place, Volume};

/// A value that lies elsewhere.
const VALUE_ELSEWHERE: u16 = 0x100;
/// Extended attributes of one inode.
const XATTRS_MAX: u32 = 4096;
/// Bytes of them, names and values: values may be kept once for all, so that they cost the image nothing.
const XATTR_BYTES_MAX: usize = 1 << 20;
/// The longest value (`XATTR_SIZE_MAX` of Linux).
const VALUE_MAX: u32 = 65_536;

/// A block of the ends of files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fragment {
    pub(super) start: u64,
    /// Length and the bit that says that it is not compressed, as for blocks of content.
    pub(super) size: u32,
}

/// The record `number` of a table of records of `N` bytes.
fn record<const N: usize>(
    volume: &Volume<'_>,
    table: u64,
    number: u64,
    is_short: bool,
) -> Result<[u8; N], Fault> {
    let per_block = u64::try_from(METADATA_BYTES.checked_div(N).unwrap_or(1)).unwrap_or(1);
    let block = number.checked_div(per_block).unwrap_or(0);
    let within = number.checked_rem(per_block).unwrap_or(0);
    let address_bytes = if is_short { 4 } else { 8 };
    let at = table.saturating_add(block.saturating_mul(address_bytes));
    let address = if is_short {
        let mut address = [0; 4];
        volume.read(at, &mut address)?;
        u64::from(u32::from_le_bytes(address))
    } else {
        let mut address = [0; 8];
        volume.read(at, &mut address)?;
        u64::from_le_bytes(address)
    };
    let offset = usize::try_from(within).unwrap_or(0).saturating_mul(N);
    volume.metadata(address, Place { block: 0, offset }).array()
}

/// A user or group.
pub(super) fn id(volume: &Volume<'_>, index: u16, is_group: bool) -> Option<u32> {
    let superblock = &volume.superblock;
    let count = if is_group {
        superblock.groups
    } else {
        superblock.ids
    };
    if superblock.version == Version::V4 {
        let bytes: [u8; 4] = (index < superblock.ids)
            .then(|| record(volume, superblock.id_table, index.into(), false).ok())
            .flatten()?;
        return Some(u32::from_le_bytes(bytes));
    }
    let table = if is_group {
        superblock.group_table
    } else {
        superblock.id_table
    };
    let mut bytes = [0; 4];
    let at = table.checked_add(u64::from(index).checked_mul(4)?)?;
    (index < count).then_some(())?;
    volume.read(at, &mut bytes).ok()?;
    Some(u32::from_le_bytes(bytes))
}

/// A fragment; `None` if there is no such one.
pub(super) fn fragment(volume: &Volume<'_>, number: u32) -> Result<Option<Fragment>, Fault> {
    let superblock = &volume.superblock;
    let Some(table) = superblock
        .fragment_table
        .filter(|_| number < superblock.fragments)
    else {
        return Ok(None);
    };
    if superblock.version == Version::V2 {
        let entry: [u8; 8] = record(volume, table, number.into(), true)?;
        return Ok(le_u32(&entry, 0)
            .zip(le_u32(&entry, 4))
            .map(|(start, size)| Fragment {
                start: start.into(),
                size,
            }));
    }
    let entry: [u8; 16] = record(volume, table, number.into(), false)?;
    Ok(le_u64(&entry, 0)
        .zip(le_u32(&entry, 8))
        .map(|(start, size)| Fragment { start, size }))
}

/// Where inode `number` lies, by the export table.
pub(super) fn exported(volume: &Volume<'_>, number: u32) -> Option<Place> {
    let table = volume.superblock.export_table?;
    let reference: [u8; 8] = record(volume, table, u64::from(number.checked_sub(1)?), false).ok()?;
    Some(Place::from_reference(u64::from_le_bytes(reference)))
}

/// Adds the extended attributes of an inode to `found`, up to the first that cannot be had.
pub(super) fn xattrs(volume: &Volume<'_>, number: u32, found: &mut Vec<Xattr>) -> Result<(), Fault> {
    let Some(table) = volume.superblock.xattr_table else {
        return Ok(());
    };
    let mut head = [0; 16];
    volume.read(table, &mut head)?;
    let start = le_u64(&head, 0).unwrap_or(0);
    let corrupt = |detail: &str| Fault::Corrupt(detail.to_owned(), table);
    if number >= le_u32(&head, 8).unwrap_or(0) {
        return Err(corrupt("extended attributes beyond their table"));
    }
    let entry: [u8; 16] = record(volume, table.saturating_add(16), number.into(), false)?;
    let (reference, count) = (le_u64(&entry, 0).unwrap_or(0), le_u32(&entry, 8).unwrap_or(0));
    if count > XATTRS_MAX {
        return Err(corrupt("an inode with too many extended attributes"));
    }
    let mut metadata = volume.metadata(start, Place::from_reference(reference));
    let mut left = XATTR_BYTES_MAX;
    for _ in 0..count {
        let head: [u8; 4] = metadata.array()?;
        let [kind, name_len] = [0, 2].map(|at| array(&head, at).map_or(0, u16::from_le_bytes));
        let mut name = prefix(kind & 0xff).to_vec();
        name.append(&mut metadata.bytes(name_len)?);
        let len = metadata.u32()?;
        let value = if kind & VALUE_ELSEWHERE != 0 {
            let reference = u64::from_le_bytes(metadata.array()?);
            let mut elsewhere = volume.metadata(start, Place::from_reference(reference));
            let len = elsewhere.u32()?;
            value(&mut elsewhere, len, table)?
        } else {
            value(&mut metadata, len, table)?
        };
        left = left
            .checked_sub(name.len().saturating_add(value.len()))
            .ok_or_else(|| {
                corrupt("more extended attributes than an inode may have; the rest was not read")
            })?;
        found.push(Xattr { name, value });
    }
    Ok(())
}

fn value(metadata: &mut super::volume::Metadata<'_, '_>, len: u32, table: u64) -> Result<Vec<u8>, Fault> {
    let len = usize::try_from(len).ok().filter(|_| len <= VALUE_MAX);
    let Some(len) = len else {
        return Err(Fault::Corrupt("a value is too long".to_owned(), table));
    };
    let mut value = vec![0; len];
    metadata.read(&mut value)?;
    Ok(value)
}

fn prefix(kind: u16) -> &'static [u8] {
    match kind {
        0 => b"user.",
        1 => b"trusted.",
        2 => b"security.",
        _ => b"",
    }
}

#[cfg(test)]
mod tests {
    use super::super::superblock::Superblock;
    use super::*;

    /// A block of metadata that is not compressed.
    fn block(bytes: &[u8]) -> Vec<u8> {
        let head = u16::try_from(bytes.len()).expect("short") | 0x8000;
        [&head.to_le_bytes(), bytes].concat()
    }

    /// Attributes that share a value: an image of some KiB made gigabytes of them.
    #[test]
    fn r22_attributes_that_share_a_value_are_bounded() {
        let (count, len) = (300_u32, 8000_u32);
        let mut image = block(&[&len.to_le_bytes()[..], &[7; 8000]].concat());
        let entries = u64::try_from(image.len()).expect("small") << 16;
        let entry = [&[0, 1, 1, 0, b'x', 8, 0, 0, 0][..], &[0; 8]].concat();
        image.extend(block(&entry.repeat(300)));
        let records = u64::try_from(image.len()).expect("small");
        let record = [&entries.to_le_bytes()[..], &count.to_le_bytes(), &[0; 4]].concat();
        image.extend(block(&record));
        let table = u64::try_from(image.len()).expect("small");
        let head = [&[0; 8][..], &1_u32.to_le_bytes(), &[0; 4], &records.to_le_bytes()];
        image.extend(head.concat());
        let volume = Volume::new(Box::new(image), 0, Superblock::bare(table));
        let mut found = Vec::new();
        let fault = xattrs(&volume, 0, &mut found).expect_err("too many");
        assert!(
            matches!(&fault, Fault::Corrupt(detail, at) if *at == table && detail.contains("was not read")),
            "{fault:?}"
        );
        assert_eq!(found.len(), (1 << 20) / (8000 + 6));
        assert_eq!(
            (found[0].name.as_slice(), found[0].value.len()),
            (&b"user.x"[..], 8000)
        );
    }
}
