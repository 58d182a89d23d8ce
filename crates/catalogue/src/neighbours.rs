//! Neighbouring inode numbers, which are read in one sweep: to step over a row costs less than to search anew.

/// Numbers that lie closer together than this are neighbours.
const NEAR: i64 = 4;

/// Whether two numbers, the smaller first, are read in one sweep.
pub(crate) const fn are_near(left: i64, right: i64) -> bool {
    right.saturating_sub(left) <= NEAR
}

/// First and last number of each run of neighbours.
pub(crate) fn runs(numbers: &[i64]) -> Vec<(i64, i64)> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted
        .chunk_by(|left, right| are_near(*left, *right))
        .filter_map(|run| run.first().copied().zip(run.last().copied()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_where_a_search_is_cheaper() {
        assert_eq!(
            runs(&[17, 3, 1, 8, 13, i64::MIN]),
            [(i64::MIN, i64::MIN), (1, 3), (8, 8), (13, 17)]
        );
        assert_eq!(runs(&[]), []);
    }
}
