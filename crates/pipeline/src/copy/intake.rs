//! One content on its way into the store: hashed, looked at, and kept, all in one pass (R35).

use ntt_host::PageBuffer;
use ntt_model::{BlobHash, Sha256};
use ntt_source::extents::{Piece, Sink};
use ntt_store::{BatchId, ContentHasher, LargeBlob, Put, Writer};

use super::suspects::Suspects;

/// Bytes from which the type of a content is recognised.
const HEAD_BYTES: usize = 8 * 1024;
/// Zeros taken between two looks at the interrupt: up to the next multiple of this, since such a run is known to the hasher as a whole.
const ZEROS_STEP: u64 = 1 << 30;

/// Why a content is not taken further. Not the file's fault, so no result is recorded.
#[derive(Debug)]
pub(super) enum Halt {
    /// The run must stop.
    Stopped,
    /// The store failed.
    Store(ntt_store::Error),
    /// The source cannot be read: it is not where it was, or there is no child to read it with.
    Source(crate::Error),
}

impl From<ntt_store::Error> for Halt {
    fn from(error: ntt_store::Error) -> Self {
        Self::Store(error)
    }
}

/// Where the bytes go.
enum Keep<'w> {
    /// Whole in memory; hashed at the end, and only written if it is new.
    Memory {
        content: &'w mut PageBuffer,
        writer: &'w mut Writer,
    },
    /// Hashed and written as it comes.
    Store {
        hasher: Box<ContentHasher>,
        head: Vec<u8>,
        blob: LargeBlob<'w>,
    },
}

/// A content being read. Dropped unfinished, it leaves nothing.
pub(super) struct Intake<'w> {
    keep: Keep<'w>,
    suspects: &'w Suspects,
    stop: &'w dyn Fn() -> bool,
    /// Bytes taken, zeros included.
    pub(super) len: u64,
    /// Bytes that were really read from the source.
    pub(super) bytes_read: u64,
}

/// A content that was taken whole.
pub(super) struct Taken {
    pub(super) blob: BlobHash,
    pub(super) sha256: Option<Sha256>,
    pub(super) size: u64,
    pub(super) content_type: Option<String>,
    /// The running batch with which it becomes durable; `None` if the store has it.
    pub(super) batch: Option<BatchId>,
    /// Whether the store had to take it in.
    pub(super) is_new: bool,
}

/// What a thread takes contents with, one after the other.
pub(super) struct Desk<'a> {
    pub(super) writer: Writer,
    suspects: &'a Suspects,
    /// Contents up to this size are held in memory.
    memory_bytes: u64,
    content: PageBuffer,
}

impl<'a> Desk<'a> {
    pub(super) const fn new(writer: Writer, suspects: &'a Suspects, memory_bytes: u64) -> Self {
        Self {
            writer,
            suspects,
            memory_bytes,
            content: PageBuffer::new(),
        }
    }

    /// Begins a content of `size` bytes, as its inode says; `with_sha256` if its SHA-256 is wanted besides its BLAKE3.
    pub(super) fn intake<'w>(
        &'w mut self,
        size: u64,
        with_sha256: bool,
        stop: &'w dyn Fn() -> bool,
    ) -> Result<Intake<'w>, Halt> {
        let keep = if size <= self.memory_bytes {
            self.content.restart_at(0);
            Keep::Memory {
                content: &mut self.content,
                writer: &mut self.writer,
            }
        } else {
            let hasher = if with_sha256 {
                ContentHasher::new()
            } else {
                ContentHasher::without_sha256()
            };
            Keep::Store {
                hasher: Box::new(hasher),
                head: Vec::new(),
                blob: self.writer.large()?,
            }
        };
        Ok(Intake {
            keep,
            suspects: self.suspects,
            stop,
            len: 0,
            bytes_read: 0,
        })
    }
}

impl Intake<'_> {
    /// Takes the next piece from whoever has memory of its own.
    pub(super) fn piece(&mut self, piece: Piece<'_>) -> Result<(), Halt> {
        match piece {
            Piece::Bytes(bytes) => {
                self.room(bytes.len()).copy_from_slice(bytes);
                self.take(bytes.len())
            }
            Piece::Zeros(len) => self.zeros(len),
        }
    }

    fn look_out(&self) -> Result<(), Halt> {
        if (self.stop)() { Err(Halt::Stopped) } else { Ok(()) }
    }

    /// Hands the content to the store's running batch, unless it is known.
    pub(super) fn finish(self) -> Result<Taken, Halt> {
        let size = self.len;
        match self.keep {
            Keep::Memory { content, writer } => {
                let content = content.as_slice();
                let blob = ContentHasher::blake3(content);
                self.suspects.make_way(&blob)?;
                let kept = put(writer, content, blob)?;
                let content_type = content_type(&content[..content.len().min(HEAD_BYTES)]);
                Ok(Taken {
                    blob,
                    sha256: kept.sha256,
                    size,
                    content_type,
                    batch: kept.batch,
                    is_new: kept.is_new,
                })
            }
            Keep::Store { hasher, head, blob } => {
                let (hash, sha256) = hasher.finish();
                self.suspects.make_way(&hash)?;
                let running = blob.batch();
                let put = blob.finish(hash, sha256)?;
                Ok(Taken {
                    blob: hash,
                    sha256,
                    size,
                    content_type: content_type(&head),
                    batch: batch_of(put, running),
                    is_new: put == Put::New,
                })
            }
        }
    }
}

