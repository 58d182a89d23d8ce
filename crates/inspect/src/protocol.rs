//! What the supervisor and the scan child say to each other: frames of a length and that many bytes of postcard.
//!
//! One socket pair carries both directions: the supervisor writes one [`Request`], the child answers with [`Message`]s and exits.
//! Both ends are the same binary, so the encoding needs no version. Neither end trusts a length: a frame above [`FRAME_BYTES_MAX`] is an
//! error, and memory grows with the bytes that arrive, never with the length that was announced.

use std::io::{self, Read, Write};
use std::time::Duration;

use ntt_filesystem::{Facts, Family, ScanOptions};
use ntt_model::entry::{ScanCounts, Stream};
use ntt_model::{ByteRange, Device, Mapping, ScanEvent};
use ntt_source::extents::Missing;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::child::escape::Attempt;
use crate::child::rehearsal::{PoisonKind, Rehearsal};
use crate::container::Packaging;
use crate::sandbox::Confinement;
use crate::survey::Survey;
use crate::tree::step::Step;

/// Largest frame that either end sends or takes. An inode with a million extents fits.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// Bytes of the length in front of a frame: a little-endian `u32`.
pub(crate) const HEADER_BYTES: usize = 4;

/// What the child is started for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Limits that the child sets for itself before it touches the source.
    pub limits: ProcessLimits,
    /// What the descriptor is that the child was given.
    pub source: SourceSpec,
    /// What to do.
    pub work: Work,
}

/// What a child's source is. The child opens it, because its structure may be hostile; see `child::source`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SourceSpec {
    /// How the bytes of the descriptor become the bytes of the image.
    pub container: Container,
    /// Bytes of the file that were never rescued (R11), ascending, not overlapping.
    pub unread: Vec<ByteRange>,
    /// The name of the file, without directories; formats of several files go by it.
    pub name: Vec<u8>,
    /// The other files that were asked for, in the order in which their descriptors are sent.
    pub companions: Vec<Companion>,
    /// Whether the files that follow the first one by name were looked for.
    pub series_given: bool,
    /// The other images of a set, in the order of their numbers from 2; each with a descriptor of its own before those of its companions.
    pub further: Vec<Self>,
    /// Volumes of the medium that are read as devices (see [`ntt_model::space`]).
    pub devices: Vec<Device>,
    /// Whether it is the first image of a set.
    pub is_set: bool,
}

impl SourceSpec {
    /// Descriptors that are sent besides the first one.
    pub(crate) fn descriptors(&self) -> usize {
        let companions = self.companions.iter().filter(|companion| companion.present);
        let further = self.further.iter().map(|image| image.descriptors() + 1);
        companions.count() + further.sum::<usize>()
    }
}

/// A file beside the image's own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Companion {
    /// The name under which a child asked for it.
    pub name: Vec<u8>,
    /// Whether its descriptor is sent; if not, there is no such file or it is not allowed.
    pub present: bool,
}

/// How an image is kept in the file that it was given in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Container {
    /// The bytes of the file are the bytes of the image.
    #[default]
    Raw,
    /// The image lies in a container, which the child recognises and opens.
    Contained,
}

/// Limits that the kernel enforces on the child.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProcessLimits {
    /// Address space in bytes (`RLIMIT_AS`).
    pub memory_bytes: u64,
    /// Processor time in seconds (`RLIMIT_CPU`).
    pub cpu_seconds: u64,
}

/// What the child does.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Work {
    /// Build the tree of layers; answered by [`Message::Step`]s and [`Message::Tree`].
    Inspect(InspectPlan),
    /// Build the trees of layers of the images of a set, and of what they make together; answered as [`Work::Inspect`].
    InspectSet(InspectPlan),
    /// Find out what is worth having first of a partial image; answered by [`Message::Survey`].
    Survey {
        /// Time on the clock after which what was found counts.
        patience: Duration,
    },
    /// Scan one volume; answered by [`Message::Facts`], [`Message::Events`] and [`Message::Done`].
    Scan {
        /// Where the volume lies in the image.
        range: ByteRange,
        /// Where its bytes lie when they are not one range.
        mapping: Option<Mapping>,
        /// Address of its first byte in the space of its medium, if its extents are counted from there.
        device: Option<u64>,
        /// Who reads it.
        family: Family,
        /// How.
        plan: ScanPlan,
    },
    /// Scan a made-up file system that may be poisoned: the self-test of the budgets. Answered as [`Work::Scan`].
    Rehearse {
        /// The made-up file system.
        rehearsal: Rehearsal,
        /// How.
        plan: ScanPlan,
    },
    /// Read streams: the supervisor sends [`ReadRequest`]s, one after the answer to the one before, until it closes the socket. Each is answered
    /// by [`Message::Bytes`] and [`Message::Zeros`], in order, and [`Message::Read`].
    Read,
    /// Find out what the image is kept in; answered by [`Message::Packaging`].
    Look,
    /// Unpack what is compressed as a whole; answered by [`Message::Bytes`] and [`Message::Zeros`], in order, and [`Message::Unpacked`].
    Unpack,
    /// Try to get out of the sandbox; answered by [`Message::Attempts`].
    TryEscape,
}

/// A stream to read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReadRequest {
    /// The stream, of any encoding that can be read.
    pub stream: Stream,
    /// Goes wrong on purpose, behind the first piece: the self-test of the budgets. `None` for every real stream.
    pub poison: Option<PoisonKind>,
}

/// How to inspect.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct InspectPlan {
    /// Steps that killed earlier children; they are left out.
    pub avoid: Vec<Step>,
    /// Steps that go wrong on purpose: the self-test of the above. Empty for every real inspection.
    pub poisons: Vec<(Step, PoisonKind)>,
}

