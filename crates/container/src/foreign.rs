//! Containers that are known by their magic and not read.
//!
//! Their bytes are not those of a medium: what a reader finds in them by its signature has its blocks in other places. So they are refused, and that is said.

use crate::open::{Found, OpenError, Subject};

/// A container, and what it starts with.
struct Foreign {
    format: &'static str,
    magic: &'static [u8],
}

/// Disks of virtual machines, forensic images, images of partitions and discs, archives of files, floppies. Magics of less than four bytes are in [`by_name`].
const FOREIGN: [Foreign; 36] = [
    known("Parallels", b"WithoutFreeSpace"),
    known("Parallels", b"WithouFreSpacExt"),
    known("QED", b"QED\0"),
    known("Bochs", b"Bochs Virtual HD Image"),
    known("UML COW", b"OOOM\0\0\0"),
    known("UML COW", b"MOOO"),
    known("AFF", b"AFF10\r\n\0"),
    known("CHD", b"MComprHD"),
    known("WIM", b"MSWIM\0\0\0"),
    known("WIM", b"WLPWM\0\0\0"),
    known("cloop", b"#!/bin/sh\n#V2.0 Format\n"),
    known("cloop", b"#!/bin/sh\n#V1.0 Format\n"),
    known("DAA", b"DAA\0\0\0\0\0"),
    known("GBI", b"GBI\0\0\0\0\0"),
    known("ISZ", b"IsZ!"),
    known("CSO", b"CISO"),
    known("ZSO", b"ZISO"),
    known("partclone", b"partclone-image"),
    known("Partimage", b"PaRtImAgE-VoLuMe"),
    known("ntfsclone", b"\0ntfsclone-image"),
    known("Android sparse image", b"\x3a\xff\x26\xed\x01\0"),
    known("Acronis", b"\xb4\x6e\x68\x44"),
    known("UDIF", b"cdsaencr"),
    known("FFU", b"\0\0\0\0SignedImage "),
    known("ImageDisk", b"IMD 0."),
    known("ImageDisk", b"IMD 1."),
    known("HFE", b"HXCPICFE"),
    known("HFE", b"HXCHFEV3"),
    known("DMS", b"DMS!"),
    known("IPF", b"CAPS\0\0\0\x0c"),
    known("STX", b"RSY\0"),
    known("WOZ", b"WOZ1\xff\n\r\n"),
    known("WOZ", b"WOZ2\xff\n\r\n"),
    known("2IMG", b"2IMG"),
    known("CPC DSK", b"EXTENDED CPC DSK"),
    known("CPC DSK", b"MV - CPC"),
];

const fn known(format: &'static str, magic: &'static [u8]) -> Foreign {
    Foreign { format, magic }
}

/// The container that a file is, if it is one of these.
fn format_of(name: &[u8], head: &[u8], tail: &[u8]) -> Option<&'static str> {
    let by_magic = FOREIGN.iter().find(|foreign| head.starts_with(foreign.magic));
    by_magic
        .map(|foreign| foreign.format)
        .or_else(|| aff4(head))
        .or_else(|| by_end(tail))
        .or_else(|| by_name(name, head, tail))
}

/// A zip archive whose first member is that of an AFF4 volume.
fn aff4(head: &[u8]) -> Option<&'static str> {
    let member = head.get(30..)?;
    let is_volume = member.starts_with(b"container.description") || member.starts_with(b"information.turtle");
    (head.starts_with(b"PK\x03\x04") && is_volume).then_some("AFF4")
}

fn by_end(tail: &[u8]) -> Option<&'static str> {
    let ends = |magic: &[u8], from_end: usize| {
        let at = tail.len().checked_sub(from_end);
        at.and_then(|at| tail.get(at..))
            .is_some_and(|end| end.starts_with(magic))
    };
    if ends(b"bbis", 64) {
        return Some("UIF");
    }
    ends(b"cdsaencr", 8).then_some("UDIF")
}

/// Formats whose magic is too short to be believed without the name.
fn by_name(name: &[u8], head: &[u8], tail: &[u8]) -> Option<&'static str> {
    let is_named = |extension: &[u8]| {
        let dot = name.len().checked_sub(extension.len());
        dot.and_then(|dot| name.get(dot..))
            .is_some_and(|end| end.eq_ignore_ascii_case(extension))
    };
    let version = tail
        .last_chunk::<8>()
        .map(|end| u64::from_le_bytes(*end) & 0xffff_ffff);
    let is_ghost = is_named(b".gho") || is_named(b".ghs");
    if is_ghost && head.starts_with(b"\xfe\xef") {
        return Some("Ghost");
    }
    if is_named(b".mdx") && head.starts_with(b"MEDIA DESCRIPTOR") {
        return Some("MDX");
    }
    if is_named(b".td0") && (head.starts_with(b"TD\0") || head.starts_with(b"td\0")) {
        return Some("TeleDisk");
    }
    let is_disc = matches!(version, Some(0x8000_0004..=0x8000_0006));
    (is_named(b".cdi") && is_disc).then_some("DiscJuggler")
}

pub(crate) fn matches(name: &[u8], head: &[u8], tail: &[u8]) -> bool {
    format_of(name, head, tail).is_some()
}

/// Says what it is, and that it is not read.
pub(crate) fn refuse(subject: &Subject<'_>) -> Result<Found, OpenError> {
    let format = format_of(subject.name, &subject.head, &subject.tail).unwrap_or("container");
    Err(OpenError::unsupported(
        format,
        "containers of this kind are not read, and their bytes are not those of the image",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r14_short_magics_count_only_with_the_name() {
        assert_eq!(format_of(b"C.GHO", b"\xfe\xef\x01", b""), Some("Ghost"));
        assert_eq!(format_of(b"c.img", b"\xfe\xef\x01", b""), None);
        let end = [0, 0, 0, 0, 6, 0, 0, 0x80, 1, 2, 3, 4];
        assert_eq!(format_of(b"game.cdi", b"", &end), Some("DiscJuggler"));
        assert_eq!(format_of(b"game.img", b"", &end), None);
        assert_eq!(format_of(b"a.mdx", b"MEDIA DESCRIPTOR\x02", b""), Some("MDX"));
        assert_eq!(format_of(b"", b"", b""), None);
    }

    #[test]
    fn r14_an_end_or_a_first_member_may_tell_too() {
        let mut end = [0; 100];
        end[36..40].copy_from_slice(b"bbis");
        assert_eq!(format_of(b"a.uif", b"", &end), Some("UIF"));
        let mut head = [0; 60];
        head[..4].copy_from_slice(b"PK\x03\x04");
        assert_eq!(format_of(b"a.aff4", &head, b""), None);
        head[30..51].copy_from_slice(b"container.description");
        assert_eq!(format_of(b"a.aff4", &head, b""), Some("AFF4"));
    }
}