impl Sink for Intake<'_> {
    type Stop = Halt;

    fn room(&mut self, len: usize) -> &mut [u8] {
        match &mut self.keep {
            Keep::Memory { content, .. } => content.room(len),
            Keep::Store { blob, .. } => blob.room(len),
        }
    }

    fn take(&mut self, len: usize) -> Result<(), Halt> {
        self.look_out()?;
        let count = u64::try_from(len).unwrap_or(u64::MAX);
        self.len += count;
        self.bytes_read += count;
        match &mut self.keep {
            Keep::Memory { content, .. } => content.take(len),
            Keep::Store { hasher, head, blob } => {
                let bytes = blob.room(len);
                hasher.update(bytes);
                head.extend_from_slice(&bytes[..room_in(head).min(len)]);
                blob.take(len)?;
            }
        }
        Ok(())
    }

    fn zeros(&mut self, len: u64) -> Result<(), Halt> {
        let mut left = len;
        while left > 0 {
            self.look_out()?;
            let step = left.min(ZEROS_STEP - self.len % ZEROS_STEP);
            let step_len = usize::try_from(step).unwrap_or(0);
            match &mut self.keep {
                Keep::Memory { content, .. } => content.push_zeros(step_len),
                Keep::Store { hasher, head, blob } => {
                    hasher.zeros(step);
                    head.resize(head.len() + room_in(head).min(step_len), 0);
                    blob.zeros(step)?;
                }
            }
            self.len += step;
            left -= step;
        }
        Ok(())
    }
}

/// How the store has a content that was put.
struct Kept {
    sha256: Option<Sha256>,
    batch: Option<BatchId>,
    is_new: bool,
}

/// Puts a content. The SHA-256 of one that is known is known too, and costs as much as all the rest.
fn put(writer: &mut Writer, content: &[u8], blob: BlobHash) -> Result<Kept, Halt> {
    if let Some(known) = writer.look_up(&blob)? {
        return Ok(Kept {
            sha256: known.sha256,
            batch: known.batch,
            is_new: false,
        });
    }
    let sha256 = Some(ContentHasher::sha256(content));
    let put = writer.put(content, blob, sha256)?;
    Ok(Kept {
        sha256,
        batch: batch_of(put, writer.batch()),
        is_new: put == Put::New,
    })
}

/// The batch on which a content that was put depends. One that is [`Put::Present`] may be in the running batch or stored; as the running
/// batch is committed first in any case, it counts as part of it.
const fn batch_of(put: Put, running: BatchId) -> Option<BatchId> {
    match put {
        Put::New | Put::Present => Some(running),
        Put::Pending(batch) => Some(batch),
    }
}

/// How many bytes of the head are still wanted.
const fn room_in(head: &[u8]) -> usize {
    HEAD_BYTES.saturating_sub(head.len())
}

/// The media type of a content that begins with `head`, if it can be told: by its signature, or as plain text.
fn content_type(head: &[u8]) -> Option<String> {
    let mime = infer::get(head).map(|kind| kind.mime_type());
    mime.or_else(|| is_text(head).then_some("text/plain"))
        .map(str::to_owned)
}

/// Whether `head` is UTF-8 without control characters other than those of plain text. Its last character may be cut by the end of a full head.
fn is_text(head: &[u8]) -> bool {
    // Nearly all that is no text ends here, before it is decoded.
    if head.is_empty() || head.iter().copied().any(is_binary) {
        return false;
    }
    let whole = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() && head.len() >= HEAD_BYTES => {
            let valid = head.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(valid).unwrap_or_default()
        }
        Err(_) => return false,
    };
    whole.is_ascii()
        || !whole
            .chars()
            .any(|letter| letter.is_control() && !letter.is_ascii())
}

/// Whether a byte is an ASCII control character that plain text does not have.
const fn is_binary(byte: u8) -> bool {
    byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r' | b'\x0c')
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
