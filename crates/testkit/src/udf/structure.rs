//! The bytes of single structures (ECMA-167, parts 1, 3 and 4).

use super::Options;

/// 2008-04-15 12:34:56.78 UTC.
const TIME: [u8; 12] = [0, 0x10, 0xd8, 0x07, 4, 15, 12, 34, 56, 78, 0, 0];

/// A time in UTC, with 78 hundredths. Years are counted one by one, then months.
pub(super) fn timestamp(seconds: i64) -> [u8; 12] {
    let (mut days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let is_leap = |year: i16| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970_i16;
    let days_of = |year| if is_leap(year) { 366 } else { 365 };
    while days >= days_of(year) {
        days -= days_of(year);
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for len in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < len {
            break;
        }
        days -= len;
        month += 1;
    }
    let byte = |number: i64| u8::try_from(number).expect("small");
    let [low, high] = year.to_le_bytes();
    let (hour, minute, second) = (byte(second / 3600), byte(second / 60 % 60), byte(second % 60));
    [
        0,
        0x10,
        low,
        high,
        month,
        byte(days + 1),
        hour,
        minute,
        second,
        78,
        0,
        0,
    ]
}

/// Writes little-endian fields one after the other, or at a place.
#[derive(Default)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    pub(super) fn zeros(len: usize) -> Self {
        Self(vec![0; len])
    }

    pub(super) fn at(mut self, at: usize, bytes: &[u8]) -> Self {
        if self.0.len() < at + bytes.len() {
            self.0.resize(at + bytes.len(), 0);
        }
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(super) fn half(self, at: usize, value: u16) -> Self {
        self.at(at, &value.to_le_bytes())
    }

    pub(super) fn word(self, at: usize, value: u32) -> Self {
        self.at(at, &value.to_le_bytes())
    }

    pub(super) fn double(self, at: usize, value: u64) -> Self {
        self.at(at, &value.to_le_bytes())
    }

    pub(super) fn time(self, at: usize) -> Self {
        self.at(at, &TIME)
    }

    pub(super) fn entity(self, at: usize, identifier: &[u8], suffix: [u8; 2]) -> Self {
        self.at(at + 1, identifier).at(at + 24, &suffix)
    }

    pub(super) fn dstring(self, at: usize, len: usize, text: &str) -> Self {
        let bytes = unicode(&text.encode_utf16().collect::<Vec<_>>());
        let used = u8::try_from(bytes.len()).expect("short");
        self.at(at, &bytes).at(at + len - 1, &[used])
    }

    /// OSTA's character set.
    pub(super) fn charset(self, at: usize) -> Self {
        self.at(at + 1, b"OSTA Compressed Unicode")
    }

    /// Seals the structure: a tag before, whose CRC covers all bytes after it up to `len`.
    pub(super) fn sealed(mut self, options: &Options, id: u16, location: u32) -> Vec<u8> {
        let body_len = if options.crc { self.0.len() - 16 } else { 0 };
        let crc = crc(&self.0[16..16 + body_len]);
        let version = if options.revision >= 0x0200 { 3 } else { 2 };
        self = self
            .half(0, id)
            .half(2, version)
            .half(6, 1)
            .half(8, crc)
            .half(10, u16::try_from(body_len).expect("a block"))
            .word(12, location);
        self.0[4] = 0;
        self.0[4] = self.0[..16]
            .iter()
            .fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        self.0
    }
}

/// CRC-CCITT, bit by bit: another way than that of the reader.
fn crc(bytes: &[u8]) -> u16 {
    let mut crc = 0_u16;
    for byte in bytes {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
        }
    }
    crc
}

/// OSTA compressed unicode: 8 bits a character if that is enough.
pub(super) fn unicode(units: &[u16]) -> Vec<u8> {
    if units.is_empty() {
        return Vec::new();
    }
    match units
        .iter()
        .map(|unit| u8::try_from(*unit))
        .collect::<Result<Vec<u8>, _>>()
    {
        Ok(narrow) => [&[8], narrow.as_slice()].concat(),
        Err(_) => [16]
            .into_iter()
            .chain(units.iter().flat_map(|unit| unit.to_be_bytes()))
            .collect(),
    }
}

/// The path components of a link target.
pub(super) fn components(target: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let rest = target.strip_prefix('/').inspect(|_| bytes.extend([2, 0, 0, 0]));
    for part in rest.unwrap_or(target).split('/').filter(|part| !part.is_empty()) {
        let (kind, name) = match part {
            ".." => (3, Vec::new()),
            "." => (4, Vec::new()),
            name => (5, unicode(&name.encode_utf16().collect::<Vec<_>>())),
        };
        bytes.extend([kind, u8::try_from(name.len()).expect("short"), 0, 0]);
        bytes.extend(name);
    }
    bytes
}
