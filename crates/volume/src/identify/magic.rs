//! Types that one magic number at a fixed place gives away.
//!
//! Offsets are those of the formats' own headers (Linux `fs/*/`, cryptsetup's on-disk formats, Apple's file system reference).

use ntt_source::ReadAt;
use ntt_source::field::array;

use super::Class::{Encrypted, FileSystem, Other};
use super::{Class, Identified};
use crate::bytes::{padded_text, read_vec, utf16_text, uuid_text};

/// How an identifier is stored.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// 16 bytes, big-endian.
    Uuid(u64),
    /// 36 characters.
    Text(u64),
    /// There is none, or not at a fixed place.
    None,
}

/// How a label is stored: first byte and length.
#[derive(Clone, Copy)]
pub(super) enum Label {
    /// Bytes, padded with NUL or blanks.
    Bytes(u64, usize),
    /// UTF-16LE.
    Utf16(u64, usize),
    /// There is none, or not at a fixed place.
    None,
}

/// A signature. Offsets count from the start of the volume.
pub(super) struct Magic {
    class: Class,
    type_name: &'static str,
    offset: u64,
    pub(super) bytes: &'static [u8],
    uuid: Form,
    label: Label,
}

impl Magic {
    pub(super) fn detect(&self, source: &dyn ReadAt) -> Option<Identified> {
        let found = read_vec(source, self.offset, self.bytes.len()).ok()?;
        if found != self.bytes {
            return None;
        }
        let uuid = match self.uuid {
            Form::Uuid(at) => uuid_at(source, at),
            Form::Text(at) => read_vec(source, at, 36).ok().map(|raw| padded_text(&raw)),
            Form::None => None,
        };
        let label = match self.label {
            Label::Bytes(at, len) => read_vec(source, at, len).ok().map(|raw| padded_text(&raw)),
            Label::Utf16(at, len) => read_vec(source, at, len).ok().map(|raw| utf16_text(&raw)),
            Label::None => None,
        };
        let identified = Identified::new(self.class, self.type_name);
        Some(
            identified
                .with_uuid(uuid.unwrap_or_default())
                .with_label(label.unwrap_or_default()),
        )
    }
}

/// A UUID of 16 bytes; all zeros is none.
pub(super) fn uuid_at(source: &dyn ReadAt, at: u64) -> Option<String> {
    let raw: [u8; 16] = array(&read_vec(source, at, 16).ok()?, 0)?;
    (raw != [0; 16]).then(|| uuid_text(raw))
}

const fn magic(
    class: Class,
    type_name: &'static str,
    offset: u64,
    bytes: &'static [u8],
    uuid: Form,
    label: Label,
) -> Magic {
    Magic {
        class,
        type_name,
        offset,
        bytes,
        uuid,
        label,
    }
}

