//! The block tables in a property list.
//!
//! Only what stands under the key `blkx` is looked at, tag by tag: `hdiutil` writes one form of it, and a whole XML parser would be more to trust.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Partitions of one image.
const TABLES_MAX: usize = 1024;
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

/// What stands under `blkx`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tables {
    /// The name and the bytes of each table, in order; none for one whose bytes cannot be had.
    pub(super) tables: Vec<(String, Option<Vec<u8>>)>,
    /// Whether the list has a beginning and an end, and so has its array.
    pub(super) is_whole: bool,
}

/// The tables of a property list.
pub(super) fn block_tables(text: &[u8]) -> Tables {
    let mut found = Tables::default();
    let Some(array) = after(text, b"<key>blkx</key>") else {
        return found;
    };
    let end = position(array, b"</array>");
    let bare = text.trim_ascii();
    let is_framed =
        (bare.starts_with(b"<?xml") || bare.starts_with(b"<plist")) && bare.ends_with(b"</plist>");
    found.is_whole = is_framed && end.is_some();
    let mut rest = array.get(..end.unwrap_or(array.len())).unwrap_or_default();
    while let Some(inside) = after(rest, b"<dict>") {
        if found.tables.len() >= TABLES_MAX {
            found.is_whole = false;
            break;
        }
        let end = position(inside, b"</dict>").unwrap_or(inside.len());
        let (dict, behind) = inside.split_at(end);
        rest = behind;
        let name = value(dict, b"<key>CFName</key>", b"<string>", b"</string>")
            .or_else(|| value(dict, b"<key>Name</key>", b"<string>", b"</string>"));
        let name = name.map(|name| String::from_utf8_lossy(name).into_owned());
        found.tables.push((name.unwrap_or_default(), data(dict)));
    }
    found
}

/// The bytes of an entry, if it has some that can be decoded.
fn data(dict: &[u8]) -> Option<Vec<u8>> {
    let data = value(dict, b"<key>Data</key>", b"<data>", b"</data>")?;
    let digits: Vec<u8> = data
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    BASE64.decode(digits).ok()
}

fn position(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// What stands behind the first `what`.
fn after<'a>(text: &'a [u8], what: &[u8]) -> Option<&'a [u8]> {
    text.get(position(text, what)?.checked_add(what.len())?..)
}

/// What stands between the tags behind a key.
fn value<'a>(dict: &'a [u8], key: &[u8], open: &[u8], close: &[u8]) -> Option<&'a [u8]> {
    let value = after(after(dict, key)?, open)?;
    value.get(..position(value, close)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_their_names_are_found() {
        let text = b"<plist><dict><key>resource-fork</key><dict><key>blkx</key>\n<array>\n<dict><key>Attributes</key>\
            <string>0x0050</string><key>Data</key><data>\nAQ\n ID\n</data><key>Name</key><string>whole</string></dict>\
            <dict><key>Data</key><data>!!</data></dict></array><key>plst</key><array><dict><key>Data</key><data>AAAA</data></dict></array>";
        let tables = vec![("whole".to_owned(), Some(vec![1, 2, 3])), (String::new(), None)];
        let is_whole = false;
        assert_eq!(
            block_tables(text),
            Tables {
                tables: tables.clone(),
                is_whole
            }
        );
        let closed = [text.as_slice(), b"</dict></dict></plist>\n"].concat();
        let is_whole = true;
        assert_eq!(block_tables(&closed), Tables { tables, is_whole });
        let broken = block_tables(b"<key>blkx</key><array><dict>");
        assert_eq!(broken.tables, [(String::new(), None)]);
        assert_eq!(block_tables(b""), Tables::default());
    }
}