/// How to scan, and what of it was already received.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ScanPlan {
    /// Options of the reader.
    pub options: ScanOptions,
    /// What an earlier child of the same scan already sent.
    pub received: Received,
    /// Send every event at once for a while, so that the place of a death is known exactly.
    pub careful: bool,
}

/// The part of a scan's deterministic event stream that has arrived.
///
/// Two parts, because a child that leaves a poisoned directory early emits the same stream up to the entry of that directory, and in it the same
/// names, but perhaps not the same other events: so what lies inside is counted by kind and ends with the directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Received {
    /// Events up to and including the last [`ScanEvent::Directory`]; 0 if there was none.
    pub before: u64,
    /// The [`ScanEvent::Inode`]s after those.
    pub inodes: u64,
    /// The [`ScanEvent::Name`]s after those.
    pub names: u64,
    /// The [`ScanEvent::Finding`]s after those.
    pub findings: u64,
}

/// What the child says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// First of all: the confinement in force.
    Hello(Confinement),
    /// The tree of layers, as JSON (its tagged enums are made for JSON, which describes itself; postcard does not).
    Tree(Vec<u8>),
    /// The step of an inspection that begins, or that none is being taken.
    Step(Option<Step>),
    /// What is worth having first.
    Survey(Box<Survey>),
    /// The volume was opened.
    Facts(Box<Facts>),
    /// Part of the event stream.
    Events {
        /// Position of the first event in the stream of this child, counted from 0, skipped ones included.
        first: u64,
        /// Events that follow each other in the stream.
        events: Vec<ScanEvent>,
    },
    /// The child reads but has nothing to say yet; sent only when bytes were really read.
    Heartbeat {
        /// Bytes read from the source so far.
        read_bytes: u64,
    },
    /// The scan reached its end.
    Done(ScanCounts),
    /// The next bytes of a stream.
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    /// As many zeros of a stream: a hole, or what is missing.
    Zeros(u64),
    /// A stream was given to its end.
    Read(Missing),
    /// What the image is kept in.
    Packaging(Box<Packaging>),
    /// All that could be unpacked was given; what ended it early, if something did.
    Unpacked(Option<String>),
    /// What was tried to get out of the sandbox.
    Attempts(Vec<Attempt>),
    /// The work could not be done or not be finished.
    Failed {
        /// What kind of failure.
        kind: FailedKind,
        /// For people.
        detail: String,
    },
}

/// Why the child gave up by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FailedKind {
    /// The volume could not be opened or listed: the source was unreadable where it matters.
    Read,
    /// The volume could not be opened or listed: what matters is corrupt.
    Corrupt,
    /// The variant is not supported.
    Unsupported,
    /// The reader panicked; everything it emitted before was sent.
    Panic,
    /// The child could not understand its request or use its source.
    Setup,
}

/// Writes one frame.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidData`] if the message is larger than [`FRAME_BYTES_MAX`]; else what the writer says.
pub fn write_frame(writer: &mut dyn Write, message: &impl Serialize) -> io::Result<()> {
    // One buffer and one write, so that a frame is never half sent when the process dies between two calls.
    let mut frame = vec![0; HEADER_BYTES];
    frame = postcard::to_extend(message, frame).map_err(invalid)?;
    let len = frame.len() - HEADER_BYTES;
    if len > FRAME_BYTES_MAX {
        return Err(invalid(format!("a frame of {len} bytes is too large")));
    }
    let header = u32::try_from(len).map_err(invalid)?.to_le_bytes();
    frame[..HEADER_BYTES].copy_from_slice(&header);
    writer.write_all(&frame)
}

/// Reads one frame from a reader that blocks.
///
/// # Errors
///
/// [`io::ErrorKind::UnexpectedEof`] if the other end is gone, [`io::ErrorKind::InvalidData`] if the frame is too large or no such message.
pub fn read_frame<T: DeserializeOwned>(reader: &mut dyn Read) -> io::Result<T> {
    let mut header = [0; HEADER_BYTES];
    reader.read_exact(&mut header)?;
    let len = frame_len(header)?;
    let mut payload = Vec::new();
    let limit = u64::try_from(len).map_err(invalid)?;
    if reader.take(limit).read_to_end(&mut payload)? < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    postcard::from_bytes(&payload).map_err(invalid)
}

/// The length that a header announces.
pub(crate) fn frame_len(header: [u8; HEADER_BYTES]) -> io::Result<usize> {
    let len = usize::try_from(u32::from_le_bytes(header)).map_err(invalid)?;
    if len > FRAME_BYTES_MAX {
        return Err(invalid(format!("a frame of {len} bytes is too large")));
    }
    Ok(len)
}

/// An error that says that the other end does not keep to the protocol.
pub(crate) fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip_one_after_the_other() {
        let messages = [
            Message::Heartbeat { read_bytes: 7 },
            Message::Done(ScanCounts::default()),
        ];
        let mut bytes = Vec::new();
        for message in &messages {
            write_frame(&mut bytes, message).unwrap();
        }
        let mut reader = bytes.as_slice();
        for message in &messages {
            assert_eq!(&read_frame::<Message>(&mut reader).unwrap(), message);
        }
        assert!(reader.is_empty());
    }

    #[test]
    fn a_frame_above_the_bound_is_refused_before_it_is_read() {
        let header = u32::MAX.to_le_bytes();
        let error = read_frame::<Message>(&mut header.as_slice()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_cut_frame_is_an_end_of_file() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &Message::Heartbeat { read_bytes: 7 }).unwrap();
        bytes.pop();
        let error = read_frame::<Message>(&mut bytes.as_slice()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