/// All fixed signatures.
pub(super) const MAGICS: &[Magic] = &[
    magic(Encrypted, "BitLocker", 3, b"-FVE-FS-", Form::None, Label::None),
    magic(
        Encrypted,
        "crypto_LUKS",
        0,
        b"LUKS\xba\xbe\0\x01",
        Form::Text(168),
        Label::None,
    ),
    magic(
        Encrypted,
        "crypto_LUKS",
        0,
        b"LUKS\xba\xbe\0\x02",
        Form::Text(168),
        Label::Bytes(24, 48),
    ),
    magic(FileSystem, "apfs", 32, b"NXSB", Form::Uuid(72), Label::None),
    magic(
        FileSystem,
        "xfs",
        0,
        b"XFSB",
        Form::Uuid(32),
        Label::Bytes(108, 12),
    ),
    magic(
        FileSystem,
        "btrfs",
        65_600,
        b"_BHRfS_M",
        Form::Uuid(65_568),
        Label::Bytes(65_835, 256),
    ),
    magic(
        FileSystem,
        "reiserfs",
        8_244,
        b"ReIsErFs",
        Form::None,
        Label::None,
    ),
    magic(
        FileSystem,
        "reiserfs",
        65_588,
        b"ReIsErFs",
        Form::None,
        Label::None,
    ),
    magic(
        FileSystem,
        "reiserfs",
        65_588,
        b"ReIsEr2Fs",
        Form::Uuid(65_620),
        Label::Bytes(65_636, 16),
    ),
    magic(
        FileSystem,
        "reiserfs",
        65_588,
        b"ReIsEr3Fs",
        Form::Uuid(65_620),
        Label::Bytes(65_636, 16),
    ),
    magic(
        FileSystem,
        "reiser4",
        65_536,
        b"ReIsEr4",
        Form::Uuid(65_556),
        Label::Bytes(65_572, 16),
    ),
    magic(
        FileSystem,
        "jfs",
        32_768,
        b"JFS1",
        Form::Uuid(32_904),
        Label::Bytes(32_920, 16),
    ),
    magic(
        FileSystem,
        "f2fs",
        1024,
        b"\x10\x20\xf5\xf2",
        Form::Uuid(1132),
        Label::Utf16(1148, 1024),
    ),
    magic(
        FileSystem,
        "erofs",
        1024,
        b"\xe2\xe1\xf5\xe0",
        Form::Uuid(1072),
        Label::Bytes(1088, 16),
    ),
    magic(
        FileSystem,
        "vxfs",
        1024,
        b"\xf5\xfc\x01\xa5",
        Form::None,
        Label::None,
    ),
    magic(
        FileSystem,
        "vxfs",
        8192,
        b"\xa5\x01\xfc\xf5",
        Form::None,
        Label::None,
    ),
    magic(FileSystem, "bfs", 0, b"\xce\xfa\xad\x1b", Form::None, Label::None),
    magic(
        FileSystem,
        "befs",
        544,
        b"1SFB",
        Form::None,
        Label::Bytes(512, 32),
    ),
    magic(
        FileSystem,
        "befs",
        544,
        b"BFS1",
        Form::None,
        Label::Bytes(512, 32),
    ),
    magic(
        FileSystem,
        "cramfs",
        16,
        b"Compressed ROMFS",
        Form::None,
        Label::Bytes(48, 16),
    ),
    magic(
        FileSystem,
        "romfs",
        0,
        b"-rom1fs-",
        Form::None,
        Label::Bytes(16, 16),
    ),
    magic(
        Other,
        "bcache",
        4120,
        b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
        Form::Uuid(4136),
        Label::None,
    ),
    magic(
        Encrypted,
        "crypto_LUKS",
        0,
        b"SKUL\xba\xbe\0\x02",
        Form::Text(168),
        Label::Bytes(24, 48),
    ),
    magic(
        Encrypted,
        "crypto_LUKS",
        0x4000,
        b"SKUL\xba\xbe\0\x02",
        Form::Text(0x40a8),
        Label::Bytes(0x4018, 48),
    ),
    magic(
        Encrypted,
        "crypto_LUKS",
        0x8000,
        b"SKUL\xba\xbe\0\x02",
        Form::Text(0x80a8),
        Label::Bytes(0x8018, 48),
    ),
    magic(
        Encrypted,
        "crypto_LUKS",
        0x1_0000,
        b"SKUL\xba\xbe\0\x02",
        Form::Text(0x100a8),
        Label::Bytes(0x10018, 48),
    ),
    magic(
        Encrypted,
        "crypto_LUKS",
        0x2_0000,
        b"SKUL\xba\xbe\0\x02",
        Form::Text(0x200a8),
        Label::Bytes(0x20018, 48),
    ),
    magic(
        Encrypted,
        "crypto_LUKS",
        0x4_0000,
        b"SKUL\xba\xbe\0\x02",
        Form::Text(0x400a8),
        Label::Bytes(0x40018, 48),
    ),
    magic(
        Encrypted,
        "crypto_LUKS",
        0x8_0000,
        b"SKUL\xba\xbe\0\x02",
        Form::Text(0x800a8),
        Label::Bytes(0x80018, 48),
    ),
    magic(
        Encrypted,
        "crypto_LUKS",
        0x10_0000,
        b"SKUL\xba\xbe\0\x02",
        Form::Text(0x1000a8),
        Label::Bytes(0x100018, 48),
    ),
    magic(
        Encrypted,
        "crypto_LUKS",
        0x20_0000,
        b"SKUL\xba\xbe\0\x02",
        Form::Text(0x2000a8),
        Label::Bytes(0x200018, 48),
    ),
    magic(
        Encrypted,
        "crypto_LUKS",
        0x40_0000,
        b"SKUL\xba\xbe\0\x02",
        Form::Text(0x4000a8),
        Label::Bytes(0x400018, 48),
    ),
    magic(
        Encrypted,
        "DM_verity_hash",
        0,
        b"verity\0\0\x01\0\0\0",
        Form::Uuid(16),
        Label::None,
    ),
    magic(
        Encrypted,
        "DM_integrity",
        0,
        b"integrt\0",
        Form::None,
        Label::None,
    ),
    magic(
        Other,
        "DM_snapshot_cow",
        0,
        b"SnAp\x01\0\0\0",
        Form::None,
        Label::None,
    ),
    magic(FileSystem, "ReFS", 0, b"\0\0\0ReFS\0", Form::None, Label::None),
    magic(
        FileSystem,
        "exfs",
        0,
        b"EXFS",
        Form::Uuid(32),
        Label::Bytes(108, 12),
    ),
    magic(
        FileSystem,
        "oracleasm",
        32,
        b"ORCLDISK",
        Form::None,
        Label::Bytes(40, 24),
    ),
    magic(FileSystem, "nss", 4096, b"SPB5", Form::Uuid(4444), Label::None),
    magic(
        FileSystem,
        "mpool",
        0,
        b"mpoolDev",
        Form::Uuid(40),
        Label::Bytes(8, 32),
    ),
    magic(Other, "vdo", 0, b"dmvdo001", Form::Uuid(40), Label::None),
    magic(
        Other,
        "drbdproxy_datalog",
        0,
        b"DRBDdlh*",
        Form::Uuid(16),
        Label::None,
    ),
    magic(
        Other,
        "drbdmanage_control_volume",
        0,
        b"$DRBDmgr=q",
        Form::None,
        Label::None,
    ),
    magic(
        Other,
        "ceph_bluestore",
        0,
        b"bluestore block device",
        Form::None,
        Label::None,
    ),
    magic(
        FileSystem,
        "logfs",
        0,
        b"\x7a\x8e\x5c\xb1\xe3\xc4\x69\x37",
        Form::None,
        Label::None,
    ),
];
