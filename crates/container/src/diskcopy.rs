//! DiskCopy 4.2: images of Macintosh floppies, with the tags of their sectors.
//!
//! ```text
//! 0 name (Pascal string, 64) | 64 data bytes | 68 tag bytes | 72 data checksum | 76 tag checksum | 80 encoding | 81 format | 82 0x0100 | 84 data, tags
//! ```
//!
//! Source: *Disk Copy 4.2 image file format*, Apple II File Type Note $E0/$0005. Tags (12 bytes for each sector of 512) are not part of the image;
//! their checksum leaves out the first 12 bytes.

use std::sync::Arc;

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::{ReadAt, field};

use crate::layer::{HashAlgorithm, StoredHash, shown};
use crate::layout::{Layout, Run, image, read_upto};
use crate::open::{Found, OpenError, Subject};

const FORMAT: &str = "DiskCopy 4.2";
const HEADER_BYTES: u64 = 84;
const MAGIC: u16 = 0x0100;
/// A floppy has at most 2,949,120 bytes; hard disks were never imaged so.
const DATA_BYTES_MAX: u64 = 4 << 20;
/// Tags whose sum is left out.
const FIRST_TAG_BYTES: usize = 12;

/// Lengths that fit the file are what makes the short magic trustworthy.
pub(crate) fn matches(head: &[u8], len: u64) -> bool {
    let Some(header) = Header::parse(head) else {
        return false;
    };
    let needed = HEADER_BYTES
        .saturating_add(header.data_bytes)
        .saturating_add(header.tag_bytes);
    let has_name = head.first().is_some_and(|len| *len < 64);
    has_name
        && (1..=DATA_BYTES_MAX).contains(&header.data_bytes)
        && header.data_bytes.is_multiple_of(512)
        && header.tag_bytes <= header.data_bytes
        && (needed == len || (needed <= len && len.saturating_sub(needed) < 512))
}

struct Header {
    data_bytes: u64,
    tag_bytes: u64,
    data_sum: u32,
    tag_sum: u32,
    encoding: u8,
}

impl Header {
    fn parse(head: &[u8]) -> Option<Self> {
        (field::be_u16(head, 82)? == MAGIC).then_some(Self {
            data_bytes: u64::from(field::be_u32(head, 64)?),
            tag_bytes: u64::from(field::be_u32(head, 68)?),
            data_sum: field::be_u32(head, 72)?,
            tag_sum: field::be_u32(head, 76)?,
            encoding: field::u8_at(head, 80)?,
        })
    }
}

pub(crate) fn open(subject: &Subject<'_>) -> Result<Found, OpenError> {
    let header =
        Header::parse(&subject.head).ok_or_else(|| OpenError::corrupt(FORMAT, "the header is cut short"))?;
    let mut layer = subject.layer(FORMAT);
    let name_len = subject.head.first().map_or(0, |len| usize::from(*len));
    let name = subject
        .head
        .get(1..name_len.saturating_add(1))
        .unwrap_or_default();
    layer.fact("disk name", shown(name));
    layer.fact("encoding", encoding(header.encoding));
    layer.hashes.push(StoredHash {
        algorithm: HashAlgorithm::DiskCopy,
        hex: format!("{:08x}", header.data_sum),
        range: ByteRange::new(0, header.data_bytes),
        leaves_out: Vec::new(),
    });
    let mut findings = Vec::new();
    if header.tag_bytes > 0 {
        layer.fact("tags", format!("{} bytes", header.tag_bytes));
        let at = HEADER_BYTES.saturating_add(header.data_bytes);
        let tags = read_upto(subject.source, at, header.tag_bytes).unwrap_or_default();
        let is_right = sum(tags.get(FIRST_TAG_BYTES..).unwrap_or_default()) == header.tag_sum;
        // Some programs summed all of them.
        if !is_right && sum(&tags) != header.tag_sum {
            let detail = format!("{FORMAT}: the checksum of the tags is wrong");
            findings.push(Finding::new(
                Severity::Warning,
                Layer::Image,
                FindingCode::Corrupt,
                detail,
            ));
        }
        let detail = format!(
            "{FORMAT}: the {} bytes of tags are not part of the image",
            header.tag_bytes
        );
        findings.push(Finding::new(
            Severity::Info,
            Layer::Image,
            FindingCode::Unsupported,
            detail,
        ));
    }
    let layout = Data {
        source: subject.source.clone(),
        len: header.data_bytes,
    };
    Ok(Found::new(layer, findings, image(layout)))
}

fn encoding(code: u8) -> &'static str {
    match code {
        0 => "GCR, 400 KB",
        1 => "GCR, 800 KB",
        2 => "MFM, 720 KB",
        3 => "MFM, 1440 KB",
        _ => "",
    }
}

/// Each big-endian word is added, then the sum is rotated right by one bit.
fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks_exact(2).filter_map(|pair| pair.try_into().ok());
    words.fold(0_u32, |sum, pair| {
        sum.wrapping_add(u32::from(u16::from_be_bytes(pair)))
            .rotate_right(1)
    })
}

struct Data {
    source: Arc<dyn ReadAt>,
    len: u64,
}

impl Layout for Data {
    fn len(&self) -> u64 {
        self.len
    }

    fn locate(&self, offset: u64) -> Run<'_> {
        Run::Stored {
            source: &self.source,
            offset: HEADER_BYTES.saturating_add(offset),
            len: self.len.saturating_sub(offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(data: &[u8], tags: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 84];
        file[..5].copy_from_slice(b"\x04disk");
        file[64..68].copy_from_slice(&u32::try_from(data.len()).expect("small").to_be_bytes());
        file[68..72].copy_from_slice(&u32::try_from(tags.len()).expect("small").to_be_bytes());
        file[72..76].copy_from_slice(&sum(data).to_be_bytes());
        file[76..80].copy_from_slice(&sum(tags.get(12..).unwrap_or_default()).to_be_bytes());
        file[80..84].copy_from_slice(&[1, 0x22, 1, 0]);
        [file.as_slice(), data, tags].concat()
    }

    #[test]
    fn data_is_the_image_and_tags_are_told_of() {
        let data: Vec<u8> = (0..1024_u32).map(|at| at.to_le_bytes()[0]).collect();
        let bytes = file(&data, &[7; 24]);
        let len = u64::try_from(bytes.len()).expect("small");
        assert!(matches(&bytes, len));
        assert!(!matches(&bytes, len + 4096));
        let parts = crate::Parts::new(
            vec![crate::Part {
                name: b"disk.image".to_vec(),
                bytes: Some(Arc::new(bytes)),
            }],
            false,
        );
        let crate::Opening::Open(opened) = crate::open(&parts) else {
            panic!("not opened")
        };
        let mut found = vec![0; 1024];
        opened.image.read_exact_at(0, &mut found).expect("read");
        assert_eq!(found, data);
        assert_eq!(opened.image.len(), 1024);
        assert_eq!(opened.findings.len(), 1, "{:?}", opened.findings);
        assert_eq!(
            opened.layers[0].facts[0],
            ("disk name".to_owned(), "disk".to_owned())
        );
    }
}
