//! From the columns of an array to its mapping, whoever manages it.

use ntt_model::Mapping;
use ntt_model::mapping::{ParityLayout, Place};

/// Columns that are believed.
pub(super) const COLUMNS_MAX: usize = 1024;

/// How an array lays its bytes out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Level {
    /// RAID 0.
    Stripes,
    /// RAID 1.
    Mirror,
    /// RAID 4, 5 and 6.
    Parity(ParityLayout, usize),
    /// RAID 10 with this many near copies.
    Near(usize),
}

/// An array of columns that are equally long.
pub(super) struct Array {
    pub(super) level: Level,
    /// Not 0, but for mirrors.
    pub(super) chunk_bytes: u64,
    pub(super) column_bytes: u64,
    pub(super) columns: Vec<Option<u64>>,
}

impl Array {
    /// Where its bytes lie; `None` if the numbers cannot be.
    pub(super) fn mapping(self) -> Option<Mapping> {
        let count = self.columns.len();
        (1..=COLUMNS_MAX).contains(&count).then_some(())?;
        let mut mapping = Mapping::default();
        if self.level == Level::Mirror {
            mapping.push(self.column_bytes, mirror(self.columns, self.column_bytes));
            return Some(mapping);
        }
        let chunk_bytes = Some(self.chunk_bytes).filter(|bytes| *bytes >= 512)?;
        let rows = self.column_bytes.checked_div(chunk_bytes)?;
        let (chunks, place) = match self.level {
            Level::Stripes | Level::Mirror => (
                rows.checked_mul(u64::try_from(count).ok()?)?,
                Place::Striped {
                    chunk_bytes,
                    columns: self.columns,
                    copies: 1,
                },
            ),
            Level::Near(copies) => {
                (1..=count).contains(&copies).then_some(())?;
                let all = rows.checked_mul(u64::try_from(count).ok()?)?;
                let place = Place::Striped {
                    chunk_bytes,
                    columns: self.columns,
                    copies,
                };
                (all.checked_div(u64::try_from(copies).ok()?)?, place)
            }
            Level::Parity(layout, parities) => {
                let data = count.checked_sub(parities).filter(|data| *data > 0)?;
                let place = Place::Parity {
                    chunk_bytes,
                    columns: self.columns,
                    layout,
                    parities,
                };
                (rows.checked_mul(u64::try_from(data).ok()?)?, place)
            }
        };
        mapping.push(chunks.checked_mul(chunk_bytes)?, place);
        Some(mapping)
    }
}

/// Columns that hold the same: those that are here stand in for each other.
fn mirror(columns: Vec<Option<u64>>, column_bytes: u64) -> Place {
    let here: Vec<Option<u64>> = columns.into_iter().filter(Option::is_some).collect();
    match here.as_slice() {
        [] => Place::Absent,
        [Some(only)] => Place::Linear(*only),
        several => Place::Striped {
            chunk_bytes: column_bytes.max(1),
            copies: several.len(),
            columns: here,
        },
    }
}

/// The layouts of RAID 5 and 6 by the numbers of Linux `drivers/md/raid5.h`.
pub(super) fn parity_layout(number: u32) -> Option<ParityLayout> {
    Some(match number {
        0 => ParityLayout::LeftAsymmetric,
        1 => ParityLayout::RightAsymmetric,
        2 => ParityLayout::LeftSymmetric,
        3 => ParityLayout::RightSymmetric,
        4 => ParityLayout::First,
        5 => ParityLayout::Last,
        _ => return None,
    })
}
