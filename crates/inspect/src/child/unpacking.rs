//! Unpacks an image that is compressed as a whole.

use std::io;
use std::sync::Mutex;

use ntt_container::Opening;
use ntt_container::unpack::{Piece, unpack};

use super::outbox::{Outbox, locked};
use super::setup_failed;
use super::source::Files;
use crate::protocol::Message;

/// Gives everything that can be unpacked, and then what ended it.
pub(super) fn serve(files: &Files, outbox: &Mutex<Outbox>) -> Message {
    let Opening::Packed(packing, opened) = files.look() else {
        return setup_failed(&io::Error::other("the image is not compressed as a whole"));
    };
    let given = unpack(packing, &opened.image, &mut |piece| {
        let message = match piece {
            Piece::Bytes(bytes) => Message::Bytes(bytes.to_vec()),
            Piece::Zeros(len) => Message::Zeros(len),
        };
        locked(outbox).answer(&message)
    });
    match given {
        Ok(ended) => Message::Unpacked(ended),
        Err(error) => setup_failed(&error),
    }
}
