//! Tables of containers, read through a small cache.

use std::sync::{Arc, Mutex, PoisonError};

use ntt_source::{ReadAt, ReadError, field};

/// Bytes of a page.
const PAGE_BYTES: u64 = 16 * 1024;
/// Pages kept.
const PAGES_MAX: usize = 64;

/// Reads integers from a file, a page at a time.
pub(crate) struct Pages {
    source: Arc<dyn ReadAt>,
    /// The pages used last, newest at the end.
    kept: Mutex<Vec<(u64, Arc<Vec<u8>>)>>,
}

impl Pages {
    pub(crate) fn new(source: Arc<dyn ReadAt>) -> Self {
        Self {
            source,
            kept: Mutex::default(),
        }
    }

    /// `N` bytes at an offset of the file.
    pub(crate) fn array<const N: usize>(&self, offset: u64) -> Result<[u8; N], ReadError> {
        let number = offset.checked_div(PAGE_BYTES).unwrap_or(0);
        let start = number.saturating_mul(PAGE_BYTES);
        let within = usize::try_from(offset.saturating_sub(start)).unwrap_or(usize::MAX);
        if let Some(page) = self.page(number, start)
            && let Some(bytes) = field::array(&page, within)
        {
            return Ok(bytes);
        }
        // It straddles two pages, or something of the page cannot be read.
        let mut bytes = [0; N];
        self.source.read_exact_at(offset, &mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn le_u32(&self, offset: u64) -> Result<u32, ReadError> {
        self.array(offset).map(u32::from_le_bytes)
    }

    fn page(&self, number: u64, start: u64) -> Option<Arc<Vec<u8>>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().rposition(|(kept, _)| *kept == number) {
            let found = kept.remove(at);
            let page = found.1.clone();
            kept.push(found);
            return Some(page);
        }
        let len = PAGE_BYTES.min(self.source.len().checked_sub(start)?);
        let mut page = vec![0; usize::try_from(len).ok()?];
        self.source.read_exact_at(start, &mut page).ok()?;
        let page = Arc::new(page);
        if kept.len() >= PAGES_MAX {
            kept.remove(0);
        }
        kept.push((number, page.clone()));
        Some(page)
    }
}
