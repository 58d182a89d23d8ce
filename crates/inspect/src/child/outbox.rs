//! Batches what the child has to say, and leaves out what an earlier child already said.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ntt_filesystem::Stop;
use ntt_model::entry::{Encoding, Inode, ScanCounts, Stream};
use ntt_model::{Finding, FindingCode, Layer, PackedUnit, ScanEvent, Severity};
use serde::Serialize;

use crate::protocol::{FRAME_BYTES_MAX, Message, Received, write_frame};
use crate::tree::step::Step;

/// Events of one frame at most.
pub(crate) const BATCH_EVENTS: usize = 1024;
/// Weight in bytes at which a batch is sent.
const BATCH_BYTES: usize = 64 * 1024;
/// Age at which a batch is sent, if there is any further event or read.
const BATCH_AGE: Duration = Duration::from_millis(100);
/// Time after which a read that follows nothing else is worth a heartbeat.
const HEARTBEAT_AGE: Duration = Duration::from_secs(1);
/// How often a source may be read through without an event before reading no longer counts as progress.
const READS_PER_EVENT: u64 = 4;
/// What may be read without an event however small the source is.
const READS_ALWAYS_BYTES: u64 = 256 << 20;

/// Most bytes that an extent takes in a frame: three full variable-length integers and a tag.
const EXTENT_BYTES: usize = 31;
/// Most bytes that a unit of a packed stream takes in a frame: five full variable-length integers and a tag.
const UNIT_BYTES: usize = 51;
/// Most bytes that the fixed part of any event takes in a frame.
const EVENT_BYTES: usize = 512;

/// The child's end of the conversation.
pub(super) struct Outbox<W: Write = std::fs::File> {
    socket: W,
    pending: Vec<ScanEvent>,
    pending_bytes: usize,
    /// Position of the next event in the stream, skipped ones included.
    position: u64,
    counts: ScanCounts,
    received: Received,
    /// Events that are still sent one by one.
    careful_events: usize,
    last_sent: Instant,
    read_bytes: u64,
    /// Bytes read since the last event.
    idle_bytes: u64,
    idle_bytes_max: u64,
}

