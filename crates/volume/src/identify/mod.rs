//! Names what no reader here opens, by signatures: type names are those of `blkid`.
//!
//! Most types are one line of `magic::MAGICS`; those whose signature moves about or needs more than one look have a function in
//! `special`. Only a few sectors are read. A sector that cannot be read makes its signatures not match.

mod clustered;
mod firmware;
mod magic;
mod size;
mod special;
mod unix;

use ntt_source::ReadAt;
use serde::{Deserialize, Serialize};

/// Classes of content that is recognised but not read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Class {
    /// A file system without a reader here.
    FileSystem,
    /// Swap space.
    Swap,
    /// An encrypted container.
    Encrypted,
    /// A member of a RAID.
    Raid,
    /// A member of a volume manager.
    VolumeManager,
    /// Anything else that has a name.
    Other,
}

/// Something recognised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identified {
    /// What kind of thing.
    pub class: Class,
    /// The type as `blkid` names it.
    pub type_name: &'static str,
    /// Label, escaped for display; empty if there is none or it would cost more than a sector to find.
    pub label: String,
    /// UUID in the form of `blkid`; empty if there is none.
    pub uuid: String,
    /// Size in bytes that it says it has, where that is cheap to find.
    pub size_bytes: Option<u64>,
}

impl Identified {
    fn new(class: Class, type_name: &'static str) -> Self {
        Self {
            class,
            type_name,
            label: String::new(),
            uuid: String::new(),
            size_bytes: None,
        }
    }

    fn with_label(mut self, label: String) -> Self {
        self.label = label;
        self
    }

    fn with_size(mut self, size_bytes: Option<u64>) -> Self {
        self.size_bytes = size_bytes;
        self
    }

    fn with_uuid(mut self, uuid: String) -> Self {
        self.uuid = uuid;
        self
    }
}

/// Everything that matches, best first: what wraps other content (RAID, encryption, volume managers) before what it may wrap.
pub fn identify(source: &dyn ReadAt) -> Vec<Identified> {
    let mut all: Vec<Identified> = special::DETECTORS
        .iter()
        .filter_map(|detect| detect(source))
        .collect();
    all.extend(magic::MAGICS.iter().filter_map(|magic| magic.detect(source)));
    for identified in &mut all {
        identified.size_bytes = identified
            .size_bytes
            .or_else(|| size::size_bytes(identified.type_name, source));
    }
    all.dedup_by(|later, earlier| later.type_name == earlier.type_name);
    all.sort_by_key(|identified| match identified.class {
        Class::Raid => 0,
        Class::Encrypted => 1,
        Class::VolumeManager => 2,
        _ => 3,
    });
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn image(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; 512 * 1024];
        for (at, value) in parts {
            bytes[*at..*at + value.len()].copy_from_slice(value);
        }
        bytes
    }

    fn name(parts: &[(usize, &[u8])]) -> Option<&'static str> {
        identify(&image(parts))
            .first()
            .map(|identified| identified.type_name)
    }

    #[test]
    fn signatures_have_the_names_of_blkid() {
        assert_eq!(name(&[(4086, b"SWAPSPACE2"), (1024, &[1])]), Some("swap"));
        assert_eq!(name(&[(65526, b"SWAPSPACE2"), (1024, &[1])]), Some("swap"));
        assert_eq!(name(&[(0, b"LUKS\xba\xbe\0\x02")]), Some("crypto_LUKS"));
        assert_eq!(
            name(&[(512, b"LABELONE"), (536, b"LVM2 001")]),
            Some("LVM2_member")
        );
        assert_eq!(
            name(&[(4096, &[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0])]),
            Some("linux_raid_member")
        );
        assert_eq!(
            name(&[(0, &[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0])]),
            Some("linux_raid_member")
        );
        assert_eq!(
            name(&[(458_752, &[0xfc, 0x4e, 0x2b, 0xa9, 0, 0, 0, 0])]),
            Some("linux_raid_member")
        );
        assert_eq!(name(&[(3, b"-FVE-FS-")]), Some("BitLocker"));
        assert_eq!(name(&[(3, b"EXFAT   ")]), Some("exfat"));
        assert_eq!(name(&[(32, b"NXSB")]), Some("apfs"));
        assert_eq!(name(&[(512, b"LABELONE")]), None);
        assert_eq!(name(&[]), None);
    }

    /// A RAID member whose mirrored content is recognised too is a RAID member first.
    #[test]
    fn wrappers_come_before_their_content() {
        let parts: [(usize, &[u8]); 2] = [(4096, &[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0]), (0, b"XFSB")];
        let names: Vec<&str> = identify(&image(&parts))
            .iter()
            .map(|identified| identified.type_name)
            .collect();
        assert_eq!(names, ["linux_raid_member", "xfs"]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_detector_panic(
            len in 0..70_000_usize,
            seed in proptest::collection::vec(any::<u8>(), 1..64),
            at in 0..70_000_usize,
            magic in 0..magic::MAGICS.len(),
        ) {
            let mut bytes: Vec<u8> = seed.iter().copied().cycle().take(len).collect();
            for (to, from) in bytes.iter_mut().skip(at).zip(magic::MAGICS[magic].bytes) {
                *to = *from;
            }
            prop_assert!(identify(&bytes).len() < 16);
        }
    }
}
