//! Reads streams on request.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::Mutex;

use ntt_codec::{Kept, read_stream_after};
use ntt_source::ReadAt;
use ntt_source::extents::Piece;

use super::outbox::{Outbox, locked};
use super::setup_failed;
use crate::protocol::{Message, ReadRequest, read_frame};

/// Most bytes of a stream in one message.
const PIECE_BYTES: usize = 256 * 1024;

/// Serves requests until the supervisor closes the socket.
pub(super) fn serve(source: &dyn ReadAt, requests: &mut File, outbox: &Mutex<Outbox>) -> Message {
    let mut kept = Kept::default();
    loop {
        let served = read_frame(requests).and_then(|request| one(source, &request, &mut kept, outbox));
        match served {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Message::Done(locked(outbox).counts());
            }
            Err(error) => return setup_failed(&error),
        }
    }
}

/// Reads one stream; errors are those of the socket.
fn one(
    source: &dyn ReadAt,
    request: &ReadRequest,
    kept: &mut Kept,
    outbox: &Mutex<Outbox>,
) -> io::Result<()> {
    let mut poison = request.poison;
    let missing = read_stream_after(kept, source, &request.stream, &mut |piece| {
        give(piece, outbox)?;
        if let Some(poison) = poison.take() {
            poison.strike();
        }
        Ok::<(), io::Error>(())
    })?;
    locked(outbox).answer(&Message::Read(missing))
}

fn give(piece: Piece<'_>, outbox: &Mutex<Outbox>) -> io::Result<()> {
    let mut outbox = locked(outbox);
    match piece {
        Piece::Bytes(bytes) => bytes
            .chunks(PIECE_BYTES)
            .try_for_each(|part| outbox.answer(&Message::Bytes(part.to_vec()))),
        Piece::Zeros(len) => outbox.answer(&Message::Zeros(len)),
    }
}
