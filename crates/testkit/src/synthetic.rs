//! Images that are computed as they are read: tables with millions of records that take no space on disk or in memory.

use std::fmt;
use std::ops::Range;

use ntt_source::{ReadAt, ReadError};

/// Fills the record with that index.
type Fill = Box<dyn Fn(u64, &mut [u8]) + Send + Sync>;

/// An array of records of one length.
struct Table {
    range: Range<u64>,
    record_len: u64,
    fill: Fill,
}

/// An image made of tables; zeros everywhere else. Later tables lie over earlier ones.
#[derive(Default)]
pub struct Synthetic {
    len: u64,
    tables: Vec<Table>,
}

impl fmt::Debug for Synthetic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Synthetic({} bytes, {} tables)",
            self.len,
            self.tables.len()
        )
    }
}

impl Synthetic {
    /// `len` zeros.
    pub fn new(len: u64) -> Self {
        Self {
            len,
            tables: Vec::new(),
        }
    }

    /// Puts bytes at `offset`.
    #[must_use]
    pub fn bytes(self, offset: u64, bytes: &[u8]) -> Self {
        let owned = bytes.to_vec();
        let len = u64::try_from(bytes.len()).expect("fits");
        self.records(offset, len, 1, move |_, record| record.copy_from_slice(&owned))
    }

    /// Puts `count` records of `record_len` bytes at `offset`. `fill` gets each with its index, zeroed.
    ///
    /// # Panics
    ///
    /// If `record_len` is 0.
    #[must_use]
    pub fn records(
        mut self,
        offset: u64,
        record_len: u64,
        count: u64,
        fill: impl Fn(u64, &mut [u8]) + Send + Sync + 'static,
    ) -> Self {
        assert!(record_len > 0, "records have a length");
        self.tables.push(Table {
            range: offset..offset + record_len * count,
            record_len,
            fill: Box::new(fill),
        });
        self
    }
}

impl Table {
    /// Copies what of the table lies in the buffer, which starts at `offset` of the image.
    fn read(&self, offset: u64, buffer: &mut [u8]) {
        let end = offset + u64::try_from(buffer.len()).expect("fits");
        let (from, to) = (offset.max(self.range.start), end.min(self.range.end));
        if from >= to {
            return;
        }
        let first = (from - self.range.start) / self.record_len;
        let last = (to - 1 - self.range.start) / self.record_len;
        let mut record = vec![0; usize::try_from(self.record_len).expect("fits")];
        for index in first..=last {
            record.fill(0);
            (self.fill)(index, &mut record);
            let start = self.range.start + index * self.record_len;
            let (from, to) = (from.max(start), to.min(start + self.record_len));
            let place = |at: u64, base: u64| usize::try_from(at - base).expect("fits");
            buffer[place(from, offset)..place(to, offset)]
                .copy_from_slice(&record[place(from, start)..place(to, start)]);
        }
    }
}

impl ReadAt for Synthetic {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let len = u64::try_from(buffer.len()).expect("fits");
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(ReadError::beyond_end(offset, len, self.len));
        }
        buffer.fill(0);
        self.tables.iter().for_each(|table| table.read(offset, buffer));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_window_of_the_image_agrees_with_the_whole() {
        let image = Synthetic::new(64)
            .records(5, 3, 10, |index, record| {
                record.fill(u8::try_from(index).expect("small") + 1);
            })
            .bytes(20, b"over");
        let mut whole = vec![0; 64];
        image.read_exact_at(0, &mut whole).expect("read");
        assert_eq!(whole[4..9], [0, 1, 1, 1, 2]);
        assert_eq!((&whole[20..24], whole[35]), (&b"over"[..], 0));
        for from in 0..64 {
            for to in from..=64 {
                let mut window = vec![9; to - from];
                image
                    .read_exact_at(u64::try_from(from).expect("small"), &mut window)
                    .expect("read");
                assert_eq!(window, whole[from..to]);
            }
        }
        assert!(image.read_exact_at(60, &mut [0; 5]).is_err());
    }
}
