//! One content on its way into the store: hashed, looked at, and kept, all in one pass (R35).

use ntt_model::{BlobHash, Sha256};
use ntt_source::extents::Piece;
use ntt_store::{ContentHasher, LargeBlob, Writer};

/// Bytes from which the type of a content is recognised.
const HEAD_BYTES: usize = 8 * 1024;
/// Zeros taken between two looks at the interrupt.
const ZEROS_STEP: u64 = 256 << 20;

/// Why a content is not taken further. Not the file's fault, so no result is recorded.
#[derive(Debug)]
pub(super) enum Halt {
    /// The run must stop.
    Stopped,
    /// The store failed.
    Store(ntt_store::Error),
    /// There is no child to read with.
    Child(crate::Error),
}

impl From<ntt_store::Error> for Halt {
    fn from(error: ntt_store::Error) -> Self {
        Self::Store(error)
    }
}

/// Where the bytes go.
enum Keep<'w> {
    Memory {
        content: Vec<u8>,
        writer: &'w mut Writer,
    },
    Store(LargeBlob<'w>),
    /// Hashed only; nothing of this content will be stored.
    Nothing,
}

/// A content being read.
pub(super) struct Intake<'w> {
    hasher: ContentHasher,
    head: Vec<u8>,
    keep: Keep<'w>,
    stop: &'w dyn Fn() -> bool,
    /// Bytes taken, zeros included.
    pub(super) len: u64,
    /// Bytes that were really read from the source.
    pub(super) bytes_read: u64,
}

/// A content that was taken whole and handed to the store's running batch.
pub(super) struct Taken {
    pub(super) blob: BlobHash,
    pub(super) sha256: Option<Sha256>,
    pub(super) size: u64,
    pub(super) content_type: Option<String>,
}

impl<'w> Intake<'w> {
    /// A content of `size` bytes as its inode says; up to `small` it is kept in memory until it is whole.
    pub(super) fn new(
        writer: &'w mut Writer,
        size: u64,
        small: u64,
        stop: &'w dyn Fn() -> bool,
    ) -> Result<Self, Halt> {
        let keep = if size <= small {
            let content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
            Keep::Memory { content, writer }
        } else {
            Keep::Store(writer.large()?)
        };
        Ok(Self {
            hasher: ContentHasher::new(),
            head: Vec::new(),
            keep,
            stop,
            len: 0,
            bytes_read: 0,
        })
    }

    /// Takes the next piece.
    pub(super) fn piece(&mut self, piece: Piece<'_>) -> Result<(), Halt> {
        match piece {
            Piece::Bytes(bytes) => {
                self.bytes_read += len_of(bytes);
                self.bytes(bytes)
            }
            Piece::Zeros(len) => self.zeros(len),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Halt> {
        self.look_out()?;
        self.hasher.update(bytes);
        self.len += len_of(bytes);
        let room = HEAD_BYTES.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        match &mut self.keep {
            Keep::Memory { content, .. } => content.extend_from_slice(bytes),
            Keep::Store(blob) => blob.write(bytes)?,
            Keep::Nothing => {}
        }
        Ok(())
    }

    fn zeros(&mut self, len: u64) -> Result<(), Halt> {
        let room = HEAD_BYTES.saturating_sub(self.head.len());
        let head = usize::try_from(len).unwrap_or(room).min(room);
        self.head.resize(self.head.len() + head, 0);
        let mut left = len;
        while left > 0 {
            self.look_out()?;
            let step = left.min(ZEROS_STEP);
            self.hasher.zeros(step);
            match &mut self.keep {
                Keep::Memory { content, .. } => {
                    content.resize(content.len() + usize::try_from(step).unwrap_or(0), 0);
                }
                Keep::Store(blob) => blob.zeros(step)?,
                Keep::Nothing => {}
            }
            self.len += step;
            left -= step;
        }
        Ok(())
    }

    fn look_out(&self) -> Result<(), Halt> {
        if (self.stop)() { Err(Halt::Stopped) } else { Ok(()) }
    }

    /// Gives the content up; nothing of it stays.
    pub(super) fn discard(&mut self) {
        self.keep = Keep::Nothing;
    }

    /// Hands the content to the store's running batch.
    pub(super) fn finish(self) -> Result<Taken, Halt> {
        let (blob, sha256) = self.hasher.finish();
        match self.keep {
            Keep::Memory { content, writer } => {
                writer.put(&content, blob, sha256)?;
            }
            Keep::Store(large) => {
                large.finish(blob, sha256)?;
            }
            Keep::Nothing => {}
        }
        Ok(Taken {
            blob,
            sha256,
            size: self.len,
            content_type: content_type(&self.head),
        })
    }
}

/// The media type of a content that begins with `head`, if it can be told: by its signature, or as plain text.
fn content_type(head: &[u8]) -> Option<String> {
    let mime = infer::get(head).map(|kind| kind.mime_type());
    mime.or_else(|| is_text(head).then_some("text/plain"))
        .map(str::to_owned)
}

/// Whether `head` is UTF-8 without control characters other than those of plain text. Its last character may be cut by the end of a full head.
fn is_text(head: &[u8]) -> bool {
    let whole = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() && head.len() >= HEAD_BYTES => {
            let valid = head.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(valid).unwrap_or_default()
        }
        Err(_) => return false,
    };
    let is_plain = |letter: char| !letter.is_control() || matches!(letter, '\t' | '\n' | '\r' | '\x0c');
    !whole.is_empty() && whole.chars().all(is_plain)
}

fn len_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The type of a content that is long enough to be looked at only in part.
    fn of_long(content: &[u8]) -> Option<String> {
        content_type(&content[..HEAD_BYTES])
    }

    #[test]
    fn a_signature_goes_before_text() {
        assert_eq!(content_type(b"%PDF-1.4\n").as_deref(), Some("application/pdf"));
    }

    #[test]
    fn utf_8_without_control_characters_is_plain_text() {
        for text in ["buy milk\n", "a\tb\r\n\x0cnext page", "caf\u{e9} \u{1f600}"] {
            assert_eq!(
                content_type(text.as_bytes()).as_deref(),
                Some("text/plain"),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_not_plain_text_stays_unknown() {
        let others: [&[u8]; 6] = [
            b"",
            b"a\0b",
            b"\x1b[1mbold",
            b"caf\xe9",
            b"cut \xc3",
            "\u{85}".as_bytes(),
        ];
        for other in others {
            assert_eq!(content_type(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_character_cut_by_the_end_of_the_head_is_no_damage() {
        for shift in 0..4 {
            let content = [
                vec![b'a'; shift],
                "\u{1f600}".repeat(HEAD_BYTES / 4 + 1).into_bytes(),
            ]
            .concat();
            assert_eq!(of_long(&content).as_deref(), Some("text/plain"), "{shift}");
        }
        let latin = [vec![b'a'; HEAD_BYTES - 2], vec![0xe9, b'a', b'a']].concat();
        assert_eq!(of_long(&latin), None);
    }
}
