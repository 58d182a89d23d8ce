//! Directories that wait to be entered.

use ntt_model::entry::Namespace;
use ntt_source::field::{le_u16, le_u32, le_u64};

/// A directory that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Waiting {
    pub(super) inode: u64,
    pub(super) parent: u64,
    pub(super) depth: u32,
    pub(super) name: Vec<u8>,
    pub(super) namespace: Namespace,
}

/// A stack of them in one allocation, since a million can wait.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
}

/// Bytes of a waiting directory behind its name: three numbers, namespace and length of the name.
const TAIL_LEN: usize = 23;

impl Pending {
    /// Adds one.
    pub(super) fn push(&mut self, waiting: &Waiting) {
        self.bytes.extend_from_slice(&waiting.name);
        self.bytes.extend_from_slice(&waiting.inode.to_le_bytes());
        self.bytes.extend_from_slice(&waiting.parent.to_le_bytes());
        self.bytes.extend_from_slice(&waiting.depth.to_le_bytes());
        self.bytes.push(u8::from(waiting.namespace == Namespace::Lost));
        let len = u16::try_from(waiting.name.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&len.to_le_bytes());
    }

    /// Takes the one added last.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let start = self.bytes.len().checked_sub(TAIL_LEN)?;
        let tail = self.bytes.split_off(start);
        let name_len = usize::from(le_u16(&tail, 21)?);
        let name = self.bytes.split_off(start.checked_sub(name_len)?);
        let is_lost = tail.get(20) == Some(&1);
        Some(Waiting {
            inode: le_u64(&tail, 0)?,
            parent: le_u64(&tail, 8)?,
            depth: le_u32(&tail, 16)?,
            name,
            namespace: if is_lost {
                Namespace::Lost
            } else {
                Namespace::Native
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_directories_come_back_last_first() {
        let waiting = |inode, name: &[u8], namespace| Waiting {
            inode,
            parent: 7,
            depth: 3,
            name: name.to_vec(),
            namespace,
        };
        let first = waiting(12, b"a", Namespace::Native);
        let second = waiting(u64::MAX, &[0xff; 765], Namespace::Lost);
        let mut pending = Pending::default();
        pending.push(&first);
        pending.push(&second);
        assert_eq!(pending.pop(), Some(second));
        assert_eq!(pending.pop(), Some(first));
        assert_eq!(pending.pop(), None);
    }
}
