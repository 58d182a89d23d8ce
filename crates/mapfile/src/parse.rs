//! From bytes to a map.

use ntt_model::ByteRange;

use crate::block::push;
use crate::write::COLUMNS_OF_STATUS;
use crate::{Activity, BLOCKS_MAX, Block, Error, Mapfile, POSITION_MAX, Status};

/// Comment lines kept from the head of a file; the rest is dropped.
const COMMENTS_MAX: usize = 64;

impl Mapfile {
    /// Reads a mapfile. Comments after the status line are dropped.
    ///
    /// # Errors
    ///
    /// The first line that breaks the format, see [`Error`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut map = Self::default();
        let mut has_status = false;
        for (line, raw) in (1_usize..).zip(bytes.split(|byte| *byte == b'\n')) {
            let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
            let fields = fields_of(raw);
            if fields.is_empty() {
                if !has_status {
                    keep_comment(&mut map.comments, raw);
                }
            } else if has_status {
                map.add_block_line(&fields, line)?;
            } else {
                map.take_status_line(&fields, line)?;
                has_status = true;
            }
        }
        if has_status { Ok(map) } else { Err(Error::Empty) }
    }

    fn take_status_line(&mut self, fields: &[&[u8]], line: usize) -> Result<(), Error> {
        let syntax = |detail| Error::Syntax { line, detail };
        let (position, activity, pass) = match fields {
            // Written by versions before 1.22, which did not count passes.
            [position, activity] => (position, activity, b"1".as_slice()),
            [position, activity, pass] => (position, activity, *pass),
            _ => return Err(syntax("the status line has 2 or 3 fields")),
        };
        self.position = number(position).ok_or_else(|| syntax("the current position is not a number"))?;
        self.activity = letter(activity)
            .and_then(Activity::from_letter)
            .ok_or_else(|| syntax("the current status is none of ? * / - F G +"))?;
        self.pass = decimal(pass)
            .and_then(|pass| u32::try_from(pass).ok())
            .filter(|pass| *pass > 0)
            .ok_or_else(|| syntax("the current pass is not a decimal number from 1"))?;
        Ok(())
    }

    fn add_block_line(&mut self, fields: &[&[u8]], line: usize) -> Result<(), Error> {
        let block = parse_block(fields, line)?;
        let expected = self.blocks.last().map(|last| last.range.end());
        let actual = block.range.offset;
        match expected {
            Some(expected) if actual < expected => {
                return Err(Error::Overlap {
                    line,
                    expected,
                    actual,
                });
            }
            Some(expected) if actual > expected => {
                return Err(Error::Gap {
                    line,
                    expected,
                    actual,
                });
            }
            _ => push(&mut self.blocks, block),
        }
        if self.blocks.len() > BLOCKS_MAX {
            return Err(Error::TooManyBlocks);
        }
        Ok(())
    }
}

fn parse_block(fields: &[&[u8]], line: usize) -> Result<Block, Error> {
    let syntax = |detail| Error::Syntax { line, detail };
    let [position, size, status] = fields else {
        return Err(syntax("a block line has 3 fields"));
    };
    let offset = number(position).ok_or_else(|| syntax("the position of the block is not a number"))?;
    let len = number(size).ok_or_else(|| syntax("the size of the block is not a number"))?;
    let status = letter(status)
        .and_then(Status::from_letter)
        .ok_or_else(|| syntax("the status of the block is none of ? * / - +"))?;
    if len == 0 {
        return Err(syntax("the block is empty"));
    }
    match offset.checked_add(len) {
        Some(end) if end <= POSITION_MAX => Ok(Block::new(ByteRange::new(offset, len), status)),
        _ => Err(Error::TooFar { line }),
    }
}

/// The blank-separated fields before a comment.
fn fields_of(line: &[u8]) -> Vec<&[u8]> {
    let data = line.split(|byte| *byte == b'#').next().unwrap_or_default();
    data.split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty())
        // One more than any line may have, so that a hostile line cannot grow the list.
        .take(4)
        .collect()
}

fn keep_comment(comments: &mut Vec<Vec<u8>>, line: &[u8]) {
    // Carriage returns of a map that went through another system are no part of the comment.
    let line = line.split(|byte| *byte == b'\r').next().unwrap_or_default();
    if let Some(comment) = line.strip_prefix(b"#")
        && comment != COLUMNS_OF_STATUS
        && comments.len() < COMMENTS_MAX
    {
        comments.push(comment.to_vec());
    }
}

fn letter(field: &[u8]) -> Option<char> {
    match field {
        [byte] => Some(char::from(*byte)),
        _ => None,
    }
}

/// A number in the syntax of C: hexadecimal after `0x`, octal after `0`, otherwise decimal.
fn number(field: &[u8]) -> Option<u64> {
    match field {
        [b'0', b'x' | b'X', digits @ ..] => radix(digits, 16),
        [b'0', digits @ ..] if !digits.is_empty() => radix(digits, 8),
        _ => decimal(field),
    }
}

