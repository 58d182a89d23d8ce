//! What of a scan has arrived, and where a new child has to go on.

use ntt_model::ScanEvent;

use crate::protocol::Received;

/// Where a scan stands.
#[derive(Debug, Default, Clone)]
pub(super) struct Place {
    /// What a new child leaves out.
    pub(super) received: Received,
    /// The directory entered last.
    pub(super) directory: Option<u64>,
}

impl Place {
    /// Notes a batch whose first event has this position in the stream of its child.
    pub(super) fn note(&mut self, first: u64, events: &[ScanEvent]) {
        for (event, position) in events.iter().zip(first..) {
            match event {
                ScanEvent::Directory(directory) => {
                    self.directory = Some(directory.inode);
                    self.received = Received {
                        before: position.saturating_add(1),
                        ..Received::default()
                    };
                }
                ScanEvent::Inode(_) => self.received.inodes += 1,
                ScanEvent::Name(_) => self.received.names += 1,
                ScanEvent::Finding(_) => self.received.findings += 1,
            }
        }
    }
}
