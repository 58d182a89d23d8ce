//! The facts of an inode that nothing searches for, as one value: they take 20 bytes together, and 36 in columns of their own.
//!
//! LEB128 integers: generation, flags, links, a mask (1 mode, 2 uid, 4 gid), those of the three that are known; then the times but the modification
//! time, as [`crate::codec::put_times`] writes them.

use ntt_model::entry::Inode;
use ntt_model::time::Times;

use crate::Error;
use crate::codec::{self, Reader, put, put_times};

/// What [`decode`] gives.
pub(super) struct Facts {
    pub(super) generation: u64,
    pub(super) flags: u64,
    pub(super) links: u32,
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) times: Times,
}

/// Appends the facts of an inode.
pub(super) fn encode(out: &mut Vec<u8>, inode: &Inode) {
    put(out, inode.generation);
    put(out, inode.flags);
    put(out, u64::from(inode.links));
    let optional = [inode.mode, inode.uid, inode.gid];
    let mask = optional
        .iter()
        .zip([1, 2, 4])
        .filter(|(value, _)| value.is_some())
        .map(|(_, bit)| bit)
        .sum();
    put(out, mask);
    for value in optional.into_iter().flatten() {
        put(out, u64::from(value));
    }
    put_times(out, &inode.times);
}

/// The facts that [`encode`] wrote, with the modification time.
pub(super) fn decode(bytes: &[u8], modified: Option<i64>) -> Result<Facts, Error> {
    let mut reader = Reader::new(bytes, "facts");
    let small = |value: u64| {
        u32::try_from(value).map_err(|_| Error::Damaged("the column facts is malformed".to_owned()))
    };
    let (generation, flags, links) = (reader.take()?, reader.take()?, small(reader.take()?)?);
    let mask = reader.take()?;
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
        links,
        mode,
        uid,
        gid,
        times: codec::times(modified, reader.rest())?,
    })
}
