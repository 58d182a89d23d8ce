//! Decoded blocks, of which a few are kept.

use std::sync::{Arc, Mutex, PoisonError};

/// Most bytes of decoded blocks that are kept.
const KEPT_BYTES: usize = 8 << 20;

/// A decoded block, or why it cannot be decoded.
pub(crate) type Decoded = Result<Vec<u8>, String>;

/// The blocks decoded last. What cannot be decoded is kept too: whoever looks for what is good around it asks again and again.
#[derive(Default)]
pub(crate) struct Blocks {
    kept: Mutex<Vec<(u64, Arc<Decoded>)>>,
}

impl Blocks {
    pub(crate) fn get(&self, number: u64) -> Option<Arc<Decoded>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().rposition(|(kept, _)| *kept == number)?;
        let found = kept.remove(at);
        let block = found.1.clone();
        kept.push(found);
        Some(block)
    }

    pub(crate) fn put(&self, number: u64, block: Decoded) -> Arc<Decoded> {
        let block = Arc::new(block);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push((number, block.clone()));
        let weight = |decoded: &Decoded| decoded.as_ref().map_or(64, |bytes| bytes.len().max(64));
        let mut total: usize = kept
            .iter()
            .map(|(_, block)| weight(block))
            .fold(0, usize::saturating_add);
        while total > KEPT_BYTES && kept.len() > 1 {
            let (_, oldest) = kept.remove(0);
            total = total.saturating_sub(weight(&oldest));
        }
        block
    }
}
