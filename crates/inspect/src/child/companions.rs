//! Takes the descriptors of the files beside the source, before the child confines itself.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Descriptors in one message; the kernel takes at most 253.
pub(crate) const DESCRIPTORS_MAX: usize = 64;

/// So many files, in order.
pub(super) fn receive(socket: &File, expected: usize) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    while files.len() < expected {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut data = [IoSliceMut::new(&mut byte)];
        let received = recvmsg(socket, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let before = files.len();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                files.extend(descriptors.map(File::from));
            }
        }
        if received.bytes == 0 || files.len() == before {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(files)
}
