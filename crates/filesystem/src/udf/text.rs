//! Names, identifiers and timestamps (UDF 2.1.1, 2.1.3, 2.1.5; ECMA-167, 1/7).

use ntt_model::Timestamp;
use ntt_source::field::{array, le_u16, u8_at};

use crate::name::wtf8_from_utf16;

/// OSTA compressed unicode (UDF 2.1.1) as WTF-8: the first byte says whether characters have 8 or 16 bits. 254 and 255 stand for the same
/// forms in names of deleted entries (UDF 2.3.4.2). With an unknown first byte all bytes are kept as they are.
pub(super) fn unicode(bytes: &[u8]) -> Vec<u8> {
    match bytes.split_first() {
        None => Vec::new(),
        Some((8 | 254, text)) => wtf8_from_utf16(text.iter().map(|byte| u16::from(*byte))),
        Some((16 | 255, text)) => wtf8_from_utf16(text.chunks(2).map(|pair| match *pair {
            [high, low] => u16::from_be_bytes([high, low]),
            [byte] => u16::from(byte),
            _ => 0,
        })),
        Some(_) => bytes.to_vec(),
    }
}

/// A string in a field of fixed length, whose last byte says how many bytes are used (UDF 2.1.3).
pub(super) fn dstring(field: &[u8]) -> Vec<u8> {
    let Some((used, text)) = field.split_last() else {
        return Vec::new();
    };
    let used = text.get(..usize::from(*used)).unwrap_or(text);
    let text = unicode(used);
    let end = text
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last.saturating_add(1));
    text.get(..end).unwrap_or_default().to_vec()
}

/// The identifier in an entity identifier (ECMA-167, 1/7.4), without padding.
pub(super) fn entity(field: &[u8]) -> &[u8] {
    let identifier = field.get(1..24).unwrap_or_default();
    let end = identifier.iter().position(|byte| *byte == 0);
    identifier
        .get(..end.unwrap_or(identifier.len()))
        .unwrap_or_default()
}

/// The UDF revision in the suffix of a domain or UDF identifier (UDF 2.1.5.3), binary-coded decimal: 0x0250.
pub(super) fn revision(field: &[u8]) -> u16 {
    le_u16(field, 24).unwrap_or(0)
}

/// A revision as people write it: `2.50`.
pub(super) fn shown_revision(revision: u16) -> String {
    format!("{:x}.{:02x}", revision >> 8, revision & 0xff)
}

/// Minutes that stand for "no zone".
const NO_ZONE: i64 = -2047;

/// A timestamp (ECMA-167, 1/7.3): local time with its distance from UTC in minutes. `None` if it is unset or no date.
pub(super) fn timestamp(field: &[u8]) -> Option<Timestamp> {
    let type_and_zone = le_u16(field, 0)?;
    let year = i16::from_le_bytes(array(field, 2)?);
    let [month, day, hour, minute, second, centi, hundreds, micros] = array::<8>(field, 4)?;
    let micros = u32::from(centi.min(99))
        .saturating_mul(10_000)
        .saturating_add(u32::from(hundreds.min(99)).saturating_mul(100))
        .saturating_add(u32::from(micros.min(99)));
    let local = Timestamp::from_civil(
        (year, month, day),
        (hour, minute, second),
        micros.saturating_mul(1000),
    )?;
    let minutes = zone_minutes(type_and_zone);
    let shift = minutes.checked_mul(60_000_000_000)?;
    local.as_nanos().checked_sub(shift).map(Timestamp::from_nanos)
}

/// Twelve bits, signed; an unset zone or one of more than a day is taken as UTC.
fn zone_minutes(type_and_zone: u16) -> i64 {
    let raw = i64::from(type_and_zone & 0x0fff);
    let minutes = if raw >= 0x800 {
        raw.saturating_sub(0x1000)
    } else {
        raw
    };
    let is_zone = minutes != NO_ZONE && minutes.abs() <= 1440;
    if is_zone { minutes } else { 0 }
}

/// The volume's identifier as `blkid` derives it from the volume set identifier: its first 16 characters if they are hexadecimal,
/// else 8 of them and the codes of four more, else the codes of the first 8. `None` if it is too short.
pub(super) fn uuid(volume_set: &[u8]) -> Option<String> {
    u8_at(volume_set, 7)?;
    let mut padded = [0; 16];
    for (to, from) in padded.iter_mut().zip(volume_set) {
        *to = *from;
    }
    let hexadecimal = padded.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, codes) = match hexadecimal {
        16 => (16, 0),
        8..16 => (8, 4),
        _ => (0, 8),
    };
    let digits_part = padded
        .iter()
        .take(digits)
        .map(|byte| char::from(*byte).to_ascii_lowercase());
    let mut uuid: String = digits_part.collect();
    for byte in padded.iter().skip(digits).take(codes) {
        uuid.push_str(&format!("{byte:02x}"));
    }
    Some(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_wtf8() {
        assert_eq!(unicode(b"\x08caf\xe9"), "caf\u{e9}".as_bytes());
        assert_eq!(unicode(b"\x10\x01\x7c\xd8\x00"), b"\xc5\xbc\xed\xa0\x80");
        assert_eq!(unicode(b"\xfegone"), b"gone");
        assert_eq!(unicode(b"raw"), b"raw");
        assert_eq!(unicode(b""), b"");
    }

    #[test]
    fn strings_end_where_their_last_byte_says() {
        assert_eq!(dstring(b"\x08Label\0\0\0\x06"), b"Label");
        assert_eq!(dstring(b"\x08Label\0\0\0\xff"), b"Label");
        assert_eq!(dstring(b"\0\0\0\0"), b"");
    }

    #[test]
    fn zones_are_taken_off_and_absurd_ones_ignored() {
        let at = |zone: u16| {
            let mut field = vec![0; 12];
            field[..2].copy_from_slice(&(0x1000 | (zone & 0x0fff)).to_le_bytes());
            field[2..10].copy_from_slice(&[0xd8, 0x07, 4, 15, 12, 34, 56, 78]);
            timestamp(&field).map(|time| time.to_string()).unwrap_or_default()
        };
        assert_eq!(at(60), "2008-04-15T11:34:56.78Z");
        assert_eq!(at(0x1000 - 90), "2008-04-15T14:04:56.78Z");
        assert_eq!(at(0x801), "2008-04-15T12:34:56.78Z", "-2047 is no zone");
        assert_eq!(timestamp(&[0; 12]), None);
        assert_eq!(timestamp(&[0; 5]), None);
    }

    #[test]
    fn the_uuid_is_that_of_blkid() {
        assert_eq!(
            uuid(b"5906e052003d522aLinuxUDF").as_deref(),
            Some("5906e052003d522a")
        );
        assert_eq!(uuid(b"691EED13 (Mac OS X").as_deref(), Some("691eed1320284d61"));
        assert_eq!(uuid(b"20c624ac").as_deref(), Some("20c624ac00000000"));
        assert_eq!(uuid(b"My discs").as_deref(), Some("4d79206469736373"));
        assert_eq!(uuid(b"short"), None);
    }
}