/// Locks the outbox; a panic of a reader leaves it usable.
pub(super) fn locked<W: Write>(outbox: &Mutex<Outbox<W>>) -> MutexGuard<'_, Outbox<W>> {
    outbox.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<W: Write> Outbox<W> {
    /// An outbox for a source whose length is not known yet; see [`Outbox::expect_source`].
    pub(super) fn new(socket: W) -> Self {
        Self {
            socket,
            pending: Vec::new(),
            pending_bytes: 0,
            position: 0,
            counts: ScanCounts::default(),
            received: Received::default(),
            careful_events: 0,
            last_sent: Instant::now(),
            read_bytes: 0,
            idle_bytes: 0,
            idle_bytes_max: READS_ALWAYS_BYTES,
        }
    }

    /// A source of so many bytes is read from now on.
    pub(super) fn expect_source(&mut self, source_bytes: u64) {
        self.idle_bytes_max = source_bytes
            .saturating_mul(READS_PER_EVENT)
            .saturating_add(READS_ALWAYS_BYTES);
    }

    /// Sets what is to be left out, and whether the first events after it are sent one by one.
    ///
    /// What an earlier child had in hand when it died is at most one batch: two batches of care find the place.
    pub(super) fn expect(&mut self, received: Received, careful: bool) {
        self.received = received;
        self.careful_events = if careful { 2 * BATCH_EVENTS } else { 0 };
    }

    /// What was emitted, skipped events included.
    pub(super) fn counts(&self) -> ScanCounts {
        self.counts
    }

    /// Takes an event of the reader; sends when a batch is full or old.
    pub(super) fn take(&mut self, event: ScanEvent) -> Result<(), Stop> {
        let (event, remark) = fitted(event);
        self.push(event)?;
        remark.map_or(Ok(()), |finding| self.push(ScanEvent::Finding(finding)))
    }

    fn push(&mut self, event: ScanEvent) -> Result<(), Stop> {
        self.counts.add(&event);
        self.idle_bytes = 0;
        let position = self.position;
        self.position += 1;
        if self.is_received(position, &event) {
            return self.beat().map_err(|_| Stop);
        }
        self.pending_bytes += weight(&event);
        self.pending.push(event);
        if self.is_due() {
            self.flush().map_err(|_| Stop)?;
        }
        Ok(())
    }

    /// Whether an earlier child sent this event already.
    fn is_received(&mut self, position: u64, event: &ScanEvent) -> bool {
        if position < self.received.before {
            return true;
        }
        let left = match event {
            ScanEvent::Directory(_) => {
                self.received = Received::default();
                return false;
            }
            ScanEvent::Inode(_) => &mut self.received.inodes,
            ScanEvent::Name(_) => &mut self.received.names,
            ScanEvent::Finding(_) => &mut self.received.findings,
        };
        let received = *left > 0;
        *left = left.saturating_sub(1);
        received
    }

    fn is_due(&mut self) -> bool {
        if self.careful_events > 0 {
            self.careful_events -= 1;
            return true;
        }
        self.pending.len() >= BATCH_EVENTS
            || self.pending_bytes >= BATCH_BYTES
            || self.last_sent.elapsed() >= BATCH_AGE
    }

    /// Notes that the source gave `len` bytes; sends a batch that became old, or a sign of life.
    pub(super) fn note_read(&mut self, len: u64) -> io::Result<()> {
        self.read_bytes = self.read_bytes.saturating_add(len);
        self.idle_bytes = self.idle_bytes.saturating_add(len);
        if !self.pending.is_empty() && self.last_sent.elapsed() >= BATCH_AGE {
            return self.flush();
        }
        // A reader that goes round in circles reads for ever: that is no progress.
        if self.idle_bytes > self.idle_bytes_max {
            return Ok(());
        }
        self.beat()
    }

    /// Sends a sign of life if nothing was sent for a while.
    fn beat(&mut self) -> io::Result<()> {
        if self.last_sent.elapsed() < HEARTBEAT_AGE {
            return Ok(());
        }
        let read_bytes = self.read_bytes;
        self.send(&Message::Heartbeat { read_bytes })
    }

    /// Says which step of an inspection is being taken; every step may read the source anew.
    pub(super) fn announce(&mut self, step: Option<Step>) -> io::Result<()> {
        self.idle_bytes = 0;
        self.send(&Message::Step(step))
    }

    /// Sends a part of the answer to a request: progress of a kind that events are for a scan.
    pub(super) fn answer(&mut self, message: &Message) -> io::Result<()> {
        self.idle_bytes = 0;
        self.send(message)
    }

    /// Sends what is pending.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let events = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        self.send_events(events)
    }

    fn send_events(&mut self, events: Vec<ScanEvent>) -> io::Result<()> {
        let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
        // Counted from the end: after a directory nothing is skipped, so the positions of directories, the ones that matter, are exact.
        let first = self.position.saturating_sub(count);
        self.send(&Message::Events { first, events })
    }

    /// Sends one message at once.
    pub(super) fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        self.last_sent = Instant::now();
        write_frame(&mut self.socket, message)
    }
}

/// An upper bound of the bytes that an event takes in a frame.
fn weight(event: &ScanEvent) -> usize {
    EVENT_BYTES
        + match event {
            ScanEvent::Directory(directory) => directory.name.len(),
            ScanEvent::Name(name) => name.name.len(),
            ScanEvent::Finding(finding) => finding.detail.len(),
            ScanEvent::Inode(inode) => inode_weight(inode),
        }
}

fn inode_weight(inode: &Inode) -> usize {
    let streams: usize = inode
        .streams
        .iter()
        .map(|stream| EVENT_BYTES + stream.extents.len() * EXTENT_BYTES + units(stream).len() * UNIT_BYTES)
        .sum();
    let xattrs: usize = inode
        .xattrs
        .iter()
        .map(|xattr| EVENT_BYTES + xattr.name.len() + xattr.value.len())
        .sum();
    streams + xattrs + inode.target.as_ref().map_or(0, Vec::len)
}

fn units(stream: &Stream) -> &[PackedUnit] {
    match &stream.encoding {
        Encoding::Packed(units) => units,
        _ => &[],
    }
}

/// The event as it fits into a frame. Only an inode with millions of extents has to give some up; a finding then says so.
fn fitted(event: ScanEvent) -> (ScanEvent, Option<Finding>) {
    match event {
        ScanEvent::Inode(inode) if inode_weight(&inode) > FRAME_BYTES_MAX - EVENT_BYTES => {
            let (inode, finding) = cut(inode);
            (ScanEvent::Inode(inode), Some(finding))
        }
        other => (other, None),
    }
}

