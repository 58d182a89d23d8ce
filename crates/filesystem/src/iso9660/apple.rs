//! Apple's extensions to ISO 9660: type, creator and flags of a file in the system use area of its record (Apple Technical Note FL 36).
//!
//! They need no Rock Ridge: discs of Macintosh mastering programs have them alone. The resource fork is an associated file, which the directory
//! reader joins.

use ntt_source::field::array;

use super::susp::entries;

/// `com.apple.FinderInfo`: type, creator, flags; position, folder and the extended part are not recorded.
pub(super) type FinderInfo = [u8; 32];

/// Where entries start: at once, or after the attributes of CD-ROM XA.
const STARTS: [usize; 2] = [0, 14];

/// Type, creator and flags as a system use area records them, if it does and they are those of HFS.
pub(super) fn finder_info(area: &[u8]) -> Option<FinderInfo> {
    STARTS.into_iter().find_map(|start| {
        let area = area.get(start..)?;
        let modern = entries(area).find(|entry| entry.signature == *b"AA" && entry.data.len() == 10);
        let fields = modern.map(|entry| entry.data).or_else(|| old(area))?;
        let mut info = [0; 32];
        info.get_mut(..10)?.copy_from_slice(fields);
        Some(info)
    })
}

/// The protocol before that of SUSP: `BA`, a system identifier (2 to 6 for HFS) in place of the length, then the same fields.
fn old(area: &[u8]) -> Option<&[u8]> {
    let [b'B', b'A', 2..=6] = array::<3>(area, 0)? else {
        return None;
    };
    area.get(3..13)
}

#[cfg(test)]
mod tests {
    use super::super::susp::tests::entry;
    use super::*;

    fn start(info: Option<FinderInfo>) -> Option<[u8; 10]> {
        info.and_then(|info| array(&info, 0))
    }

    #[test]
    fn type_and_creator_are_found_before_and_among_other_entries() {
        let apple = entry(b"AA", b"TEXTttxt\x01\x00");
        let expected = Some(*b"TEXTttxt\x01\x00");
        assert_eq!(start(finder_info(&apple)), expected);
        let among = [entry(b"NM", b"\0name"), apple.clone()].concat();
        assert_eq!(start(finder_info(&among)), expected);
        let behind_xa = [vec![0; 14], apple].concat();
        assert_eq!(start(finder_info(&behind_xa)), expected);
        assert_eq!(start(finder_info(b"BA\x06TEXTttxt\x01\x00")), expected);
    }

    #[test]
    fn prodos_and_others_are_none() {
        assert_eq!(finder_info(&entry(b"AA", b"\x04\0\0")), None);
        assert_eq!(finder_info(b"BA\x01TEXTttxt\x01\x00"), None);
        assert_eq!(finder_info(&entry(b"NM", b"\0name")), None);
        assert_eq!(finder_info(b""), None);
    }
}
