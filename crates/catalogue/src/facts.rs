//! The facts of an inode that nothing searches for, as one value, in all back ends: together they take 20 bytes, and 36 in columns of a server. The
//! embedded catalogue loads an inode with 850 instructions less than with columns.
//!
//! LEB128 integers: generation, flags, links times 8 and a mask (1 mode, 2 uid, 4 gid), those of the three that are known; then the times but the
//! modification time, as [`crate::codec::put_times`] writes them. Bits 0 and 19 of the flags change places: ext sets the latter in almost every inode
//! (`EXT4_EXTENTS_FL`), and nobody the former there. Rows of a server without the bit `LEAN` are older: the flags as they are, links and mask apart.

use ntt_model::entry::Inode;
use ntt_model::time::Times;

use crate::Error;
use crate::codec::{self, Reader, put, put_times};

/// What [`decode`] gives.
pub(crate) struct Facts {
    pub(crate) generation: u64,
    pub(crate) flags: u64,
    pub(crate) links: u32,
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) times: Times,
}

/// Appends the facts of an inode.
pub(crate) fn encode(out: &mut Vec<u8>, inode: &Inode) {
    put(out, inode.generation);
    put(out, swapped(inode.flags));
    let optional = [inode.mode, inode.uid, inode.gid];
    let mask = optional
        .iter()
        .zip([1, 2, 4])
        .filter(|(value, _)| value.is_some())
        .map(|(_, bit)| bit)
        .sum::<u64>();
    put(out, u64::from(inode.links) << 3 | mask);
    for value in optional.into_iter().flatten() {
        put(out, u64::from(value));
    }
    put_times(out, &inode.times);
}

/// Flags with bits 0 and 19 in each other's place.
const fn swapped(flags: u64) -> u64 {
    let differ = (flags ^ (flags >> 19)) & 1;
    flags ^ differ ^ (differ << 19)
}

/// The facts that [`encode`] wrote, with the modification time; `is_lean` unless they are of the older form.
pub(crate) fn decode(bytes: &[u8], is_lean: bool, modified: Option<i64>) -> Result<Facts, Error> {
    let mut reader = Reader::new(bytes, "facts");
    let small = |value: u64| {
        u32::try_from(value).map_err(|_| Error::Damaged("the column facts is malformed".to_owned()))
    };
    let (generation, flags, links) = (reader.take()?, reader.take()?, reader.take()?);
    let (flags, links, mask) = if is_lean {
        (swapped(flags), links >> 3, links & 7)
    } else {
        (flags, links, reader.take()?)
    };
    let mut optional = |bit| {
        if mask & bit == 0 {
            return Ok(None);
        }
        reader.take().and_then(small).map(Some)
    };
    let (mode, uid, gid) = (optional(1)?, optional(2)?, optional(4)?);
    Ok(Facts {
        generation,
        flags,
        links: small(links)?,
        mode,
        uid,
        gid,
        times: codec::times(modified, reader.rest())?,
    })
}

#[cfg(test)]
mod tests {
    use ntt_model::Timestamp;

    use super::*;
    use crate::conformance::file;

    #[test]
    fn facts_of_both_forms_come_back() {
        let modified = Some(1_000_000_000);
        let mut inode = file(7, 8, 4096);
        inode.links = u32::MAX;
        (inode.uid, inode.gid) = (None, Some(0));
        inode.times = Times {
            modified: modified.map(Timestamp::from_nanos),
            ..Times::default()
        };
        for flags in [0, 1, 0x8_0000, 0x8_0001, u64::MAX, 0x1234_5678] {
            inode.flags = flags;
            let mut lean = Vec::new();
            encode(&mut lean, &inode);
            let mut older = Vec::new();
            put(&mut older, inode.generation);
            put(&mut older, flags);
            put(&mut older, u64::from(inode.links));
            put(&mut older, 5);
            put(&mut older, u64::from(inode.mode.unwrap_or(0)));
            put(&mut older, u64::from(inode.gid.unwrap_or(0)));
            put_times(&mut older, &inode.times);
            for (bytes, is_lean) in [(lean, true), (older, false)] {
                let facts = decode(&bytes, is_lean, modified).unwrap();
                assert_eq!((facts.flags, facts.links), (flags, u32::MAX));
                assert_eq!((facts.mode, facts.uid, facts.gid), (inode.mode, None, inode.gid));
                assert_eq!((facts.generation, facts.times), (inode.generation, inode.times));
            }
        }
    }
}