fn cut(mut inode: Box<Inode>) -> (Box<Inode>, Finding) {
    inode.xattrs.clear();
    let streams = inode.streams.len().max(1);
    let extents_max = FRAME_BYTES_MAX / 2 / streams / (EXTENT_BYTES + UNIT_BYTES);
    for stream in &mut inode.streams {
        if stream.extents.len().max(units(stream).len()) > extents_max {
            stream.extents.truncate(extents_max);
            if let Encoding::Packed(units) = &mut stream.encoding {
                units.truncate(extents_max);
            }
            stream.extents_incomplete = true;
        }
    }
    let detail = format!(
        "too many extents or attributes; kept {extents_max} extents and units per stream and no attributes"
    );
    let finding =
        Finding::new(Severity::Loss, Layer::Inode, FindingCode::Limit, detail).on_inode(inode.number);
    (inode, finding)
}

#[cfg(test)]
mod tests {
    use ntt_model::Namespace;
    use ntt_model::entry::{Allocation, Directory, Name};

    use super::*;
    use crate::protocol::read_frame;

    fn directory(inode: u64) -> ScanEvent {
        ScanEvent::Directory(Directory {
            inode,
            parent: None,
            name: Vec::new(),
            namespace: Namespace::Native,
        })
    }

    fn name(directory: u64, inode: u64) -> ScanEvent {
        ScanEvent::Name(Name {
            directory,
            name: b"n".to_vec(),
            inode,
            namespace: Namespace::Native,
            alternate: false,
            allocation: Allocation::Allocated,
        })
    }

    fn finding(text: &str) -> ScanEvent {
        ScanEvent::Finding(Finding::new(
            Severity::Loss,
            Layer::Directory,
            FindingCode::Limit,
            text,
        ))
    }

    fn sent(received: Received, careful: bool, events: Vec<ScanEvent>) -> Vec<(u64, Vec<ScanEvent>)> {
        let mut bytes = Vec::new();
        let mut outbox = Outbox::new(&mut bytes);
        outbox.expect(received, careful);
        for event in events {
            outbox.take(event).unwrap();
        }
        outbox.flush().unwrap();
        let mut reader = bytes.as_slice();
        let mut batches = Vec::new();
        while !reader.is_empty() {
            if let Message::Events { first, events } = read_frame(&mut reader).unwrap() {
                batches.push((first, events));
            }
        }
        batches
    }

    #[test]
    fn a_careful_child_sends_every_event_at_once_and_says_where_it_stands() {
        let events = vec![directory(1), name(1, 2), directory(2)];
        let one_by_one = sent(Received::default(), true, events.clone());
        assert_eq!(
            one_by_one.iter().map(|(first, _)| *first).collect::<Vec<_>>(),
            [0, 1, 2]
        );
        assert_eq!(sent(Received::default(), false, events.clone()), [(0, events)]);
    }

    /// R19: whatever a directory that is left early still emits, nothing of the next directory is lost and nothing is sent twice.
    #[test]
    fn r19_what_was_received_ends_with_its_directory() {
        let received = Received {
            before: 2,
            names: 2,
            findings: 3,
            inodes: 0,
        };
        let left_early = vec![
            directory(1),
            directory(2),
            name(2, 3),
            name(2, 4),
            finding("left"),
            directory(5),
            finding("other"),
            name(5, 6),
        ];
        let batches = sent(received, false, left_early.clone());
        assert_eq!(batches, [(5, left_early[5..].to_vec())]);
    }

    #[test]
    fn an_inode_too_large_for_a_frame_is_cut_with_a_finding() {
        let mut inode = crate::child::rehearsal::inode(9, ntt_model::Kind::File);
        let extent = ntt_model::Extent {
            logical_offset: 0,
            image_offset: 0,
            len: 1,
            kind: ntt_model::ExtentKind::Data,
        };
        inode.streams[0].extents = vec![extent; FRAME_BYTES_MAX / EXTENT_BYTES + 1];
        let (event, remark) = fitted(ScanEvent::Inode(Box::new(inode)));
        assert_eq!(remark.map(|finding| finding.code), Some(FindingCode::Limit));
        assert!(weight(&event) < FRAME_BYTES_MAX);
        let ScanEvent::Inode(inode) = event else {
            panic!("an inode")
        };
        assert!(inode.streams[0].extents_incomplete);
    }
}
