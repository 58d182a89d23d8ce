//! Mapping pairs: which clusters hold a value.
//!
//! Each pair starts with a byte of two sizes, then a length in clusters and a signed distance from the run before; no distance is a hole
//! (`layout.h`, "mapping pairs array").

use super::boot::Geometry;

/// A run of clusters of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    /// First cluster, counted in the value.
    pub(super) first: u64,
    /// Number of clusters.
    pub(super) len: u64,
    /// First cluster, counted in the volume; `None` for a hole.
    pub(super) cluster: Option<u64>,
}

impl Run {
    /// First cluster of the value behind the run.
    pub(super) const fn end(&self) -> u64 {
        self.first.saturating_add(self.len)
    }
}

/// Decodes `pairs` from cluster `first` of the value to cluster `end`, at most `runs_max` runs into `runs`.
///
/// # Errors
///
/// Why the pairs do not cover the whole; the runs before that place are good.
pub(super) fn decode(
    pairs: &[u8],
    (first, end): (u64, u64),
    geometry: &Geometry,
    runs_max: u64,
    runs: &mut Vec<Run>,
) -> Result<(), String> {
    let mut decoder = Decoder {
        rest: pairs,
        previous: 0,
    };
    let mut at = first;
    while at < end {
        if u64::try_from(runs.len()).unwrap_or(u64::MAX) >= runs_max {
            return Err(format!("more than {runs_max} runs"));
        }
        let (len, cluster) = decoder
            .pair()
            .ok_or_else(|| format!("the mapping pairs end or break at cluster {at} of {end}"))?;
        if let Some(cluster) = cluster {
            let last = cluster.checked_add(len);
            if last.is_none_or(|last| last > geometry.clusters) {
                return Err(format!("clusters {cluster}+{len} of {}", geometry.clusters));
            }
        }
        let len = len.min(end.saturating_sub(at));
        runs.push(Run {
            first: at,
            len,
            cluster,
        });
        at = at.saturating_add(len);
    }
    Ok(())
}

struct Decoder<'b> {
    rest: &'b [u8],
    previous: i64,
}

impl Decoder<'_> {
    /// Length and first cluster of the next run.
    fn pair(&mut self) -> Option<(u64, Option<u64>)> {
        let sizes = self.take(1)?.first().copied()?;
        let (len_size, distance_size) = (usize::from(sizes & 0x0f), usize::from(sizes >> 4));
        (1..=8).contains(&len_size).then_some(())?;
        let len = u64::try_from(signed(self.take(len_size)?)?)
            .ok()
            .filter(|len| *len > 0)?;
        if distance_size == 0 {
            return Some((len, None));
        }
        let cluster = self.previous.checked_add(signed(self.take(distance_size)?)?)?;
        if cluster == -1 {
            // Written for holes by versions before 3.0.
            return Some((len, None));
        }
        self.previous = cluster;
        Some((len, Some(u64::try_from(cluster).ok()?)))
    }

    fn take(&mut self, len: usize) -> Option<&[u8]> {
        let (head, tail) = self.rest.split_at_checked(len)?;
        self.rest = tail;
        Some(head)
    }
}

/// A little-endian signed number of up to eight bytes.
fn signed(bytes: &[u8]) -> Option<i64> {
    let last = bytes.last()?;
    let filling = if last & 0x80 == 0 { 0 } else { 0xff };
    let mut whole = [filling; 8];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(whole))
}

#[cfg(test)]
mod tests {
    use super::super::boot::tests::sector;
    use super::*;

    type Shape = (u64, u64, Option<u64>);

    fn decoded(pairs: &[u8], first: u64, end: u64) -> (Vec<Shape>, Result<(), String>) {
        let geometry = Geometry::parse(&sector(1000)).expect("valid");
        let mut runs = Vec::new();
        let result = decode(pairs, (first, end), &geometry, 3, &mut runs);
        let shape = runs.iter().map(|run| (run.first, run.len, run.cluster));
        (shape.collect(), result)
    }

    #[test]
    fn runs_are_relative_and_may_go_back() {
        let pairs = [0x11, 10, 100, 0x01, 5, 0x11, 3, 0xf0, 0];
        let (runs, result) = decoded(&pairs, 0, 18);
        assert_eq!(runs, [(0, 10, Some(100)), (10, 5, None), (15, 3, Some(84))]);
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn what_does_not_cover_the_value_is_said() {
        assert!(decoded(&[0x11, 10, 100, 0], 0, 11).1.is_err());
        assert!(decoded(&[0x11, 10], 0, 10).1.is_err());
        assert!(decoded(&[0x10, 100], 0, 10).1.is_err());
        assert!(decoded(&[0x11, 0, 100], 0, 10).1.is_err());
        assert!(decoded(&[0x11, 10, 0x80], 0, 10).1.is_err(), "before cluster 0");
        assert!(
            decoded(&[0x21, 10, 0xe0, 0x03], 0, 10).1.is_err(),
            "beyond cluster 999"
        );
        assert_eq!(decoded(&[0x21, 10, 0xde, 0x03], 0, 10).0, [(0, 10, Some(990))]);
        let (runs, result) = decoded(&[0x11, 1, 1, 0x11, 1, 2, 0x11, 1, 2, 0x11, 1, 2], 0, 4);
        assert_eq!((runs.len(), result), (3, Err("more than 3 runs".to_owned())));
    }

    #[test]
    fn an_old_hole_is_cluster_minus_one() {
        let (runs, _) = decoded(&[0x11, 2, 5, 0x11, 2, 0xfa, 0x11, 2, 1], 0, 6);
        assert_eq!(runs, [(0, 2, Some(5)), (2, 2, None), (4, 2, Some(6))]);
    }
}
