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

/// The name and the bytes of each table, in order.
pub(super) fn block_tables(text: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let Some(array) = after(text, b"<key>blkx</key>") else {
        return found;
    };
    let end = position(array, b"</array>").unwrap_or(array.len());
    let mut rest = array.get(..end).unwrap_or_default();
    while let Some(inside) = after(rest, b"<dict>") {
        let end = position(inside, b"</dict>").unwrap_or(inside.len());
        let (dict, behind) = inside.split_at(end);
        rest = behind;
        let Some(data) = value(dict, b"<key>Data</key>", b"<data>", b"</data>") else {
            continue;
        };
        let data: Vec<u8> = data
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        let name = value(dict, b"<key>CFName</key>", b"<string>", b"</string>")
            .or_else(|| value(dict, b"<key>Name</key>", b"<string>", b"</string>"));
        let name = name.map(|name| String::from_utf8_lossy(name).into_owned());
        if let Ok(bytes) = BASE64.decode(data) {
            found.push((name.unwrap_or_default(), bytes));
        }
        if found.len() >= TABLES_MAX {
            break;
        }
    }
    found
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
        assert_eq!(block_tables(text), [("whole".to_owned(), vec![1, 2, 3])]);
        assert_eq!(block_tables(b"<key>blkx</key><array><dict>"), []);
        assert_eq!(block_tables(b""), []);
    }
}
