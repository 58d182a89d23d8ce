//! Extended attributes. Source: `struct jfs_ea_list`, `struct jfs_ea` of Linux (`fs/jfs/jfs_xattr.h`), `xattr.c`.

use ntt_model::entry::{Encoding, Stream, StreamKind, Xattr};
use ntt_model::extent::{Extent, ExtentKind};
use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::field::{le_u16, le_u32, u8_at};

use super::inode::{Attributes, RawInode};
use super::volume::Volume;
use crate::report::Report;

/// Values up to this length travel with the inode.
const SMALL: usize = 4096;
/// A list is no longer: its blocks are counted in a byte.
const LIST_MAX: u32 = 1 << 20;
const INLINE_AT: u64 = 384;
const HEAD_LEN: usize = 4;
/// Prefixes that Linux stores; names without one are of OS/2.
const PREFIXES: [&[u8]; 4] = [b"user.", b"system.", b"security.", b"trusted."];

/// The attributes of an inode.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) small: Vec<Xattr>,
    pub(super) large: Vec<Stream>,
}

/// Reads the attributes of an inode.
pub(super) fn read(volume: &Volume<'_>, raw: &RawInode<'_>, number: u64, report: &mut Report) -> Found {
    let mut complain = |finding: Finding| report.push(finding.on_inode(number));
    let (bytes, offset) = match raw.attributes() {
        Attributes::None => return Found::default(),
        Attributes::Inline(bytes) => (bytes.to_vec(), raw.offset.saturating_add(INLINE_AT)),
        Attributes::Blocks(run, size) => {
            let what = (Layer::Inode, "the attributes");
            let len = usize::try_from(size.min(LIST_MAX)).unwrap_or(0);
            let Some(offset) = volume.run_offset(run) else {
                let detail = "the blocks of the attributes do not exist";
                return {
                    complain(flaw(detail, volume.device.in_image(raw.offset)));
                    Found::default()
                };
            };
            match volume.device.read_vec(offset, len, what) {
                Ok(bytes) => (bytes, offset),
                Err(finding) => {
                    complain(finding);
                    return Found::default();
                }
            }
        }
    };
    let at = volume.device.in_image(offset);
    let (found, is_whole) = list(&bytes, at);
    if !is_whole {
        complain(flaw("the list of attributes is damaged", at));
    }
    found
}

fn flaw(detail: &str, at: u64) -> Finding {
    Finding::new(Severity::Loss, Layer::Inode, FindingCode::Corrupt, detail).at(at)
}

/// Reads a list that lies at `at` in the image; whether all of it made sense.
fn list(bytes: &[u8], at: u64) -> (Found, bool) {
    let mut found = Found::default();
    let size = le_u32(bytes, 0).and_then(|size| usize::try_from(size).ok());
    let Some(list) = size.and_then(|size| bytes.get(HEAD_LEN..size)) else {
        return (found, false);
    };
    let mut rest = list;
    let mut place = at.saturating_add(4);
    while !rest.is_empty() {
        let Some((name, value_at, value)) = attribute(rest) else {
            return (found, false);
        };
        let within = u64::try_from(value_at).unwrap_or(0);
        if value.len() > SMALL {
            found
                .large
                .push(stream(name, place.saturating_add(within), value));
        } else {
            found.small.push(Xattr {
                name,
                value: value.to_vec(),
            });
        }
        let len = value_at.saturating_add(value.len());
        rest = rest.get(len..).unwrap_or_default();
        place = place.saturating_add(u64::try_from(len).unwrap_or(0));
    }
    (found, true)
}

/// Name, where the value starts, and the value of the first attribute.
fn attribute(bytes: &[u8]) -> Option<(Vec<u8>, usize, &[u8])> {
    let name_len = usize::from(u8_at(bytes, 1)?);
    let value_len = usize::from(le_u16(bytes, 2)?);
    let name_end = HEAD_LEN.checked_add(name_len)?;
    let name = bytes.get(HEAD_LEN..name_end).filter(|name| !name.is_empty())?;
    // A NUL ends the name.
    let value_at = name_end.checked_add(1)?;
    let value = bytes.get(value_at..value_at.checked_add(value_len)?)?;
    let has_prefix = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let prefix: &[u8] = if has_prefix { b"" } else { b"os2." };
    Some(([prefix, name].concat(), value_at, value))
}

fn stream(name: Vec<u8>, at: u64, value: &[u8]) -> Stream {
    let len = u64::try_from(value.len()).unwrap_or(0);
    Stream {
        kind: StreamKind::Xattr(name),
        size_bytes: len,
        extents: vec![Extent {
            logical_offset: 0,
            image_offset: at,
            len,
            kind: ExtentKind::Inline,
        }],
        encoding: Encoding::Plain,
        extents_incomplete: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_a_prefix_are_those_of_os2() {
        let mut bytes = vec![0, 0, 0, 0];
        bytes.extend([0, 8, 1, 0]);
        bytes.extend(b"user.one\x001");
        bytes.extend([0, 5, 2, 0]);
        bytes.extend(b".TYPE\0ab");
        bytes[0] = u8::try_from(bytes.len()).expect("small");
        let (found, is_whole) = list(&bytes, 0);
        assert!(is_whole);
        let pairs: Vec<_> = found
            .small
            .iter()
            .map(|xattr| (xattr.name.as_slice(), xattr.value.as_slice()))
            .collect();
        assert_eq!(
            pairs,
            [(b"user.one".as_slice(), b"1".as_slice()), (b"os2..TYPE", b"ab")]
        );
        bytes[20] = 99;
        assert!(!list(&bytes, 0).1);
        bytes[0] = 200;
        assert!(!list(&bytes, 0).1);
    }
}
