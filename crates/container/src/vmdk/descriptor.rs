//! The descriptor: lines of `key=value`, and of extents.

/// Extents of one disk: 2 GB each, and more of them than any disk has.
const EXTENTS_MAX: usize = 4096;

/// What a descriptor says.
#[derive(Default, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) create_type: String,
    pub(super) cid: String,
    pub(super) parent_cid: String,
    pub(super) parent_name: Option<Vec<u8>>,
    pub(super) extents: Vec<Extent>,
}

/// One extent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) sectors: u64,
    pub(super) kind: Kind,
    pub(super) file: Vec<u8>,
    /// First sector in the file.
    pub(super) offset: u64,
}

/// How an extent is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sparse,
    Flat,
    Zero,
    Other,
}

impl Descriptor {
    /// What can be understood of it.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let text = bytes.get(..end).unwrap_or_default();
        for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
            let line = line.trim_ascii();
            if let Some(extent) = Extent::parse(line) {
                if found.extents.len() < EXTENTS_MAX {
                    found.extents.push(extent);
                }
            } else if let Some(at) = line.iter().position(|byte| *byte == b'=') {
                let (key, value) = line.split_at(at);
                found.set(key.trim_ascii(), unquoted(value.get(1..).unwrap_or_default()));
            }
        }
        found
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        let text = || String::from_utf8_lossy(value).into_owned();
        match key.to_ascii_lowercase().as_slice() {
            b"createtype" => self.create_type = text(),
            b"cid" => self.cid = content_id(&text()),
            b"parentcid" => self.parent_cid = content_id(&text()),
            b"parentfilenamehint" => self.parent_name = Some(value.to_vec()),
            _ => {}
        }
    }
}

impl Extent {
    /// `RW 63 FLAT "disk-flat.vmdk" 0`; names may hold blanks.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.splitn(4, u8::is_ascii_whitespace);
        let access = words.next()?;
        if !matches!(access, b"RW" | b"RDONLY" | b"NOACCESS") {
            return None;
        }
        let sectors = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
        let kind = match words.next()? {
            b"SPARSE" => Kind::Sparse,
            b"FLAT" | b"VMFS" => Kind::Flat,
            b"ZERO" => Kind::Zero,
            _ => Kind::Other,
        };
        let rest = words.next().unwrap_or_default().trim_ascii();
        let (file, after) = match rest.strip_prefix(b"\"") {
            Some(quoted) => {
                let end = quoted
                    .iter()
                    .position(|byte| *byte == b'"')
                    .unwrap_or(quoted.len());
                quoted.split_at(end)
            }
            None => rest.split_at(rest.len()),
        };
        let after = after.strip_prefix(b"\"").unwrap_or(after);
        let offset = std::str::from_utf8(after.trim_ascii())
            .ok()
            .and_then(|text| text.parse().ok());
        Some(Self {
            sectors,
            kind,
            file: file.to_vec(),
            offset: offset.unwrap_or(0),
        })
    }
}

/// The number of a content in eight digits, however many it was written with; what is none stays as it is.
fn content_id(text: &str) -> String {
    u32::from_str_radix(text, 16).map_or_else(|_| text.to_ascii_lowercase(), |id| format!("{id:08x}"))
}

fn unquoted(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    let inner = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""));
    inner.unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_has_one_number_however_it_is_written() {
        for (text, expected) in [("ABCDEF01", "abcdef01"), ("2f", "0000002f"), ("None", "none")] {
            let found = Descriptor::parse(format!("CID={text}\nparentCID={text}").as_bytes());
            assert_eq!(
                (found.cid.as_str(), found.parent_cid.as_str()),
                (expected, expected)
            );
        }
    }

    #[test]
    fn extents_and_keys_are_found_among_other_lines() {
        let text = b"# Disk DescriptorFile\nversion=1\nCID=ABCDEF01\nparentCID=ffffffff\r\ncreateType=\"twoGbMaxExtentFlat\"\n\
            RW 4192256 SPARSE \"a b-s001.vmdk\"\nRW 63 FLAT \"x-f001.vmdk\" 128\nRDONLY 10 ZERO\nRW x FLAT \"y\"\n\0RW 1 ZERO\n";
        let found = Descriptor::parse(text);
        assert_eq!(
            (found.cid.as_str(), found.parent_cid.as_str()),
            ("abcdef01", "ffffffff")
        );
        assert_eq!(found.create_type, "twoGbMaxExtentFlat");
        let extents: Vec<_> = found
            .extents
            .iter()
            .map(|extent| (extent.sectors, extent.kind, extent.file.as_slice(), extent.offset))
            .collect();
        assert_eq!(
            extents,
            [
                (4_192_256, Kind::Sparse, &b"a b-s001.vmdk"[..], 0),
                (63, Kind::Flat, b"x-f001.vmdk", 128),
                (10, Kind::Zero, b"", 0),
            ]
        );
    }
}
