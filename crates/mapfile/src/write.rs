//! From a map to the bytes that ddrescue would write.

use std::io::Write;

use crate::Mapfile;

/// Names of the columns of the status line, as ddrescue comments them (without `#`).
pub(crate) const COLUMNS_OF_STATUS: &[u8] = b" current_pos  current_status  current_pass";
/// Names of the columns of the block lines.
const COLUMNS_OF_BLOCKS: &[u8] = b"#      pos        size  status\n";

impl Mapfile {
    /// The file's bytes: comments, status line, blocks, in ddrescue's layout.
    ///
    /// A comment is cut at its first line end, so that no comment can become a data line.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for comment in self.comments.iter().map(Vec::as_slice).chain([COLUMNS_OF_STATUS]) {
            out.push(b'#');
            let line = comment.split(|byte| matches!(byte, b'\n' | b'\r')).next();
            out.extend_from_slice(line.unwrap_or_default());
            out.push(b'\n');
        }
        // Writing to memory cannot fail.
        let _ = writeln!(
            out,
            "0x{:08X}     {}               {}",
            self.position,
            self.activity.letter(),
            self.pass.max(1)
        );
        out.extend_from_slice(COLUMNS_OF_BLOCKS);
        for block in self.blocks() {
            let (offset, len) = (block.range.offset, block.range.len);
            let _ = writeln!(out, "0x{offset:08X}  0x{len:08X}  {}", block.status.letter());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What GNU ddrescue 1.27 wrote for a finished 64 KiB file comes back byte for byte.
    #[test]
    fn the_layout_is_ddrescues() {
        let text = "# Mapfile. Created by GNU ddrescue version 1.27\n# Command line: ddrescue -q a.img b.img a.map\n\
                    # Start time:   2026-11-23 19:07:15\n# Current time: 2026-11-23 19:07:15\n# Finished\n\
                    # current_pos  current_status  current_pass\n0x00000000     +               1\n\
                    #      pos        size  status\n0x00000000  0x00010000  +\n";
        let map = Mapfile::parse(text.as_bytes()).expect("a map");
        assert_eq!(String::from_utf8(map.to_bytes()).as_deref(), Ok(text));
    }

    #[test]
    fn a_comment_never_becomes_a_data_line() {
        let mut map = Mapfile::untried(512);
        map.comments.push(b" label\n0 0x200 +".to_vec());
        let again = Mapfile::parse(&map.to_bytes()).expect("a map");
        assert_eq!(again.blocks(), map.blocks());
        assert_eq!(again.comments, [b" label".to_vec()]);
    }
}
