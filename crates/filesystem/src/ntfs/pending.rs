//! Directories that wait to be entered, in one allocation: a million can wait.

use ntt_model::entry::Namespace;
use ntt_source::field::{le_u16, le_u32, le_u64, u8_at};

/// A directory that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Waiting {
    /// Its record.
    pub(super) record: u32,
    /// The sequence number it must have; 0 if that is not known.
    pub(super) sequence: u16,
    /// Inode number of the directory through which it was reached.
    pub(super) parent: u64,
    pub(super) depth: u32,
    pub(super) name: Vec<u8>,
    pub(super) namespace: Namespace,
    /// It is a deleted one.
    pub(super) is_deleted: bool,
}

/// A stack of them.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
}

/// Bytes of a waiting directory beside its name.
const HEAD_BYTES: usize = 22;
/// The namespaces that a directory's name can have, by their codes.
const NAMESPACES: [Namespace; 4] = [
    Namespace::Native,
    Namespace::Windows,
    Namespace::Dos,
    Namespace::Lost,
];

impl Pending {
    /// Adds one.
    pub(super) fn push(&mut self, waiting: &Waiting) {
        let code = NAMESPACES.iter().position(|known| *known == waiting.namespace);
        let len = u16::try_from(waiting.name.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&waiting.name);
        self.bytes.extend_from_slice(&waiting.record.to_le_bytes());
        self.bytes.extend_from_slice(&waiting.sequence.to_le_bytes());
        self.bytes.extend_from_slice(&waiting.parent.to_le_bytes());
        self.bytes.extend_from_slice(&waiting.depth.to_le_bytes());
        self.bytes
            .push(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(0));
        self.bytes.push(u8::from(waiting.is_deleted));
        self.bytes.extend_from_slice(&len.to_le_bytes());
    }

    /// Takes the one added last.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let start = self.bytes.len().checked_sub(HEAD_BYTES)?;
        let head = self.bytes.split_off(start);
        let len = usize::from(le_u16(&head, 20)?);
        let name = self.bytes.split_off(start.checked_sub(len)?);
        Some(Waiting {
            record: le_u32(&head, 0)?,
            sequence: le_u16(&head, 4)?,
            parent: le_u64(&head, 6)?,
            depth: le_u32(&head, 14)?,
            name,
            namespace: NAMESPACES.get(usize::from(u8_at(&head, 18)?)).copied()?,
            is_deleted: u8_at(&head, 19)? == 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_directories_come_back_last_first() {
        let waiting = |record, name: &[u8], namespace, is_deleted| Waiting {
            record,
            sequence: 9,
            parent: 1 << 48,
            depth: 3,
            name: name.to_vec(),
            namespace,
            is_deleted,
        };
        let first = waiting(12, b"a", Namespace::Windows, false);
        let second = waiting(u32::MAX, &[0xff; 765], Namespace::Lost, true);
        let mut pending = Pending::default();
        pending.push(&first);
        pending.push(&second);
        assert_eq!(pending.pop(), Some(second));
        assert_eq!(pending.pop(), Some(first));
        assert_eq!(pending.pop(), None);
    }
}