fn decimal(field: &[u8]) -> Option<u64> {
    radix(field, 10)
}

/// Digits only: `from_str_radix` alone would take a sign too.
fn radix(digits: &[u8], radix: u32) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    if !text.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    u64::from_str_radix(text, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# made by hand\n# current_pos  current_status  current_pass\n0x10 ? 2 # here\n\n0 0x100 +\n256 0100 -\r\n0x140 1 *\n";

    fn error_of(text: &str) -> Error {
        Mapfile::parse(text.as_bytes()).expect_err("a broken map")
    }

    /// Found by fuzzing: the column titles came back as a comment of their own at every rewrite.
    #[test]
    fn carriage_returns_are_no_part_of_a_comment() {
        let text = b"# current_pos  current_status  current_pass\r\r\n0x0 ?\n0 512 ?\n";
        let map = Mapfile::parse(text).expect("a map");
        assert_eq!(map.comments, Vec::<Vec<u8>>::new());
        assert_eq!(Mapfile::parse(&map.to_bytes()), Ok(map));
    }

    #[test]
    fn numbers_are_read_in_the_syntax_of_c() {
        let map = Mapfile::parse(GOOD.as_bytes()).expect("a map");
        assert_eq!(map.comments, [b" made by hand".to_vec()]);
        assert_eq!((map.position, map.activity, map.pass), (16, Activity::Copying, 2));
        let ranges: Vec<ByteRange> = map.blocks().iter().map(|block| block.range).collect();
        assert_eq!(
            ranges,
            [
                ByteRange::new(0, 256),
                ByteRange::new(256, 64),
                ByteRange::new(320, 1)
            ]
        );
    }

    #[test]
    fn the_status_line_of_old_versions_has_no_pass() {
        assert_eq!(Mapfile::parse(b"0 +\n0 1 +\n").map(|map| map.pass), Ok(1));
    }

    #[test]
    fn neighbours_of_the_same_status_are_joined() {
        let map = Mapfile::parse(b"0 + 1\n0 1 +\n1 1 +\n").expect("a map");
        assert_eq!(map.blocks().len(), 1);
    }

    #[test]
    fn gaps_and_overlaps_name_their_line() {
        assert_eq!(
            error_of(&GOOD.replace("0x140", "0x141")),
            Error::Gap {
                line: 7,
                expected: 0x140,
                actual: 0x141
            }
        );
        assert_eq!(
            error_of(&GOOD.replace("0x140", "0x13f")),
            Error::Overlap {
                line: 7,
                expected: 0x140,
                actual: 0x13f
            }
        );
    }

    #[test]
    fn every_broken_line_is_named() {
        for (from, to, line) in [
            ("0x10 ? 2", "0x10 ? 0", 3),
            ("0x10 ? 2", "0x10 ? 0x2", 3),
            ("0x10 ? 2", "0x10 x 2", 3),
            ("0x10 ? 2", "0x10", 3),
            ("0x100 +", "0x100 F", 5),
            ("0x100 +", "0x100 + +", 5),
            ("0x100 +", "+0x100 +", 5),
            ("0x100 +", "0x +", 5),
            ("0100 -", "0 -", 6),
            ("0100 -", "0109 -", 6),
        ] {
            match error_of(&GOOD.replacen(from, to, 1)) {
                Error::Syntax { line: actual, .. } => assert_eq!(actual, line, "{to}"),
                other => panic!("{to}: {other}"),
            }
        }
    }

    #[test]
    fn positions_end_where_ddrescue_stops_counting() {
        assert_eq!(
            error_of("0 + 1\n0x10 0x7fffffffffffffff +\n"),
            Error::TooFar { line: 2 }
        );
        assert_eq!(
            error_of("0 + 1\n0xffffffffffffffff 2 +\n"),
            Error::TooFar { line: 2 }
        );
        assert!(Mapfile::parse(b"0 + 1\n0 0x7fffffffffffffff +\n").is_ok());
    }

    /// R7: a map that was cut off while it was written is an error, never an empty map.
    #[test]
    fn r7_an_empty_file_is_no_map() {
        assert_eq!(error_of(""), Error::Empty);
        assert_eq!(error_of("# Mapfile\n\n"), Error::Empty);
    }

    #[test]
    fn too_many_blocks_are_refused() {
        let mut text = b"0 ? 1\n".to_vec();
        for at in 0..=BLOCKS_MAX {
            text.extend_from_slice(format!("{at:#x} 1 {}\n", if at % 2 == 0 { '+' } else { '-' }).as_bytes());
        }
        assert_eq!(Mapfile::parse(&text), Err(Error::TooManyBlocks));
    }
}
