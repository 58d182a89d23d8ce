//! Reparse points: links, and content that some filter of Windows makes up.
//!
//! Tags: Microsoft's open specification [MS-FSCC], section 2.1.2.1; buffers of links: 2.1.2.4 and 2.1.2.5. The buffers of the Windows Subsystem for
//! Linux are those that the kernel's `fs/ntfs3` writes; that of compressed system files is `WOF_EXTERNAL_INFO` of the Windows SDK.

use ntt_model::Kind;
use ntt_source::field::{le_u16, le_u32};

use super::file_name::wtf8;

/// A reparse point.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reparse {
    pub(super) tag: u32,
    /// What the tag stands for, in words.
    pub(super) name: &'static str,
    pub(super) effect: Effect,
}

/// What a reparse point makes of its file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// A symbolic link; `None` if the buffer is broken.
    Link(Option<Vec<u8>>),
    /// A special file.
    Special(Kind),
    /// The content is what the data stream says.
    None,
    /// The content is compressed in the stream `WofCompressedData`, or in a WIM archive.
    Overlay(String),
    /// The content is elsewhere, if the file is marked as offline.
    WhenOffline,
    /// The content is elsewhere.
    Elsewhere,
}

const NAME_SURROGATE: u32 = 0xa000_0003;
const SYMLINK: u32 = 0xa000_000c;
const LX_SYMLINK: u32 = 0xa000_001d;
const OVERLAY: u32 = 0x8000_0017;
/// Cloud files: 16 tags that differ in these bits.
const CLOUD: u32 = 0x9000_001a;
const CLOUD_BITS: u32 = 0x0000_f000;

impl Reparse {
    /// Reads the value of the attribute.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let tag = le_u32(value, 0)?;
        let len = usize::from(le_u16(value, 4)?);
        let data = value.get(8..)?;
        let data = data.get(..len.min(data.len()))?;
        let (name, effect) = describe(tag, data);
        Some(Self { tag, name, effect })
    }
}

fn describe(tag: u32, data: &[u8]) -> (&'static str, Effect) {
    match tag {
        NAME_SURROGATE => ("junction", Effect::Link(path(data, 8))),
        SYMLINK => ("symbolic link", Effect::Link(path(data, 12))),
        LX_SYMLINK => (
            "Linux symbolic link",
            Effect::Link(data.get(4..).map(<[u8]>::to_vec)),
        ),
        0x8000_0023 => ("Unix socket", Effect::Special(Kind::Socket)),
        0x8000_0024 => ("Linux pipe", Effect::Special(Kind::Fifo)),
        0x8000_0025 => ("Linux character device", Effect::Special(Kind::CharDevice)),
        0x8000_0026 => ("Linux block device", Effect::Special(Kind::BlockDevice)),
        OVERLAY => ("compressed system file", Effect::Overlay(overlay(data))),
        0x8000_0013 => ("deduplicated file", Effect::Elsewhere),
        0x8000_0007 => ("single-instance file", Effect::Elsewhere),
        0x8000_0008 => ("WIM mount", Effect::None),
        0x8000_001b => ("application alias", Effect::None),
        0xc000_0004 | 0x8000_0006 => ("hierarchical storage file", Effect::WhenOffline),
        _ if tag & !CLOUD_BITS == CLOUD => ("cloud file", Effect::WhenOffline),
        _ => ("reparse point of an unknown kind", Effect::None),
    }
}

/// The substitute name, which is what Windows follows; the names start at `start`.
fn path(data: &[u8], start: usize) -> Option<Vec<u8>> {
    let at = usize::from(le_u16(data, 0)?).checked_add(start)?;
    let len = usize::from(le_u16(data, 2)?);
    Some(wtf8(data.get(at..at.checked_add(len)?)?))
}

/// Who provides the content of an overlay, and how it is compressed.
fn overlay(data: &[u8]) -> String {
    match (le_u32(data, 4), le_u32(data, 12)) {
        (Some(1), _) => "in a WIM archive".to_owned(),
        (Some(2), Some(0)) => "XPRESS, 4 KiB".to_owned(),
        (Some(2), Some(1)) => "LZX, 32 KiB".to_owned(),
        (Some(2), Some(2)) => "XPRESS, 8 KiB".to_owned(),
        (Some(2), Some(3)) => "XPRESS, 16 KiB".to_owned(),
        (provider, _) => format!("provider {}", provider.unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(tag: u32, data: &[u8]) -> Vec<u8> {
        let len = u16::try_from(data.len()).expect("short");
        [&tag.to_le_bytes()[..], &len.to_le_bytes(), &[0, 0], data].concat()
    }

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn links_lead_to_their_substitute_names() {
        let (print, target) = (utf16("x"), utf16("..\\other"));
        let mut data = vec![2, 0, 16, 0, 0, 0, 2, 0, 1, 0, 0, 0];
        data.extend([print.clone(), target.clone()].concat());
        let link = Reparse::parse(&value(0xa000_000c, &data)).expect("a link");
        assert_eq!(link.effect, Effect::Link(Some(b"..\\other".to_vec())));
        let mut data = vec![2, 0, 16, 0, 0, 0, 2, 0];
        data.extend([print, target].concat());
        let junction = Reparse::parse(&value(0xa000_0003, &data)).expect("a junction");
        assert_eq!(junction.effect, Effect::Link(Some(b"..\\other".to_vec())));
        let broken = Reparse::parse(&value(0xa000_0003, &data[..20])).expect("a junction");
        assert_eq!(broken.effect, Effect::Link(None));
    }

    #[test]
    fn content_that_is_elsewhere_is_named() {
        let effect = |tag, data: &[u8]| Reparse::parse(&value(tag, data)).expect("a tag").effect;
        let overlay = [1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0];
        assert_eq!(
            effect(0x8000_0017, &overlay),
            Effect::Overlay("LZX, 32 KiB".to_owned())
        );
        assert_eq!(effect(0x9000_301a, &[]), Effect::WhenOffline);
        assert_eq!(effect(0x8000_0013, &[]), Effect::Elsewhere);
        assert_eq!(
            effect(0xa000_001d, b"\x02\0\0\0/etc"),
            Effect::Link(Some(b"/etc".to_vec()))
        );
        assert_eq!(effect(0x1234_5678, &[]), Effect::None);
        assert_eq!(Reparse::parse(&[0; 7]), None);
    }
}
